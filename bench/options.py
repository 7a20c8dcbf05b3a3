"""Pieces of the command line that several commands share."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.peers import KINDS, PEERS_PYTHON
from bench.workloads import WORKLOADS
from benchlib import CannotMeasure
from benchlib.options import names_of
from benchlib.payload import parse_size
from benchlib.server import find_program

PROGRAMS = tuple(dict.fromkeys(kind.program for kind in KINDS.values()))
TOP = Path(__file__).resolve().parents[1]
WHERE = {
    "zchttpd": "beside this Python, then on PATH",
    PEERS_PYTHON: ".venv-peers/bin/python, which make makes",
}


server_names = names_of("server", KINDS)
workload_names = names_of("workload", WORKLOADS)


def sizes(text: str) -> tuple[int, ...]:
    """argparse type for "1K,10K"; a size named twice counts once."""
    return tuple(dict.fromkeys(parse_size(item) for item in text.split(",")))


def at_least_one(text: str) -> int:
    """argparse type for counts."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def add_load(parser: argparse.ArgumentParser, seconds: int | None, rounds: int | None) -> None:
    """Add the options of a load that is measured; None: the help of the command says what."""
    add = parser.add_argument
    add("--seconds", type=at_least_one, default=seconds, metavar="N", help="of each measurement (default: 2)")
    add("--rounds", type=at_least_one, default=rounds, metavar="N", help="how often each is measured")
    words = "keep-alive connections (default: 64)"
    add("--connections", type=at_least_one, default=64, metavar="N", help=words)
    add_cores(parser)


def add_cores(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--server-core", type=int, metavar="N", help="core of the servers (default: the first)")
    add("--client-cores", metavar="N,N", help="cores of the load client (default: the second)")


def add_programs(parser: argparse.ArgumentParser) -> None:
    """Add an option with the path of each program, and the one for the JSON file."""
    for program in PROGRAMS:
        what = "Python with the packages of the Python peers" if program == PEERS_PYTHON else program
        where = WHERE.get(program, "on PATH")
        parser.add_argument(f"--{program}", metavar="PATH", help=f"the {what} to measure (default: {where})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured")


def chosen_program(name: str, chosen: argparse.Namespace) -> str:
    """Return the program of the server `name`. Raises CannotMeasure saying what to install."""
    program = KINDS[name].program
    override = getattr(chosen, program.replace("-", "_"))
    beside = Path(sys.executable).with_name("zchttpd")
    if override is None and KINDS[name].ours and beside.exists():
        override = str(beside)
    if override is None and program == PEERS_PYTHON:
        override = str(TOP / ".venv-peers" / "bin" / "python")
        if not Path(override).exists():
            raise CannotMeasure(
                "the Python peers are not installed; type: make bench (or give --peers-python PATH)"
            )
    return find_program(KINDS[name], override)


def prepare_outputs(*paths: Path | None) -> None:
    """Make the folders of the files to write and try to open them, before minutes of measuring, not after.

    Raises OSError.
    """
    for path in paths:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.open("a").close()
