"""The cases of the tables over sockets, in several ways of sending; and all engines answer alike.

runs.py says which case is sent to which server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from . import play, runs
from .case import CLOSED, Case
from .cases import conditional, encoding, framing, headers, media, methods, output, paths, ranges, targets
from .servers import ENGINES

if TYPE_CHECKING:
    from .conftest import Fleet
    from .in_process import Handlers
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


def parameters(test: str, *, matrix: bool) -> list[object] | None:
    """What a test of this file is run with; None for one that takes no cases."""
    if test == "test_case":
        return runs.on_servers(TABLES, matrix=matrix)
    if test == "test_bytewise":
        return runs.on_servers(bytewise_tables(), matrix=matrix, only_transport=True)
    if test == "test_pipelined":
        return runs.on_servers(pipeline_tables(), matrix=matrix, only_transport=True)
    return runs.on_all_at_once(TABLES, matrix=matrix) if test == "test_engines_agree" else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test its cases: all of them with `--matrix`, else those of runs.py."""
    found = parameters(metafunc.function.__name__, matrix=metafunc.config.getoption("matrix"))
    if found is not None:
        names = [name for name in ("table", "case", "kind") if name in metafunc.fixturenames]
        metafunc.parametrize(names, found)


def test_case_names_are_unique() -> None:
    for table, cases in TABLES.items():
        names = [case.name for case in cases]
        assert len(names) == len(set(names)), (
            f"{table}: {sorted({name for name in names if names.count(name) > 1})}"
        )


def test_case(table: str, case: Case, server: Server, fleet: Fleet, handlers: Handlers) -> None:
    said = play.summary(play.whole(server, case, fleet.etags(server, case)))
    if not runs.without_head(case):
        assert said == handlers.play(table, case), f"{server.name} says something else than the handler"


def test_bytewise(table: str, case: Case, server: Server, fleet: Fleet) -> None:
    play.bytewise(server, case, fleet.etags(server, case))


def test_pipelined(table: str, case: Case, server: Server, fleet: Fleet) -> None:
    play.pipelined(server, case, fleet.etags(server, case))


@pytest.mark.uring
def test_engines_agree(table: str, case: Case, fleet: Fleet) -> None:
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
