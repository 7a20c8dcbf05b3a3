"""The last answer of a connection: what a worker that drains makes of an answer."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from zchttpd.config.settings import Settings
from zchttpd.files.entry_cache import EntryCache
from zchttpd.files.root import Root
from zchttpd.handler.answer import Answer, Cacheable
from zchttpd.handler.handler import Handler

from .test_handler import head_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("target", ["/file.txt", "/missing", "/dir"])
@pytest.mark.parametrize(
    ("version", "kept", "ended"),
    [("1.1", (), ("Connection: close",)), ("1.0", ("Connection: keep-alive",), ())],
)
def test_it_is_what_who_asks_for_no_more_is_told(
    tmp_path: Path, target: str, method: str, version: str, kept: tuple[str, ...], ended: tuple[str, ...]
) -> None:
    (tmp_path / "file.txt").write_bytes(b"text")
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "index.html").touch()
    settings = Settings(root=tmp_path)
    with closing(Root(tmp_path)) as root:
        handler = Handler(settings, EntryCache(root, settings))
        answer, other = (
            handler.answer(head_of(target, *fields, method=method, version=version), 0)
            for fields in (kept, ended)
        )
    assert isinstance(answer, Answer)
    assert isinstance(other, Answer)
    assert answer.keep_alive
    last = answer.as_last()
    assert (last.head, last.keep_alive, last.date_at) == (other.head, False, other.date_at)
    assert (last.linger, last.caching) == (True, Cacheable.LAST)
    assert other.as_last() is other
