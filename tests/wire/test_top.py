"""`zchttpd top` itself, against a server: one picture into a pipe, and the live one in a terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import termios
from typing import TYPE_CHECKING, Self

import pytest

from .client import eventually, request
from .servers import Server, command, environment, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "0123456789abcdef"
# As terminals are at first, in lines and columns.
SIZE = (24, 80)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "small").write_bytes(b"small\n")
    with serving(tmp_path, workers=2) as server:
        yield server


def top(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [command(), "top", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
        check=False,
    )


def admin_of(server: Server) -> str:
    return f"127.0.0.1:{server.admin[1]}"


def test_one_picture_goes_into_a_pipe(server: Server) -> None:
    server.ask(request("/small"))
    done = top(admin_of(server), "--interval", "0.2")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout, "no colours where nobody sees them"
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"zchttpd 0.1.0  http://{admin_of(server)}/metrics.json  2 of 2 workers")
    for title in ("traffic", "how bytes leave", "time of responses", "memory and cache", "workers"):
        assert f"\u256d\u2500 {title} \u2500" in done.stdout
    assert re.search(r"requests +0/s", done.stdout)
    assert re.search(r"known requests +1 ", done.stdout)
    assert len({len(line) for line in lines[1:]}) == 1


def test_a_token_is_asked_for_and_told(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    root = tmp_path / "www"
    root.mkdir()
    # Whose metrics the tests cannot read either.
    server = Server(root, admin_token_file=token)
    try:
        without = top(admin_of(server), "--once")
        assert without.returncode == 1
        assert "401 " in without.stderr
        assert "Type --token-file FILE" in without.stderr
        with_it = top(admin_of(server), "--once", "--interval", "0.1", "--token-file", str(token))
        assert (with_it.returncode, with_it.stderr) == (0, "")
        server.terminate()
        assert server.wait() == 0
    finally:
        server.kill()


def test_a_file_without_a_token_is_told(tmp_path: Path) -> None:
    done = top("--token-file", str(tmp_path / "nothing"))
    assert done.returncode == 1
    assert done.stderr.startswith("zchttpd: --token-file: ")


@pytest.mark.parametrize("typed", ["127.0.0.1:1", "http://127.0.0.1:1/metrics", "nonsense"])
def test_who_does_not_answer_is_told_in_one_line(typed: str) -> None:
    done = top(typed, "--once")
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert "Type the address of its --admin, such as: zchttpd top 127.0.0.1:9100" in done.stderr


def test_a_page_that_is_no_metrics_is_told(server: Server) -> None:
    done = top(f"127.0.0.1:{server.address[1]}", "--once")
    assert done.returncode == 1
    assert "404 " in done.stderr


class Seen:
    """A terminal with `zchttpd top` in it, which a test is to end by a key."""

    def __init__(self, *arguments: str) -> None:
        self.ours, self._theirs = pty.openpty()
        termios.tcsetwinsize(self._theirs, SIZE)
        self._modes = termios.tcgetattr(self._theirs)
        self._text = ""
        self._process = subprocess.Popen(
            [command(), "top", *arguments, "--interval", "0.1"],
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            env={**environment(), "TERM": "xterm-256color", "LINES": "24", "COLUMNS": "80"},
        )

    def shows(self, pattern: str) -> bool:
        """Whether it has shown this, without its colours."""
        while select.select([self.ours], [], [], 0)[0]:
            self._text += os.read(self.ours, 65536).decode(errors="replace")
        return re.search(pattern, re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self._text)) is not None

    def ends(self, typed: bytes) -> bool:
        """Whether it leaves at these keys, and leaves the terminal as it was."""
        os.write(self.ours, typed)
        eventually("it ends", lambda: self.shows("") and self._process.poll() is not None)
        return self._process.returncode == 0 and termios.tcgetattr(self._theirs) == self._modes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self.ours)
        os.close(self._theirs)


def test_the_live_picture_keeps_up_and_q_ends_it(server: Server) -> None:
    with Seen(admin_of(server)) as seen:
        eventually("a picture", lambda: seen.shows("2 of 2 workers"))
        with server.peer() as peer:

            def busy() -> bool:
                for _ in range(20):
                    peer.ask(request("/small"))
                return seen.shows(r"2xx +<16K +[1-9]")

            eventually("what happens now", busy)
            assert not seen.shows("\u2026"), "nothing is cut short"
            assert seen.shows("q: quit")
        assert seen.ends(b"xq")


def test_a_server_that_has_gone_is_waited_for(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        seen = Seen(admin_of(server))
        eventually("a picture", lambda: seen.shows("1 of 1 workers"))
    with seen:
        eventually("it says so", lambda: seen.shows("does not answer; it is asked again"))
        assert seen.ends(b"Q")
