"""Who is let in, who is shed for it, and who is told 503."""

from __future__ import annotations

import errno
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from .bench import CONNECTIONS_MAX, HEAD, REFUSALS_MAX, Bench

if TYPE_CHECKING:
    from zchttpd._core import testing

GRACE_MS = 1000
HALF = len(HEAD) // 2


class Crowd(Bench):
    """A machine whose connections are known by their descriptor."""

    def __init__(self, **limits: int) -> None:
        super().__init__(**limits)
        self.recvs: dict[int, testing.ExecutedOp] = {}
        self.reply = self.small()
        self.refusal = self.small(status=503, keep_alive=0, linger=1)

    def come(self) -> tuple[int, list[int], bool]:
        """A new connection: its descriptor, those that were closed for it, whether it was told 503."""
        self.fds += 1
        assert self.accept(self.fds, 0)
        ops = self.ops()
        [self.recvs[self.fds]] = [op for op in ops if op.kind == "recv"]
        work = self.take_work()
        for kind, ticket, status in work:
            assert (kind, status) == ("refuse", 503)
            self.machine.answer(ticket, self.refusal, False)
            self.send()
        return self.fds, self.settle(ops), bool(work)

    def settle(self, ops: list[testing.ExecutedOp]) -> list[int]:
        """The kernel answers closes; the descriptors."""
        closed = [op.fd for op in ops if op.kind == "close"]
        for op in ops:
            if op.kind in ("cancel", "close"):
                self.step(op.token, 0)
        for fd in closed:
            recv = self.recvs.pop(fd)
            self.step(recv.token, -125)
        return closed

    def send(self) -> None:
        [send] = [op for op in self.ops() if op.kind == "send"]
        self.step(send.token, send.length)

    def request(self, fd: int) -> None:
        """It asks and is answered."""
        self.machine.answer(self.ask(self.recvs[fd]), self.reply, False)
        self.send()

    def begin(self, fd: int) -> None:
        """A part of a head comes."""
        self.hear(self.recvs[fd], HEAD[:HALF])

    def go_on(self, fd: int, come: int = HALF) -> int:
        """And what is missing behind `come` bytes; the ticket."""
        self.hear(self.recvs[fd], HEAD[come:])
        [(kind, ticket, head)] = self.take_work()
        assert (kind, head) == ("head", HEAD)
        return ticket


def test_who_has_waited_longest_goes_first() -> None:
    crowd = Crowd()
    fds = []
    for _ in range(CONNECTIONS_MAX):
        fds.append(crowd.come()[0])
        crowd.wait(10)
    crowd.request(fds[1])
    crowd.request(fds[1])
    crowd.wait(GRACE_MS)
    crowd.request(fds[0])
    crowd.request(fds[0])
    assert [crowd.come()[1] for _ in range(3)] == [[fds[2]], [fds[3]], [fds[1]]]


def test_a_new_connection_is_not_shed_before_an_idle_one() -> None:
    crowd = Crowd()
    fds = [crowd.come()[0]]
    crowd.wait(10)
    fds += [crowd.come()[0] for _ in range(CONNECTIONS_MAX - 1)]
    crowd.request(fds[3])
    assert crowd.come()[1:] == ([fds[3]], False), (
        "one that has had its answer goes before those that wait for one"
    )
    crowd.request(fds[2])
    crowd.request(fds[2])
    assert crowd.come()[1:] == ([fds[0]], False), "the oldest new one goes where none is idle"


def test_half_a_head_is_shed_like_an_idle_connection() -> None:
    crowd = Crowd()
    fds = [crowd.come()[0] for _ in range(CONNECTIONS_MAX)]
    for fd in fds:
        crowd.begin(fd)
        crowd.wait(10)
    assert crowd.come()[1:] == ([], True), "each within its grace"
    crowd.wait(GRACE_MS)
    # More of it gives nobody a new grace, and what is whole is safe.
    crowd.hear(crowd.recvs[fds[0]], HEAD[HALF : HALF + 1])
    ticket = crowd.go_on(fds[1])
    assert crowd.come()[1:] == ([fds[0]], False)
    assert crowd.come()[1:] == ([fds[2]], False)
    crowd.machine.answer(ticket, crowd.reply, False)
    crowd.send()
    assert crowd.come()[1:] == ([fds[3]], False), "who waits since longer"
    assert crowd.come()[1:] == ([fds[1]], False)


def test_an_empty_line_that_comes_in_two_parts_is_no_half_of_a_head() -> None:
    crowd = Crowd()
    fds = [crowd.come()[0] for _ in range(CONNECTIONS_MAX)]
    crowd.request(fds[0])
    crowd.hear(crowd.recvs[fds[0]], b"\r")
    crowd.hear(crowd.recvs[fds[0]], b"\n")
    assert crowd.come()[1:] == ([fds[0]], False), "it has had its answer, and waits for a request"


def test_those_in_use_are_not_shed_for_anybody() -> None:
    crowd = Crowd()
    fds = [crowd.come()[0] for _ in range(CONNECTIONS_MAX)]
    for fd in fds * 2:
        crowd.request(fd)
    crowd.wait(GRACE_MS - 1)
    assert crowd.come()[1:] == ([], True)
    crowd.wait(1)
    assert crowd.come()[1:] == ([fds[0]], False)


def test_a_connection_in_use_is_not_cut_between_two_requests() -> None:
    crowd = Crowd(refusals_max=400)
    active = [crowd.come()[0] for _ in range(CONNECTIONS_MAX)]
    for fd in active * 2:
        crowd.request(fd)
    for _ in range(300):
        crowd.wait(100)
        crowd.request(active[0])
        crowd.request(active[1])
        _, closed, _ = crowd.come()
        assert not {active[0], active[1]} & set(closed)


def test_one_that_asked_once_makes_room_at_once() -> None:
    crowd = Crowd()
    fds = [crowd.come()[0] for _ in range(CONNECTIONS_MAX)]
    crowd.request(fds[2])
    _, closed, told_503 = crowd.come()
    assert (closed, told_503) == ([fds[2]], False)


def test_who_is_turned_away_takes_nobody_s_place() -> None:
    """However many linger over their 503, those within the limit stay, and the next place is given away."""
    crowd = Crowd()
    fds = [crowd.come()[0] for _ in range(CONNECTIONS_MAX)]
    for fd in fds * 2:
        crowd.request(fd)
    for _ in range(REFUSALS_MAX):
        _, closed, told_503 = crowd.come()
        assert (closed, told_503) == ([], True)
    crowd.step(crowd.recvs[fds[0]].token, 0)
    crowd.settle(crowd.ops())
    assert crowd.come()[1:] == ([], False)
    assert crowd.machine.gauge("connections_open") == CONNECTIONS_MAX + REFUSALS_MAX


def test_who_was_told_503_first_makes_room_for_the_next() -> None:
    crowd = Crowd()
    for _ in range(CONNECTIONS_MAX):
        crowd.ask(crowd.recvs[crowd.come()[0]])
    told = [crowd.come()[0] for _ in range(REFUSALS_MAX)]
    _, closed, told_503 = crowd.come()
    assert (closed, told_503) == (told[:1], True)


def test_beyond_the_refusals_that_are_still_being_sent_nobody_gets_in() -> None:
    crowd = Crowd()
    for _ in range(CONNECTIONS_MAX):
        crowd.ask(crowd.recvs[crowd.come()[0]])
    for _ in range(REFUSALS_MAX):
        crowd.fds += 1
        assert crowd.accept(crowd.fds, 0)
    assert not crowd.accept(99, 0)


@dataclass(slots=True)
class Known:
    """What the model knows of a connection within the limit."""

    since_ms: int
    answers: int = 0
    parked: int = 0  # ticket
    come: int = 0  # bytes of a head


@pytest.mark.parametrize("seed", range(20))
def test_shedding_follows_a_model(seed: int) -> None:
    rng = random.Random(seed)
    crowd = Crowd(refusals_max=10_000)
    known: dict[int, Known] = {}

    def victim(now_ms: int) -> int | None:
        idle = [
            (each.since_ms, fd)
            for fd, each in known.items()
            if not each.parked
            and ((each.answers == 1 and not each.come) or each.since_ms <= now_ms - GRACE_MS)
        ]
        new = [
            (each.since_ms, fd)
            for fd, each in known.items()
            if not each.parked and not each.answers and not each.come
        ]
        return min(idle or new)[1] if idle or new else None

    for _ in range(400):
        crowd.wait(rng.choice((1, 40, 700)))
        # Those that have lingered over their 503 for long enough.
        crowd.settle(crowd.ops())
        now_ms = crowd.now_ms
        act = rng.choice(("come", "come", "ask", "request", "answer", "leave", "begin"))
        if act == "come":
            expected = victim(now_ms) if len(known) == CONNECTIONS_MAX else None
            admitted = len(known) < CONNECTIONS_MAX or expected is not None
            fd, closed, told_503 = crowd.come()
            assert closed == ([] if expected is None else [expected])
            assert told_503 is not admitted
            for each in closed:
                del known[each]
            if admitted:
                known[fd] = Known(now_ms)
            continue
        fd = rng.choice(list(known)) if known else 0
        if not fd:
            continue
        each = known[fd]
        if each.parked and act in ("request", "answer"):
            crowd.machine.answer(each.parked, crowd.reply, False)
            crowd.send()
            known[fd] = Known(now_ms, each.answers + 1)
        elif each.come and act in ("ask", "request", "answer"):
            each.parked, each.come = crowd.go_on(fd, each.come), 0
        elif not each.parked and act == "begin" and each.come < len(HEAD) - 1:
            crowd.hear(crowd.recvs[fd], HEAD[each.come : each.come + 1])
            each.since_ms, each.come = (each.since_ms if each.come else now_ms), each.come + 1
        elif not each.parked and act == "ask":
            each.parked = crowd.ask(crowd.recvs[fd], HEAD)
        elif not each.parked and act == "request":
            crowd.request(fd)
            known[fd] = Known(now_ms, each.answers + 1)
        elif not each.parked and act == "leave":
            crowd.step(crowd.recvs[fd].token, 0)
            crowd.settle(crowd.ops())
            del known[fd]


def test_accepting_pauses_when_there_are_no_descriptors() -> None:
    bench = Bench()
    bench.refuse_accept(errno.EMFILE)
    assert not bench.accepts()
    bench.wait(50)
    assert not bench.accepts()
    bench.wait(60)
    assert bench.accepts()


@pytest.mark.parametrize("by_socket", [False, True])
def test_who_is_closing_counts_as_long_as_its_socket_has_to_stay(by_socket: bool) -> None:
    """Where notifications come by the socket, it stays open until the last of them."""
    bench = Bench(connections_max=1, zerocopy_by_socket=by_socket)
    recv = bench.connect()
    mapping = bench.mapping(b"m" * 3000, not by_socket)
    plan = bench.plan([("literal", 0, 39), ("mapped", 0, 3000)], mapping=mapping, keep_alive=0)
    bench.machine.answer(bench.ask(recv), plan, False)
    head, body = bench.ops()
    assert (body.kind, body.buffer == -1) == ("send_zc", by_socket)
    bench.step(head.token, head.length)
    bench.step(body.token, body.length, True)
    # The client has said that it sends nothing more, and no byte of it is unread.
    cancel, close = [op for op in bench.ops() if op.kind in ("cancel", "close")]
    bench.step(cancel.token, 0)
    bench.step(recv.token, -errno.ECANCELED)
    assert bench.accept(100, 0)
    assert [work[0] for work in bench.take_work()] == ["refuse"] * by_socket
    bench.ops()
    bench.step(body.token, 0, False, True)
    bench.step(close.token, 0)
    assert bench.accept(101, 0)
    assert bench.take_work() == []
