"""A worker on the bench: the tests play the kernel, one completion at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zchttpd._core import testing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WINDOW = 4096
HEAD_MAX = 1024
CONNECTIONS_MAX = 4
REFUSALS_MAX = 16
READS_MAX = 4
NO_LIMIT = 2**32 - 1
NO_RATE = 2**64 - 1
LOOPBACK, NETWORK = 0, 1
DATE = b"?" * 29
HEAD = b"GET /a HTTP/1.1\r\n\r\n"
# What every worker does, whatever it is asked for.
USUAL = (
    *("accept", "watch", "register", "signal", "take_version", "check_version", "close_file"),
    *("map_file", "unmap_file", "resident", "look", "check_root", "drop_pages", "route", "cpu_time"),
)
LIMITS = {
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
    "connections_per_address": NO_LIMIT,
    "requests_per_second": NO_LIMIT,
    "requests_burst": 1,
    "bytes_per_second": NO_RATE,
    "leases_per_connection": 8,
    "memory_files_max": 256,
    "part_bytes_max": 1000,
    "held_bytes_max": 1 << 20,
    "turn_bytes_max": 1 << 20,
    "way_bytes": 1 << 30,
}


class Bench:
    """A worker with small limits, and the moves that most tests begin with."""

    def __init__(
        self,
        send_mode: str = "zerocopy",
        access_bytes: int = 0,
        *,
        maps: bool = False,
        memfd_size_min: int = 0,
        huge_size: int = 0,
        device_reads: int = READS_MAX,
        zerocopy_by_socket: bool = False,
        request_ids: bool = False,
        drain_ms_max: int = 10_000_000,
        proxy: str = "",
        proxies: Sequence[tuple[bytes, int]] = (),
        **limits: int,
    ) -> None:
        """`maps`: files that stream are mapped. `proxy`: who connects, as `Worker` has it."""
        self.maps = maps
        self.resident = WINDOW  # what the kernel answers to "resident" at most
        # What the kernel answers to "queued" and "unread"; and to "route", by descriptor.
        self.unacknowledged = self.unread = 0
        self.routes: dict[int, int] = {}
        self.route_asked = 0  # how often that was
        self.check_error = 0  # and, as an errno, to the question for a file's version
        self.files = 1_000_000
        self.mapped = self.unmapped = 0  # where the last file that streams was mapped
        self.dropped: list[tuple[int, int]] = []  # offset and length of what left the page tables
        self._ops: list[testing.ExecutedOp] = []
        self._work: list[tuple[str, int, bytes | int]] = []
        self._filled: dict[int, int] = {}
        self.machine = testing.SimWorker(
            execute=self._execute,
            handler=self._handle,
            now_us=10_000_000,
            unix_second=100,
            send_mode=send_mode,
            access_bytes=access_bytes,
            memfd_size_min=memfd_size_min,
            huge_size=huge_size,
            device_reads=device_reads,
            zerocopy_by_socket=zerocopy_by_socket,
            request_ids=request_ids,
            drain_ms_max=drain_ms_max,
            listeners=[(testing.LISTENER, proxy)],
            proxies=proxies,
            limits=LIMITS | limits,
        )
        self.fds = 10
        self.machine.start()
        [self._accept] = [op for op in self._ops if op.kind == "accept"]

    def _execute(self, op: testing.ExecutedOp) -> int:
        self._ops.append(op)
        self.route_asked += op.kind == "route"
        if op.kind == "map_file" and self.maps:
            self.mapped = self.machine.map_file(op)
        elif op.kind == "unmap_file":
            self.machine.unmap_file(op)
            self.unmapped = op.address
        elif op.kind == "drop_pages":
            self.dropped.append((op.address - self.mapped, op.length))
        told = {
            "queued": self.unacknowledged,
            "unread": self.unread,
            "route": self.routes.get(op.fd, LOOPBACK),
            "check_version": -self.check_error,
            "resident": min(self.resident, op.length),
        }
        return told.get(op.kind, 0)

    def _handle(
        self, work: Iterator[tuple[str, int, bytes | int]], filled: Iterator[tuple[int, int]], now_ms: int
    ) -> None:
        assert now_ms == self.now_ms
        self._work += work
        self._filled.update(filled)

    # ---- what the kernel does ----

    def wait(self, ms: int, second: int = 100) -> None:
        self.machine.now_us += ms * 1000
        self.machine.unix_second = second
        self.machine.step()

    @property
    def now_ms(self) -> int:
        return self.machine.now_us // 1000

    def step(
        self, token: int, res: int, more: bool = False, notification: bool = False, received: bytes = b""
    ) -> None:
        """A turn with one completion."""
        self.machine.deliver(token, res, more, notification, received)
        self.machine.step()

    def accept(self, fd: int, route: int, address: bytes = b"", port: int = 0) -> bool:
        """A connection comes. False when its socket is closed at once."""
        self.routes[fd] = route
        self.machine.deliver(self._accept.token, fd, True, address=address, port=port)
        self.machine.step()
        return not any(op.kind == "reject" and op.fd == fd for op in self._ops)

    def refuse_accept(self, error: int) -> None:
        """Accepting ends with an errno."""
        self._ops.clear()
        self.machine.deliver(self._accept.token, -error, False)
        self.machine.step()

    # ---- what the worker did ----

    def ops(self) -> list[testing.ExecutedOp]:
        """Ops since the last call."""
        self.machine.flush()
        ops, self._ops = self._ops, []
        return [op for op in ops if op.kind not in USUAL]

    def watches(self) -> list[testing.ExecutedOp]:
        """Watches since the last call of any."""
        ops, self._ops = self._ops, []
        return [op for op in ops if op.kind == "watch"]

    def accepts(self) -> bool:
        """Whether it asked for connections again."""
        self.machine.flush()
        return any(op.kind == "accept" for op in self._ops)

    def take_work(self) -> list[tuple[str, int, bytes | int]]:
        """What the handler was called for since the last call."""
        work, self._work = self._work, []
        return work

    # ---- moves ----

    def connect(self, route: int = LOOPBACK) -> testing.ExecutedOp:
        """A new connection; its receive."""
        self.fds += 1
        assert self.accept(self.fds, route)
        [recv] = self.ops()
        assert (recv.kind, recv.fd) == ("recv", self.fds)
        return recv

    def hear(self, recv: testing.ExecutedOp, received: bytes) -> None:
        self.step(recv.token, len(received), True, False, received)

    def ask(self, recv: testing.ExecutedOp, head: bytes = HEAD) -> int:
        """A head that nobody knows; its ticket."""
        self.hear(recv, head)
        [(kind, ticket, subject)] = self.take_work()
        assert (kind, subject) == ("head", head)
        return ticket

    def file(self, content: bytes) -> tuple[int, int, int]:
        """An open file: its descriptor, size and mtime."""
        self.files += 1
        return self.files, len(content), 1

    def mapping(self, content: bytes, registered: bool) -> int:
        """A snapshot of a file, filled."""
        number: int = self.machine.fill(*self.file(content), False, 1)
        self.machine.flush()
        collapses = [op for op in self._ops if op.kind == "collapse"]
        for op in collapses:
            self._ops.remove(op)
            self.step(op.token, 0)
        [fill] = [op for op in self._ops if op.kind == "fill"]
        self._ops.remove(fill)
        self.machine.poke(fill.address, content)
        self.step(fill.token, fill.length)
        assert self._filled.pop(number) == 0
        if registered:
            assert self.machine.register_mapping(number) == 0
        return number

    def source(self, size: int, *, frozen: bool = False, device: int = 1) -> int:
        """A file to stream from."""
        source: int = self.machine.source(*self.file(bytes(size)), False, device, frozen)
        return source

    def plan(
        self,
        segments: list[tuple[str, int, int]],
        image: bytes = b"Date: " + DATE + b"\r\n\r\n",
        **options: int,
    ) -> int:
        plan: int = self.machine.plan(
            status=options.pop("status", 200),
            image=image,
            date_at=options.pop("date_at", 6),
            segments=segments,
            keep_alive=options.pop("keep_alive", 1),
            linger=options.pop("linger", 0),
            **options,
        )
        return plan

    def small(self, **options: int) -> int:
        return self.plan([("literal", 0, 39)], **options)

    def stream(
        self, recv: testing.ExecutedOp, windows: int, *, kind: str = "read", frozen: bool = False
    ) -> testing.ExecutedOp:
        """Answer with a streamed file; its first read or what else it begins with, once the head has gone."""
        source = self.source(windows * WINDOW, frozen=frozen)
        plan = self.plan([("literal", 0, 39), ("streamed", 0, windows * WINDOW)], source=source)
        self.machine.drop_source(source)
        ticket = self.ask(recv)
        self.machine.answer(ticket, plan, False)
        self.machine.release(plan)
        [head] = self.ops()
        self.step(head.token, head.length)
        [begun] = self.ops()
        assert begun.kind == kind
        return begun
