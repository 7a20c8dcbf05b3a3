"""loadtest/: the open-loop client, under a clock and a server that the test moves."""

from __future__ import annotations

import math
import socket
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.clients import Pace, load_script, percentiles_us, summarize
from bench.rounds import common_rate


class World:
    """A clock that goes on by `tick` with each look, and connections that answer `delay(at)` seconds after a
    request was sent at `at`; None: never, a text: lost.
    """

    def __init__(self, delay: Any, tick: float = 1e-5) -> None:
        self.delay = delay
        self.tick = tick
        self.time = 100.0
        self.sent: list[float] = []
        self.answers: dict[int, float] = {}
        self.ended: list[int] = []

    def now(self) -> float:
        self.time += self.tick
        return self.time

    def send(self, slot: int) -> None:
        assert slot not in self.answers
        self.sent.append(self.time - 100.0)
        delay = self.delay(self.time - 100.0)
        if delay is not None:
            self.answers[slot] = math.inf if isinstance(delay, str) else self.time + delay

    def wait(self) -> int:
        self.ended = [slot for slot, at in self.answers.items() if at <= self.time or at == math.inf]
        return len(self.ended)

    def ready(self, place: int) -> int:
        return self.ended[int(place) - 1]

    def receive(self, slot: int) -> tuple[int, int]:
        return (0, -1) if self.answers.pop(slot) == math.inf else (100, 1)


def pace(world: World, rate: float = 100.0, seconds: float = 1.0, connections: int = 2) -> Pace:
    lua, script = load_script()
    names = ("now", "send", "wait", "ready", "receive")
    kernel = lua.table_from({name.encode(): getattr(world, name) for name in names})
    plan = {b"rate": rate, b"seconds": seconds, b"connections": connections, b"drain": 0.5}
    return summarize(script[b"drive"](kernel, lua.table_from(plan)), rate)


def test_requests_go_out_at_their_times() -> None:
    world = World(lambda at: 0.001)
    found = pace(world)
    assert (found.asked, found.answered, found.unanswered, found.bytes) == (100, 100, 0, 10_000)
    late = [at - number / 100 for number, at in enumerate(world.sent)]
    assert len(late) == 100
    assert 0 <= min(late) <= max(late) < 0.0005
    assert found.p50_us == pytest.approx(1000, abs=200)
    assert found.max_us == pytest.approx(1000, abs=200)
    assert found.busy_share < 0.2


def test_a_stall_counts_for_every_request_that_was_due() -> None:
    """One answer takes 0.5 s and there is one connection: 50 requests were due meanwhile, and the last of
    them waited least. What the connection itself saw was slow once.
    """
    world = World(lambda at: 0.5 if 0.2 <= at < 0.21 else 0.0001)
    found = pace(world, connections=1)
    assert found.unanswered == 0
    assert found.max_us == pytest.approx(500_000, abs=2000)
    assert found.p99_us == pytest.approx(490_000, abs=6000)
    assert found.p50_us is not None
    assert found.p50_us < 20_000
    assert found.wait_p99_us is not None
    assert found.wait_p99_us < 1000
    slow = [at for number, at in enumerate(world.sent) if at - number / 100 > 0.001]
    assert len(slow) == 50


def test_a_server_that_is_too_slow_is_seen_by_what_never_came() -> None:
    """100 requests are due in 1 s, each takes 0.1 s on one connection, and after 1.5 s the client stops."""
    found = pace(World(lambda at: 0.1), connections=1)
    assert found.answered == pytest.approx(14, abs=1)
    assert found.unanswered == 100 - found.answered
    assert found.p50_us is found.p99_us is found.max_us is None


def test_a_connection_that_never_answers_is_left_aside() -> None:
    world = World(lambda at: None if at < 0.005 else 0.0001)
    found = pace(world)
    assert (found.answered, found.unanswered) == (99, 1)
    assert found.max_us is None
    assert found.p99_us == pytest.approx(100, abs=60)


def test_lost_connections_end_it() -> None:
    world = World(lambda at: "lost")
    found = pace(world)
    assert (found.answered, found.unanswered) == (0, 100)
    assert len(world.sent) == 2
    assert found.seconds < 0.05


def test_a_busy_client_knows_it() -> None:
    """A clock that jumps by 6 ms with each look: there is always something due."""
    assert pace(World(lambda at: 0.0, tick=0.006)).busy_share > 0.9


@pytest.mark.parametrize(
    ("share", "total", "expected"),
    [(0.5, 4, 2e6), (0.75, 4, 3e6), (1.0, 3, 3e6), (1.0, 4, None), (0.5, 0, None)],
)
def test_percentiles_count_what_is_missing(share: float, total: int, expected: float | None) -> None:
    (found,) = percentiles_us([3.0, 1.0, 2.0], [share], total)
    assert found == (None if expected is None else pytest.approx(expected, rel=1e-3))


@given(st.lists(st.floats(1e-6, 60.0), min_size=1, max_size=300), st.floats(0.001, 1))
def test_a_percentile_is_the_nearest_rank_to_three_digits(latencies: list[float], share: float) -> None:
    (found,) = percentiles_us(latencies, [share], len(latencies))
    expected = sorted(latencies)[math.ceil(share * len(latencies)) - 1] * 1e6
    assert found == pytest.approx(expected, rel=1.1e-3, abs=2e-3)


def test_the_common_rate_is_for_the_fast() -> None:
    rate, fast = common_rate({"auto": 100_000.0, "caddy": 10_000.0, "starlette": 9_999.0})
    assert rate == pytest.approx(6000.0)
    assert fast == ["auto", "caddy"]


def test_real_sockets_are_asked_and_checked() -> None:
    """The second half of the answers is a 404 of the same length, which loses the connection."""
    good = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"
    bad = good.replace(b"200", b"404")

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            for answer in (good, good, good, bad):
                asked = b""
                while not asked.endswith(b"\r\n\r\n"):
                    asked += connection.recv(100)
                connection.sendall(answer[:20])
                connection.sendall(answer[20:])

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        lua, script = load_script()
        port = listener.getsockname()[1]
        kernel = script[b"connect"](port, 1, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", len(good))
        plan = {b"rate": 1000.0, b"seconds": 0.01, b"connections": 1, b"drain": 30.0}
        found = script[b"drive"](kernel, lua.table_from(plan))
        thread.join()
    assert (found[b"asked"], found[b"answered"], found[b"lost"]) == (10, 3, 1)
    assert found[b"bytes"] >= 3 * len(good)
