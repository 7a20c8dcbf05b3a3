"""What the fuzzers have found, played again: each input, whole, through its harness; without the fuzzer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from . import accept_encoding, conditional, framer, ranges, request, target

if TYPE_CHECKING:
    from collections.abc import Callable

HARNESSES: dict[str, Callable[[bytes], None]] = {
    "conditional": conditional.check,
    "accept_encoding": accept_encoding.check,
    "framer": framer.check,
    "request": request.check,
    "ranges": ranges.check,
    "target": target.check,
}
CORPUS = Path(__file__).resolve().parent / "corpus"
INPUTS = sorted(path for path in CORPUS.glob("*/*.bin"))
INPUTS_MIN = 10


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_input(path: Path) -> None:
    HARNESSES[path.parent.name](path.read_bytes())


@pytest.mark.parametrize("name", HARNESSES)
@given(choose=st.data())
def test_inputs_that_are_spliced(name: str, choose: st.DataObject) -> None:
    """The head of one input and the tail of another, with any bytes between them."""
    one, other = (
        choose.draw(st.sampled_from([path for path in INPUTS if path.parent.name == name])).read_bytes()
        for _ in range(2)
    )
    head = one[: choose.draw(st.integers(0, len(one)))]
    tail = other[choose.draw(st.integers(0, len(other))) :]
    HARNESSES[name](head + choose.draw(st.binary(max_size=8)) + tail)


@pytest.mark.parametrize("name", HARNESSES)
def test_there_is_a_corpus_and_an_invariant(name: str) -> None:
    assert len([path for path in INPUTS if path.parent.name == name]) >= INPUTS_MIN
    source = (CORPUS.parent / f"{name}.py").read_text(encoding="utf-8")
    assert source.startswith("# "), "the first comment of a harness says what always holds"
