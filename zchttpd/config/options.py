"""What an option is: its place in the help, how its text is read, and its bounds."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zchttpd.config.names import AUTO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

SIZE_MAX = 1024 * GIB
DAY_MS = 86_400_000

ENVIRONMENT_PREFIX = "ZCHTTPD_"
_ON = ("on", "yes", "true", "1")
_OFF = ("off", "no", "false", "0", "")


class StartError(Exception):
    """The server cannot start; the text is one line: the cause, then the fix."""


class SettingsError(ValueError):
    """An option has a value that cannot be used. `name`: its field; `problem`: one line, cause, then fix."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")
        self.name = name
        self.problem = problem


def problem_of(error: StartError | ValueError) -> str:
    """The one line that tells the cause, then the fix."""
    return error.problem if isinstance(error, SettingsError) else str(error)


class Group(Enum):
    """Headings of the help text and of the documentation, in their order."""

    SERVE = "What to serve"
    SITE = "For sites"
    COMPRESSION = "Compression"
    WHERE = "Where"
    SENDS = "How it sends"
    MEMORY = "Memory"
    LIMITS = "Limits"
    OBSERVABILITY = "Observability"
    DIAGNOSIS = "Diagnosis"


def parse_size(text: str) -> int:
    """Bytes from `4096`, `64K`, `16M` or `1G` (powers of 1024; `KiB`, `kb` and the like are understood).

    Raises ValueError with a one-line text.
    """
    match = re.fullmatch(r"([0-9]+)\s*(?:([kmg])(?:i?b)?|b)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise ValueError(f"{text!r} is not a size. Type bytes, or a number with K, M or G, such as 64K")
    scale = {"": 1, "k": KIB, "m": MIB, "g": GIB}[(match[2] or "").lower()]
    return int(match[1]) * scale


def format_size(size: int) -> str:
    """The shortest text that `parse_size` reads back as `size`."""
    for letter, scale in (("G", GIB), ("M", MIB), ("K", KIB)):
        if size and size % scale == 0:
            return f"{size // scale}{letter}"
    return str(size)


def flag_of(name: str) -> str:
    """`send_mode` -> `--send-mode`."""
    return "--" + name.replace("_", "-")


def variable_of(name: str) -> str:
    """`send_mode` -> `ZCHTTPD_SEND_MODE`."""
    return ENVIRONMENT_PREFIX + name.upper()


def nearest(word: str, words: Iterable[str]) -> str:
    """The one of `words` that was meant by a wrong `word`: another case, its beginning, or a few slips of the
    fingers away; empty when there is none.
    """
    typed = _plain(word)
    slips_max = max(1, (len(typed) + 1) // 3)
    ranked = [(_slips(typed, _plain(each)), each) for each in words]
    slips, best = min(ranked, key=lambda pair: pair[0], default=(slips_max + 1, ""))
    if slips <= slips_max:
        return best
    return next((each for _, each in ranked if len(typed) > 2 and _plain(each).startswith(typed)), "")


def _plain(word: str) -> str:
    return word.lower().replace("_", "-")


def _slips(typed: str, meant: str) -> int:
    """Letters left out, added, wrong, or in place of their neighbour (optimal string alignment distance)."""
    before: list[int] = []
    above = list(range(len(meant) + 1))
    for i, letter in enumerate(typed):
        row = [i + 1]
        for j, other in enumerate(meant):
            row.append(min(above[j] + (letter != other), above[j + 1] + 1, row[j] + 1))
            if i and j and letter == meant[j - 1] and other == typed[i - 1]:
                row[-1] = min(row[-1], before[j - 1] + 1)
        before, above = above, row
    return above[-1]


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """A sentence, after a space: the one of `words` that may have been meant, or all of them."""
    close = nearest(word, words)
    return f" Did you mean {close}?" if close else f" Type one of: {', '.join(words)}"


def parse_count(text: str) -> int:
    """A whole number, 0 or more. Raises ValueError with a one-line text."""
    if not re.fullmatch(r"[0-9]{1,18}", text.strip()):
        raise ValueError(f"{text!r} is not a whole number. Type digits alone")
    return int(text)


def parse_workers(text: str) -> int:
    """A number of workers; `auto` is 0, which stands for one on each usable CPU.

    Raises ValueError with a one-line text.
    """
    word = text.strip().lower()
    if word == AUTO:
        return 0
    if not re.fullmatch(r"[0-9]{1,18}", word) or not int(word):
        raise ValueError(
            f"{text!r} is not a number of workers. Type auto, which is one on each CPU, or 1 or more"
        )
    return int(word)


def parse_host(text: str) -> str:
    """An address or a name, without its port. Raises ValueError with a one-line text."""
    host = text.strip()
    bare = re.sub(r"^[a-z]+://|/.*$", "", host)
    match = re.fullmatch(r"(\[[^]]*\]|[^:]*):([0-9]+)", bare)
    if match:
        fix = f"--host {match[1]} --port {match[2]}" if match[1] else f"--port {match[2]}"
        raise ValueError(f"{host!r} has a port in it. Type {fix}")
    if "/" in host:
        raise ValueError(f"{host!r} is not an address or a name. Type such as --host {bare or '127.0.0.1'}")
    return host


def parse_names(text: str) -> tuple[str, ...]:
    """Names with commas between them; none of them twice."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def parse_hosts(text: str) -> tuple[str, ...]:
    """Names or addresses with commas between them, as Host has them but for the port. Raises ValueError with
    a one-line text.
    """
    names = parse_names(text)
    for name in names:
        # One with a port, or with a *, would never be that of a request.
        if not re.fullmatch(r"[A-Za-z0-9_.-]+|[0-9a-fA-F.]*:[0-9a-fA-F:.]*:[0-9a-fA-F.]*", name):
            raise ValueError(f"{name!r} is not a name. Type such as metrics.example, without a port")
    return names


def parse_origins(text: str) -> tuple[str, ...]:
    """Origins with commas between them, as browsers send them (RFC 6454). Raises ValueError with a one-line
    text.
    """
    origins = parse_names(text)
    for origin in origins:
        if not re.fullmatch(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?", origin):
            raise ValueError(
                f"{origin!r} is not an origin. Type such as https://graphs.example, in lower case"
            )
    return origins


def parse_switch(text: str) -> bool:
    """True for on, yes, true or 1; False for off, no, false or 0. Raises ValueError with a one-line text."""
    word = text.strip().lower()
    if word not in (*_ON, *_OFF):
        raise ValueError(f"{text!r} is neither on nor off. Type on or off")
    return word in _ON


def parse_user(text: str) -> str:
    """`NAME` or `NAME:GROUP`; empty for nobody else. Raises ValueError with a one-line text."""
    name, colon, group = text.strip().partition(":")
    if text and (not name or (colon and not group)):
        raise ValueError(f"{text!r} is not NAME or NAME:GROUP. Type such as www-data or www-data:web")
    return text.strip()


def parse_root(text: str) -> Path:
    """The directory; an empty text is refused, because it would mean the current directory."""
    if not text:
        raise ValueError("is empty. Type the directory to serve, such as --root www/")
    return Path(text)


def parse_directories(text: str) -> tuple[Path, ...]:
    """Lines of one directory each."""
    return tuple(Path(line) for line in text.split("\n") if line)


def split_address(text: str) -> tuple[str, int]:
    """(host, port) of `127.0.0.1:9100`, `[::1]:9100` or `:9100`, which is on this machine only.

    Raises ValueError with a one-line text.
    """
    host, colon, port = text.strip().rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError(f"{text!r} is not an address. Type HOST:PORT, such as 127.0.0.1:9100 or [::1]:9100")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError(f"{text!r} is ambiguous. Type brackets around an IPv6 address, such as [::1]:9100")
    return host.strip("[]") or "127.0.0.1", int(port)


def usable_cpus() -> int:
    """CPUs that this process may use: its affinity, bounded by the quota of its control group (cpu.max)."""
    cpus = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return cpus if quota == "max" else max(1, min(cpus, int(quota) // int(period)))
    except (OSError, ValueError):
        return cpus


@dataclass(frozen=True, slots=True)
class Option:
    """How one field of `Settings` is explained, read and checked. `low` and `high` are inclusive.

    `switch`: it takes no text on the command line. `many`: it may be typed again, and its texts are joined by
    `separator`, as they are in the environment. `words`: how many words of `metavar` are typed for one text.
    `example`: a value as one would type it, where there is no default.
    """

    group: Group
    help: str
    parse: Callable[[str], Any] = str.strip
    metavar: str = ""
    example: str = ""
    unit: str = ""
    choices: tuple[str, ...] = ()
    low: int = 0
    high: int = 2**62
    many: bool = False
    separator: str = ","
    words: int = 1
    switch: bool = False

    @property
    def numeric(self) -> bool:
        """Whether a number can be its value."""
        return self.parse in (parse_count, parse_size, parse_workers)


def option(default: Any, group: Group, text: str, **more: Any) -> Any:
    return field(default=default, metadata={"option": Option(group, text, **more)})


def size(default: int, group: Group, text: str, **more: Any) -> Any:
    most = {"parse": parse_size, "metavar": "SIZE", "unit": "bytes", "high": SIZE_MAX}
    return option(default, group, text, **{**most, **more})


def ms(default: int, group: Group, text: str, **more: Any) -> Any:
    most = {"parse": parse_count, "metavar": "MS", "unit": "milliseconds", "high": DAY_MS}
    return option(default, group, text, **{**most, **more})


def count(default: int, group: Group, text: str, **more: Any) -> Any:
    return option(default, group, text, **{"parse": parse_count, "metavar": "N", **more})


def switch(group: Group, text: str) -> Any:
    return option(False, group, text, parse=parse_switch, switch=True)


def check_bounds(name: str, option: Option, value: object) -> None:
    """Raises SettingsError for a value outside the bounds or the choices of its option."""
    if option.choices and value not in option.choices:
        raise SettingsError(name, f"{value!r} is not a choice.{did_you_mean(str(value), option.choices)}")
    if isinstance(value, int) and not option.low <= value <= option.high:
        shown = format_size if option.unit == "bytes" else str
        if value < option.low:
            raise SettingsError(name, f"{shown(value)} is too small. Type {shown(option.low)} or more")
        raise SettingsError(name, f"{shown(value)} is too large. Type {shown(option.high)} or less")
