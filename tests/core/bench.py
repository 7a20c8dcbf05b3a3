"""A machine on the bench: the tests play the kernel, one completion at a time."""

from __future__ import annotations

from zchttpd._core import testing

WINDOW = 4096
HEAD_MAX = 1024
CONNECTIONS_MAX = 4
REFUSALS_MAX = 16
LOOPBACK, NETWORK = 0, 1
DATE = b"?" * 29
HEAD = b"GET /a HTTP/1.1\r\n\r\n"


class Bench:
    """A machine with small limits, and the moves that most tests begin with."""

    def __init__(self, send_mode: str = "zerocopy", access_bytes: int = 0, **limits: int) -> None:
        self.now_us = 10_000_000
        self.machine = testing.SimWorker(
            now_us=self.now_us,
            unix_second=100,
            send_mode=send_mode,
            access_bytes=access_bytes,
            limits={
                "head_size_max": HEAD_MAX,
                "line_size_max": 512,
                "head_ms_max": 10_000,
                "idle_ms_max": 65_000,
                "stall_ms_max": 60_000,
                "linger_ms_max": 5_000,
                "zc_size_min": 1000,
                "window_size": WINDOW,
                "windows_per_connection": 2,
                "window_count": 8,
                "connections_max": CONNECTIONS_MAX,
                "refusals_max": REFUSALS_MAX,
                "leases_per_connection": 8,
            }
            | limits,
        )
        self.fds = 10

    def wait(self, ms: int, second: int = 100) -> None:
        self.now_us += ms * 1000
        self.machine.set_time(self.now_us, second)
        self.machine.expire()

    def ops(self) -> list[testing.Op]:
        """Ops since the last call, with registrations done."""
        ops = self.machine.take_ops()
        for op in ops:
            if op.kind == "register":
                self.machine.register(op.slot)
        return [op for op in ops if op.kind != "register"]

    def connect(self, route: int = LOOPBACK) -> testing.Op:
        """A new connection; its receive."""
        self.fds += 1
        assert self.machine.accept(self.fds, route)
        [recv] = self.ops()
        assert (recv.kind, recv.fd) == ("recv", self.fds)
        return recv

    def hear(self, recv: testing.Op, received: bytes) -> None:
        self.machine.step(recv.token, len(received), True, False, received)

    def ask(self, recv: testing.Op, head: bytes = HEAD) -> int:
        """A head that nobody knows; its ticket."""
        self.hear(recv, head)
        [(kind, ticket, subject)] = self.machine.take_work()
        assert (kind, subject) == ("head", head)
        return ticket

    def plan(
        self,
        segments: list[tuple[str, int, int]],
        image: bytes = b"Date: " + DATE + b"\r\n\r\n",
        **options: int,
    ) -> int:
        return self.machine.plan(
            status=options.pop("status", 200),
            image=image,
            date_at=6,
            segments=segments,
            keep_alive=options.pop("keep_alive", 1),
            linger=options.pop("linger", 0),
            **options,
        )

    def small(self, **options: int) -> int:
        return self.plan([("literal", 0, 39)], **options)

    def stream(self, recv: testing.Op, windows: int) -> testing.Op:
        """Answer with a streamed file; its first read, once the head has gone."""
        source = self.machine.source(900_000, windows * WINDOW)
        plan = self.plan([("literal", 0, 39), ("streamed", 0, windows * WINDOW)], source=source)
        self.machine.drop_source(source)
        ticket = self.ask(recv)
        self.machine.answer(ticket, plan, False)
        self.machine.release(plan)
        [head] = self.ops()
        self.machine.step(head.token, head.length)
        [read] = self.ops()
        assert read.kind == "read"
        return read
