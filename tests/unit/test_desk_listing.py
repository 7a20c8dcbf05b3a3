"""Listings that take long, from head bytes to whole answers."""

from __future__ import annotations

import json
import queue
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from zchttpd.engines.desk import Desk
from zchttpd.files import shelf
from zchttpd.files.cache import Cache
from zchttpd.files.jobs import Job
from zchttpd.files.root import Root
from zchttpd.files.shelf import ITEMS_AT_ONCE
from zchttpd.settings import Settings

from .test_desk import ask, head_of, put

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

JSON = "Accept: application/json"


@contextmanager
def listing(www: Path, *, post: Callable[[Callable[[], None]], None] | None = None) -> Iterator[Desk]:
    root = Root(www)
    asked = Settings(root=www, listing=True)
    yield Desk(asked, Cache(root, asked, post=post))
    root.close()


@pytest.fixture
def www(tmp_path: Path) -> Path:
    for name in ("bare", "bare/inner"):
        (tmp_path / name).mkdir()
    for name in ("app.js", "bare/f.txt"):
        put(tmp_path / name, b"")
    return tmp_path


def test_a_large_listing_is_made_while_others_are_answered(www: Path) -> None:
    names = [f"{number:04}" for number in range(ITEMS_AT_ONCE + 1)]
    for name in names:
        put(www / "bare" / name, b"")
    posted: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
    with listing(www, post=posted.put) as desk:

        def made(job: object) -> None:
            assert isinstance(job, Job)
            told: list[OSError | None] = []
            job.waiting.append(told.append)
            assert ask(desk, "/app.js")[0].status == 200
            while not told:
                posted.get(timeout=20)()
            assert told == [None]

        # First what the directory holds, then the page.
        made(desk.answer(head_of("/bare/", JSON), 0))
        made(desk.answer(head_of("/bare/", JSON), 0))
        _, received = ask(desk, "/bare/", JSON)
        assert {row["name"] for row in json.loads(received.body)} >= set(names)
        # Another order is another page. That a client has it already can be said before it is drawn.
        tag = received["etag"] or ""
        other = tag.replace("-jna", "-jta")
        assert other != tag
        assert ask(desk, "/bare/?sort=time", JSON, f"If-None-Match: {other}")[0].status == 304
        assert ask(desk, "/bare/?sort=time", JSON, 'If-Match: "x"')[0].status == 412
        made(desk.answer(head_of("/bare/?sort=time", JSON), 0))
        assert ask(desk, "/bare/?sort=time", JSON)[1]["etag"] == other


def test_rows_that_were_given_up_are_had_again(www: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "SHELF_ITEMS_MAX", 1)
    with listing(www) as desk:
        _, before = ask(desk, "/bare/", JSON)
        for directory in ("one", "two"):
            (www / directory).mkdir()
            put(www / directory / "f", b"")
            assert ask(desk, f"/{directory}/", JSON)[0].status == 200
        assert ask(desk, "/bare/", JSON)[1].body == before.body
        _, turned = ask(desk, "/bare/?order=desc", JSON)
        assert [row["name"] for row in json.loads(turned.body)] == ["inner", "f.txt"]
