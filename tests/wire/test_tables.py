"""Whole tables at once: on one connection in pieces of any size, and by HEAD as by GET; and what 304 repeats
of 200.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from . import play
from .case import KEPT
from .client import request
from .test_cases import BYTEWISE_MAX, TABLES
from .tree import FILES, SIDECARS

if TYPE_CHECKING:
    from .case import Case
    from .conftest import Fleet
    from .servers import Server

# One byte; no divisor of anything; a little more than a head; all at once.
PIECES = (1, 7, 97, 1 << 20)
# RFC 9110 section 15.4.5: what 304 must have if 200 would.
REPEATED = (b"cache-control", b"content-location", b"etag", b"expires", b"vary")
CODINGS = ("identity", "br", "gzip", "zstd")


def kept(table: str) -> list[Case]:
    """The cases of a table that leave the connection open, in full step."""
    return [
        case
        for case in TABLES[table]
        if case.kept is KEPT and not case.half_close and not case.interim and len(case.send) <= BYTEWISE_MAX
    ]


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("table", TABLES)
def test_a_table_on_one_connection(table: str, piece: int, server: Server, fleet: Fleet) -> None:
    cases = kept(table)
    assert cases
    etags = {key: tag for case in cases for key, tag in fleet.etags(server, case).items()}
    play.stream(server, cases, etags, piece)


@pytest.mark.parametrize("table", TABLES)
def test_head_says_what_get_would(table: str, server: Server, fleet: Fleet) -> None:
    """RFC 9110 section 9.3.2; Range is for GET alone (section 14.2)."""
    gets = [case for case in kept(table) if case.send.startswith(b"GET ") and b"\r\nRange:" not in case.send]
    with server.peer() as peer:
        for case in gets:
            asked = case.request(fleet.etags(server, case))
            whole = peer.ask(asked)
            head = peer.ask(b"HEAD" + asked[3:])
            assert play.summary(head) == play.summary(dataclasses.replace(whole, body=b"")), case.name


@pytest.mark.parametrize("coding", CODINGS)
def test_304_repeats_what_200_says(server: Server, coding: str) -> None:
    paths = [b"hello.txt", b"empty.txt", b"3m17.bin", b"mtime-zero.txt", *SIDECARS]
    assert set(paths) <= set(FILES)
    with server.peer() as peer:
        for path in paths:
            whole = peer.ask(request(b"/" + path, f"Accept-Encoding: {coding}"))
            tag = whole.field(b"etag")
            assert tag is not None
            same = peer.ask(request(b"/" + path, f"Accept-Encoding: {coding}", b"If-None-Match: " + tag))
            assert (same.status, same.body) == (304, b"")
            assert {name for name, _ in same.headers} <= {b"date", *REPEATED}
            for name in REPEATED:
                assert same.fields(name) == whole.fields(name), (path, name)
