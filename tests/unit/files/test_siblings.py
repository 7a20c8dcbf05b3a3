"""Precompressed siblings that are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from zchttpd.config.names import IDENTITY

from .test_entry_cache import REVALIDATE_MS, content, find, put

if TYPE_CHECKING:
    from pathlib import Path

    from zchttpd.files.entry_cache import EntryCache


@pytest.mark.parametrize("suffix", [".br", ".zst", ".gz"])
def test_a_sibling_that_was_begun_and_never_written_is_not_used(
    cache: EntryCache, site: Path, suffix: str
) -> None:
    put(site / "app.js", b"plain")
    put(site / f"app.js{suffix}", b"")
    entry = find(cache, "/app.js")
    assert set(entry.representations) == {IDENTITY}
    assert not entry.varies
    # As soon as it has been written it is.
    put(site / f"app.js{suffix}", b"packed")
    entry = find(cache, "/app.js", REVALIDATE_MS)
    (encoding,) = set(entry.representations) - {IDENTITY}
    assert content(entry, encoding) == b"packed"


def test_an_empty_sibling_of_an_empty_file_is_used(cache: EntryCache, site: Path) -> None:
    put(site / "empty.js", b"")
    put(site / "empty.js.br", b"")
    assert set(find(cache, "/empty.js").representations) == {IDENTITY, "br"}
