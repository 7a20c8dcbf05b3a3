"""Every case of the tables, on every engine and send mode, in several ways of sending; and all engines answer
alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from . import play
from .case import CLOSED, Case
from .cases import conditional, encoding, framing, headers, media, methods, output, paths, ranges, targets
from .servers import ENGINES

if TYPE_CHECKING:
    from .conftest import Fleet
    from .servers import Server

TABLES: dict[str, tuple[Case, ...]] = {
    "paths": paths.CASES,
    "targets": targets.CASES,
    "framing": framing.CASES,
    "headers": headers.CASES,
    "methods": methods.CASES,
    "conditional": conditional.CASES,
    "ranges": ranges.CASES,
    "encoding": encoding.CASES,
    "media": media.CASES,
    "output": output.CASES,
}
# Beyond this many bytes, one write for each byte costs more than it can find.
BYTEWISE_MAX = 600


def params(tables: dict[str, tuple[Case, ...]]) -> list[object]:
    """Cases as pytest parameters with readable names."""
    return [
        pytest.param(case, id=f"{table}-{case.name}") for table, cases in tables.items() for case in cases
    ]


def bytewise_tables() -> dict[str, tuple[Case, ...]]:
    """The part of the tables that is also sent byte by byte."""
    return {
        table: tuple(case for case in cases if len(case.send) <= BYTEWISE_MAX)
        for table, cases in TABLES.items()
    }


def pipeline_tables() -> dict[str, tuple[Case, ...]]:
    """The part of the tables that is also sent between other requests: all that does not end the client's
    side by itself.
    """
    return {
        table: tuple(case for case in cases if not case.half_close and not case.reset)
        for table, cases in TABLES.items()
    }


def test_case_names_are_unique() -> None:
    for table, cases in TABLES.items():
        names = [case.name for case in cases]
        assert len(names) == len(set(names)), (
            f"{table}: {sorted({name for name in names if names.count(name) > 1})}"
        )


@pytest.mark.parametrize("case", params(TABLES))
def test_case(case: Case, server: Server, fleet: Fleet) -> None:
    play.whole(server, case, fleet.etags(server, case))


@pytest.mark.parametrize("case", params(bytewise_tables()))
def test_bytewise(case: Case, server: Server, fleet: Fleet) -> None:
    play.bytewise(server, case, fleet.etags(server, case))


@pytest.mark.parametrize("case", params(pipeline_tables()))
def test_pipelined(case: Case, server: Server, fleet: Fleet) -> None:
    play.pipelined(server, case, fleet.etags(server, case))


@pytest.mark.uring
@pytest.mark.parametrize("case", params(TABLES))
def test_engines_agree(case: Case, fleet: Fleet) -> None:
    servers = [fleet.server(*kind) for kind in ENGINES]
    answers = [play.summary(play.whole(server, case, fleet.etags(server, case))) for server in servers]
    for server, answer in zip(servers[1:], answers[1:], strict=True):
        assert answer == answers[0], f"{server.name} and {servers[0].name} differ"


def test_closing_cases_close_after_a_good_request(server: Server) -> None:
    """A pipeline ends where the first bad request is: what follows it is never answered."""
    bad = [
        case
        for case in TABLES["framing"]
        if case.kept is CLOSED and case.status == 400 and not case.half_close
    ]
    assert bad
    for case in bad:
        with server.peer() as peer:
            peer.send(play.PROBE + case.send + play.PROBE)
            assert peer.reply().status == 200
            assert peer.reply(case.method).status == 400, case.name
            assert peer.leftover() == b"", case.name
