"""One run of the simulation: a machine, a kernel, a desk and clients, all driven by one seed."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from zchttpd._core import testing, testing_memory
from zchttpd.engine.access_records import unpack_records

from .audit import Share, check_conns, check_gauges, check_leases, check_mappings, check_parked
from .client import Client
from .desk import REVALIDATE_MS, Desk
from .exchange import THEMES, random_ask
from .greeting import PROXY, random_greeting
from .kernel import Kernel
from .parts import Cqe, Socket, Violation, random_habits, random_limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EPOCH = 1_700_000_000
BEGAN_US = 5_000_000
STEPS = 800
DRAIN_MS_MAX = 10_000_000
OPS_PER_COMPLETION = 8
ROUNDS_MAX = 20_000  # of settling: more is a loop that never ends


class World:
    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        testing_memory.fail_after(-1)
        self.allocated_before = testing_memory.live()
        self.now_us = BEGAN_US
        self.window = rng.choice((4096, 8192))
        self.limits = random_limits(rng, self.window)
        self.logs = rng.choice((0, 512, 1 << 18))  # bytes for access records
        self.kernel = Kernel(rng, random_habits(rng), self.limits)
        self.send_mode = rng.choice(("zerocopy", "zerocopy", "auto", "auto", "plain", "plain"))
        self.reports_usage = rng.random() < 0.8
        self.desk = Desk(self.kernel, rng, rng.choice((0.0, 0.3, 0.95)), self.limits["stall_ms_max"])
        # Who connects may be a proxy, which says who the client is.
        self.kernel.greetings.expected = rng.random() < 0.3
        self.execute: Callable[[testing.ExecutedOp], int] = self.kernel.execute
        self.machine = self.kernel.machine = self.desk.machine = testing.SimWorker(
            execute=lambda op: self.execute(op),
            handler=self.handle,
            limits=self.limits,
            access_bytes=self.logs,
            plans_max=rng.choice((8, 64)),
            mappings_max=rng.choice((48, 256)),
            now_us=self.now_us,
            unix_second=EPOCH,
            drain_ms_max=DRAIN_MS_MAX,
            send_mode=self.send_mode,
            zerocopy_able=rng.random() < 0.8,
            zerocopy_by_socket=self.kernel.habits.by_socket,
            reports_usage=self.reports_usage,
            memfd_size_min=rng.choice((0, 1)),
            huge_size=rng.choice((0, 4096, 16384)),
            device_reads=self.kernel.files.reads_max,
            listeners=[(testing.LISTENER, "named" if self.kernel.greetings.expected else "")],
            proxies=[(PROXY, 128)],
        )
        self.kernel.fronts.begin(rng)
        self.kernel.looks.begin(self.machine, REVALIDATE_MS)
        self.machine.before = self.before
        self.machine.after = self.after
        self.batch = rng.choice((1, 4, 64))
        theme = rng.choice(THEMES)
        self.asks = [random_ask(rng, theme, self.window) for _ in range(rng.randint(1, 8))]
        self.routes = rng.choice(((0,), (1,), (0, 1)))
        self.crowd, self.hogs = rng.random() < 0.3, rng.random() < 0.1
        self.hogged: list[int] = []  # mappings that leave no room for others
        self.floods = rng.random() < 0.3
        self.half_closers = rng.random() < 0.4
        self.drain_in = rng.randrange(STEPS) if rng.random() < 0.2 else -1
        self.slow_readers = rng.random() < 0.3
        self.killers = rng.random() < 0.4
        self.changes = rng.random() < 0.6
        self.long_waits = rng.random() < 0.25
        self.spent: list[int] = []  # tokens that must match nothing any more
        self.clients: list[tuple[Socket, Client]] = []
        self.drained = False
        self.live_before: dict[str, int] = {}
        self.stale = self.logged = 0
        self.logged_bytes: Counter[str] = Counter()  # by address
        self.machine.set_batch(self.batch)
        self.set_time()
        self.machine.start()

    # ---- time ----

    def clock(self) -> tuple[int, int]:
        """(monotonic ms, Unix second)."""
        return self.now_us // 1000, EPOCH + self.now_us // 1_000_000

    def set_time(self) -> None:
        self.machine.now_us, self.machine.unix_second = self.now_us, self.clock()[1]
        self.desk.now_ms = self.now_us // 1000

    def wait(self) -> None:
        longest = 100_000_000 if self.long_waits and self.rng.random() < 0.2 else 300_000
        self.now_us += self.rng.randint(1, longest)
        self.turn()

    # ---- the worker's turns ----

    def turn(self) -> int:
        """A batch of completions or a few, the deadlines, the desk. In how many ms the next is due."""
        # What rests goes on when a little time has passed.
        self.now_us += self.rng.choice((0, 10, 200))
        self.set_time()
        taken = self.batch * self.rng.choice((1, 1, 3))
        room = self.kernel.habits.cq_room
        if room and not self.kernel.calm and len(self.kernel.cq) > room:
            # An overflow: late, and few at a time.
            self.kernel.events["cq_full"] += 1
            taken = room * (self.rng.random() < 0.5)
        batch, self.kernel.cq = self.kernel.cq[:taken], self.kernel.cq[taken:]
        for cqe in batch:
            self.deliver(cqe)
        self.kernel.op_count = 0
        pause_ms: int = self.machine.step()
        self.kernel.end_of_batch()
        live = self.machine.live()
        if self.kernel.op_count > 100 + OPS_PER_COMPLETION * len(batch) + 5 * (
            live["conns"] + live["mappings"]
        ):
            raise Violation(f"{self.kernel.op_count} ops for {len(batch)} completions: {live}")
        if self.rng.random() < 0.3:
            self.take_records()
        return pause_ms

    def deliver(self, cqe: Cqe) -> None:
        what = (cqe.token, cqe.res, cqe.more, cqe.notification, cqe.received)
        self.machine.deliver(*what, address=cqe.address, note=cqe)

    def before(self, cqe: Cqe) -> None:
        """The machine is about to see a completion."""
        if cqe.stray:
            self.stale += 1
        else:
            self.kernel.seen(cqe)
        self.kernel.greetings.before(cqe)
        self.kernel.fronts.before()
        self.live_before = self.machine.live()

    def after(self, cqe: Cqe) -> None:
        after = self.machine.live()
        self.kernel.greetings.after(cqe)
        self.kernel.fronts.after()
        self.kernel.conns_most = max(self.kernel.conns_most, after["conns"])
        ended = "leases" if testing.unpack(cqe.token)[0] == testing.TOKENS["send_zc"] else "conns"
        if after[ended] < self.live_before[ended]:
            self.spent.append(cqe.token)

    def handle(
        self, work: Iterator[tuple[str, int, bytes | int]], filled: Iterator[tuple[int, int]], now_ms: int
    ) -> None:
        """The handler: whatever it does takes a while, at times a long one."""
        assert now_ms == self.now_us // 1000
        share = Share(self.now_us)
        self.desk.filled(filled)
        for item in work:
            share.takes(item[0], self.now_us)
            self.desk.attend(item)
            self.now_us += round(self.rng.choice((10, 100, 5000)) * self.rng.random())
            self.machine.now_us = self.now_us
        if share.is_over(self.now_us):
            self.kernel.events["handler_cut"] += any(conn["queued"] for conn in self.conns())

    def take_records(self) -> None:
        for record in unpack_records(self.machine.take_records()):
            self.logged += 1
            self.logged_bytes[record.address] += record.body_bytes

    def flush(self) -> None:
        self.machine.flush()
        self.kernel.end_of_batch()

    # ---- what happens ----

    def step(self) -> None:
        acts: tuple[tuple[int, Callable[[], object]], ...] = (
            (8, self.kernel.go_on),
            (5, self.turn),
            (6, self.client_acts),
            (2, self.desk_acts),
            (1, self.wait),
            (1, self.arrive),
            (1, self.disturb),
        )
        if self.kernel.habits.short_of_memory and self.rng.random() < 0.2:
            testing_memory.fail_after(self.rng.randrange(6))
        act = self.rng.choices([act for _, act in acts], [weight for weight, _ in acts])[0]
        act()
        if self.drain_in == 0:
            self.machine.drain(self.rng.choice((0, 500, 2_000)))
            self.kernel.end_of_batch()
            self.drained = True
        self.drain_in -= 1
        self.flush()
        self.check()

    def arrive(self) -> None:
        full = self.machine.live()["conns"] >= self.limits["connections_max"]
        if len(self.clients) >= 30 or (full and not (self.crowd and self.rng.random() < 0.3)):
            return
        patient = [ask for ask in self.asks if ask.keep_alive and not ask.fault]
        flood = bool(self.floods and patient and self.rng.random() < 0.3)
        asks = [
            self.rng.choice(patient if flood else self.asks)
            for _ in range(60 if flood else self.rng.randint(1, 8))
        ]
        asks = self.kernel.fronts.name(asks, self.rng)
        for ask in asks:
            if not ask.fault:
                self.desk.register(ask)
        greeting = random_greeting(self.rng) if self.kernel.greetings.expected else None
        if greeting is not None and greeting.kind == "wrong":
            asks = []
        client = Client(
            asks, 60 if flood else self.rng.choice((1, 1, 3, 10)), self.rng.random() < 0.1, self.clock
        )
        client.version_is_right = self.desk.version_is_right
        client.sluggish = self.slow_readers and self.rng.random() < 0.5
        socket = self.kernel.connect(client)
        if greeting is not None:
            socket.greeting = greeting.kind
            client.greet(greeting.header(socket.address))
        socket.route = self.rng.choice(self.routes)
        self.clients.append((socket, client))

    def client_acts(self) -> None:
        if not self.clients:
            return
        socket, client = self.rng.choice(self.clients)
        if client.gone:
            return
        what = self.rng.random()
        if what < 0.5:
            self.send(socket, client, whole=client.ahead > 10)
        elif what < 0.99 or not self.killers:
            if not client.sluggish or self.rng.random() < 0.02:
                self.read(socket, client, self.rng.choice((1, 200, 3000, 100_000)))
        else:
            client.gone = True
            self.kernel.hang_up(socket, "killed")

    def send(self, socket: Socket, client: Client, whole: bool) -> bool:
        if socket.closed or socket.hung_up or socket.inbound_ended:
            return False
        part = client.chunk(self.rng, whole)
        socket.inbound += part
        if self.rng.random() < (0.2 if client.all_sent else 0.1 if self.half_closers else 0.0):
            # A peer that has closed its direction may still be reading.
            socket.inbound_ended = True
        return bool(part)

    def read(self, socket: Socket, client: Client, most: int) -> bool:
        part = self.kernel.client_reads(socket, most)
        client.hear(part)
        if not part and client.ended_at is not None and not socket.unread and not client.eof_seen:
            if not (client.lost or socket.hung_up):
                client.end(partial(self.kernel.breaks_off, socket))
            client.eof_seen = True
            socket.inbound_ended = True
            return True
        return bool(part)

    def desk_acts(self) -> None:
        self.desk.catch_up()

    def disturb(self) -> None:
        """What nobody asked for: a file changes, an entry is evicted, a completion comes far too late."""
        what = self.rng.random()
        if what < 0.4 and self.changes and self.desk.files:
            # Most of them while somebody reads the file.
            read = list(self.desk.filling) if self.rng.random() < 0.5 else []
            name = self.rng.choice(read or list(self.desk.files))
            if self.rng.random() < 0.5:
                self.desk.grow(name)
            else:
                self.desk.change(name)
        elif what < 0.6 and self.changes and self.desk.holdings:
            self.desk.retire(self.rng.choice(list(self.desk.holdings)))
        elif what < 0.9 and self.spent:
            token = self.rng.choice(self.spent)
            self.deliver(Cqe(token, self.rng.choice((-104, 0, 17)), self.rng.random() < 0.5, stray=True))
            self.turn()
        elif what < 0.92:
            self.kernel.listener.wake()
        elif what > 0.95 and self.hogs:
            self.hog()

    def conns(self) -> list[dict[str, int]]:
        """Every connection that the machine has or had."""
        slots = range(self.limits["connections_max"] + self.limits["refusals_max"] + 100)
        return [self.machine.conn(slot) for slot in slots]

    def hog(self) -> None:
        """No memory for another mapping; or there is some again."""
        if self.hogged:
            for mapping in self.hogged:
                self.machine.drop(mapping)
            self.hogged.clear()
            return
        with contextlib.suppress(MemoryError):
            while True:
                self.hogged.append(self.machine.hog())
        self.kernel.events["hogged"] += 1

    # ---- what must hold ----

    def check(self) -> None:
        check_conns(self.kernel)
        check_parked(self.conns(), self.desk.known_slots())
        check_leases(self.kernel)
        check_mappings(self.kernel, self.owned())
        self.kernel.looks.check(self.machine)
        check_gauges(self.machine, self.limits["window_count"], self.window, self.stale)

    def owned(self) -> Counter[int]:
        """References of the desk to mappings, by slot, and those of fills under way."""
        owned = Counter(number & 0xFFFFFF for number in self.hogged)
        owned.update(holding.mapping & 0xFFFFFF for holding in self.desk.holdings.values() if holding.mapping)
        for fill in self.desk.filling.values():
            owned[fill.number & 0xFFFFFF] += 2
        return owned

    # ---- the end ----

    def settle(self, us: int = 0) -> None:
        """No more faults, everybody reads, and after so long no time passes: until nothing can happen."""
        self.now_us += us
        self.kernel.calm = self.desk.calm = True
        testing_memory.fail_after(-1)
        for _ in range(ROUNDS_MAX):
            busy = False
            while self.kernel.go_on() and self.rng.random() < 0.9:
                busy = True
            if self.kernel.cq:
                busy = True
            busy = self.turn() == 0 or busy
            busy = self.desk.catch_up() or busy
            self.flush()
            for socket, client in self.clients:
                if not client.gone:
                    busy = self.send(socket, client, whole=True) or busy
                    busy = self.read(socket, client, 1_000_000) or busy
            self.check()
            if not busy and not self.kernel.go_on():
                return
        raise Violation("it does not come to rest")

    def wait_it_out(self) -> None:
        """What hangs holds nobody up for ever, and who is paced has all in the end."""
        while self.kernel.rates.pause(self.conns()):
            self.settle(100_000)
        hangs = self.kernel.files.hung or self.desk.hung or self.hogged
        # Who is reset may make room for others, who have all the time again. Without any, only a window that
        # could not be made is tried again, or a listener that had no descriptors.
        for wait_us in [self.limits["stall_ms_max"] * 600] * 8 if hangs else [200_000] * 2:
            self.settle(wait_us)

    def wake(self) -> None:
        """What hung goes on."""
        self.kernel.files.wake()
        self.desk.wake_disk()
        if self.hogged:
            self.hog()

    def leave(self) -> None:
        """Everybody goes, in one of the ways there are."""
        if self.rng.random() < 0.5:
            self.wake()
        way = self.rng.choice(("close", "drain", "abort", "time"))
        if way in ("drain", "abort"):
            self.machine.drain()
            self.kernel.end_of_batch()
        if way == "abort":
            for socket in self.kernel.sockets.values():
                socket.doomed = socket.doomed or "the time to drain is over"
            self.now_us += DRAIN_MS_MAX * 1000
        for socket, _ in self.clients if way == "close" else ():
            socket.inbound_ended = True
        self.flush()
        self.settle()
        for _ in range(4):
            self.settle(66_000_000)
        self.wake()
        self.settle()
        self.desk.close()
        self.flush()
        self.settle()
