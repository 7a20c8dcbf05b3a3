"""The manual page and the shells' completions, from the parser: `shell_pages.py man|bash|zsh|fish`."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import shtab
from argparse_manpage.manpage import Manpage

from zchttpd import __version__
from zchttpd.cli import build_parser
from zchttpd.config.settings import OPTIONS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

COMPLETE = {"DIR": shtab.DIRECTORY, "FILE": shtab.FILE}
SHORT = "serve the files of a directory over HTTP/1.1, without copying their bytes"


def parser_for_pages() -> argparse.ArgumentParser:
    """The parser of the command, which only collects texts, with what may be typed for each option."""
    parser = build_parser()
    for action in parser._actions:
        option = OPTIONS.get(action.dest)
        if action.dest == "command":
            action.metavar = "DIR"
            action.help = "the directory whose files are served, or the word doctor"
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        elif option is not None and option.choices:
            action.choices = option.choices
        elif option is not None and option.metavar in COMPLETE:
            action.complete = COMPLETE[option.metavar]  # type: ignore[attr-defined]
    return parser


def man() -> str:
    """The page in roff. Its date is that of SOURCE_DATE_EPOCH where that is set."""
    data = {
        "project_name": "zchttpd",
        "version": __version__,
        "manual_title": "User Commands",
        "description": SHORT,
    }
    # The examples keep their lines.
    return re.sub(
        r"^\n((?:  .*\n)+)", r".PP\n.nf\n\1.fi\n", str(Manpage(parser_for_pages(), data)), flags=re.MULTILINE
    )


def completion(shell: str) -> Callable[[], str]:
    """What makes the completions for a shell."""
    return lambda: shtab.complete(parser_for_pages(), shell=shell)


PAGES = {"man": man, **{shell: completion(shell) for shell in ("bash", "zsh", "fish")}}

if __name__ == "__main__":
    sys.stdout.write(PAGES[sys.argv[1]]())
