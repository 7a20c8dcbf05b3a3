"""zchttpd beside its peers: `python -m bench run|memory|sweep|attacks|vm|sink|fleet`, each with --help."""

from __future__ import annotations

import argparse
import sys

from bench import attacks, memory, run, sweep
from bench.fleet import command as fleet
from bench.sink import command as sink
from bench.vm import command as vm
from benchlib import CannotMeasure, say

COMMANDS = {
    "run": run,
    "memory": memory,
    "sweep": sweep,
    "attacks": attacks,
    "vm": vm,
    "sink": sink,
    "fleet": fleet,
}


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="|".join(COMMANDS))
    for name, module in COMMANDS.items():
        text = module.__doc__ or ""
        added = commands.add_parser(
            name,
            help=" ".join(text.split("\n\n")[0].split()),
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_options(added)
        added.set_defaults(parser=added)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Exit status: what the command says, 1 where it cannot measure, 130 when it was interrupted."""
    parser = make_parser()
    chosen = parser.parse_args(arguments)
    try:
        status: int = COMMANDS[chosen.command].main(chosen)
        return status
    except (CannotMeasure, OSError, ValueError) as error:
        say(f"bench {chosen.command}: {error}")
        return 1
    except KeyboardInterrupt:
        say(f"bench {chosen.command}: interrupted")
        return 130


if __name__ == "__main__":
    sys.exit(main())
