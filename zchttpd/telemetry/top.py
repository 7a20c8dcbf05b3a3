"""`zchttpd top`: what /metrics.json has, as a picture in the terminal that keeps up with it."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.error import HTTPError, URLError

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from zchttpd.telemetry.figures import QUANTILES, Figures, Source

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Of a picture that goes to a file or a pipe.
WIDTH = 100
LATENCIES_MAX = 5
WORKERS_MAX = 16
_QUIT = (b"q", b"Q")


class Unreadable(Exception):
    """The metrics cannot be read; one line: the cause, then the fix."""


def run(source: Source, interval_s: float, *, once: bool) -> None:
    """Show the picture until q is typed; or `once`, as it is where nobody looks on. Raises Unreadable."""
    console = Console()
    before, began = _read(source), time.monotonic()
    if once or not console.is_terminal:
        time.sleep(interval_s)
        console = Console(width=None if console.is_terminal else WIDTH)
        console.print(picture(source.address, _figures(source, before, began)))
        return
    with _keys() as keyboard, Live(console=console, screen=True, auto_refresh=False) as live:
        live.update(Text(f"{source.address}: in {interval_s:g} s", style="dim"), refresh=True)
        while not _quits(keyboard, interval_s):
            now, at = _read_or_none(source), time.monotonic()
            if now is None:
                live.update(
                    Text(f"{source.address} does not answer; it is asked again", "bold red"), refresh=True
                )
                continue
            shown = picture(source.address, Figures(before, now, at - began), hint="q: quit")
            live.update(shown, refresh=True)
            before, began = now, at


def _figures(source: Source, before: Mapping[str, float], began: float) -> Figures:
    now = _read(source)
    return Figures(before, now, time.monotonic() - began)


def _read(source: Source) -> dict[str, float]:
    try:
        return source.read()
    except HTTPError as error:
        fix = "Type --token-file FILE, that of its --admin-token-file" if error.code == 401 else _FIX
        raise Unreadable(f"{source.address}: {error.code} {error.reason}. {fix}") from None
    except URLError as error:
        raise Unreadable(f"{source.address}: {_cause(error.reason)}. {_FIX}") from None
    except (OSError, ValueError) as error:
        raise Unreadable(f"{source.address}: {_cause(error)}. {_FIX}") from None


_FIX = "Type the address of its --admin, such as: zchttpd top 127.0.0.1:9100"


def _cause(error: object) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or str(error)


def _read_or_none(source: Source) -> dict[str, float] | None:
    try:
        return source.read()
    except (OSError, ValueError):
        return None


# ---- keys ----


@contextmanager
def _keys() -> Iterator[int]:
    """The keyboard, whose keys come one by one; -1 where there is none."""
    fd = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else -1
    before = termios.tcgetattr(fd) if fd >= 0 else None
    try:
        if fd >= 0:
            tty.setcbreak(fd)
        yield fd
    finally:
        if before is not None:
            termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _quits(keyboard: int, within_s: float) -> bool:
    """Wait for so long; whether somebody typed that it is enough."""
    until = time.monotonic() + within_s
    while (left := until - time.monotonic()) > 0:
        if keyboard < 0:
            time.sleep(left)
        elif select.select([keyboard], [], [], left)[0]:
            typed = os.read(keyboard, 1)
            # Nothing: the terminal has gone.
            if not typed or typed in _QUIT:
                return True
    return False


# ---- the picture ----


def picture(address: str, figures: Figures, hint: str = "") -> RenderableType:
    """All of it, which fits in 80 columns, and with two workers in 24 lines."""
    grid = Table.grid(expand=True)
    grid.add_column(ratio=1)
    grid.add_column(ratio=1)
    for height, *pair in (
        (10, ("traffic", _traffic(figures)), ("how bytes leave", _ways(figures))),
        (8, ("time of responses", _times(figures)), ("memory and cache", _memory(figures))),
    ):
        grid.add_row(*(_panel(title, content, height) for title, content in pair))
    return Group(_headline(address, figures, hint), grid, _panel("workers", _workers(figures)))


def _panel(title: str, content: RenderableType, height: int | None = None) -> Panel:
    return Panel(content, title=title, title_align="left", border_style="dim", padding=(0, 1), height=height)


def _headline(address: str, figures: Figures, hint: str) -> Text:
    version = "".join(figures.labels("build_info", "version"))
    alive, workers = figures.value("workers_alive"), figures.value("workers")
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"zchttpd {version}", "bold")
    text.append(f"  {address}  ", "dim")
    text.append(f"{alive:.0f} of {workers:.0f} workers", "bold red" if alive < workers else "green")
    text.append(f"  {hint}", "dim")
    return text


def _rows() -> Table:
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    return table


def _traffic(figures: Figures) -> Table:
    table = _rows()
    statuses = figures.rates("requests_total", "status")
    total = sum(statuses.values())
    table.add_row("requests", Text(f"{_count(total)}/s", "bold"), "")
    for status, rate in sorted(statuses.items(), key=lambda each: -each[1])[:3]:
        style = "red" if status >= "500" else "yellow" if status >= "400" else ""
        table.add_row(Text(f"  {status}", style), f"{_count(rate)}/s", _share(rate, total))
    sent = sum(figures.rates("send_bytes_total", "mode").values())
    table.add_row("bytes", Text(f"{_size(sent)}/s", "bold"), "")
    opened = f"+{_count(figures.rate('connections_total'))}/s"
    table.add_row("connections", _count(figures.value("connections_open")), opened)
    broken = figures.rate("aborts_total") + sum(figures.rates("timeouts_total", "kind").values())
    table.add_row("broken off", f"{_count(broken)}/s", "")
    refused = sum(figures.rates("refused_total", "reason").values())
    table.add_row("refused", Text(f"{_count(refused)}/s", "red" if refused else ""), "")
    return table


def _ways(figures: Figures) -> Table:
    table = _rows()
    sent = figures.rates("send_bytes_total", "mode")
    for mode, rate in sent.items():
        table.add_row(mode, f"{_size(rate)}/s", _share(rate, sum(sent.values())))
    notified = figures.rates("zerocopy_notifications_total", "usage")
    copied = notified.get("copied", 0.0)
    table.add_row("ended as copies", f"{_count(copied)}/s", _share(copied, sum(notified.values())))
    fallbacks = sum(figures.rates("zerocopy_fallbacks_total", "reason").values())
    table.add_row("not zero copy", f"{_count(fallbacks)}/s", "")
    outcomes = {0: "undecided", 1: "zero copy", 2: "given up"}
    for route, outcome in figures.values("zerocopy_active", "route").items():
        table.add_row(f"{route}", outcomes.get(int(outcome), ""), "")
    leases = _count(figures.value("leases_open"))
    table.add_row("leases", leases, _size(figures.value("leased_bytes")))
    return table


def _times(figures: Figures) -> Table:
    table = Table(box=None, expand=True, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("", no_wrap=True)
    table.add_column("body", no_wrap=True)
    for title in ("/s", *(f"{part:.0%} ms" for part in QUANTILES)):
        table.add_column(title, justify="right", no_wrap=True)
    for each in figures.latencies()[:LATENCIES_MAX]:
        size = {"0": "none", "more": "more"}.get(each.size, f"<{each.size}")
        table.add_row(each.status, size, _count(each.rate), *map(_ms, each.quantiles))
    return table


def _memory(figures: Figures) -> Table:
    table = _rows()
    table.add_row("files", _size(figures.value("mapped_bytes")), _count(figures.value("mappings_open")))
    windows = f"{_count(figures.value('windows_open'))} in use"
    table.add_row("windows", _size(figures.value("pool_bytes")), windows)
    table.add_row("held by clients", _size(figures.value("held_bytes")), "")
    lookups = figures.rates("plan_lookups_total", "result")
    hits = _share(lookups.get("hit", 0.0), sum(lookups.values()))
    table.add_row("known requests", _count(figures.value("plans_open")), f"{hits} hit")
    evicted = f"{_count(figures.rate('evictions_total'))}/s out"
    table.add_row("known paths", _count(figures.value("entries_open")), evicted)
    fills = f"{_count(figures.rate('fills_total'))}/s in"
    table.add_row("read", f"{_size(figures.rate('fill_bytes_total'))}/s", fills)
    return table


def _workers(figures: Figures) -> Table:
    table = Table(box=None, expand=True, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("worker", no_wrap=True)
    for title in ("CPU", "resident", "restarts"):
        table.add_column(title, justify="right", no_wrap=True)
    resident = figures.values("worker_resident_bytes", "worker")
    restarts = figures.values("worker_restarts_total", "worker")
    cpu = figures.rates("worker_cpu_seconds_total", "worker")
    for worker in [*cpu][:WORKERS_MAX]:
        died = restarts.get(worker, 0.0)
        count = Text(_count(died), "red" if died else "")
        table.add_row(worker, f"{cpu[worker]:.0%}", _size(resident.get(worker, 0.0)), count)
    return table


# ---- numbers ----


def _count(number: float) -> str:
    for scale, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= scale:
            return f"{number / (1e3 if letter == 'k' else scale):.3g}{letter}"
    return f"{number:.0f}" if number >= 10 or number == int(number) else f"{number:.1f}"


def _size(number: float) -> str:
    for scale, unit in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if number >= scale:
            return f"{number / scale:.1f} {unit}"
    return f"{number:.0f} B"


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.0%}" if whole else "-"


def _ms(seconds: float) -> str:
    return "more" if seconds == float("inf") else f"{seconds * 1e3:g}"
