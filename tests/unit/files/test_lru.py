"""Bounded tables: what is used stays."""

from __future__ import annotations

from zchttpd.files.lru import Lru


def test_what_was_not_used_for_longest_goes() -> None:
    table: Lru[bytes, int] = Lru(2)
    table.put(b"a", 1)
    table.put(b"b", 2)
    assert table.use(b"a") == 1
    table.put(b"c", 3)
    assert table.use(b"b") is None
    assert table == {b"a": 1, b"c": 3}


def test_what_is_put_again_counts_as_used() -> None:
    table: Lru[bytes, int] = Lru(2)
    for key in (b"a", b"b", b"a", b"c"):
        table.put(key, len(table))
    assert set(table) == {b"a", b"c"}


def test_a_look_is_no_use() -> None:
    table: Lru[bytes, int] = Lru(2)
    table.put(b"a", 1)
    table.put(b"b", 2)
    assert b"a" in table
    assert table.get(b"a") == 1
    table.put(b"c", 3)
    assert b"a" not in table
