"""Command-line pieces that the three programs share."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from measure.kinds import KINDS, PEERS_PYTHON
from measure.payload import parse_size
from measure.servers import CannotMeasure, find_program
from measure.workloads import RECIPES

PROGRAMS = tuple(dict.fromkeys(kind.program for kind in KINDS.values()))
TOP = Path(__file__).resolve().parents[2]
WHERE = {
    "zchttpd": "beside this Python, then on PATH",
    PEERS_PYTHON: ".venv-peers/bin/python, which make makes",
}


def say(text: str) -> None:
    """Progress and errors go to stderr, results to stdout."""
    print(text, file=sys.stderr, flush=True)


def size(text: str) -> int:
    """argparse type for "10K"."""
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def sizes(text: str) -> tuple[int, ...]:
    """argparse type for "1K,10K"; a size named twice counts once."""
    return tuple(dict.fromkeys(size(item) for item in text.split(",")))


def server_names(text: str) -> tuple[str, ...]:
    """argparse type for "zerocopy,nginx"; a server named twice counts once."""
    names = tuple(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in KINDS:
            raise argparse.ArgumentTypeError(f"no server {name!r}; choose from {', '.join(KINDS)}")
    return names


def at_least_one(text: str) -> int:
    """argparse type for counts."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def add_programs(parser: argparse.ArgumentParser) -> None:
    """Add an option with the path of each program."""
    for program in PROGRAMS:
        where = WHERE.get(program, "on PATH")
        words = (
            "the Python with the packages of the Python peers"
            if program == PEERS_PYTHON
            else f"the {program} to measure"
        )
        parser.add_argument(f"--{program}", metavar="PATH", help=f"{words} (default: {where})")


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


def chosen_programs(names: tuple[str, ...], chosen: argparse.Namespace) -> dict[str, str]:
    """Return the program of each server of `names`. Raises CannotMeasure saying what to install."""
    return {name: chosen_program(name, chosen) for name in names}


def workload_names(text: str) -> tuple[str, ...]:
    """argparse type for "1K,mix"; a workload named twice counts once."""
    names = tuple(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in RECIPES:
            raise argparse.ArgumentTypeError(f"no workload {name!r}; choose from {', '.join(RECIPES)}")
    return names


def prepare_outputs(*paths: Path | None) -> None:
    """Make the folders of the files to write and try to open them, before minutes of measuring, not after.

    Raises OSError.
    """
    for path in paths:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.open("a").close()
