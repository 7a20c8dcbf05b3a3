"""A client of the simulation: sends heads chopped at random, believes no byte that it cannot account for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .exchange import REFUSALS, STREAMED, Ask, date_of, refusal, response_head, version_of
from .parts import Violation

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

STATUS_LENGTH = len(b"HTTP/1.1 200")


class Client:
    """Sends `asks` one behind the other, `ahead` of them without waiting for answers."""

    def __init__(
        self, asks: list[Ask], ahead: int, blank_lines: bool, clock: Callable[[], tuple[int, int]]
    ) -> None:
        self.asks = asks
        self.ahead = ahead
        self.clock = clock
        self.outgoing = b""
        self.ends: list[int] = []  # where each head ends in `outgoing`
        for ask in asks:
            self.outgoing += (b"\r\n" if blank_lines else b"") + ask.head
            self.ends.append(len(self.outgoing))
        self.greeting = 0  # bytes of `outgoing` before the first head
        self.sent = 0
        self.sent_at: list[tuple[int, int]] = []  # (ms, Unix second) by ask
        self.began_at = clock()
        self.received = bytearray()
        self.checked = 0  # where the response under way begins
        self.answered = 0
        self.last = False  # a response has said that it is the last
        self.ended_at: int | None = None  # bytes the server had seen when it ended its direction
        self.server_closed = False
        self.lost = False  # a reset: bytes may be missing
        self.gone = False
        self.eof_seen = False
        self.sluggish = False
        self.admitted = False  # the machine receives from it
        self.rejected = False  # it came above the limit
        self.kept_waiting = False  # its file did not come in time
        self.version_is_right: Callable[[Ask, int, tuple[int, int]], bool]

    def greet(self, header: bytes) -> None:
        """Have this sent before anything else."""
        self.outgoing = header + self.outgoing
        self.ends = [len(header) + end for end in self.ends]
        self.greeting = len(header)

    def chunk(self, rng: random.Random, whole: bool) -> bytes:
        """The next bytes to send; empty when it is the server's turn."""
        allowed = min(self.answered + self.ahead, len(self.asks))
        limit = self.ends[allowed - 1] if allowed else self.greeting
        left = limit - self.sent
        if left <= 0 or self.gone:
            return b""
        pace = rng.choice((1, 7, 60, left))
        size = left if whole else min(left, rng.randint(1, pace))
        part = self.outgoing[self.sent : self.sent + size]
        self.sent += size
        while len(self.sent_at) < len(self.ends) and self.ends[len(self.sent_at)] <= self.sent:
            self.sent_at.append(self.clock())
        return part

    @property
    def all_sent(self) -> bool:
        return self.sent == len(self.outgoing)

    @property
    def satisfied(self) -> bool:
        return self.last or self.answered == len(self.asks)

    def hear(self, part: bytes) -> None:
        """Bytes of the server. Raises Violation unless they go on with a right response."""
        self.received += part
        while self._judge_next():
            pass

    def _judge_next(self) -> bool:
        seen = bytes(self.received[self.checked :])
        if not seen:
            return False
        if self.last:
            raise Violation(f"bytes behind the last response: {seen[:80]!r}")
        if not seen.startswith(b"HTTP/1.1 "[: len(seen)]):
            raise Violation(f"not the beginning of a response: {seen[:80]!r}")
        end = seen.find(b"\r\n\r\n")
        if end < 0:
            return False
        fields = dict(line.split(b": ", 1) for line in seen[:end].split(b"\r\n")[1:])
        status = int(seen[9:STATUS_LENGTH])
        keeps = fields[b"Connection"] == b"keep-alive"
        expected, last = self._expected(status, version_of(fields), fields[b"Date"], keeps=keeps)
        if seen[: len(expected)] != expected[: len(seen)]:
            if len(seen) < len(expected) and self._may_be_broken_off():
                # Bytes of another version, for which it must be broken off.
                return False
            at = next(i for i, (a, b) in enumerate(zip(seen, expected, strict=False)) if a != b)
            raise Violation(
                f"response {self.answered} is wrong from byte {at}: {seen[at : at + 40]!r}, not "
                f"{expected[at : at + 40]!r}; its head: {seen[:end]!r}"
            )
        if len(seen) < len(expected):
            return False
        self.checked += len(expected)
        self.answered += 1
        self.last = last
        return True

    def _may_be_broken_off(self) -> bool:
        """Whether it is sent from a file that others write to."""
        return self.answered < len(self.asks) and self.asks[self.answered].shape in STREAMED

    def _expected(self, status: int, version: int, date: bytes, *, keeps: bool) -> tuple[bytes, bool]:
        """(the whole response, whether it is the last)."""
        ask = self.asks[self.answered] if self.answered < len(self.asks) else None
        complete = self.answered < len(self.sent_at)
        refused = status in (400, 408, 414, 429, 431, 503)
        since = self.sent_at[self.answered] if complete and not refused else self.began_at
        if not any(date == date_of(second) for second in range(since[1], self.clock()[1] + 1)):
            raise Violation(f"a Date of another time: {date!r}, asked at {since}, now {self.clock()}")
        if status == 503 and not (self.kept_waiting or (self.rejected and self.answered == 0)):
            raise Violation(f"503 without a reason, after {self.answered} answers")
        if status == 429:
            # Whose head it was is not told: what is not plain closes.
            return refusal(status, date, keeps=keeps)[0], not keeps
        if status == 503 or (status == 408 and not self._all_delivered()):
            return refusal(status, date)[0], True
        if ask is None:
            raise Violation(f"an answer that nobody asked for: status {status}")
        if ask.fault:
            if status != REFUSALS[ask.fault]:
                raise Violation(f"{status} for {ask.fault}")
            return refusal(status, date)[0], True
        if not complete:
            raise Violation(f"answer {status} to a head that has not been sent whole")
        if not self.version_is_right(ask, version, since):
            raise Violation(f"version {version} of {ask.name}, asked at {since}, now {self.clock()}")
        return response_head(ask, version, date)[0] + ask.body(version), not ask.keep_alive

    def _all_delivered(self) -> bool:
        """Whether no head can be waiting for its rest."""
        return self.answered >= len(self.asks)

    def end(self, broken_off: Callable[[], bool]) -> None:
        """The server's direction has ended in order: every head that had arrived by then has its answer, but
        for one that had to be `broken_off`, and those behind it.
        """
        self.eof_seen = True
        assert self.ended_at is not None
        due = sum(end <= self.ended_at for end in self.ends)
        cut = len(self.received) - self.checked
        if cut and not broken_off():
            raise Violation(f"cut off inside a response after {cut} bytes")
        if not self.last and self.answered < due and not broken_off():
            raise Violation(f"closed after {self.answered} of the {due} responses that were due")
