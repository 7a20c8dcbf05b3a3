"""The entries that the engine knows, and in what order they make room."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from zchttpd.engine.bodies import Holding
    from zchttpd.files.lookup import Entry

_Key = tuple[int, tuple[bytes, ...], bool]


class Holdings:
    """Holdings by entry and by the engine's number, about in the order of their last use.

    Replays are seen by the engine alone. So who is found at the front and has been used since it was put in
    its place goes to the end, as in second-chance replacement, and nothing has to be sorted.
    """

    def __init__(self) -> None:
        self._by_key: OrderedDict[_Key, Holding] = OrderedDict()
        self._by_number: dict[int, Holding] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Holding]:
        return iter(self._by_key.values())

    def of(self, entry: Entry) -> Holding | None:
        """The one at the path of `entry`: perhaps of an earlier entry."""
        return self._by_key.get(_key(entry))

    def numbered(self, number: int) -> Holding | None:
        """The one that the engine knows by this number."""
        return self._by_number.get(number)

    def add(self, holding: Holding, now_ms: int) -> None:
        """It is used for the first time."""
        self._by_key[_key(holding.entry)] = holding
        self._by_number[holding.number] = holding
        holding.placed_ms = now_ms

    def renumber(self, holding: Holding, number: int) -> None:
        """The engine has given it another number."""
        del self._by_number[holding.number]
        holding.number = number
        self._by_number[number] = holding

    def use(self, holding: Holding, now_ms: int) -> None:
        """It is used now."""
        holding.placed_ms = now_ms
        self._by_key.move_to_end(_key(holding.entry))

    def remove(self, holding: Holding) -> bool:
        """Forget it. False when it has been forgotten before."""
        key = _key(holding.entry)
        if self._by_key.get(key) is not holding:
            return False
        del self._by_key[key], self._by_number[holding.number]
        return True

    def unused(self, used_at_ms: Callable[[int], int], enough: Callable[[Holding], bool]) -> list[Holding]:
        """Those that were not used for longest, in order, up to the first of which `enough` says so.

        `used_at_ms` tells by their number when they were last used.
        """
        found: list[Holding] = []
        used: list[Holding] = []
        for holding in self._by_key.values():
            last_ms = used_at_ms(holding.number)
            if last_ms > holding.placed_ms:
                holding.placed_ms = last_ms
                used.append(holding)
                continue
            found.append(holding)
            if enough(holding):
                break
        else:
            used.sort(key=lambda holding: holding.placed_ms)
            for holding in used:
                found.append(holding)
                if enough(holding):
                    break
        for holding in used:
            self._by_key.move_to_end(_key(holding.entry))
        return found


def _key(entry: Entry) -> _Key:
    return entry.site, entry.segments, entry.directory
