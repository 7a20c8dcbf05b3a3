"""What is large leaves by turns, in shares of bytes; what is small waits for nobody."""

from __future__ import annotations

import pytest

from zchttpd._core import testing

from .bench import DATE, HEAD, WINDOW, Bench

OP_BYTES = 8 * 1024  # what an op counts besides its bytes
SHARE = 5 * (OP_BYTES + WINDOW)
ALONE = 16
PAUSE_US = 100
REST = 3  # times as long as a share took
SMALL_MAX = 32 * 1024
WARM = b"GET /warm HTTP/1.1\r\n\r\n"
CROWD = 40


class Fair(Bench):
    """A worker with `CROWD` clients that ask for something large, when they are told to."""

    def __init__(self, send_mode: str = "plain", **limits: int) -> None:
        super().__init__(send_mode, connections_max=100, turn_bytes_max=SHARE, window_count=CROWD, **limits)
        self.warm = self.connect()
        self.machine.answer(self.ask(self.warm, WARM), self.small(), True)
        self.finish_small()
        self.machine.now_us += PAUSE_US
        self.crowd = [self.connect() for _ in range(CROWD)]

    def finish_small(self) -> None:
        [send] = [op for op in self.ops() if op.fd == self.warm.fd]
        self.step(send.token, send.length)

    def hear_small(self) -> None:
        """The small one is asked for, in the next turn."""
        self.machine.deliver(self.warm.token, len(WARM), True, received=WARM)

    def remember(self, plan: int) -> None:
        """From now on HEAD is answered with it, without the handler."""
        recv = self.connect()
        ticket = self.ask(recv)
        self.machine.answer(ticket, plan, True)
        self.machine.flush()
        self.machine.now_us += 1_000_000
        self.ops()

    def remember_mapped(self, windows: int = 4) -> None:
        content = bytes(windows * WINDOW)
        mapping = self.mapping(content, False)
        self.remember(self.plan([("literal", 0, 39), ("mapped", 0, len(content))], mapping=mapping))

    def all_ask(self) -> None:
        for recv in self.crowd:
            self.machine.deliver(recv.token, len(HEAD), True, received=HEAD)

    def turn(self, us: int = 0) -> list[testing.ExecutedOp]:
        """The sends and reads of a turn."""
        self.machine.now_us += us
        self.machine.step()
        return [op for op in self.ops() if op.kind in ("send", "splice", "read")]


def cost(ops: list[testing.ExecutedOp]) -> int:
    return sum(OP_BYTES + op.length for op in ops)


def test_a_turn_has_a_share_and_who_is_alone_has_more() -> None:
    fair = Fair()
    fair.remember_mapped()
    fair.all_ask()
    ops = fair.turn()
    most = 2 * (OP_BYTES + WINDOW)  # of who came last
    assert len(ops) == 2 * CROWD, "each a head and a window: nobody else wants anything"
    assert cost(ops) < ALONE * SHARE + most
    fair = Fair()
    fair.remember_mapped()
    fair.all_ask()
    fair.hear_small()
    small, *ops = fair.turn()
    assert small.fd == fair.warm.fd, "what is small is the first"
    assert SHARE <= cost(ops) < SHARE + most


def test_the_bound_holds_for_who_is_alone_too() -> None:
    fair = Fair(windows_per_connection=1)
    fair.machine.now_us += 1_000_000
    content = bytes(64 * WINDOW)
    mapping = fair.mapping(content, False)
    fair.remember(fair.plan([("literal", 0, 39), ("mapped", 0, len(content))], mapping=mapping))
    more = [fair.connect() for _ in range(50)]
    fair.crowd += more
    fair.all_ask()
    assert SHARE * ALONE <= cost(fair.turn()) < SHARE * ALONE + 2 * (OP_BYTES + WINDOW)


def test_everybody_has_a_turn_and_nobody_two() -> None:
    fair = Fair()
    fair.remember_mapped()
    fair.all_ask()
    fair.hear_small()
    fds: list[int] = []
    for _ in range(2 * CROWD):
        # They go on when the rest is over, however many small ones come.
        for op in fair.turn(PAUSE_US - 1):
            if op.fd == fair.warm.fd:
                fair.machine.deliver(op.token, op.length)
                fair.hear_small()
            elif not op.flags & testing.LINK:
                fds.append(op.fd)
    assert fds == [recv.fd for recv in fair.crowd]


def test_what_is_large_rests_while_small_ones_come() -> None:
    fair = Fair()
    fair.remember_mapped()
    fair.all_ask()
    fair.hear_small()
    small, *large = fair.turn()
    assert large
    # The share took 20 us, as is seen in the next turn.
    for _ in range(REST):
        fair.machine.deliver(small.token, small.length)
        fair.hear_small()
        [small] = fair.turn(20)
    fair.machine.deliver(small.token, small.length)
    fair.hear_small()
    small, *large = fair.turn(20)
    assert small.fd == fair.warm.fd
    assert large


def test_a_pause_ends_the_rest() -> None:
    fair = Fair()
    fair.remember_mapped()
    fair.all_ask()
    fair.hear_small()
    assert len(fair.turn()) > 1
    # What the share took was no pause.
    assert fair.turn(2 * PAUSE_US) == []
    assert fair.machine.step() == 0, "it does not wait while somebody waits for a turn"
    assert len(fair.turn(PAUSE_US)) > 10


def test_who_begins_is_not_behind_all_who_go_on() -> None:
    fair = Fair()
    fair.remember_mapped()
    busy, late = fair.crowd[:-1], fair.crowd[-1]
    fair.crowd = busy
    fair.all_ask()
    for op in fair.turn():
        fair.machine.deliver(op.token, op.length)
    # All of them want to go on, and one comes.
    fair.machine.deliver(late.token, len(HEAD), True, received=HEAD)
    fair.hear_small()
    assert late.fd in [op.fd for op in fair.turn()][:6]


@pytest.mark.parametrize(("size", "waits"), [(SMALL_MAX, False), (SMALL_MAX + 1, True)])
def test_what_is_small(size: int, waits: bool) -> None:
    fair = Fair()
    image = b"Date: " + DATE + b"\r\n\r\n" + bytes(size - 39)
    fair.remember(fair.plan([("literal", 0, size)], image))
    fair.all_ask()
    fair.hear_small()
    assert len(fair.turn()) == (1 + SHARE // (OP_BYTES + size) + 1 if waits else 1 + CROWD)


def test_windows_that_have_been_read_wait_for_a_turn_too() -> None:
    fair = Fair(windows_per_connection=1)
    source = fair.source(8 * WINDOW)
    fair.remember(fair.plan([("literal", 0, 39), ("streamed", 0, 8 * WINDOW)], source=source))
    fair.all_ask()
    heads = fair.turn()
    for op in heads:
        fair.machine.deliver(op.token, op.length)
    reads = [op for op in fair.turn() if op.kind == "read"]
    assert len(reads) > 10
    for op in reads:
        fair.machine.deliver(op.token, op.length)
    fair.hear_small()
    small, *ops = fair.turn()
    assert small.fd == fair.warm.fd
    assert SHARE <= cost(ops) < SHARE + 2 * (OP_BYTES + WINDOW)


def test_who_goes_while_it_waits_is_forgotten() -> None:
    fair = Fair()
    fair.remember_mapped()
    fair.all_ask()
    fair.hear_small()
    served = {op.fd for op in fair.turn()}
    gone = next(recv for recv in fair.crowd if recv.fd not in served)
    fair.step(gone.token, -104)
    fds = [op.fd for _ in range(3) for op in fair.turn(PAUSE_US)]
    assert gone.fd not in fds
    assert len(fds) > CROWD
