"""What runs in the guest: zchttpd in each of its ways of sending, and nginx beside it."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.options import at_least_one, sizes
from bench.peers import KINDS
from bench.vm.agent import SITE
from bench.vm.machine import CARDS
from benchlib.payload import MIB
from benchlib.server import fill, find_tool, with_arguments

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchlib.server import Kind

ZEROCOPY, PLAIN, AUTO, NGINX = "zerocopy", "plain", "auto", "nginx"
# The admin listener of a server is so far above its port.
ADMIN = 1000
# Below it a notification costs as much as a copy; here it is measured where that is.
SMALL = ("--zc-size-min", "1K")
# Files of a quarter of that and more are streamed from where they are.
STREAMED = ("--memory", "8M")


@dataclass(frozen=True, slots=True)
class Mode:
    """`smallest`: the size from which on it is measured, in bytes."""

    kind: Kind
    port: int
    smallest: int = 0

    @property
    def name(self) -> str:
        return self.kind.name


MODES = {
    mode.name: mode
    for mode in (
        Mode(with_arguments(KINDS["zerocopy"], ZEROCOPY, *SMALL), 8081),
        Mode(KINDS["plain"], 8082),
        Mode(KINDS["auto"], 8083),
        Mode(KINDS["nginx"], 8084),
        Mode(KINDS["portable"], 8085),
        Mode(with_arguments(KINDS["portable"], "portable-zerocopy", "--send-mode", "zerocopy", *SMALL), 8086),
        Mode(with_arguments(KINDS["zerocopy"], "streamed-zerocopy", *STREAMED), 8087, 4 * MIB),
        Mode(with_arguments(KINDS["plain"], "streamed-plain", *STREAMED), 8088, 4 * MIB),
    )
}


def write_plan(directory: Path, root: Path, zchttpd: str, modes: Sequence[Mode]) -> None:
    """Say to the agent what to start: for each mode its command line, port, and port of the counters or 0."""
    servers = {}
    for mode in modes:
        kind = mode.kind
        run = f"/run/{kind.name}"
        config = directory / f"{kind.name}.conf"
        names = {
            "root": SITE,
            "run": run,
            "config": config,
            "host": "0.0.0.0",
            "user": "root",
            "group": "root",
        }
        names |= {"port": mode.port, "admin": mode.port + ADMIN}
        if kind.config:
            config.write_text(fill(kind, names))
        program = zchttpd if kind.ours else find_tool(kind.program, kind.package)
        argv = [program, *(item.format(**names) for item in kind.arguments)]
        servers[kind.name] = {
            "argv": argv,
            "run": run,
            "port": mode.port,
            "admin": names["admin"] if kind.ours else 0,
        }
    plan = {
        "root": str(root),
        "program": zchttpd,
        "servers": servers,
        "addresses": {card.hardware: card.guest for card in CARDS},
    }
    (directory / "plan.json").write_text(json.dumps(plan))


def add_modes(parser: argparse.ArgumentParser, files: str, connections: int) -> None:
    """Add the options that say what is measured; `files`: the default of --sizes."""
    add = parser.add_argument
    words = f"sizes of the files (default: {files})"
    add("--sizes", type=sizes, default=sizes(files), metavar="LIST", help=words)
    add("--rounds", type=at_least_one, default=3, metavar="N")
    words = f"what to run, with commas (default: {','.join(MODES)})"
    add("--modes", type=chosen_modes, default=tuple(MODES.values()), metavar="LIST", help=words)
    words = f"downloads at a time (default: {connections})"
    add("--connections", type=at_least_one, default=connections, metavar="N", help=words)


def chosen_modes(text: str) -> tuple[Mode, ...]:
    """argparse type for a list of names."""
    names = text.split(",")
    unknown = [name for name in names if name not in MODES]
    if unknown or PLAIN not in names:
        raise argparse.ArgumentTypeError(f"plain, and some of {', '.join(MODES)}")
    return tuple(mode for name, mode in MODES.items() if name in names)
