"""loadtest/rig: the generated site, what is learned of a running one, the client that believes nothing."""

from __future__ import annotations

import hashlib
import random
import socket
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchlib import CannotMeasure
from loadtest._client import Connection, Expected, WrongAnswer, field, request_head
from loadtest._multipart import check, choose, range_value
from loadtest._shapes import SHAPES, users_at
from loadtest._site import (
    MANIFEST,
    PREFIX_BYTES,
    File,
    Span,
    Tree,
    choose_spans,
    from_json,
    to_json,
    write_tree,
)
from loadtest._targets import (
    Stage,
    Target,
    local_links,
    own_program,
    parse_targets,
    split_host,
    visit_running,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

LARGE = 16 * 2**20


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tree]:
    root = tmp_path_factory.mktemp("site")
    return root, write_tree(root, print, large=LARGE)


# The tree


def test_every_file_is_what_the_tree_says(site: tuple[Path, Tree]) -> None:
    root, tree = site
    for file in tree.files:
        body = (root / file.target[1:]).read_bytes()
        assert (len(body), hashlib.sha256(body).hexdigest()) == (file.size, file.sha256)
        for span in file.spans:
            piece = body[span.first : span.first + span.length]
            assert len(piece) == span.length
            assert hashlib.sha256(piece).hexdigest() == span.sha256


def test_nothing_else_lies_in_the_root(site: tuple[Path, Tree]) -> None:
    root, tree = site
    found = {f"/{path.relative_to(root)}" for path in root.rglob("*") if path.is_file()}
    assert found == {file.target for file in tree.files} | {f"/{MANIFEST}"}
    assert tree.missing not in found


def test_pages_need_files_that_exist_and_name_them(site: tuple[Path, Tree]) -> None:
    root, tree = site
    pages = tree.of("page")
    assert pages
    for page in pages:
        body = (root / page.target[1:]).read_bytes()
        for need in page.needs:
            assert tree.find(need).role in ("asset", "image")
        assert set(local_links(page.target, body)) == {need for need in page.needs if "font" not in need}


def test_large_files_begin_with_the_span_that_aborting_clients_check(site: tuple[Path, Tree]) -> None:
    files = site[1].of("download", "video")
    assert max(file.size for file in files) >= LARGE
    assert all((file.spans[0].first, file.spans[0].length) == (0, PREFIX_BYTES) for file in files)


def test_the_same_seed_gives_the_same_tree(tmp_path: Path, site: tuple[Path, Tree]) -> None:
    again, other = tmp_path / "again", tmp_path / "other"
    again.mkdir()
    other.mkdir()
    assert write_tree(again, print, large=LARGE) == site[1]
    assert write_tree(other, print, large=LARGE, seed=2) != site[1]


def test_the_manifest_brings_the_tree_back(site: tuple[Path, Tree]) -> None:
    root, tree = site
    assert from_json((root / MANIFEST).read_text()) == tree == from_json(to_json(tree))


@given(st.integers(1, 2**24), st.integers())
def test_spans_lie_within_the_file(size: int, seed: int) -> None:
    for spec, first, length in choose_spans(size, random.Random(seed)):
        assert 0 <= first < first + length <= size
        low, _, high = spec.removeprefix("bytes=").partition("-")
        if not low:
            assert (int(high), first + length) == (length, size)
        else:
            assert int(low) == first
            assert (int(high) if high else size - 1) == first + length - 1


# What is tested


def test_targets_have_names_places_and_admin_listeners() -> None:
    found = parse_targets("zerocopy=192.0.2.1:80/192.0.2.1:90,plain=[::1]:8080")
    assert found == (
        Target("zerocopy", "192.0.2.1", 80, "192.0.2.1:90"),
        Target("plain", "::1", 8080),
    )
    assert found[1].authority == "[::1]:8080"


@pytest.mark.parametrize(
    "text", ["", "zerocopy", "a=", "=h:1", "a=h:1,a=h:2", "a b=h:1", "a=https://h:1", "a=h:x"]
)
def test_targets_that_cannot_be(text: str) -> None:
    with pytest.raises(CannotMeasure):
        parse_targets(text)


@pytest.mark.parametrize("text", ["https://h", "http://h:1/path", "ftp://h", "", "http://h:99999"])
def test_hosts_that_cannot_be(text: str) -> None:
    with pytest.raises(CannotMeasure, match="cannot be tested"):
        split_host(text)


def test_counters_that_cannot_be_read_are_told_before_the_test() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for admin in (f"127.0.0.1:{port}", "nonsense"):
        with pytest.raises(CannotMeasure, match=f"no counters at http://{admin}/"):
            visit_running((Target("plain", "127.0.0.1", port, admin),), "/", print)


def test_a_server_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotMeasure, match="type make setup"):
        own_program()


def test_a_stage_survives_the_way_to_a_worker(site: tuple[Path, Tree]) -> None:
    stage = Stage((Target("plain", "127.0.0.1", 8080, "127.0.0.1:9090", 7, "v", "c"),), site[1], True)
    assert Stage.from_message(stage.to_message()) == stage


def test_links_to_other_servers_and_to_folders_are_not_followed() -> None:
    body = (
        b"<a href=\"//x.test/a.css\"><img src='b.png'><a href=/c/>c</a><script src=/d.js></script><a href=#e>"
    )
    assert local_links("/f/index.html", body) == ["/f/b.png", "/d.js"]


# Shapes


@pytest.mark.parametrize("shape", SHAPES)
@given(st.floats(0, 1, exclude_max=True), st.integers(1, 10_000))
def test_a_shape_stays_between_one_user_and_the_peak(shape: str, at: float, peak: int) -> None:
    assert 1 <= users_at(shape, at, peak) <= peak


def test_shapes_are_what_their_names_say() -> None:
    moments = [place / 100 for place in range(100)]
    ramp, spike, soak = ([users_at(shape, at, 100) for at in moments] for shape in ("ramp", "spike", "soak"))
    assert ramp == sorted(ramp)
    assert (ramp[0], ramp[-1], len(set(ramp))) == (10, 100, 10)
    assert (spike[0], spike[50], spike[-1]) == (20, 100, 20)
    assert soak[10:] == [100] * 90


# The client


@pytest.fixture
def canned() -> Iterator[tuple[socket.socket, list[bytes]]]:
    """A server that gives one of the answers to each request; after an empty one it closes."""
    answers: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while answers:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    while answers and connection.recv(65536):
                        answer = answers.pop(0)
                        connection.sendall(answer)
                        if not answer or b"Connection: close" in answer:
                            break

        started = threading.Event()

        def run() -> None:
            started.wait()
            serve()

        thread = threading.Thread(target=run)
        thread.start()
        listener.settimeout(10)
        answers_ready = _Answers(answers, started)
        yield listener, answers_ready
        started.set()
        listener.close()
        thread.join(10)
        assert not thread.is_alive()


class _Answers(list[bytes]):
    """Filling it lets the server begin."""

    def __init__(self, into: list[bytes], started: threading.Event) -> None:
        super().__init__()
        self._into, self._started = into, started

    def extend(self, answers: object) -> None:
        self._into.extend(answers)  # type: ignore[arg-type]
        self._started.set()


def answer(body: bytes, status: bytes = b"200 OK", length: int | None = None, more: bytes = b"") -> bytes:
    size = len(body) if length is None else length
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n%b\r\n%b" % (status, size, more, body)


def expecting(body: bytes, status: int = 200) -> Expected:
    return Expected(status, len(body), hashlib.sha256(body).hexdigest())


def ask(listener: socket.socket, expected: Expected, times: int = 1) -> None:
    connection = Connection("127.0.0.1", listener.getsockname()[1])
    for _ in range(times):
        connection.ask(request_head("/x", "h"), expected)
    connection.close()


def test_right_answers_pass(canned: tuple[socket.socket, list[bytes]]) -> None:
    canned[1].extend([answer(b"body"), answer(b"body")])
    ask(canned[0], expecting(b"body"), times=2)


def test_a_connection_that_was_closed_meanwhile_is_opened_again(
    canned: tuple[socket.socket, list[bytes]],
) -> None:
    canned[1].extend([answer(b"body"), b"", answer(b"body")])
    ask(canned[0], expecting(b"body"), times=2)


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (answer(b"bodY"), "wrong SHA-256"),
        (answer(b"body", b"500 No"), "expected status 200"),
        (answer(b"body!"), "Content-Length 5, expected 4"),
        (answer(b"body!", length=4), "1 bytes more"),
        (answer(b"bo", length=4, more=b"Connection: close\r\n"), "closed after 2 of 4"),
        (b"HTTP/1.1 200 OK\r\n\r\nConnection: close", "Content-Length None"),
        (b"HTTP/1.1 200 OK\r\nConnection: close", "closed within a response head"),
        (b"", "without an answer"),
    ],
)
def test_wrong_answers_are_told(canned: tuple[socket.socket, list[bytes]], sent: bytes, words: str) -> None:
    canned[1].extend([sent])
    with pytest.raises(WrongAnswer, match=words):
        ask(canned[0], expecting(b"body"))


def test_fields_must_have_the_value_expected(canned: tuple[socket.socket, list[bytes]]) -> None:
    canned[1].extend([b'HTTP/1.1 304 Not Modified\r\nETag: "b"\r\n\r\n'])
    with pytest.raises(WrongAnswer, match="etag"):
        ask(canned[0], Expected(304, 0, None, ((b"etag", b'"a"'),)))


def test_an_aborting_client_checks_what_it_has_read(canned: tuple[socket.socket, list[bytes]]) -> None:
    canned[1].extend([answer(b"body and more")])
    prefix = Expected(200, 13, hashlib.sha256(b"bodY").hexdigest(), prefix=4)
    with pytest.raises(WrongAnswer, match="4 body bytes have the wrong SHA-256"):
        ask(canned[0], prefix)


def test_fields_are_found_by_whole_names() -> None:
    head = b'HTTP/1.1 200 OK\r\nX-ETag: 1\r\netag:  "2" \r\n\r\n'
    assert field(head, b"etag") == b'"2"'
    assert field(head, b"content-length") is None


# Several ranges

VIDEO = bytes(range(256)) * 64


def span(first: int, length: int) -> Span:
    return Span("", first, length, hashlib.sha256(VIDEO[first : first + length]).hexdigest())


SPANS = (span(10, 100), span(8000, 50))


def part(each: Span, body: bytes | None = None) -> bytes:
    place = b"bytes %d-%d/%d" % (each.first, each.first + each.length - 1, len(VIDEO))
    body = VIDEO[each.first : each.first + each.length] if body is None else body
    return b"--B\r\nContent-Type: video/mp4\r\nContent-Range: %b\r\n\r\n%b\r\n" % (place, body)


MULTIPART = b'HTTP/1.1 206 Partial Content\r\nContent-Type: multipart/byteranges; boundary="B"\r\n\r\n'


@pytest.mark.parametrize(
    "body",
    [
        part(SPANS[0]) + part(SPANS[1]) + b"--B--\r\n",
        b"\r\n" + part(SPANS[1]) + part(SPANS[0]) + b"--B--",
    ],
)
def test_parts_may_come_in_any_order(body: bytes) -> None:
    check(MULTIPART, body, SPANS, len(VIDEO))
    assert range_value(SPANS) == "bytes=10-109,8000-8049"


@pytest.mark.parametrize(
    ("head", "body", "words"),
    [
        (MULTIPART, part(SPANS[0]) + part(SPANS[1], bytes(50)) + b"--B--\r\n", "wrong SHA-256"),
        (MULTIPART, part(SPANS[0]) + b"--B--\r\n", "1 of 2 parts are missing"),
        (
            MULTIPART,
            part(SPANS[0]) + part(SPANS[0]) + b"--B--\r\n",
            "a part with Content-Range b'bytes 10-109",
        ),
        (MULTIPART, part(SPANS[0]) + part(SPANS[1])[:-2] + b"--B--\r\n", "ends in b'--B--"),
        (MULTIPART, part(SPANS[0]) + part(SPANS[1]) + b"--C--\r\n", "after the last part"),
        (MULTIPART, b"", "2 of 2 parts are missing"),
        (b"HTTP/1.1 206 Partial Content\r\nContent-Type: video/mp4\r\n\r\n", b"", "expected multipart"),
    ],
)
def test_wrong_parts_are_told(head: bytes, body: bytes, words: str) -> None:
    with pytest.raises(WrongAnswer, match=words):
        check(head, body, SPANS, len(VIDEO))


def test_ranges_asked_for_at_once_lie_apart() -> None:
    spans = tuple(span(first, 1000) for first in (0, 900, 3000, 9000))
    file = File("/v", "video", len(VIDEO), "", spans)
    for _ in range(50):
        chosen = choose(file, 4)
        assert [each.first for each in chosen] == [0, 9000]


def test_what_judges_the_whole_body_is_given_all_of_it(canned: tuple[socket.socket, list[bytes]]) -> None:
    canned[1].extend([answer(b"body", b"206 Partial Content")])
    seen: list[bytes] = []
    ask(canned[0], Expected(206, None, None, judge=lambda _, body: seen.append(body)))
    assert seen == [b"body"]
