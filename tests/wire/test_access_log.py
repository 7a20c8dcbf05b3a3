"""The access log: the same lines on every engine, whatever clients send and however slow its reader is."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .client import eventually, request
from .servers import Server, serving
from .streams import SLOW_BUFFER, begin
from .test_life import assert_one_line, refuse

if TYPE_CHECKING:
    from collections.abc import Callable

BIG = 16 << 20
COMBINED = re.compile(
    r'(?P<address>\S+) - - \[(?P<time>\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000)\] "(?P<request>[^"]*)"'
    r' (?P<status>\d{3}) (?P<body_bytes>\d+) "(?P<referer>[^"]*)" "(?P<user_agent>[^"]*)"'
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small file and a large one."""
    root = tmp_path_factory.mktemp("access")
    (root / "small").write_bytes(b"small\n")
    (root / "big").write_bytes(os.urandom(BIG))
    return root


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where the log goes."""
    return tmp_path / "access.log"


def wait_for(log: Path, count: int) -> list[str]:
    """The lines, once there are so many. Each is whole, and of printable ASCII."""
    eventually(f"{count} lines", lambda: log.exists() and log.read_bytes().count(b"\n") >= count)
    content = log.read_bytes()
    assert content.endswith(b"\n")
    lines = content.decode("ascii").splitlines()
    assert all(line.isprintable() for line in lines)
    return lines


def parsed(line: str) -> dict[str, str]:
    """The fields of a combined line."""
    match = COMBINED.fullmatch(line)
    assert match, line
    return match.groupdict()


def test_a_line_for_each_response(site: Path, log: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    fields = ("Referer: http://example.org/", "User-Agent: wire/1.0 (a test)")
    with serving(site, engine=engine, send_mode=send_mode, access_log=log) as server:
        with server.peer() as peer:
            etag = peer.ask(request("/small", *fields)).field(b"etag")
            assert etag
            asked = [
                (request("/big"), 200, BIG),
                (request("/small", method="HEAD"), 200, 0),
                (request("/big", "Range: bytes=0-99"), 206, 100),
                (request("/small", f"If-None-Match: {etag.decode()}"), 304, 0),
                (request("/small?a=b"), 200, 6),
                (request("/small", *fields), 200, 6),
                (request("/small", *fields), 200, 6),
            ]
            for sent, status, _ in asked:
                assert peer.ask(sent).status == status
            missing = peer.ask(request("/nothing", method="GET"))
        lines = [parsed(line) for line in wait_for(log, len(asked) + 2)]
    assert lines[0]["request"] == "GET /small HTTP/1.1"
    assert (lines[0]["address"], lines[0]["referer"], lines[0]["user_agent"]) == (
        "127.0.0.1",
        "http://example.org/",
        "wire/1.0 (a test)",
    )
    got = [(line["request"], int(line["status"]), int(line["body_bytes"])) for line in lines[1:]]
    assert got == [
        *((sent.split(b"\r\n")[0].decode(), status, size) for sent, status, size in asked),
        ("GET /nothing HTTP/1.1", 404, len(missing.body)),
    ]
    assert [line["user_agent"] for line in lines] == [
        "wire/1.0 (a test)",
        *"-----",
        *[fields[1][12:]] * 2,
        "-",
    ]


HOSTILE = {
    "newline-escape": request("/a%0aGET%20/b"),
    "quote": request('/"quoted"?"', 'User-Agent: a"b\\c', 'Referer: "'),
    "escape-sequence": request("/small", b"User-Agent: \x1b[31mred\x1b[0m\x07"),
    "bare-cr": request("/small", b"User-Agent: a\rb"),
    "bare-lf": request("/small", b"User-Agent: a\n127.0.0.1 - - forged"),
    "tab": request("/small", "User-Agent: a\tb"),
    "nul": request("/small", b"User-Agent: a\x00b"),
    "not-utf8": request("/small", b"User-Agent: \xff\xfe\x80", b"Referer: \xc3"),
    "utf8": request("/small", "User-Agent: gr\u00fc\u00dfe \u2028"),
    "target-bytes": request(b"/\xff\x1b[2J"),
    "c1": request("/small", b"Referer: \xc2\x9b31m"),
    "not-http": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "del": request("/small", b"User-Agent: \x7f"),
}


@pytest.mark.parametrize("form", ["combined", "json"])
def test_no_client_forges_a_line(site: Path, log: Path, kind: tuple[str, str], form: str) -> None:
    """Each request is one line, of printable ASCII; JSON is JSON, whatever bytes came."""
    engine, send_mode = kind
    statuses: list[int] = []
    with serving(site, engine=engine, send_mode=send_mode, access_log=log, access_log_format=form) as server:
        for number, sent in enumerate(HOSTILE.values(), 1):
            statuses.append(server.ask(sent).status)
            # One after the other: the lines of connections that end together come in any order.
            assert len(wait_for(log, number)) == number
        lines = wait_for(log, len(HOSTILE))
    logged: dict[str, dict[str, Any]] = dict(
        zip(HOSTILE, map(json.loads if form == "json" else parsed, lines), strict=True)
    )
    assert [int(each["status"]) for each in logged.values()] == statuses
    assert logged["newline-escape"]["request"] == "GET /a%0aGET%20/b HTTP/1.1"
    if form == "json":
        assert logged["quote"]["request"] == 'GET /"quoted"?" HTTP/1.1'
        assert logged["quote"]["user_agent"] == 'a"b\\c'
        assert logged["escape-sequence"]["user_agent"] == "\x1b[31mred\x1b[0m\x07"
        assert logged["utf8"]["user_agent"] == "gr\u00fc\u00dfe \u2028"
        assert logged["not-utf8"]["user_agent"] == "\\xff\\xfe\\x80"
    else:
        assert logged["quote"]["request"] == r"GET /\x22quoted\x22?\x22 HTTP/1.1"
        assert logged["quote"]["user_agent"] == r"a\x22b\x5Cc"
        assert logged["escape-sequence"]["user_agent"] == r"\x1B[31mred\x1B[0m\x07"
        assert logged["utf8"]["user_agent"] == r"gr\xC3\xBC\xC3\x9Fe \xE2\x80\xA8"
        assert logged["not-utf8"]["user_agent"] == r"\xFF\xFE\x80"
        assert logged["target-bytes"]["request"] == r"GET /\xFF\x1B[2J HTTP/1.1"


def test_refusals_are_logged(site: Path, log: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    with serving(
        site,
        engine=engine,
        send_mode=send_mode,
        access_log=log,
        head_size_max=1024,
        head_ms_max=300,
        connections_max=2,
    ) as server:
        refused = [
            (b"GET /small\nHost: x\n\n", 400, "GET /small"),
            (b"GET /small HTTP/1.1\r\nHost: slo", 408, "GET /small HTTP/1.1"),
            (b"GET /" + b"x" * 2000 + b" HTTP/1.1\r\n\r\n", 414, "GET /" + "x" * 100),
            (request("/small", "A: " + "b" * 900, "C: " + "d" * 900), 431, "GET /small HTTP/1.1"),
        ]
        for number, (sent, status, _) in enumerate(refused, 1):
            assert server.ask(sent).status == status
            wait_for(log, number)
            server.wait_for_rest()
        busy = [begin(server, "/big") for _ in range(2)]
        assert server.ask(request("/small")).status == 503
        lines = [parsed(line) for line in wait_for(log, len(refused) + 1)]
        for peer in busy:
            peer.abort()
    for line, (_, status, start) in zip(lines, refused, strict=False):
        assert (int(line["status"]), line["request"][: len(start)]) == (status, start)
        assert int(line["body_bytes"]) > 0
    assert (lines[-1]["status"], lines[-1]["request"]) == ("503", "-")


def test_what_was_cut_off_says_how_much_left(site: Path, log: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    with serving(site, engine=engine, send_mode=send_mode, access_log=log) as server:
        begin(server, "/big").abort()
        [line] = [parsed(line) for line in wait_for(log, 1)]
    assert (line["status"], line["request"]) == ("200", "GET /big HTTP/1.1")
    assert 0 < int(line["body_bytes"]) < BIG


def test_json_says_how_it_left(site: Path, log: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    with serving(
        site, engine=engine, send_mode=send_mode, access_log=log, access_log_format="json"
    ) as server:
        for path in ("/big", "/small"):
            assert server.ask(request(path)).status == 200
            server.wait_for_rest()
        big, small = (json.loads(line) for line in wait_for(log, 2))
    assert (big["body_bytes"], big["zero_copy"]) == (BIG, send_mode != "plain")
    assert (small["body_bytes"], small["zero_copy"]) == (6, False)
    assert all(isinstance(each["duration_us"], int) and each["duration_us"] >= 0 for each in (big, small))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", big["time"])
    assert (big["address"], big["referer"], big["user_agent"]) == ("127.0.0.1", "", "")


@pytest.mark.parametrize(("form", "end"), [("common", r'" 200 6'), ("timed", r'" 200 6 "-" "-" \d+')])
def test_other_formats(site: Path, log: Path, kind: tuple[str, str], form: str, end: str) -> None:
    engine, send_mode = kind
    with serving(site, engine=engine, send_mode=send_mode, access_log=log, access_log_format=form) as server:
        assert server.ask(request("/small")).status == 200
        [line] = wait_for(log, 1)
    assert re.search(end + "$", line), line


def test_a_pipeline_is_logged_in_order(site: Path, log: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    with serving(site, engine=engine, send_mode=send_mode, access_log=log) as server:
        with server.peer() as peer:
            peer.send(b"".join(request(f"/small?{number}") for number in range(200)))
            for _ in range(200):
                assert peer.reply().status == 200
        lines = wait_for(log, 200)
    assert [parsed(line)["request"] for line in lines] == [
        f"GET /small?{number} HTTP/1.1" for number in range(200)
    ]


def test_the_file_is_opened_again(site: Path, log: Path, kind: tuple[str, str]) -> None:
    """As logrotate does it: rename, then SIGUSR1 to the supervisor."""
    engine, send_mode = kind
    with serving(site, engine=engine, send_mode=send_mode, access_log=log, workers=2) as server:
        assert server.ask(request("/small?old")).status == 200
        wait_for(log, 1)
        old = log.with_suffix(".1")
        log.rename(old)
        os.kill(server.pid, signal.SIGUSR1)
        eventually("a new file", log.exists)
        eventually("all workers write to it", lambda: not writers(server, old))
        before = old.read_bytes()
        for _ in range(10):
            assert server.ask(request("/small?new")).status == 200
        assert all("/small?new" in line for line in wait_for(log, 10))
        assert old.read_bytes() == before


def writers(server: Server, file: Path) -> list[int]:
    """Processes of the server that have the file open."""
    found = []
    for pid in server.pids():
        links = [os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()]
        found += [pid] if str(file) in links else []
    return found


def test_workers_share_a_file(site: Path, log: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    agent = "User-Agent: " + "w" * 900
    with serving(site, engine=engine, send_mode=send_mode, access_log=log, workers=3) as server:
        for _ in range(60):
            with server.peer() as peer:
                peer.send(request("/small", agent) * 20)
                for _ in range(20):
                    assert peer.reply().status == 200
        lines = wait_for(log, 1200)
    assert len(lines) == 1200
    assert all(parsed(line)["user_agent"] == "w" * 900 for line in lines)


def flood(server: Server, until: Callable[[], bool]) -> None:
    """Requests, until it holds; each is answered."""
    head = request("/small", "User-Agent: " + "f" * 1000)
    while not until():
        with server.peer() as peer:
            for _ in range(10):
                peer.send(head * 100)
                for _ in range(100):
                    assert peer.reply().status == 200


def test_a_pipe_that_nobody_reads_holds_up_nobody(site: Path, log: Path, kind: tuple[str, str]) -> None:
    """Records that find no room are dropped and counted; the server goes on, drains and leaves."""
    engine, send_mode = kind
    os.mkfifo(log)
    reader = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with serving(site, engine=engine, send_mode=send_mode, access_log=log) as server:
            dropped = "access_records_dropped_total"
            assert server.metric(dropped) == 0
            flood(server, lambda: server.metric(dropped) > 0)
            assert server.ask(request("/small")).status == 200
    finally:
        os.close(reader)


def test_a_pipe_with_a_reader(site: Path, log: Path, kind: tuple[str, str]) -> None:
    """It is not told of an end before the server has come to its own."""
    engine, send_mode = kind
    os.mkfifo(log)
    reader = subprocess.Popen(["cat", log], stdout=subprocess.PIPE)
    try:
        # Opening it for writing waits for the reader.
        with log.open("wb", buffering=0):
            server = Server(site, engine=engine, send_mode=send_mode, access_log=log)
        try:
            assert server.ask(request("/small")).status == 200
            server.terminate()
            assert server.wait() == 0
        finally:
            server.kill()
        heard, _ = reader.communicate(timeout=60)
    finally:
        reader.kill()
    assert heard.count(b"\n") == 1
    assert b'"GET /small HTTP/1.1" 200 6' in heard


def test_standard_output(site: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    with serving(site, engine=engine, send_mode=send_mode, access_log="-") as server:
        assert server.ask(request("/small?to-stdout")).status == 200
        eventually("the line", lambda: '"GET /small?to-stdout HTTP/1.1" 200 6' in server.stdout())


def test_what_is_left_is_written_at_the_end(site: Path, log: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    with serving(site, engine=engine, send_mode=send_mode, access_log=log) as server:
        with server.peer() as peer:
            for _ in range(5):
                assert peer.ask(request("/small")).status == 200
        server.wait_for_rest()
    assert len(wait_for(log, 5)) == 5


def test_without_a_log_the_signal_does_nothing(site: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    with serving(site, engine=engine, send_mode=send_mode) as server:
        os.kill(server.pid, signal.SIGUSR1)
        assert server.ask(request("/small")).status == 200


def test_a_slow_reader_has_its_line_when_it_is_through(site: Path, log: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    with serving(site, engine=engine, send_mode=send_mode, access_log=log) as server:
        with server.peer(receive_buffer=SLOW_BUFFER) as slow:
            slow.send(request("/big"))
            with server.peer() as quick:
                assert quick.ask(request("/small")).status == 200
            assert len(slow.reply().body) == BIG
        lines = [parsed(line) for line in wait_for(log, 2)]
    assert {line["request"]: int(line["body_bytes"]) for line in lines} == {
        "GET /small HTTP/1.1": 6,
        "GET /big HTTP/1.1": BIG,
    }


@pytest.mark.parametrize("make", ["missing", "directory", "pipe", "empty", "format"])
def test_a_log_that_cannot_be_written_is_told_at_the_start(tmp_path: Path, make: str) -> None:
    path = tmp_path / "log"
    words = {
        "missing": ("No such file", "Type a file"),
        "directory": ("Is a directory", "Type a file"),
        "pipe": ("nobody reads the pipe", "Type a file"),
        "empty": ("--access-log", "is empty"),
        "format": ("--access-log-format", "Did you mean combined?"),
    }
    if make == "directory":
        path.mkdir()
    elif make == "pipe":
        os.mkfifo(path)
    where = {"missing": path / "deeper" / "log", "empty": ""}.get(make, path)
    more = ["--access-log-format", "combine"] if make == "format" else []
    arguments = ["--root", str(tmp_path), "--port", "0", "--access-log", str(where), *more]
    assert_one_line(refuse(*arguments), *words[make])


def test_a_client_that_is_gone_before_its_answer(site: Path, log: Path, kind: tuple[str, str]) -> None:
    """Whatever becomes of it, there is at most one line, and a whole one."""
    engine, send_mode = kind
    with serving(site, engine=engine, send_mode=send_mode, access_log=log) as server:
        for number in range(20):
            peer = server.peer()
            peer.send(request(f"/small?{number}"))
            peer.abort()
        with server.peer() as peer:
            peer.half_close()
            assert peer.leftover() == b""
        assert server.ask(request("/small?last")).status == 200
        eventually("the last line", lambda: "/small?last" in log.read_text())
        lines = [parsed(line)["request"] for line in log.read_text().splitlines()]
    assert len(lines) == len(set(lines)) <= 21
