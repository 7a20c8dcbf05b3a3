"""What the bench of the peers and the load test share: servers, readings from the kernel, plots."""

from __future__ import annotations

import sys


class CannotMeasure(Exception):
    """The measurement cannot go on; the message gives the cause and what to do."""


def say(text: str) -> None:
    """Progress and errors go to stderr, results to stdout."""
    print(text, file=sys.stderr, flush=True)
