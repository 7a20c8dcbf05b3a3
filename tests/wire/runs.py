"""Which case runs where.

Every case is asked of the handler without a socket, and sent once to a server. Those in which the engine has
a part are sent to each engine and send mode, in each way of sending. Other tests run on one send mode of each
engine, or on every one in modules that say EVERY_MODE. `pytest --matrix` sends all to all.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import pytest

from .in_process import next_head
from .servers import ENGINES, name_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .case import Case

    Tables = Mapping[str, Iterable[Case]]

# More than one send takes: windows, waits and short sends have their part in it.
LARGE_MIN = 64 * 1024 + 1


def without_head(case: Case) -> str:
    """Why the handler cannot be asked, so that the case runs over sockets only; empty when it can."""
    found, _ = next_head(case.send)
    return "" if found == "head" else f"it never becomes a head: {found}"


def transport(case: Case) -> str:
    """Why the engine has a part in the answer; empty when the handler alone decides it."""
    _, head = next_head(case.send)
    reasons = {
        without_head(case): without_head(case),
        "more than a head is sent": len(case.send) > len(head) or head.startswith(b"\r\n"),
        "the client ends its side": case.half_close,
        "the close may be a reset": case.reset,
        "an interim response may come first": case.interim,
        "a response to HEAD ends with its head": case.method != b"GET",
        "the connection ends after a body": case.kept is False and 200 in case.statuses,
        "the body is large": max(len(case.body or b""), len(case.of or b"")) >= LARGE_MIN,
        "the body is in parts": len(case.spans) > 1,
        "the case says so": case.transport,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def kinds(case: Case, *, matrix: bool) -> tuple[tuple[str, str], ...]:
    """(engine, send mode) of each server that gets the case. One of them, but not always the same, if one is
    enough.
    """
    if matrix or transport(case):
        return ENGINES
    return (ENGINES[zlib.crc32(case.name.encode()) % len(ENGINES)],)


def one_of_each_engine(test: str) -> list[tuple[str, str]]:
    """(engine, send mode) for a test of this name: not always the same mode."""
    modes: dict[str, list[tuple[str, str]]] = {}
    for kind in ENGINES:
        modes.setdefault(kind[0], []).append(kind)
    return [kinds[zlib.crc32(test.encode()) % len(kinds)] for kinds in modes.values()]


def on_servers(tables: Tables, *, matrix: bool, only_transport: bool = False) -> list[object]:
    """Parameters (table, case, kind). `only_transport`: without the matrix, no other cases at all."""
    return [
        pytest.param(
            table,
            case,
            kind,
            id=f"{name_of(*kind)}-{table}-{case.name}",
            marks=[pytest.mark.uring] if kind[0] == "uring" else [],
        )
        for table, cases in tables.items()
        for case in cases
        if matrix or not only_transport or transport(case)
        for kind in kinds(case, matrix=matrix)
    ]


def on_all_at_once(tables: Tables, *, matrix: bool) -> list[object]:
    """Parameters (table, case) of what is sent to all servers in one test."""
    return [
        pytest.param(table, case, id=f"{table}-{case.name}")
        for table, cases in tables.items()
        for case in cases
        if matrix or transport(case)
    ]


def in_process(tables: Tables) -> list[object]:
    """Parameters (table, case) of what the handler can be asked."""
    return [
        pytest.param(table, case, id=f"{table}-{case.name}")
        for table, cases in tables.items()
        for case in cases
        if not without_head(case)
    ]
