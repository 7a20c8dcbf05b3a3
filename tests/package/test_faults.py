"""The faults of tests/faults can be planted: `make faults` does it, and takes a quarter of an hour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .loading import load

TOP = Path(__file__).resolve().parents[2]
CORE = TOP / "ext" / "zchttpd" / "_core"


PLANTS = load(TOP / "tests" / "faults" / "run.py").ALL


def test_there_are_many_and_no_two_are_alike() -> None:
    assert len(PLANTS) >= 30
    assert len({plant.name for plant in PLANTS}) == len(PLANTS)
    assert len({(plant.file, plant.old, plant.new) for plant in PLANTS}) == len(PLANTS)


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)
def test_its_place_is_there_once_and_so_is_its_test(plant: Any) -> None:
    assert plant.new != plant.old
    folder = TOP / "zchttpd" if plant.file.endswith(".py") else CORE
    assert (folder / plant.file).read_text(encoding="utf-8").count(plant.old) == 1
    path, _, function = plant.test.partition("::")
    assert f"def {function}" in (TOP / path).read_text(encoding="utf-8")
