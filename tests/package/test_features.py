"""docs/features.md: each yes of ours names tests, and each test that is named is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from ..wire.cases.site import SITES
from ..wire.test_cases import TABLES

TOP = Path(__file__).resolve().parents[2]
PAGE = TOP / "docs" / "features.md"
COLUMNS = ("Feature", "zchttpd", "nginx", "Caddy", "h2o", "SWS", "WhiteNoise", "Starlette", "Tests")
WORDS = ("yes", "no", "partly", "?")
# The cases of a file by their ids, without the engine: a feature is there on all of them.
CASES = {
    "tests/wire/test_cases.py": {f"{name}-{case.name}" for name, cases in TABLES.items() for case in cases},
    "tests/wire/test_site.py": {
        f"{name}-{case.name}" for name, (_, cases) in SITES.items() for case in cases
    },
}


def rows() -> list[dict[str, str]]:
    """The rows of all tables, by column."""
    found = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| ") and not line.startswith("| Feature |"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            assert len(cells) == len(COLUMNS), line
            found.append(dict(zip(COLUMNS, cells, strict=True)))
    return found


ROWS = rows()


def named_by(row: dict[str, str]) -> list[str]:
    return re.findall(r"`([^`]+)`", row["Tests"])


def exists(test: str) -> bool:
    """Whether a test function of that name is at the top of its file, and has that case."""
    path, _, function = test.partition("::")
    name, _, case = function.removesuffix("]").partition("[")
    tree = ast.parse((TOP / path).read_text(encoding="utf-8"))
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    return name in names and (not case or case in CASES.get(path, ()))


def test_there_is_something_to_look_at() -> None:
    assert len(ROWS) > 50
    assert {row["zchttpd"].partition(":")[0] for row in ROWS} == {"yes", "no", "partly"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["Feature"])
def test_a_yes_names_tests_and_a_no_has_none(row: dict[str, str]) -> None:
    for column in COLUMNS[1:-1]:
        assert row[column].partition(":")[0] in WORDS, f"{column}: {row[column]}"
    assert bool(named_by(row)) is (row["zchttpd"].partition(":")[0] != "no")


def test_every_named_test_exists() -> None:
    named = {test for row in ROWS for test in named_by(row)}
    missing = sorted(test for test in named if not exists(test))
    assert not missing, f"no such tests: {missing}"
    assert not exists("tests/wire/test_cases.py::test_case[no-such-case]")
    assert not exists("tests/wire/test_cases.py::test_nothing")


def test_the_number_of_cases_is_not_made_up() -> None:
    said = re.search(r"More than (\d+) wire cases", PAGE.read_text(encoding="utf-8"))
    assert said is not None
    assert sum(len(cases) for cases in CASES.values()) > int(said[1])
