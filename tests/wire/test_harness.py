"""The harness itself can fail: every way of being wrong that it claims to see, it sees."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from . import play
from .case import ABSENT, CLOSED, KEPT, Case
from .client import Peer, request
from .servers import CONFINED
from .tree import FILES, LINKS, SECRET, SIDECARS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATE = b"Date: Tue, 14 Nov 2023 22:13:20 GMT\r\n"
TAG = b'ETag: "a"\r\nAccept-Ranges: bytes\r\n'
TEXT = b"Content-Type: text/plain; charset=utf-8\r\n"
HTML = b"Content-Type: text/html; charset=utf-8\r\n"
SHUT = b"Connection: close\r\n"


def ok(body: bytes, *lines: bytes, length: int | None = None) -> bytes:
    """A 200 as the rules want it, with further header lines."""
    size = len(body) if length is None else length
    return (
        b"HTTP/1.1 200 OK\r\n"
        + DATE
        + TAG
        + TEXT
        + b"Content-Length: %d\r\n" % size
        + b"".join(lines)
        + b"\r\n"
        + body
    )


def error(status: int, body: bytes = b"<p>no", *lines: bytes) -> bytes:
    """An error as the rules want it."""
    return (
        b"HTTP/1.1 %d No\r\n" % status
        + DATE
        + HTML
        + b"Content-Length: %d\r\n" % len(body)
        + b"".join(lines)
        + b"\r\n"
        + body
    )


def part(span: bytes, body: bytes) -> bytes:
    """A 206 with this Content-Range."""
    return (
        b"HTTP/1.1 206 P\r\n"
        + DATE
        + TAG
        + TEXT
        + b"Content-Range: "
        + span
        + b"\r\nContent-Length: %d\r\n\r\n" % len(body)
        + body
    )


PROBE = ok(FILES[b"probe.txt"])
GET = Case("get", request("/"), 200, body=b"hello", kept=KEPT)
LAST = Case("last", request("/"), 200, body=b"hello", kept=CLOSED)
RANGE = Case("range", request("/", "Range: bytes=0-1"), 206, of=b"hello", spans=((0, 1),))
MISSING = Case("missing", request("/"), 404)

# What a server says to one connection, and what the harness must say of it.
WRONG: list[tuple[str, Case, bytes, str]] = [
    ("nothing", GET, b"", "no response"),
    ("garbage", GET, b"garbage\r\n\r\n", "h11 refuses"),
    ("status", GET, error(404), "status 404"),
    ("version", GET, ok(b"hello").replace(b"HTTP/1.1", b"HTTP/1.0"), "version"),
    ("short", GET, ok(b"hell", length=5), "h11 refuses"),
    ("long", GET, ok(b"hello!", length=5) + PROBE, "h11 refuses"),
    ("other-body", GET, ok(b"hexlo") + PROBE, "differs first at 2"),
    ("other-length", GET, ok(b"hell") + PROBE, "body of 4 bytes"),
    ("two-lengths", GET, ok(b"hello", b"Content-Length: 5\r\n") + PROBE, "occurs 2 times"),
    ("no-date", GET, ok(b"hello").replace(DATE, b"") + PROBE, "Date"),
    ("odd-date", GET, ok(b"hello").replace(b" GMT", b" UTC") + PROBE, "Date"),
    (
        "modified-later",
        GET,
        ok(b"hello", b"Last-Modified: Tue, 14 Nov 2023 22:13:21 GMT\r\n") + PROBE,
        "later than Date",
    ),
    ("server", GET, ok(b"hello", b"Server: x\r\n") + PROBE, "Server"),
    ("no-tag", GET, ok(b"hello").replace(TAG, b"Accept-Ranges: bytes\r\n") + PROBE, "without ETag"),
    ("no-type", GET, ok(b"hello").replace(TEXT, b"") + PROBE, "without Content-Type"),
    (
        "chunked",
        GET,
        ok(b"hello")
        .replace(b"Content-Length: 5", b"Transfer-Encoding: chunked")
        .replace(b"hello", b"5\r\nhello\r\n0\r\n\r\n"),
        "Transfer-Encoding",
    ),
    ("secret", Case("any", request("/"), 200), ok(SECRET) + PROBE, "secret"),
    ("secret-in-header", GET, ok(b"hello", b"X: " + SECRET + b"\r\n") + PROBE, "secret"),
    ("closes-unsaid", GET, ok(b"hello"), "no response"),
    ("closes-said", GET, ok(b"hello", SHUT), "says it is the last one"),
    ("keeps-unasked", LAST, ok(b"hello") + PROBE, "does not say"),
    ("more-after-last", LAST, ok(b"hello", SHUT) + b"!", "1 bytes after"),
    ("out-of-step", GET, ok(b"hello") + ok(b"hello"), "out of step"),
    ("interim", GET, b"HTTP/1.1 100 Continue\r\n\r\n" + ok(b"hello") + PROBE, "interim"),
    (
        "body-of-head",
        Case("head", request("/", method="HEAD"), 200, kept=KEPT),
        ok(b"hello") + PROBE,
        "h11 refuses",
    ),
    (
        "header-there",
        Case("absent", request("/"), 200, headers={"Vary": ABSENT}),
        ok(b"hello", b"Vary: *\r\n") + PROBE,
        "Vary is there",
    ),
    (
        "header-value",
        Case("exact", request("/"), 200, headers={"Vary": b"a"}),
        ok(b"hello", b"Vary: b\r\n") + PROBE,
        "Vary is",
    ),
    ("header-control", GET, ok(b"hello", b"X: a\x01b\r\n") + PROBE, "no visible ASCII"),
    ("not-allowed", Case("post", request("/", method="POST"), 405), error(405), "without Allow"),
    ("unsatisfiable", Case("range", request("/"), 416), error(416), "without Content-Range"),
    ("away", Case("redirect", request("/"), 301), error(301, b"", b"Location: //evil.com/\r\n"), "Location"),
    (
        "away-backslash",
        Case("redirect", request("/"), 301),
        error(301, b"", b"Location: /\\evil.com/\r\n"),
        "Location",
    ),
    ("error-empty", MISSING, error(404, b""), "empty error body"),
    ("error-large", MISSING, error(404, b"x" * 5000), "not small"),
    ("error-type", MISSING, error(404).replace(HTML, TEXT), "of type"),
    ("error-tells", MISSING, error(404, b"Traceback (most recent call last)"), "tells"),
    ("echo", Case("echo", request("/"), 404, never=(b"zebra",)), error(404, b"zebra") + PROBE, "comes back"),
    ("part-other-bytes", RANGE, part(b"bytes 0-1/5", b"hx") + PROBE, "bytes of 0-1 are wrong"),
    ("part-other-span", RANGE, part(b"bytes 1-2/5", b"el") + PROBE, "spans"),
    ("part-other-size", RANGE, part(b"bytes 0-1/6", b"he") + PROBE, "6 bytes in all"),
    ("part-no-span", RANGE, part(b"bytes 0-1/*", b"he") + PROBE, "Content-Range"),
    (
        "tag-of-nothing",
        Case("same", request("/"), 304),
        b"HTTP/1.1 304 N\r\n" + DATE + b"\r\n" + PROBE,
        "304 without ETag",
    ),
]


class Canned:
    """Says the same bytes to everyone who connects, then ends in an orderly way."""

    def __init__(self, said: bytes) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self._said = said
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with self._listener, self._listener.accept()[0] as connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(self._said)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass

    def peer(self, *, receive_buffer: int | None = None) -> Peer:
        """A new connection to it."""
        return Peer(self.address, receive_buffer=receive_buffer)

    def close(self) -> None:
        """Wait for the end of the only connection."""
        self._thread.join()


@contextlib.contextmanager
def canned(said: bytes) -> Iterator[Canned]:
    """A server of one connection."""
    server = Canned(said)
    try:
        yield server
    finally:
        server.close()


@pytest.mark.parametrize(
    ("case", "said", "complaint"), [each[1:] for each in WRONG], ids=[each[0] for each in WRONG]
)
def test_what_is_wrong_is_seen(case: Case, said: bytes, complaint: str) -> None:
    with canned(said) as server, pytest.raises(AssertionError, match=complaint):
        play.whole(server, case, {})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (GET, ok(b"hello") + PROBE),
        (LAST, ok(b"hello", SHUT)),
        (MISSING, error(404) + PROBE),
        (RANGE, part(b"bytes 0-1/5", b"he") + PROBE),
        (Case("either", request("/"), (200, 404)), error(404) + PROBE),
    ],
)
def test_what_is_right_passes(case: Case, said: bytes) -> None:
    with canned(said) as server:
        assert play.whole(server, case, {}) is not None  # type: ignore[arg-type]


def test_multipart_is_read_to_its_last_byte() -> None:
    each = b"--B\r\nContent-Type: text/plain\r\nContent-Range: bytes %b/5\r\n\r\n%b\r\n"
    parts = b"\r\n" + each % (b"0-0", b"h") + each % (b"3-4", b"lo") + b"--B--\r\n"
    case = Case("two", request("/"), 206, of=b"hello", spans=((0, 0), (3, 4)))

    def said(body: bytes) -> bytes:
        media = b"Content-Type: multipart/byteranges; boundary=B\r\n"
        return (
            b"HTTP/1.1 206 P\r\n"
            + DATE
            + TAG
            + media
            + b"Content-Length: %d\r\n\r\n" % len(body)
            + body
            + PROBE
        )

    with canned(said(parts)) as server:
        play.whole(server, case, {})  # type: ignore[arg-type]
    broken = [
        parts[:-4],
        parts + b"x",
        parts[2:],
        parts.replace(b"lo\r\n", b"l\r\n"),
        parts.replace(b"lo", b"ol"),
        parts.replace(b"3-4/5", b"3-4/9"),
    ]
    for body in broken:
        with canned(said(body)) as server, pytest.raises(AssertionError):
            play.whole(server, case, {})  # type: ignore[arg-type]


def test_the_tree_is_what_the_tables_say(root: Path) -> None:
    at = os.fsencode(root) + b"/"
    assert (root.parent / "secret.txt").read_bytes() == SECRET
    assert all(os.path.islink(at + link) for link in LINKS)
    assert all(
        os.path.isfile(at + path + b"." + suffix.encode())
        for path, suffixes in SIDECARS.items()
        for suffix in suffixes
    )
    for path in (b"unreadable.txt", b"side-closed.js.gz"):
        done = subprocess.run(
            [sys.executable, CONFINED, "/bin/cat", at + path], capture_output=True, check=False
        )
        assert done.returncode != 0, "a file that the server could read proves nothing"
    assert os.stat(at + b"mtime-zero.txt").st_mtime_ns == 0
    assert os.stat(at + b"ns-b.txt").st_mtime_ns - os.stat(at + b"ns-a.txt").st_mtime_ns == 1
    assert os.stat(at + b"twin-a.txt").st_ino != os.stat(at + b"twin-b.txt").st_ino


def test_no_child_ignores_the_signals_of_a_terminal() -> None:
    """Whoever started these tests may have ignored them, as a background job or under nohup."""
    print_ignored = "print(next(line for line in open('/proc/self/status') if line.startswith('SigIgn')))"
    done = subprocess.run([sys.executable, "-c", print_ignored], capture_output=True, text=True, check=True)
    ignored = int(done.stdout.split()[1], 16)
    assert not any(ignored >> number - 1 & 1 for number in (signal.SIGINT, signal.SIGHUP))
