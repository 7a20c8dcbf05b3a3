"""From head bytes to whole answers, over real files, without a socket."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import h11
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from zchttpd.config.settings import Settings
from zchttpd.files.entry_cache import EntryCache
from zchttpd.files.lookup import Kind
from zchttpd.files.root import Root
from zchttpd.handler.errors import REASONS
from zchttpd.handler.handler import Handler
from zchttpd.http.dates import DATE_SIZE, parse_date
from zchttpd.http.response import Slice

from ..files.zipped import cut

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from zchttpd.handler.answer import Answer

    Fields = tuple[tuple[bytes, bytes], ...]

MTIME_S = 1_700_000_000
REVALIDATE_MS = 1000


def put(path: Path, text: bytes) -> None:
    path.write_bytes(text)
    os.utime(path, (MTIME_S, MTIME_S))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of everything; tests that change something make their own."""
    base = tmp_path_factory.mktemp("handler")
    put(base / "secret", b"secret")
    root = base / "www"
    (root / "dir").mkdir(parents=True)
    put(root / "index.html", b"<h1>home</h1>")
    put(root / "dir" / "index.html", b"<h1>dir</h1>")
    (root / "bare").mkdir()
    (root / "\\evil").mkdir()
    put(root / "file.txt", bytes(range(256)) * 4)
    put(root / "empty.txt", b"")
    for suffix in ("", ".br", ".zst", ".gz"):
        put(root / f"app.js{suffix}", b"content of app.js" + suffix.encode())
    put(root / ".env", b"key")
    (root / ".well-known").mkdir()
    put(root / ".well-known" / "security.txt", b"mail")
    (root / "env").symlink_to(".env")
    (root / "out").symlink_to("../secret")
    os.mkfifo(root / "fifo")
    return root


@pytest.fixture
def handler(site: Path) -> Iterator[Handler]:
    root = Root(site)
    options = Settings(root=site, revalidate_ms=REVALIDATE_MS)
    yield Handler(options, EntryCache(root, options))
    root.close()


def head_of(target: str, *fields: str, method: str = "GET", version: str = "1.1") -> bytes:
    lines = [f"{method} {target} HTTP/{version}", "Host: h", *fields]
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1") + b"\r\n"


def body_of(answer: Answer) -> bytes:
    """The bytes that an engine would send after the head."""
    text = b"" if answer.archive is None else cut(answer.archive, 0, answer.archive.size)
    if answer.representation is not None:
        with open(answer.representation.open(), "rb") as opened:
            text = opened.read()
    return b"".join(
        part if isinstance(part, bytes) else text[part.offset :][: part.length] for part in answer.parts
    )


class Received:
    """What a client that is strict makes of an answer: nothing missing, nothing left over."""

    def __init__(self, answer: Answer, method: str = "GET") -> None:
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method=method, target="/", headers=[("Host", "h")]))
        client.send(h11.EndOfMessage())
        client.receive_data(answer.head + body_of(answer))
        response = client.next_event()
        assert isinstance(response, h11.Response)
        self.body = b""
        while isinstance(event := client.next_event(), h11.Data):
            self.body += event.data
        assert isinstance(event, h11.EndOfMessage)
        assert client.trailing_data == (b"", False)
        self.status = response.status_code
        self.fields = {name.decode("ascii"): value.decode("ascii") for name, value in response.headers}
        assert len(self.fields) == len(list(response.headers)), "a field is there twice"
        assert (client.their_state is h11.MUST_CLOSE) is not answer.keep_alive

    def __getitem__(self, name: str) -> str | None:
        return self.fields.get(name)


def ask(
    handler: Handler, target: str, *fields: str, method: str = "GET", now_ms: int = 0
) -> tuple[Answer, Received]:
    answer = handler.answer(head_of(target, *fields, method=method), now_ms)
    received = Received(answer, method)
    assert received.status == answer.status
    date = answer.head[answer.date_at : answer.date_at + DATE_SIZE]
    assert parse_date(date) is not None
    assert answer.head[: answer.date_at].endswith(b"\r\nDate: ")
    assert (answer.representation is not None or answer.archive is not None) == any(
        isinstance(part, Slice) for part in answer.parts
    )
    return answer, received


@pytest.mark.parametrize(
    ("target", "status", "kind"),
    [
        ("/", 200, Kind.FILE),
        ("/index.html", 200, Kind.FILE),
        ("/dir/", 200, Kind.FILE),
        ("/dir/../file.txt", 200, Kind.FILE),
        ("/file.txt?query", 200, Kind.FILE),
        ("/f%69le.txt", 200, Kind.FILE),
        ("http://other/file.txt", 200, Kind.FILE),
        ("/empty.txt", 200, Kind.FILE),
        ("/.well-known/security.txt", 200, Kind.FILE),
        ("/dir", 301, Kind.REDIRECT),
        ("/bare", 301, Kind.REDIRECT),
        ("/bare/", 404, Kind.DIRECTORY),
        ("/none", 404, Kind.MISSING),
        ("/file.txt/", 404, Kind.MISSING),
        ("/file.txt/extra", 404, Kind.MISSING),
        ("/fifo", 404, Kind.MISSING),
        ("/out", 404, Kind.MISSING),
        ("/env", 404, Kind.MISSING),
        ("/" + "n" * 300, 404, Kind.MISSING),
        ("/%c0%ae%c0%ae/secret", 404, Kind.MISSING),
        ("/%252e%252e/secret", 404, Kind.MISSING),
        ("/..%5csecret", 404, None),
        ("/..;/secret", 404, None),
        ("/.env", 404, None),
        ("/%2eenv", 404, None),
        ("/.env/", 404, None),
        ("//.env", 404, None),
        ("/.well-known/.env", 404, None),
        ("/.well-known-x/y", 404, None),
        ("/.git/config", 404, None),
        ("/dir%2findex.html", 404, None),
        ("/../secret", 400, None),
        ("/%2e%2e/secret", 400, None),
        ("/dir/../../secret", 400, None),
        ("/file%00.txt", 400, None),
        ("/file%zz", 400, None),
        ("/" + "n" * 9000, 414, None),
    ],
)
def test_targets(handler: Handler, target: str, status: int, kind: Kind | None) -> None:
    answer, received = ask(handler, target)
    assert answer.status == status
    assert (answer.entry and answer.entry.kind) is kind
    assert answer.cacheable is (kind is not None)
    assert answer.keep_alive is (status < 400 or status == 404)
    assert b"secret" not in received.body
    # HEAD says the same, and sends nothing.
    shortly, of_head = ask(handler, target, method="HEAD")
    assert shortly.parts == ()
    assert shortly.representation is None
    assert of_head.body == b""
    assert of_head.fields == received.fields
    assert (shortly.status, shortly.entry, shortly.keep_alive) == (status, answer.entry, answer.keep_alive)


def test_what_is_kept_back_looks_like_what_is_not_there(handler: Handler) -> None:
    _, none = ask(handler, "/none")
    for target in ("/.env", "/env", "/out", "/fifo", "/bare/", "/dir%2findex.html"):
        _, received = ask(handler, target)
        assert received.body == none.body
        assert received.fields == none.fields


def test_a_whole_file(handler: Handler, site: Path) -> None:
    answer, received = ask(handler, "/file.txt")
    assert received.body == (site / "file.txt").read_bytes()
    assert answer.parts == (Slice(0, len(received.body)),)
    assert received["content-type"] == "text/plain; charset=utf-8"
    assert received["accept-ranges"] == "bytes"
    digest = hashlib.sha256(received.body).hexdigest()[:32]
    assert received["etag"] == f'"h{digest}-400"'
    assert parse_date((received["last-modified"] or "").encode()) == MTIME_S
    assert "vary" not in received.fields
    assert "server" not in received.fields


def test_an_empty_file(handler: Handler) -> None:
    answer, received = ask(handler, "/empty.txt")
    assert answer.parts == ()
    assert received["content-length"] == "0"


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/dir", "/dir/"),
        ("/dir?a=1&b=%0d%0a", "/dir/?a=1&b=%0d%0a"),
        ("/dir?", "/dir/"),
        ("//dir", "/dir/"),
        ("///dir", "/dir/"),
        ("/./dir", "/dir/"),
        ("//evil.com/../dir", "/dir/"),
        ("http://evil.com//dir", "/dir/"),
        ("/%5cevil", "/%5Cevil/"),
        ("/%64ir", "/dir/"),
    ],
)
def test_redirects_stay_here(handler: Handler, target: str, location: str) -> None:
    answer, received = ask(handler, target)
    assert answer.status == 301
    base = target if ":" in target else f"http://evil.com{target}"
    assert urljoin(base, received["location"] or "") == f"http://evil.com{location}"


# Conditional requests and ranges


def test_not_modified(handler: Handler) -> None:
    _, whole = ask(handler, "/file.txt")
    for field in (f"If-None-Match: {whole['etag']}", f"If-Modified-Since: {whole['last-modified']}"):
        answer, received = ask(handler, "/file.txt", field)
        assert answer.status == 304
        assert answer.parts == ()
        assert received["etag"] == whole["etag"]
        assert answer.cacheable
        assert answer.entry is not None


def test_precondition_failed(handler: Handler) -> None:
    answer, _ = ask(handler, "/file.txt", 'If-Match: "other"')
    assert answer.status == 412
    assert answer.entry is not None


def test_ranges(handler: Handler, site: Path) -> None:
    text = (site / "file.txt").read_bytes()
    answer, received = ask(handler, "/file.txt", "Range: bytes=10-19")
    assert answer.status == 206
    assert answer.parts == (Slice(10, 10),)
    assert received.body == text[10:20]
    answer, received = ask(handler, "/file.txt", "Range: bytes=2000-")
    assert answer.status == 416
    assert received["content-range"] == f"bytes */{len(text)}"
    assert answer.representation is None
    answer, received = ask(handler, "/file.txt", "Range: bytes=0-0,500-501")
    assert answer.status == 206
    assert [part for part in answer.parts if isinstance(part, Slice)] == [Slice(0, 1), Slice(500, 2)]
    assert text[500:502] in received.body


# Precompressed siblings


@pytest.mark.parametrize(
    ("field", "coding", "suffix"),
    [
        ("Accept-Encoding: br", "br", ".br"),
        ("Accept-Encoding: zstd", "zstd", ".zst"),
        ("Accept-Encoding: gzip, br;q=0", "gzip", ".gz"),
        ("Accept-Encoding: brotli", None, ""),
        ("X-Other: br", None, ""),
        ("Accept-Encoding: identity;q=0, deflate", None, ""),
    ],
)
def test_encodings(handler: Handler, site: Path, field: str, coding: str | None, suffix: str) -> None:
    _, received = ask(handler, "/app.js", field)
    assert received["content-encoding"] == coding
    assert received.body == (site / f"app.js{suffix}").read_bytes()
    assert received["content-type"] == "text/javascript; charset=utf-8"
    assert received["vary"] == "Accept-Encoding"


def test_each_encoding_has_its_tag(handler: Handler) -> None:
    codings = ("br", "zstd", "gzip", "identity")
    tags = {ask(handler, "/app.js", f"Accept-Encoding: {coding}")[1]["etag"] for coding in codings}
    assert len(tags) == len(codings)


@pytest.mark.parametrize(
    ("field", "status"),
    [
        ("Range: bytes=0-1", 206),
        ("Range: bytes=9999-", 416),
        ('If-Match: "other"', 412),
        ("If-None-Match: *", 304),
        ("X-Other: x", 200),
    ],
)
def test_every_status_says_that_it_varies(handler: Handler, field: str, status: int) -> None:
    for accept in ("br", "identity"):
        answer, received = ask(handler, "/app.js", field, f"Accept-Encoding: {accept}")
        assert answer.status == status
        assert received["vary"] == "Accept-Encoding"


def test_a_sibling_asked_for_by_name_is_a_file(handler: Handler, site: Path) -> None:
    _, received = ask(handler, "/app.js.br", "Accept-Encoding: br")
    assert received.body == (site / "app.js.br").read_bytes()
    assert "content-encoding" not in received.fields
    assert (received["content-type"] or "").startswith("application/")


# Methods and framing


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [("OPTIONS", "*", 204), ("OPTIONS", "/file.txt", 204), ("POST", "/file.txt", 405), ("TRACE", "/", 405),
     ("BREW", "/", 501)],
)  # fmt: skip
def test_methods_that_need_no_file(handler: Handler, method: str, target: str, status: int) -> None:
    answer, received = ask(handler, target, method=method)
    assert answer.status == status
    assert answer.entry is None
    assert not answer.cacheable
    assert answer.keep_alive
    if status != 501:
        assert received["allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505),
        (b"GET / HTTP/1.1\nHost: h\n\n", 400),
        (b"", 400),
        (b"\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    ],
)
def test_refused_heads(handler: Handler, head: bytes, status: int) -> None:
    answer = handler.answer(head, 0)
    assert answer.status == status
    assert not answer.keep_alive
    assert not answer.cacheable
    assert answer.entry is None
    assert Received(answer).body


@pytest.mark.parametrize(
    ("fields", "method", "version", "keeps", "lingers"),
    [
        ((), "GET", "1.1", True, False),
        (("Connection: close",), "GET", "1.1", False, False),
        ((), "HEAD", "1.0", False, False),
        (("Connection: keep-alive",), "GET", "1.0", True, False),
        (("Connection: close", "Content-Length: 1"), "GET", "1.1", False, True),
        (("Content-Length: 1",), "POST", "1.1", False, True),
        (("Connection: close", "A: \x01"), "GET", "1.1", False, True),
    ],
)
def test_who_has_said_that_it_sends_no_more_is_not_waited_for(
    handler: Handler, fields: tuple[str, ...], method: str, version: str, keeps: bool, lingers: bool
) -> None:
    answer = handler.answer(head_of("/file.txt", *fields, method=method, version=version), 0)
    assert (answer.keep_alive, answer.linger) == (keeps, lingers)


def test_the_limit_of_a_target_follows_that_of_a_head(site: Path) -> None:
    root = Root(site)
    for head_size_max in (1024, 64 * 1024):
        options = Settings(root=site, head_size_max=head_size_max)
        handler = Handler(options, EntryCache(root, options))
        assert ask(handler, "/" + "n" * (head_size_max // 2 - 1))[0].status == 404
        assert ask(handler, "/" + "n" * (head_size_max // 2))[0].status == 414
    root.close()


def test_who_may_be_remembered(handler: Handler) -> None:
    assert handler.answer(head_of("/file.txt"), 0).cacheable
    assert not handler.answer(head_of("/file.txt", "Content-Length: 5"), 0).cacheable
    assert not handler.answer(head_of("/file.txt", "Expect: 100-continue"), 0).cacheable


def test_who_is_kept(handler: Handler) -> None:
    assert handler.answer(head_of("/file.txt"), 0).keep_alive
    assert not handler.answer(head_of("/file.txt", "Connection: close"), 0).keep_alive
    assert not handler.answer(head_of("/file.txt", version="1.0"), 0).keep_alive
    assert not handler.answer(head_of("/file.txt", "Content-Length: 5"), 0).keep_alive


def test_the_same_head_gets_the_same_answer(handler: Handler) -> None:
    head = head_of("/app.js", "Accept-Encoding: br")
    first, second = handler.answer(head, 0), handler.answer(head, REVALIDATE_MS)
    assert first == second
    assert first.entry is second.entry


@pytest.mark.parametrize("status", [400, 408, 414, 431, 503])
def test_refusals_of_the_engine(handler: Handler, status: int) -> None:
    answer = handler.refuse(status)
    received = Received(answer)
    assert received.status == status
    assert REASONS.get(status, "").encode() in received.body
    assert received["connection"] == "close"
    assert not answer.keep_alive
    assert not answer.cacheable


def test_a_head_that_differs_in_path_or_range_alone_costs_no_h11(
    handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler.answer(head_of("/file.txt"), 0)
    handler.answer(head_of("/file.txt", "Range: bytes=0-1"), 0)
    for by_h11 in ("zchttpd.http.parse_cache.parse_request", "zchttpd.http.response_head.encode_head"):
        monkeypatch.setattr(by_h11, lambda *_, **__: pytest.fail("h11 was asked again"))
    for first in range(10):
        answer, received = ask(handler, "/file.txt", f"Cookie: id={first}", f"Range: bytes={first}-")
        assert (received["content-range"] or "").startswith(f"bytes {first}-")
        assert answer.cacheable
    assert ask(handler, "/empty.txt")[1].body == b""


# Files that change


def test_a_replaced_file_is_served_when_it_is_due(tmp_path: Path) -> None:
    put(tmp_path / "f.txt", b"old")
    root = Root(tmp_path)
    options = Settings(root=tmp_path, revalidate_ms=REVALIDATE_MS)
    handler = Handler(options, EntryCache(root, options))
    before, _ = ask(handler, "/f.txt")
    put(tmp_path / "new", b"new")
    (tmp_path / "new").rename(tmp_path / "f.txt")
    due, received = ask(handler, "/f.txt", now_ms=REVALIDATE_MS)
    assert received.body == b"new"
    assert due.entry is not before.entry
    root.close()


def test_a_file_outdated_before_it_is_due(tmp_path: Path) -> None:
    put(tmp_path / "f.txt", b"old")
    root = Root(tmp_path)
    options = Settings(root=tmp_path, revalidate_ms=REVALIDATE_MS)
    cache = EntryCache(root, options)
    handler = Handler(options, cache)
    before, _ = ask(handler, "/f.txt")
    put(tmp_path / "f.txt", b"newer")
    assert before.representation is not None
    assert before.entry is not None
    with pytest.raises(OSError, match="replaced"):
        before.representation.open()
    # What an engine does then: once it is revalidated, the outdated entry is found no more.
    assert not cache.revalidate(before.entry, 1)
    _, received = ask(handler, "/f.txt", now_ms=1)
    assert received.body == b"newer"
    root.close()


# Trouble


def fail(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def opening(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Root, "open", opening)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_unreadable(handler: Handler, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    fail(monkeypatch, number)
    answer, received = ask(handler, "/file.txt")
    assert answer.status == 403
    assert answer.keep_alive
    assert answer.entry is not None
    assert b"file.txt" not in received.body
    assert os.strerror(number).encode() not in received.body


@pytest.mark.parametrize(
    ("number", "cause"),
    [
        (errno.EMFILE, "Too many open files"),
        (errno.ENFILE, "Too many open files in system"),
        (errno.ENOMEM, "Cannot allocate memory"),
        (errno.EAGAIN, "Resource temporarily unavailable"),
        (errno.ESTALE, "the file changes faster than it can be looked at"),
    ],
)
def test_what_passes(
    handler: Handler,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    number: int,
    cause: str,
) -> None:
    with monkeypatch.context() as broken:
        fail(broken, number)
        for now_ms in (0, 0, 999, 1000):
            answer, received = ask(handler, "/file.txt", now_ms=now_ms)
            assert answer.status == 503
            assert received["retry-after"] == "1"
            assert not answer.keep_alive
            assert not answer.cacheable
            assert answer.entry is None
    assert len(caplog.records) == 2, "one complaint a second"
    assert cause in caplog.text
    assert re.search(r"\. [A-Z].+", caplog.records[0].getMessage()), "the fix is missing"
    assert ask(handler, "/file.txt")[0].status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_broken_disk_is_a_500(
    handler: Handler, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    fail(monkeypatch, errno.EIO)
    answer, received = ask(handler, "/file.txt", method=method)
    assert answer.status == 500
    assert os.strerror(errno.EIO).encode() not in received.body
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


@pytest.mark.parametrize(
    "broken",
    [
        "http.parse_cache.parse_request",
        "handler.handler.parse_target",
        "handler.choice.negotiate",
        "http.response.evaluate",
        "http.response_head.encode_head",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_nothing_is_raised(
    handler: Handler,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    broken: str,
    method: str,
) -> None:
    def breaking(*_: object, **__: object) -> None:
        raise RuntimeError("unexpected")

    monkeypatch.setattr(f"zchttpd.{broken}", breaking)
    answer, received = ask(handler, "/file.txt", method=method)
    assert answer.status == 500
    assert not answer.keep_alive
    assert bool(received.body) is (method == "GET")
    assert caplog.records[0].exc_info
    assert "unexpected" in caplog.text


PIECES = st.sampled_from(
    [b"GET", b"HEAD", b"POST", b" ", b"/", b"/app.js", b"/dir", b"%2e", b"..", b"%", b"?", b" HTTP/1.1",
     b"Host: h", b"Range: bytes=", b"0-1,", b"-5", b"Accept-Encoding: ", b"br;q=", b"If-None-Match: ", b'"',
     b"If-Range: ", b"\0", b"\xff", b"Content-Length: ", b"9" * 30, b"Transfer-Encoding: chunked", b":",
     b"\r\n", b"*"]
)  # fmt: skip
LIKE_A_HEAD = st.builds(
    lambda method, target, fields: b"%s /%s HTTP/1.1\r\nHost: h\r\n%s\r\n" % (method, target, fields),
    st.sampled_from([b"GET", b"HEAD"]),
    st.lists(PIECES).map(b"".join),
    st.lists(st.lists(PIECES, min_size=1).map(lambda pieces: b"".join(pieces) + b"\r\n")).map(b"".join),
)


@given(head=st.one_of(st.binary(), st.lists(PIECES).map(b"".join), LIKE_A_HEAD))
@example(head=head_of("/app.js", "Range: bytes=0-0,-1", "Accept-Encoding: br"))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_bytes_the_answer_is_whole(
    handler: Handler, caplog: pytest.LogCaptureFixture, head: bytes
) -> None:
    answer = handler.answer(head, 0)
    received = Received(answer, "HEAD" if head.startswith(b"HEAD ") else "GET")
    assert received.status != 500, caplog.text
    assert received.status == answer.status
    assert not caplog.records
    assert b"secret" not in received.body
