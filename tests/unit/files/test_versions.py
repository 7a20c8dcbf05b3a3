"""Whose time says something, and what tags and dates are made of."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from zchttpd.config.names import IDENTITY
from zchttpd.config.settings import Settings
from zchttpd.files.entry_cache import EntryCache
from zchttpd.files.root import Root
from zchttpd.files.version import Version, make_last_modified

if TYPE_CHECKING:
    from pathlib import Path

S = 1_000_000_000
NOW_S = 1_800_000_000
NOW = NOW_S * S + 123_456_789
NEVER = -(1 << 63)


@pytest.mark.parametrize(
    ("mtime_ns", "ctime_ns", "lived"),
    [
        (NOW, NOW, True),
        (NOW - 40 * S, NOW, True),  # written, and renamed or linked later
        (NOW - 1, NOW, True),
        (NOW_S * S, NOW_S * S, True),  # a file system that keeps whole seconds
        (NOW_S * S, (NOW_S + 1) * S, True),
        (NOW_S * S, NOW_S * S + 10_000_000, True),  # FAT: two seconds, and hundredths
        (NOW_S * S, (NOW_S + 2) * S, True),
        (NOW_S * S, (NOW_S + 2) * S + 1, False),
        (NOW_S * S, (NOW_S - 2) * S - 1, False),
        (1_700_000_000 * S, NOW, False),  # tar, rsync, git archive, SOURCE_DATE_EPOCH
        (1_700_000_000 * S + 1, NOW, True),
        (0, NOW, False),
        (0, 0, False),
        (-5, NOW, False),
        (315_532_801 * S, NOW, False),  # buildpacks
        (499_162_500 * S, NOW, False),  # npm
        (499_162_500 * S + 7, NOW, False),
        (631_152_000 * S + 7, NOW, True),
        (NOW + 3 * S, NOW, False),  # what is to come
        (NOW + 366 * 86_400 * S, NOW, False),
        (NOW + S, NOW, True),
    ],
)
def test_whether_a_time_was_lived(mtime_ns: int, ctime_ns: int, lived: bool) -> None:
    assert Version(1, 2, 3, mtime_ns, ctime_ns).lived is lived


@pytest.mark.parametrize(
    ("mtime_s", "ctime_s", "after_s", "expected"),
    [
        (100, 1000, NEVER, None),
        (315_532_801, NOW_S, NEVER, None),
        (NOW_S - 9, NOW_S - 9, NEVER, NOW_S - 9),
        (NOW_S - 9, NOW_S - 5, NOW_S - 10, NOW_S - 9),
        # What had that date, or a later one, was other bytes: now it is when these came.
        (NOW_S - 9, NOW_S - 5, NOW_S - 9, NOW_S - 5),
        (NOW_S - 9, NOW_S - 5, NOW_S - 5, None),
        # Of what is to come nothing is told.
        (NOW_S + 99, NOW_S - 5, NEVER, NOW_S - 5),
        (NOW_S - 1, NOW_S - 9, NEVER, NOW_S - 9),
        # The clock went back.
        (NOW_S + 99, NOW_S + 99, NEVER, NOW_S - 1),
        (NOW_S + 99, NOW_S + 99, NOW_S - 1, None),
    ],
)
def test_the_date(mtime_s: int, ctime_s: int, after_s: int, expected: int | None) -> None:
    assert make_last_modified(Version(1, 2, 3, mtime_s * S, ctime_s * S), NOW_S, after_s) == expected


def tags_in(place: Path, mtime_ns: int, texts: dict[str, bytes]) -> dict[str, str | None]:
    place.mkdir()
    for name, text in texts.items():
        (place / name).write_bytes(text)
        os.utime(place / name, ns=(mtime_ns, mtime_ns))
    root = Root(place)
    cache = EntryCache(root, Settings(root=place))
    tags = {}
    for name in ("x.js", "other"):
        for encoding, found in cache.lookup((name.encode(),), False, 0).representations.items():
            tags[f"{name} {encoding}"] = cache.digests.tag_of(found)
    root.close()
    return tags


@pytest.mark.parametrize(
    "mtime_s", [0, 1, -1, 315_532_801, 499_162_500, 1_700_000_000, 4_000_000_000], ids=str
)
def test_where_the_time_was_set_equal_bytes_have_equal_tags_everywhere(tmp_path: Path, mtime_s: int) -> None:
    texts = {"x.js": b"same", "x.js.br": b"same", "other": b"text"}
    one = tags_in(tmp_path / "one", mtime_s * S, texts)
    assert one == tags_in(tmp_path / "two", 499_162_500 * S, texts)
    assert None not in one.values()
    assert len(set(one.values())) == 3, "a coding or other bytes make another tag"
    digest = hashlib.sha256(b"same").hexdigest()[:32]
    assert one[f"x.js {IDENTITY}"] == f'"h{digest}-4"'
    assert one["x.js br"] == f'"h{digest}-4-br"'
