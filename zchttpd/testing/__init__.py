"""For tests of whatever downloads: a server, also as the fixture `static_server`, and faults for its answers.

docs/testing-downloads.md shows them.
"""

from zchttpd.testing.faults import (
    RANDOM,
    Corrupt,
    Cut,
    Drip,
    Fault,
    IgnoreRange,
    Replace,
    Request,
    Reset,
    Stall,
    Unavailable,
    Unsatisfiable,
    WrongLength,
)
from zchttpd.testing.server import Exchange, StaticServer

__all__ = [
    "RANDOM",
    "Corrupt",
    "Cut",
    "Drip",
    "Exchange",
    "Fault",
    "IgnoreRange",
    "Replace",
    "Request",
    "Reset",
    "Stall",
    "StaticServer",
    "Unavailable",
    "Unsatisfiable",
    "WrongLength",
]
