"""A bounded table, for all that is kept of paths and versions."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

_K = TypeVar("_K")
_V = TypeVar("_V")


class Lru(OrderedDict[_K, _V]):
    """At most `size_max` values, if it is given; the one unused for longest goes first."""

    def __init__(self, size_max: int | None = None) -> None:
        super().__init__()
        self._size_max = size_max

    def use(self, key: _K) -> _V | None:
        """The value, which thereby counts as used now."""
        value = self.get(key)
        if value is not None:
            self.move_to_end(key)
        return value

    def put(self, key: _K, value: _V) -> None:
        """Keep a value, which counts as used now."""
        self[key] = value
        self.move_to_end(key)
        if self._size_max is not None and len(self) > self._size_max:
            self.popitem(last=False)
