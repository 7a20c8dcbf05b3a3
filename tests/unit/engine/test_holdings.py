"""In what order holdings make room: whoever was used, if only by replays, comes last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from zchttpd.engine.bodies import Holding
from zchttpd.engine.holdings import Holdings

if TYPE_CHECKING:
    from zchttpd.files.lookup import Entry


class NamedEntry:
    """What an entry is to holdings."""

    def __init__(self, name: bytes) -> None:
        self.segments, self.directory, self.site = (name,), False, 0


def entry(name: bytes) -> Entry:
    return cast("Entry", NamedEntry(name))


@pytest.fixture
def used_ms() -> dict[int, int]:
    """When the engine last replayed each."""
    return {}


@pytest.fixture
def holdings(used_ms: dict[int, int]) -> Holdings:
    made = Holdings()
    for number in range(5):
        used_ms[number] = number
        made.add(Holding(entry(b"%d" % number), number), number)
    return made


def numbers(found: list[Holding]) -> list[int]:
    return [holding.number for holding in found]


def never(_: Holding) -> bool:
    return False


def test_those_used_first_come_first(holdings: Holdings, used_ms: dict[int, int]) -> None:
    assert numbers(holdings.unused(used_ms.__getitem__, never)) == [0, 1, 2, 3, 4]


def test_one_is_enough(holdings: Holdings, used_ms: dict[int, int]) -> None:
    looked: list[int] = []

    def enough(holding: Holding) -> bool:
        looked.append(holding.number)
        return holding.number == 1

    assert numbers(holdings.unused(used_ms.__getitem__, enough)) == [0, 1]
    assert looked == [0, 1]


def test_what_the_engine_has_replayed_since_comes_last(holdings: Holdings, used_ms: dict[int, int]) -> None:
    used_ms[0], used_ms[2] = 90, 80
    assert numbers(holdings.unused(used_ms.__getitem__, never)) == [1, 3, 4, 2, 0]
    # And stays there.
    assert numbers(holdings.unused(used_ms.__getitem__, never)) == [1, 3, 4, 2, 0]


def test_when_all_were_used_the_first_of_them_comes_first(
    holdings: Holdings, used_ms: dict[int, int]
) -> None:
    used_ms.update({number: 100 - number for number in used_ms})
    assert numbers(holdings.unused(used_ms.__getitem__, never)) == [4, 3, 2, 1, 0]


def test_a_use_that_the_handler_knows_of_counts_too(holdings: Holdings, used_ms: dict[int, int]) -> None:
    first = holdings.numbered(0)
    assert first is not None
    holdings.use(first, 50)
    assert numbers(holdings.unused(used_ms.__getitem__, never)) == [1, 2, 3, 4, 0]


def test_one_is_found_by_its_path_and_its_number(holdings: Holdings) -> None:
    third = holdings.of(entry(b"3"))
    assert third is not None
    assert holdings.numbered(3) is third
    holdings.renumber(third, 77)
    assert (holdings.numbered(3), holdings.numbered(77)) == (None, third)
    assert third.number == 77


def test_what_has_been_forgotten_is_not_forgotten_again(holdings: Holdings) -> None:
    third: Any = holdings.of(entry(b"3"))
    assert holdings.remove(third)
    assert not holdings.remove(third)
    assert (holdings.of(entry(b"3")), holdings.numbered(3), len(holdings)) == (None, None, 4)


def test_a_later_edition_is_not_forgotten_with_an_earlier(holdings: Holdings) -> None:
    third: Any = holdings.of(entry(b"3"))
    holdings.remove(third)
    later = Holding(entry(b"3"), 99)
    holdings.add(later, 9)
    assert not holdings.remove(third)
    assert holdings.of(entry(b"3")) is later
