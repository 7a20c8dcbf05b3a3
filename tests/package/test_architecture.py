"""docs/architecture.md and the decisions: what they name of the code is there, and no module is missing."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
CORE = TOP / "ext" / "zchttpd" / "_core"
DOCS = TOP / "docs"
ARCHITECTURE = (DOCS / "architecture.md").read_text(encoding="utf-8")
DECISIONS = sorted(path for path in (DOCS / "decisions").glob("*.md") if path.name != "README.md")
INDEX = (DOCS / "decisions" / "README.md").read_text(encoding="utf-8")
PARTS = ("Decided", "Why", "Measured", "What it costs", "What would change it")


# By kind, and in the order of the page.
DIAGRAMS = re.findall(r"^```mermaid\n(\w+)[^\n]*\n(.*?)^```$", ARCHITECTURE, re.DOTALL | re.MULTILINE)
CODE = "\n".join(path.read_text(encoding="utf-8") for path in sorted(CORE.glob("*.p[xy][dx]")))
# Ops, tokens, states and the like; functions and modules.
CONSTANT = re.compile(r"\b(?:OP|TOKEN|WORK|REST|CONN|ROUTE)_[A-Z_]*[A-Z]\b")
FUNCTION = re.compile(r"(?<!\w)_?[a-z]+(?:_[a-z]+)+\b|(?<!\w)_[a-z]+\b")


def diagrams(kind: str) -> list[str]:
    return [text for name, text in DIAGRAMS if name == kind]


def exists(test: str) -> bool:
    path, _, name = test.partition("::")
    source = (TOP / path).read_text(encoding="utf-8")
    names = {node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
    return not name or name in names or f"\n{name} = " in source


def test_there_are_four_diagrams() -> None:
    assert len(diagrams("flowchart")) == 1
    assert len(diagrams("stateDiagram")) == 2
    assert len(diagrams("sequenceDiagram")) == 1


def test_every_compiled_module_has_its_place() -> None:
    modules = {path.stem for path in CORE.glob("*.pyx")}
    assert len(modules) > 30
    missing = {name for name in modules if not re.search(rf"\b{name}(?:\.pyx)?\b", ARCHITECTURE)}
    assert not missing, f"say where these belong: {missing}"


def test_every_package_has_its_place() -> None:
    packages = {path.parent.name for path in (TOP / "zchttpd").glob("*/__init__.py")} - {"_core"}
    drawn = diagrams("flowchart")[0]
    assert packages >= {"http", "files", "handler"}
    assert {name for name in packages if f'"{name}/' not in drawn} == set()


def test_the_states_are_those_of_a_connection() -> None:
    body = re.search(r"cdef enum ConnState:\n(.*?)\n\n", CODE, re.DOTALL)
    assert body is not None
    states = set(re.findall(r"\bCONN_(\w+) =", body[1]))
    assert len(states) == 6
    moves = [line.partition(":")[0] for line in diagrams("stateDiagram")[0].splitlines()]
    assert set(re.findall(r"\b[A-Z]{4,}\b", " ".join(moves))) == states


@pytest.mark.parametrize("page", [DOCS / "architecture.md", *DECISIONS], ids=lambda page: page.stem)
def test_what_is_named_is_declared(page: Path) -> None:
    missing = {name for name in CONSTANT.findall(page.read_text(encoding="utf-8")) if name not in CODE}
    assert not missing, f"no such names: {missing}"


def test_what_is_drawn_is_there() -> None:
    drawn = {name for _, text in DIAGRAMS for name in FUNCTION.findall(text)}
    assert len(drawn) > 20
    modules = {path.stem for path in CORE.glob("*.pyx")}
    missing = {name for name in drawn - modules if not re.search(rf"\b{name}\b", CODE)}
    assert not missing, f"no such names: {missing}"


@pytest.mark.parametrize("page", [DOCS / "architecture.md", *DECISIONS], ids=lambda page: page.stem)
def test_tests_that_are_named_exist(page: Path) -> None:
    named = set(re.findall(r"`(tests/[\w/]+\.py(?:::\w+)?)`", page.read_text(encoding="utf-8")))
    assert {test for test in named if not exists(test)} == set()


def test_invariants_name_their_tests() -> None:
    rows = re.findall(r"^\| .*", ARCHITECTURE.split("## Invariants")[1].split("\n## ")[0], re.MULTILINE)[1:]
    assert len(rows) > 10
    assert [row for row in rows if "`tests/" not in row] == []


def test_the_index_has_every_decision() -> None:
    assert len(DECISIONS) > 10
    assert set(re.findall(r"\]\(([\w-]+\.md)\)", INDEX)) == {path.name for path in DECISIONS}


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_a_decision_says_why_and_what_it_costs(page: Path) -> None:
    headings = re.findall(r"^## (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert tuple(heading.partition(":")[0] for heading in headings) == PARTS
