"""Lines of the access log, and the thread that writes them."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zchttpd.config.names import LOG_FORMATS
from zchttpd.config.options import SettingsError, StartError
from zchttpd.config.settings import Settings
from zchttpd.telemetry.access_log import (
    AccessLog,
    AccessRecord,
    LineFormatter,
    address_of,
    check_log,
    escape,
    make_log,
    open_log,
)

from ...wire.client import STUCK_S, eventually

RECORD = AccessRecord("192.0.2.1", 86_400, b"GET /a HTTP/1.1", 200, 1234, b"http://r/", b"agent", 56, True)


@pytest.mark.parametrize(
    ("form", "line"),
    [
        ("common", b'192.0.2.1 - - [02/Jan/1970:00:00:00 +0000] "GET /a HTTP/1.1" 200 1234\n'),
        (
            "combined",
            b'192.0.2.1 - - [02/Jan/1970:00:00:00 +0000] "GET /a HTTP/1.1" 200 1234 "http://r/" "agent"\n',
        ),
        (
            "timed",
            b'192.0.2.1 - - [02/Jan/1970:00:00:00 +0000] "GET /a HTTP/1.1" 200 1234 "http://r/" "agent" 56\n',
        ),
        (
            "json",
            b'{"time":"1970-01-02T00:00:00Z","address":"192.0.2.1","request":"GET /a HTTP/1.1","status":200,'
            b'"body_bytes":1234,"duration_us":56,"zero_copy":true,"referer":"http://r/","user_agent":"agent"}\n',
        ),
    ],
)
def test_formats(form: str, line: bytes) -> None:
    assert LineFormatter(form).line(RECORD) == line


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        (b"", "-"),
        (b"plain ~", "plain ~"),
        (b'a"b\\c', r"a\x22b\x5Cc"),
        (b"\x00\n\r\x1b\x7f", r"\x00\x0A\x0D\x1B\x7F"),
        (b"\xc3\xa9\xff", r"\xC3\xA9\xFF"),
    ],
)
def test_escape(text: bytes, escaped: str) -> None:
    assert escape(text) == escaped


@given(st.binary())
def test_what_is_escaped_can_be_had_back(text: bytes) -> None:
    escaped = escape(text)
    assert escaped.isascii()
    assert escaped.isprintable()
    assert '"' not in escaped
    back = re.sub(rb"\\x([0-9A-F]{2})", lambda found: bytes([int(found[1], 16)]), escaped.encode())
    assert back == (text or b"-")


@pytest.mark.parametrize("form", LOG_FORMATS)
@given(st.binary(), st.binary(), st.binary())
def test_a_line_is_one_line(form: str, line: bytes, referer: bytes, agent: bytes) -> None:
    made = LineFormatter(form).line(RECORD._replace(line=line, referer=referer, agent=agent))
    assert made.endswith(b"\n")
    assert made[:-1].decode("ascii").isprintable()
    if form == "json":
        got = json.loads(made)
        assert got["request"] == line.decode("utf-8", "backslashreplace")
        assert got["user_agent"] == agent.decode("utf-8", "backslashreplace")


def test_the_time_moves_on() -> None:
    lines = LineFormatter("common")
    assert b"[02/Jan/1970:00:00:00 +0000]" in lines.line(RECORD)
    assert b"[02/Jan/1970:00:00:01 +0000]" in lines.line(RECORD._replace(ended_at=86_401))


def test_an_address_that_is_not_known() -> None:
    assert address_of(0, bytes(16)) == ""
    assert LineFormatter("common").line(RECORD._replace(address="")).startswith(b"- - - [")
    assert address_of(6, bytes(15) + b"\x01") == "::1"


class Handler:
    """Gives records to a log, as an engine does."""

    def __init__(self, tmp_path: Path, path: str) -> None:
        self.log = AccessLog(Settings(root=tmp_path, access_log=path, access_log_format="common"))
        self.waiting: list[AccessRecord] = []
        self.dropped = 0
        self.log.start(self.take, self.drop)

    def take(self) -> list[AccessRecord]:
        taken, self.waiting = self.waiting, []
        return taken

    def drop(self, count: int) -> None:
        self.dropped += count

    def give(self, *names: str) -> None:
        self.waiting += [RECORD._replace(line=name.encode()) for name in names]
        self.log.wake()


def asked(path: Path) -> list[str]:
    return re.findall(r'"(.*?)"', path.read_text()) if path.exists() else []


def test_lines_are_appended(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text('"before"\n')
    handler = Handler(tmp_path, str(path))
    handler.give("a", "b")
    eventually("both", lambda: asked(path) == ["before", "a", "b"])
    handler.give("c")
    handler.log.close()
    assert asked(path) == ["before", "a", "b", "c"]


def test_a_signal_does_not_end_the_log(tmp_path: Path) -> None:
    path = tmp_path / "log"
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        known = set(threading.enumerate())
        handler = Handler(tmp_path, str(path))
        [thread] = set(threading.enumerate()) - known
        assert thread.ident is not None

        def waits() -> bool:
            text = Path(f"/proc/self/task/{thread.native_id}/stat").read_text()
            return text.rpartition(")")[2].split()[0] == "S"

        for name in "ab":
            eventually("it waits", waits)
            signal.pthread_kill(thread.ident, signal.SIGUSR1)
            handler.give(name)
            eventually(name, lambda name=name: name in asked(path))
        handler.log.close()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert asked(path) == ["a", "b"]


class SlowDesk(Handler):
    """Gives nothing before `go_on`; `taking` says that the log waits for it."""

    def __init__(self, tmp_path: Path, path: str) -> None:
        self.taking, self.go_on = threading.Event(), threading.Event()
        super().__init__(tmp_path, path)

    def take(self) -> list[AccessRecord]:
        taken = super().take()
        self.taking.set()
        assert self.go_on.wait(STUCK_S)
        return taken


def test_the_end_may_come_while_lines_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    handler = SlowDesk(tmp_path, str(path))
    handler.give("a")
    assert handler.taking.wait(STUCK_S)
    handler.give("b")
    wake = handler.log.wake
    monkeypatch.setattr(handler.log, "wake", lambda: (wake(), handler.go_on.set()))
    handler.log.close()
    assert asked(path) == ["a", "b"]


def test_a_renamed_file_is_left_alone(tmp_path: Path) -> None:
    path, old = tmp_path / "log", tmp_path / "old"
    handler = Handler(tmp_path, str(path))
    handler.give("a")
    eventually("the first", lambda: asked(path) == ["a"])
    path.rename(old)
    handler.log.reopen()
    eventually("the new file", path.exists)
    handler.give("b")
    handler.log.close()
    assert (asked(old), asked(path)) == (["a"], ["b"])


def test_a_file_that_cannot_be_opened_again_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zchttpd.telemetry.access_log.LOGGER.propagate", True)
    path = tmp_path / "deep" / "log"
    path.parent.mkdir()
    handler = Handler(tmp_path, str(path))
    path.parent.rename(tmp_path / "moved")
    handler.log.reopen()
    handler.give("a")
    handler.log.close()
    assert asked(tmp_path / "moved" / "log") == ["a"]
    assert "goes on as before" in caplog.text


def test_a_worker_serves_without_its_log_and_finds_it_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "log"
    handler = Handler(tmp_path, str(path))
    handler.give("a")
    eventually("it is lost", lambda: handler.dropped == 1)
    path.parent.mkdir()
    handler.log.reopen()
    eventually("the file", path.exists)
    handler.give("b")
    handler.log.close()
    assert (asked(path), handler.dropped) == (["b"], 1)


def test_a_pipe_gets_whole_lines_and_no_more_than_it_takes_at_once(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    handler = Handler(tmp_path, str(path))
    handler.give(*["x" * 200] * 100)
    handler.log.close()
    got = os.read(reader, 1 << 16)
    os.close(reader)
    assert got == LineFormatter("common").line(RECORD._replace(line=b"x" * 200)) * 100


def test_a_pipe_that_takes_nothing_does_not_hold_up_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zchttpd.telemetry.access_log.CLOSE_S", 0.05)
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    handler = Handler(tmp_path, str(path))
    handler.give(*["x" * 2000] * 1000)
    ended = threading.Thread(target=handler.log.close)
    ended.start()
    ended.join(10)
    assert not ended.is_alive()
    os.close(reader)
    eventually("what was left is lost", lambda: handler.dropped > 0)


def test_what_cannot_be_written_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zchttpd.telemetry.access_log.LOGGER.propagate", True)
    # However long this test takes, that is too short for a second complaint.
    monkeypatch.setattr("zchttpd.telemetry.access_log.COMPLAINT_S_MIN", float("inf"))
    handler = Handler(tmp_path, "/dev/full")
    handler.give("a", "b")
    eventually("both are lost", lambda: handler.dropped == 2)
    handler.give("c")
    handler.log.close()
    assert handler.dropped == 3
    assert caplog.text.count("cannot be written") == 1


def test_off_is_no_log(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path)
    assert make_log(settings) is None
    check_log(settings)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["missing/log", "."])
def test_a_path_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(StartError, match=r"--access-log: .* cannot be written .*Type a file"):
        open_log(str(tmp_path / name))


@pytest.mark.parametrize("options", [{"access_log": ""}, {"access_log_format": "xml"}])
def test_settings(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="Type"):
        Settings(root=tmp_path, **options)
