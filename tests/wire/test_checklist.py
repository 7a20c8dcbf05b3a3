"""Every row of the checklist is a test: each input is sent by a case that allows no other answer, and each
test that is named exists.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from .checklist import ROWS, Row
from .test_cases import TABLES

TOP = Path(__file__).resolve().parents[2]
CASES = [case for cases in TABLES.values() for case in cases]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row(row: Row) -> None:
    assert row.sent or row.tests
    for sent in row.sent:
        found = [case for case in CASES if sent in case.send]
        assert found, f"no case sends {sent[:100]!r}"
        allowed = [case.name for case in found if not row.may or set(case.statuses) <= set(row.may)]
        assert allowed, (
            f"{sent[:100]!r} may get {row.may}, but {[(case.name, case.status) for case in found]}"
        )
    for test in row.tests:
        path, _, name = test.partition("::")
        tree = ast.parse((TOP / path).read_text(encoding="utf-8"))
        names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert name in names, f"no such test: {test}"


def test_rows_have_names_of_their_own() -> None:
    names = [row.name for row in ROWS]
    assert len(names) == len(set(names)) > 80
