"""What the doctor says of registered memory; all else that it says is looked at beside the command."""

from __future__ import annotations

import pytest

from zchttpd.config.names import FEATURES
from zchttpd.process.findings import State

from ..test_cli import findings, ring


@pytest.mark.parametrize(
    ("at_once", "state", "fix"),
    [(True, State.OK, ""), (False, State.LOW, "Linux 6.4 or later"), (None, None, "")],
)
def test_the_doctor_tells_when_registered_memory_comes_back(
    monkeypatch: pytest.MonkeyPatch, at_once: bool | None, state: State | None, fix: str
) -> None:
    ring(monkeypatch, at_once, error="", **dict.fromkeys(FEATURES, True))
    found = findings().get("registered memory")
    assert (found and found.state) is state
    assert (found.fix if found else "") == fix
