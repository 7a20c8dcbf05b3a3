"""What looks at a change before it lands: the same make targets everywhere, and the same linters."""

from __future__ import annotations

import re
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((TOP / ".github" / "workflows").glob("*.yml"))
HOOKS = TOP / ".pre-commit-config.yaml"
PROJECT = TOP / "pyproject.toml"


def targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (TOP / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def test_workflows_run_make_and_nothing_else() -> None:
    runs = [
        line.strip()
        for path in WORKFLOWS
        for line in re.findall(r"^\s*- run: (.*)$|^\s*run:", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert {"make quick", "make test", "make full"} <= set(runs)
    for line in runs:
        assert (match := re.fullmatch(r"(?:sudo )?make ([a-z]+)", line)), line
        assert match[1] in targets(), line


def test_python_versions_begin_where_the_project_does() -> None:
    [least] = re.findall(
        r'^requires-python = ">=3\.(\d+)"', PROJECT.read_text(encoding="utf-8"), re.MULTILINE
    )
    tried = {
        int(minor)
        for path in WORKFLOWS
        for line in re.findall(r"python: \[(.*)\]", path.read_text(encoding="utf-8"))
        for minor in re.findall(r"3\.(\d+)", line)
    }
    assert tried == set(range(int(least), max(tried) + 1))


def test_hooks_use_the_linters_that_make_lint_uses() -> None:
    lint = re.search(r"^lint:.*\n((?:\t.*\n)+)", (TOP / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert lint
    linted = set(re.findall(r"(?:\$\(BIN\)/|\$\$PATH\" )([a-z-]+)", lint[1]))
    of_source = {"ruff", "cython-lint", "codespell", "mypy", "stubtest"}
    assert linted == of_source | {"check-jsonschema", "hadolint", "kubernetes-validate", "zizmor"}
    hooks = HOOKS.read_text(encoding="utf-8")
    assert "repo: local" in hooks
    assert {tool for tool in linted if re.search(rf"entry: .*\b{tool}\b", hooks)} == linted
