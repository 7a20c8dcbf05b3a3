"""The portable engine: what leaves, on a real socket, also while the file changes."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from zchttpd.engines.portable_bodies import Body
from zchttpd.engines.portable_send import FILE_STEP, LAST_STEP, FileChanged, Sender, Step

from .portable_bench import KIB, LARGE, Bench, body_of, fill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from zchttpd.engines.portable_plan import Plan


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    fill(tmp_path)
    bench = Bench(tmp_path)
    yield bench
    bench.close()


@pytest.fixture
def site(bench: Bench) -> Path:
    return bench.site


class Pair:
    """A sender and its client, both on TCP."""

    def __init__(self, bench: Bench) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.client = socket.socket()
            # Little enough that a large response cannot leave without being read.
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * KIB)
            self.client.connect(listener.getsockname())
            self.server, _ = listener.accept()
        self.server.setblocking(False)
        self.client.settimeout(10)
        self.bench = bench
        self.sender = Sender(self.server, bench.stats)
        self.got = bytearray()

    def read(self, size: int) -> None:
        while size > 0:
            piece = self.client.recv(size)
            assert piece
            self.got += piece
            size -= len(piece)

    def play(self, plan: Plan, *, before_step: Callable[[], None] = lambda: None) -> None:
        """Send a whole plan, reading as it comes. Raises FileChanged."""
        self.sender.begin(plan)
        while True:
            before_step()
            step, _ = self.sender.pump()
            if step is Step.DONE:
                break
            if step is Step.FETCH:
                assert self.sender.body is not None
                self.sender.body.populate(*self.sender.fetch)
            self.client.setblocking(False)
            try:
                self.got += self.client.recv(64 * KIB)
            except BlockingIOError:
                pass
            finally:
                self.client.settimeout(10)
        self.read(len(plan.head) + length_of(plan) - len(self.got))

    def close(self) -> None:
        body = self.sender.end()
        if body is not None:
            self.bench.store.release(body)
        self.client.close()
        self.server.close()


def length_of(plan: Plan) -> int:
    return len(plan.tail) + sum(len(each) if isinstance(each, bytes) else each.length for each in plan.rest)


@pytest.fixture
def pair(bench: Bench) -> Iterator[Pair]:
    pair = Pair(bench)
    yield pair
    pair.close()


@pytest.mark.parametrize("resident", [True, False], ids=["warm", "cold"])
@pytest.mark.parametrize("name", ["small", "middle", "large"])
def test_every_byte_leaves_in_order(
    pair: Pair, site: Path, name: str, resident: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Body, "resident", lambda _body, _offset: resident)
    plan = pair.bench.plan(f"/{name}")
    pair.play(plan)
    assert bytes(pair.got) == plan.head + (site / name).read_bytes()


@pytest.mark.parametrize(
    "ranges", ["0-0", f"5-{LAST_STEP}", f"1-{FILE_STEP + 1}", "-1", f"0-9,100-{FILE_STEP},{FILE_STEP + 9}-"]
)
def test_windows_of_a_file_that_may_change(pair: Pair, ranges: str) -> None:
    plan = pair.bench.plan("/large", f"Range: bytes={ranges}")
    pair.play(plan)
    assert bytes(pair.got) == plan.head + body_of(plan)


@pytest.mark.parametrize("at", [0, LARGE // 2, LARGE - 1], ids=["start", "middle", "end"])
@pytest.mark.parametrize("after_steps", [0, 1, 3])
def test_a_file_that_is_written_to_never_becomes_a_whole_response(
    pair: Pair, site: Path, at: int, after_steps: int
) -> None:
    plan = pair.bench.plan("/large")
    steps = 0

    def write() -> None:
        nonlocal steps
        if steps == after_steps:
            stamp = os.stat(site / "large").st_mtime_ns
            with open(site / "large", "r+b") as file:
                file.seek(at)
                file.write(b"?")
            os.utime(site / "large", ns=(stamp, stamp + 1))
        steps += 1

    with pytest.raises(FileChanged):
        pair.play(plan, before_step=write)
    assert len(pair.got) < len(plan.head) + LARGE


def test_the_end_is_held_back_until_the_rest_has_been_sent(pair: Pair) -> None:
    """So that a change which is seen at the last moment can still cut the response off."""
    plan = pair.bench.plan("/large")
    pair.sender.begin(plan)
    cell = pair.bench.places["send_bytes_sendfile"][0]
    while pair.bench.stats.cells[cell] < LARGE - LAST_STEP:
        step, sent = pair.sender.pump()
        assert step is Step.FULL
        if not sent:
            pair.got += pair.client.recv(64 * KIB)
    assert pair.bench.stats.cells[cell] == LARGE - LAST_STEP
    assert pair.sender.pump() == (Step.FULL, 0)


def test_a_truncated_file_is_noticed(pair: Pair, site: Path) -> None:
    plan = pair.bench.plan("/large")
    os.truncate(site / "large", KIB)
    with pytest.raises(FileChanged):
        pair.play(plan)


def test_a_file_replaced_by_rename_is_sent_to_its_end(pair: Pair, site: Path) -> None:
    plan = pair.bench.plan("/large")
    content = (site / "large").read_bytes()
    (site / "new").write_bytes(b"new")
    os.replace(site / "new", site / "large")
    pair.play(plan)
    assert bytes(pair.got) == plan.head + content
