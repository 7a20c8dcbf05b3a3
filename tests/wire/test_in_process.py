"""Every case of the tables that becomes a head, asked of the handler without a socket; none is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from . import runs, test_cases, test_site
from .case import Case
from .cases.site import SITES
from .client import request
from .servers import ENGINES

if TYPE_CHECKING:
    from .in_process import Handlers

TABLES = test_cases.TABLES
SITE_TABLES = {site: cases for site, (_, cases) in SITES.items()}


@pytest.mark.parametrize(("table", "case"), runs.in_process({**TABLES, **SITE_TABLES}))
def test_case(table: str, case: Case, handlers: Handlers) -> None:
    handlers.play(table, case)


# ---- where each case runs ----

WAYS = ("test_case", "test_bytewise", "test_pipelined")


def runs_of(module: object, test: str, *, matrix: bool) -> set[tuple[str, str, tuple[str, str]]]:
    """(table, case, kind) of each run of a test that takes cases."""
    found = module.parameters(test, matrix=matrix)
    return {(table, case.name, kind) for table, case, kind in (each.values for each in found)}


@pytest.mark.parametrize("way", WAYS)
def test_the_matrix_has_every_case_on_every_server(way: str) -> None:
    tables = {"test_bytewise": test_cases.bytewise_tables, "test_pipelined": test_cases.pipeline_tables}
    chosen = tables.get(way, lambda: TABLES)()
    everything = {
        (table, case.name, kind) for table, cases in chosen.items() for case in cases for kind in ENGINES
    }
    assert runs_of(test_cases, way, matrix=True) == everything


def test_the_matrix_has_every_case_of_a_site_on_every_server() -> None:
    everything = {
        (table, case.name, kind) for table, cases in SITE_TABLES.items() for case in cases for kind in ENGINES
    }
    assert runs_of(test_site, "test_case", matrix=True) == everything


@pytest.mark.parametrize(
    ("module", "tables"), [(test_cases, TABLES), (test_site, SITE_TABLES)], ids=["plain", "site"]
)
def test_without_the_matrix_no_case_is_lost(module: object, tables: runs.Tables) -> None:
    sent = runs_of(module, "test_case", matrix=False)
    asked = {(table, case.name) for table, case in (each.values for each in runs.in_process(tables))}
    for table, cases in tables.items():
        for case in cases:
            servers = {kind for where, name, kind in sent if (where, name) == (table, case.name)}
            assert len(servers) == (len(ENGINES) if runs.transport(case) else 1), case.name
            assert ((table, case.name) in asked) is not bool(runs.without_head(case)), case.name


def test_every_server_gets_its_part_of_the_cases() -> None:
    for kind in ENGINES:
        got = [each for each in runs_of(test_cases, "test_case", matrix=False) if each[2] == kind]
        assert len(got) > len(runs.in_process(TABLES)) / len(ENGINES) / 2, kind


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (Case("plain", request("/"), 200), ""),
        (Case("broken", b"GET / HTTP/1.1\n\n", 400), "it never becomes a head: broken"),
        (Case("cut", b"GET / HT", 400), "it never becomes a head: more"),
        (Case("body", request("/", "Content-Length: 1") + b"x", 400), "more than a head is sent"),
        (Case("empty-line", b"\r\n" + request("/"), 200), "more than a head is sent"),
        (Case("shut", request("/"), 200, half_close=True), "the client ends its side"),
        (Case("head", request("/", method="HEAD"), 200), "a response to HEAD ends with its head"),
        (Case("last", request("/"), 200, kept=False), "the connection ends after a body"),
        (Case("refused", request("/"), 400, kept=False), ""),
        (Case("large", request("/"), 200, body=bytes(1 << 20)), "the body is large"),
        (Case("parts", request("/"), 206, of=b"12345", spans=((0, 0), (2, 3))), "the body is in parts"),
        (Case("said", request("/"), 200, transport=True), "the case says so"),
    ],
    ids=lambda each: each.name if isinstance(each, Case) else "",
)
def test_the_shape_tells_whether_the_engine_has_a_part(case: Case, reason: str) -> None:
    assert runs.transport(case) == reason
