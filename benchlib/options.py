"""Types of options."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection


def names_of(what: str, known: Collection[str]) -> Callable[[str], tuple[str, ...]]:
    """An argparse type for "a,b" of what is `known`; a name given twice counts once."""

    def read(text: str) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(text.split(",")))
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"no {what} {name!r}; choose from {', '.join(known)}")
        return names

    return read
