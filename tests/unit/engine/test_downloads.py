"""Archives as plans: how much goes into one, what is waited for, and what breaks a response off."""

from __future__ import annotations

import errno
import os
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from zchttpd.engine.downloads import COPIED_SIZE_MAX, IMAGE_SIZE_MAX, SENT_SIZE_MAX, Downloads
from zchttpd.files.archive import MEMBER_SIZE, Archive
from zchttpd.files.checksums import Checksums
from zchttpd.files.root import Root
from zchttpd.files.settling import Settling
from zchttpd.files.version import Representation, Version
from zchttpd.files.zip_format import Member
from zchttpd.handler.answer import Answer, Cacheable
from zchttpd.http.response import Slice

from ..files.test_listing_cache import Loop
from ..files.zipped import ArchiveFile, archive_of, cut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
LARGE = COPIED_SIZE_MAX + 1
OLD_S = 1_700_000_000


class Engine:
    """Sends every plan at once, and asks for what comes next when it is told to."""

    def __init__(self) -> None:
        self.sent = b""
        self.images: list[int] = []
        self.open: dict[int, int] = {}
        self.open_max = 0
        self.more = 0
        self.abandoned = self.gone = False
        self._plans: list[dict[str, Any]] = []

    def is_last(self, ticket: int) -> bool:
        return False

    def wants_more(self, ticket: int) -> bool:
        return self.more > 0 and not self.gone

    def source(self, fd: int, size: int, mtime_ns: int, grown: bool, device: int) -> int:
        self.open[fd] = 1
        self.open_max = max(self.open_max, len(self.open))
        return fd

    def drop_source(self, source: int) -> None:
        """Its plan holds it on."""

    def plan(self, **plan: Any) -> int:
        self._plans.append(plan)
        return len(self._plans) - 1

    def answer(self, ticket: int, number: int, cacheable: bool, user: bytes) -> bool:
        assert not cacheable
        return self.go_on(ticket, number)

    def go_on(self, ticket: int, number: int) -> bool:
        plan = self._plans[number]
        self.images.append(len(plan["image"]))
        for kind, offset, length in plan["segments"]:
            if kind == "literal":
                self.sent += plan["image"][offset : offset + length]
            else:
                self.sent += os.pread(plan["source"], length, offset)
        self.more = plan["more"]
        if plan["source"] is not None:
            os.close(plan["source"])
            del self.open[plan["source"]]
        return True

    def release(self, number: int) -> None:
        """Nobody asks for it again."""

    def abandon(self, ticket: int) -> None:
        self.abandoned = True


class Sending:
    """Downloads, their engine, and the loop that tells them what has been made."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.loop = Loop()
        self.again: list[Callable[[], None]] = []
        self.engine = Engine()
        self.downloads = Downloads(Settling(self.loop.post), self.again.append)
        self.downloads.engine = self.engine  # type: ignore[assignment]
        self.checksums = Checksums(self.loop.post)

    def archive(self) -> Archive:
        made = archive_of(self.root)
        return Archive(self.root, self.checksums, (), made.members)

    def begin(self, archive: Archive, *parts: bytes | Slice) -> None:
        self.downloads.begin(1, answer_with(archive, *parts))

    def finish(self) -> None:
        """To the end, or until it is broken off."""
        while self.engine.more and not self.engine.abandoned:
            before = len(self.engine.sent)
            self.downloads.go_on(1)
            while len(self.engine.sent) == before and not self.engine.abandoned:
                if not self.again:
                    self.loop.turn()
                else:
                    self.again.pop(0)()


def answer_with(archive: Archive, *parts: bytes | Slice) -> Answer:
    parts = parts or (Slice(0, archive.size),)
    return Answer(200, HEAD, 0, parts, None, None, True, False, Cacheable.NO_ENTRY, archive=archive)


@pytest.fixture
def www(tmp_path: Path) -> Path:
    for name, size in (("a", 10), ("b", LARGE), ("c", 0), ("d", 3 * LARGE), ("e", COPIED_SIZE_MAX)):
        (tmp_path / name).write_bytes(os.urandom(size))
        os.utime(tmp_path / name, (OLD_S, OLD_S))
    return tmp_path


@pytest.fixture
def sending(www: Path) -> Iterator[Sending]:
    root = Root(www)
    yield Sending(root)
    root.close()


def test_all_of_it_is_sent_with_one_file_open_at_a_time(sending: Sending, www: Path) -> None:
    archive = sending.archive()
    sending.begin(archive)
    sending.finish()
    assert sending.engine.sent == HEAD + cut(archive, 0, archive.size)
    assert sending.engine.open_max == 1
    assert max(sending.engine.images) <= IMAGE_SIZE_MAX + COPIED_SIZE_MAX
    with zipfile.ZipFile(ArchiveFile(archive)) as read:
        assert read.read("d") == (www / "d").read_bytes()


def test_several_parts_are_sent_in_their_order(sending: Sending) -> None:
    archive = sending.archive()
    sending.begin(archive, b"<", Slice(5, 100), b">", Slice(archive.size - 30, 30), b".")
    sending.finish()
    expected = b"<" + cut(archive, 5, 105) + b">" + cut(archive, archive.size - 30, archive.size) + b"."
    assert sending.engine.sent == HEAD + expected


def test_the_head_does_not_wait_for_checksums(sending: Sending) -> None:
    archive = sending.archive()
    central = next(at for at in range(archive.size) if archive.piece(at).part.value == "central")
    sending.begin(archive, Slice(central, archive.size - central))
    assert sending.engine.sent.startswith(HEAD)
    assert sending.engine.more > 0
    sending.finish()
    assert sending.engine.sent == HEAD + cut(archive, central, archive.size)


def test_what_has_changed_before_the_first_byte_is_told_as_that(sending: Sending, www: Path) -> None:
    archive = sending.archive()
    (www / "a").write_bytes(b"other bytes")
    os.utime(www / "a", (OLD_S, OLD_S))
    with pytest.raises(OSError, match="replaced"):
        sending.begin(archive)
    assert archive.outdated
    assert sending.engine.sent == b""


def test_what_cannot_be_opened_for_now_says_nothing_of_the_folder(
    sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or each who asks while descriptors are short has all of it looked at anew."""

    def refuse(_: Representation) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    archive = sending.archive()
    monkeypatch.setattr(Representation, "open", refuse)
    with pytest.raises(OSError, match="Too many open files"):
        sending.begin(archive)
    assert not archive.outdated


@pytest.mark.parametrize("name", ["d", "e"])
def test_what_changes_later_breaks_it_off(sending: Sending, www: Path, name: str) -> None:
    archive = sending.archive()
    sending.begin(archive)
    (www / name).write_bytes(bytes((www / name).stat().st_size))
    os.utime(www / name, (OLD_S, OLD_S))
    sending.finish()
    assert sending.engine.abandoned
    assert archive.outdated
    assert sending.engine.open == {}


def test_bytes_that_are_not_those_of_the_checksum_break_it_off(sending: Sending, www: Path) -> None:
    archive = sending.archive()
    assert sending.checksums.check(archive.representation(0), b"others")
    with pytest.raises(OSError, match="replaced"):
        sending.begin(archive)
    assert archive.outdated


def test_who_has_gone_is_forgotten(sending: Sending) -> None:
    sending.begin(sending.archive())
    sending.engine.gone = True
    sent = sending.engine.sent
    sending.downloads.sweep()
    sending.engine.gone = False
    sending.downloads.go_on(1)
    assert sending.engine.sent == sent


@pytest.mark.parametrize("how", ["goes", "is broken off", "is told nothing"])
def test_nothing_is_hashed_for_who_has_gone(
    sending: Sending, www: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """But for others that want the same."""
    asked: list[object] = []
    for name in ("prepare", "of"):
        real = getattr(Checksums, name)
        monkeypatch.setattr(
            Checksums, name, lambda *given, real=real: asked.append(given[-1]) or real(*given)
        )
    left: list[object] = []
    monkeypatch.setattr(Checksums, "leave", lambda _, who: left.append(who))
    archive = sending.archive()
    if how == "is told nothing":
        monkeypatch.setattr(Engine, "plan", refuse_memory)
        with pytest.raises(MemoryError):
            sending.begin(archive)
    else:
        sending.begin(archive)
        if how == "goes":
            sending.engine.gone = True
            sending.downloads.sweep()
        else:
            for name in ("b", "d"):
                (www / name).write_bytes(b"others")
            sending.finish()
    assert asked
    assert set(asked) == set(left)


def refuse_memory(*_: object, **_more: object) -> int:
    raise MemoryError


def test_no_more_are_sent_at_a_time_than_there_is_memory_for(sending: Sending) -> None:
    sending.begin(sending.archive())
    version = Version(0, 0, 0, 0, 0)
    members = [Member(b"%07d/" % number, version) for number in range(SENT_SIZE_MAX // (MEMBER_SIZE + 8))]
    large = Archive(sending.root, sending.checksums, (), members)
    with pytest.raises(MemoryError):
        sending.downloads.begin(2, answer_with(large))
    sending.finish()
    sending.downloads.begin(2, answer_with(large))
