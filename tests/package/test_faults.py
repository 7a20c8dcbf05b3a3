"""The faults of tests/faults can be planted: `make faults` does it, and takes a quarter of an hour."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

TOP = Path(__file__).resolve().parents[2]
CORE = TOP / "ext" / "zchttpd" / "_core"


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, TOP / "tests" / "faults" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PLANTS = (
    *load("plants").PLANTS,
    *load("plants_in_turns").PLANTS_IN_TURNS,
    *load("plants_in_new_paths").PLANTS_IN_NEW_PATHS,
    *load("plants_of_zerocopy").PLANTS_OF_ZEROCOPY,
    *load("plants_of_digests").PLANTS_OF_DIGESTS,
)


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
