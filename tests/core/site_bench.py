"""A worker on the bench that knows a site: the tests say what lies beneath its root."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from zchttpd._core import testing, testing_site

from .bench import Bench

if TYPE_CHECKING:
    from collections.abc import Iterator

Version = tuple[int, int, int, int, int]

SECOND_NS = 1_000_000_000
DEVICE, OTHER_DEVICE = 7, 8
NOW_S = 1_800_000_000
BEFORE = b"HTTP/1.1 200 OK\r\nDate: " + b"?" * 29 + b"\r\n"
BEHIND = b"Content-Type: text/plain\r\n\r\n"
REVALIDATE_MS = 1000
ROOT = 900
OWN_MAX = 4000
LIMITS = {
    "memory": 1 << 20,
    "own_bytes_max": OWN_MAX,
    "content_max": 1000,
    "revalidate_ms": REVALIDATE_MS,
    "given_max": 64,
}


def head(path: bytes, *lines: bytes, method: bytes = b"GET") -> bytes:
    return b"\r\n".join((method + b" /" + path + b" HTTP/1.1", b"Host: h", *lines, b"", b""))


def version(size: int, second: int = NOW_S - 100, **other: int) -> Version:
    """A file that was written in the middle of that second, and not touched since."""
    mtime_ns = other.get("mtime_ns", second * SECOND_NS + SECOND_NS // 2)
    return (
        other.get("dev", DEVICE),
        other.get("ino", 5),
        size,
        mtime_ns,
        other.get("ctime_ns", mtime_ns),
    )


class Site(Bench):
    """A worker that has been taught of `a.txt`.

    `told`: where its root is. What lies beneath that is in `tree`, by path: an errno, or (version, bytes).
    """

    def __init__(
        self,
        *patterns: bytes,
        own_bytes_max: int = OWN_MAX,
        memory: int = 1 << 20,
        told: bool = True,
        **options: int,
    ) -> None:
        self.tree: dict[bytes, int | tuple[Version, bytes]] = {}
        self.root_error = 0
        self.asked: list[str] = []
        self.calls = 0
        super().__init__(**options)
        self.machine.unix_second = NOW_S
        self.machine.know_site(
            LIMITS | {"memory": memory, "own_bytes_max": own_bytes_max},
            [*patterns],
            True,
        )
        if told:
            self.machine.turn_to(ROOT, b"/srv", 1, 2)
        self.machine.trust(DEVICE)
        self.machine.teach(head(b"a.txt"), BEFORE, BEHIND, len(BEFORE) - 31, True, False)
        self.recv = self.connect()

    def _execute(self, op: testing.ExecutedOp) -> int:
        if op.kind == "check_root":
            self.asked.append("root")
            return -self.root_error
        if op.kind != "look":
            return super()._execute(op)
        assert op.fd == ROOT
        path, siblings, room = testing_site.looked_for(op.address)
        assert siblings
        self.asked.append("look" if room < 0 else "read")
        found = self.tree.get(path, errno.ENOENT)
        if isinstance(found, int):
            return -found
        if room >= 0 and not 0 < len(found[1]) <= room:
            return -errno.EFBIG
        testing_site.find(op.address, *found)
        return 0

    def _handle(
        self, work: Iterator[tuple[str, int, bytes | int]], filled: Iterator[tuple[int, int]], now_ms: int
    ) -> None:
        self.calls += 1
        super()._handle(work, filled, now_ms)

    def wait(self, ms: int, second: int = NOW_S) -> None:
        super().wait(ms, second)

    def put(self, path: bytes, content: bytes = b"content", **which: int) -> Version:
        found = version(len(content), **which)
        self.tree[path] = found, content
        return found

    def said(self, path: bytes, *lines: bytes) -> bytes | None:
        """What is said at once; None where the handler has been asked. Nobody is waited for."""
        self.hear(self.recv, head(path, *lines))
        if self.take_work():
            self.recv = self.connect()
            return None
        [send] = self.ops()
        sent = self.machine.peek(send.address, send.length)
        self.step(send.token, send.length)
        return sent

    def answered(self, path: bytes) -> bytes:
        """What is to be said with the file at a path."""
        found = self.tree[path]
        assert not isinstance(found, int)
        (_, _, size, mtime_ns, _), content = found
        date = testing.http_date(mtime_ns // SECOND_NS)
        holes = b'Content-Length: %d\r\nETag: "%x-%x"\r\nLast-Modified: %b\r\n' % (size, mtime_ns, size, date)
        return BEFORE.replace(b"?" * 29, testing.http_date(NOW_S)) + holes + BEHIND + content
