"""The desk of the simulation: entries with versions, answers now or later, plans kept and retired."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from zchttpd._core import testing_site

from .exchange import STREAMED, Ask, content, plain_parts, refusal, response_head
from .looks import version_at
from .parts import NO_LIMIT, REFUSED_HEAD, REFUSED_KEEPS, Violation

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

    from zchttpd._core import testing

    from .kernel import Kernel
    from .parts import Socket

REVALIDATE_MS = 1000
ATTEMPTS_MAX = 3


@dataclass(slots=True)
class File:
    size: int
    changes: list[tuple[int, int]] = field(default_factory=list)  # (ms, version), oldest first
    growths: int = 0  # how often something was appended
    frozen: bool = False  # it is replaced, and never written to
    trusted: bool = False  # somebody could not look at it

    @property
    def version(self) -> int:
        return self.changes[-1][1]

    def version_at(self, ms: int) -> int:
        return max((version for at, version in self.changes if at <= ms), default=self.changes[0][1])


@dataclass(slots=True, eq=False)
class Holding:
    """An entry as the machine knows it."""

    number: int
    version: int
    check_at_ms: int
    mapping: int | None = None
    source: int | None = None
    plans: dict[Ask, int] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Fill:
    """A snapshot that is being filled, of a file that may change meanwhile."""

    number: int
    version: int
    waiting: list[tuple[int, bytes]] = field(default_factory=list)


class Desk:
    """Answers the machine's work; keeps some of it for later, as when a file must be read first."""

    machine: testing.SimWorker

    def __init__(self, kernel: Kernel, rng: random.Random, slowness: float, stall_ms_max: int) -> None:
        self.kernel = kernel
        self.rng = rng
        self.slowness = slowness
        self.stall_ms_max = stall_ms_max
        self.known: dict[bytes, Ask] = {}
        self.files: dict[str, File] = {}
        self.holdings: dict[str, Holding] = {}
        self.refusals: dict[int, int] = {}
        self.delayed: list[tuple[str, int, bytes | int]] = []
        self.hung: list[tuple[str, int, bytes | int]] = []  # what waits for a disk that does not answer
        self.filling: dict[str, Fill] = {}
        self.attempts: dict[int, int] = {}  # by ticket: fills of its file that came to nothing
        self.calm = False
        self.now_ms = 0
        kernel.files.disk = kernel.looks.disk = self

    # ---- files ----

    def register(self, ask: Ask) -> None:
        self.known[ask.head] = ask
        if ask.name not in self.files:
            frozen = ask.shape in STREAMED and self.rng.random() < 0.3
            self.files[ask.name] = File(ask.size, [(0, 1)], frozen=frozen)

    def change(self, name: str) -> None:
        """Another version of the file is published, over the old one or in its place."""
        file = self.files[name]
        file.changes.append((self.now_ms, file.version + 1))
        if not file.frozen:
            self.kernel.files.changed(name)

    def grow(self, name: str) -> None:
        """Something is appended to it: nobody is to be any the worse for it."""
        self.files[name].growths += 1

    def state(self, name: str) -> tuple[int, int]:
        file = self.files[name]
        return file.version, file.growths

    def trust(self, name: str) -> None:
        self.files[name].trusted = True

    def frozen(self, name: str) -> bool:
        return self.files[name].frozen

    def read(self, name: str, version: int | None = None) -> bytes:
        file = self.files[name]
        return content(name, version or file.version, file.size)

    def version_is_right(self, ask: Ask, version: int, since: tuple[int, int]) -> bool:
        file = self.files[ask.name]
        if ask.shape == "missing":
            return version == 1
        if file.trusted:
            return 1 <= version <= file.version
        return file.version_at(since[0] - REVALIDATE_MS - 1) <= version <= file.version

    # ---- work ----

    def attend(self, item: tuple[str, int, bytes | int]) -> None:
        kind, ticket, subject = item
        if kind == "refuse":
            self._must_have_a_reason(ticket, subject)
        if kind == "head" and self.kernel.chance("fill_hangs"):
            self.hung.append(item)
            self.kernel.events["fill_hangs"] += 1
        elif not self.calm and self.rng.random() < self.slowness:
            self.delayed.append(item)
            if kind == "refuse":
                self._doom(ticket, "the refusal is late")
        else:
            self._do(*item)

    def known_slots(self) -> set[int]:
        """Of the connections that it has been given and has not answered yet; some of them have gone."""
        tickets = {ticket for _, ticket, _ in (*self.delayed, *self.hung)}
        tickets.update(ticket for fill in self.filling.values() for ticket, _ in fill.waiting)
        return {ticket & 0xFFFFFF for ticket in tickets}

    def _must_have_a_reason(self, ticket: int, status: bytes | int) -> None:
        """A parked connection is told 503 when it has waited too long, and not before."""
        client = self._socket(ticket).client
        assert isinstance(status, int)
        if status % REFUSED_HEAD == 429:
            self.kernel.events["asked_too_often"] += 1
            if self.kernel.limits["requests_per_second"] == NO_LIMIT and not self.kernel.fronts.believed:
                raise Violation("429 without a rate")
        if status != 503 or client.rejected:
            return
        # Its turn may have come late, or never.
        came_ms = client.sent_at[client.answered][0] if client.answered < len(client.sent_at) else self.now_ms
        waited_ms = self.now_ms - came_ms
        if waited_ms < self.stall_ms_max:
            raise Violation(f"503 after {waited_ms} ms")
        client.kept_waiting = True
        self.kernel.events["kept_waiting"] += 1

    def wake_disk(self) -> None:
        """What hung goes on."""
        self.delayed += self.hung
        self.hung.clear()

    def catch_up(self) -> bool:
        """Do one piece of delayed work."""
        if not self.delayed:
            return False
        self._do(*self.delayed.pop(self.rng.randrange(len(self.delayed))))
        return True

    def _do(self, kind: str, ticket: int, subject: bytes | int) -> None:
        if kind == "head":
            assert isinstance(subject, bytes)
            self._judge(ticket, subject)
        elif kind == "stale":
            assert isinstance(subject, int)
            for name, holding in list(self.holdings.items()):
                if holding.number == subject:
                    self._look(name, holding)
            self.machine.retry(ticket)
        else:
            assert isinstance(subject, int)
            self._refuse(ticket, subject)

    def _judge(self, ticket: int, head: bytes) -> None:
        try:
            self._find_answer(ticket, head)
        except MemoryError:
            self._give_up(ticket)

    def _give_up(self, ticket: int) -> None:
        self.kernel.events["no_memory"] += 1
        self._doom(ticket, "no memory")
        self.machine.abandon(ticket)

    def _find_answer(self, ticket: int, head: bytes) -> None:
        ask = self.known.get(head)
        if ask is None:
            raise Violation(f"the desk got a head that nobody sent: {head!r}")
        if self.kernel.chance("abandon"):
            self._doom(ticket, "abandoned")
            self.machine.abandon(ticket)
            return
        if ask.shape == "missing":
            plan = self._plan(ask, None)
            self.machine.answer(ticket, plan, False)
            self.machine.release(plan)
            return
        holding = self.holdings.get(ask.name)
        if holding is not None and self.now_ms >= holding.check_at_ms:
            self._look(ask.name, holding)
        holding = self.holdings.get(ask.name)
        if holding is None:
            if ask.shape in ("mapped", "parts"):
                self._fill(ask, ticket)
                return
            holding = self._hold(ask)
        if ask.shape == "plain":
            self._teach(ask, holding)
        plan = holding.plans.get(ask)
        if plan is not None:
            self.machine.answer(ticket, plan, ask.memo)
            return
        plan = self._plan(ask, holding)
        self.machine.answer(ticket, plan, ask.memo)
        if ask.memo and self.rng.random() < 0.7:
            holding.plans[ask] = plan
        else:
            self.machine.release(plan)

    def _teach(self, ask: Ask, holding: Holding) -> None:
        """Tell the machine what it could say by itself. Raises MemoryError."""
        self.kernel.looks.turn(self.machine)
        self.kernel.looks.must_be_had(self.machine, ask, self.files[ask.name].version)
        before, behind = plain_parts(ask)
        self.machine.teach(ask.head, before, behind, before.index(b"?"), ask.keep_alive, False)
        version = version_at(ask.name, holding.version, ask.size)
        self.machine.give(ask.name.encode(), version, True)
        self.machine.watch(holding.number, version)

    def _doom(self, ticket: int, why: str) -> None:
        socket = self._socket(ticket)
        socket.doomed = socket.doomed or why

    def _socket(self, ticket: int) -> Socket:
        return self.kernel.sockets[self.machine.conn(ticket & 0xFFFFFF)["fd"]]

    def _refuse(self, ticket: int, status: int) -> None:
        if status not in self.refusals:
            try:
                self.refusals[status] = self._plan_refusal(status)
            except MemoryError:
                self._give_up(ticket)
                return
        self.machine.answer(ticket, self.refusals[status], False)

    def _plan_refusal(self, status: int) -> int:
        keeps = status >= REFUSED_KEEPS
        image, date_at = refusal(status % REFUSED_HEAD, keeps=keeps)
        plan: int = self.machine.plan(
            status=status % REFUSED_HEAD,
            image=image,
            date_at=date_at,
            segments=[("literal", 0, len(image))],
            keep_alive=keeps,
            linger=not keeps,
        )
        return plan

    def _plan(self, ask: Ask, holding: Holding | None) -> int:
        version = holding.version if holding is not None else 1
        image, date_at = response_head(ask, version)
        segments: list[tuple[str, int, int]] = []
        if ask.shape in ("mapped", "parts", "streamed", "stream_parts"):
            kind = "mapped" if ask.shape in ("mapped", "parts") else "streamed"
            begun = 0
            for span in ask.spans:
                if span.literal:
                    image += span.literal
                    continue
                if len(image) > begun:
                    segments.append(("literal", begun, len(image) - begun))
                    begun = len(image)
                segments.append((kind, span.offset, span.length))
            if len(image) > begun:
                segments.append(("literal", begun, len(image) - begun))
        else:
            image += ask.body(version)
            segments.append(("literal", 0, len(image)))
        return self.machine.plan(
            status=ask.status,
            image=image,
            date_at=date_at,
            segments=segments,
            keep_alive=ask.keep_alive,
            linger=False,
            entry=holding.number if holding is not None else None,
            mapping=holding.mapping if holding is not None else None,
            source=holding.source if holding is not None else None,
        )

    # ---- entries ----

    def open_file(self, name: str) -> tuple[int, int, int, bool]:
        """A descriptor of the file as it is now, its size and mtime, and whether it has grown."""
        file = self.files[name]
        return self.kernel.files.open_file(name), file.size, file.version, file.growths > 0

    def _fill(self, ask: Ask, ticket: int) -> None:
        """The request waits until there is a snapshot. Raises MemoryError."""
        fill = self.filling.get(ask.name)
        if fill is None:
            number = self.machine.fill(*self.open_file(ask.name), *self.kernel.files.place_of(ask.name))
            fill = self.filling[ask.name] = Fill(number, self.files[ask.name].version)
        fill.waiting.append((ticket, ask.head))
        self.machine.await_fill(ticket, fill.number)

    def filled(self, filled: Iterable[tuple[int, int]]) -> None:
        """Snapshots are full, or could not be had."""
        for number, error in filled:
            name, fill = next((name, fill) for name, fill in self.filling.items() if fill.number == number)
            del self.filling[name]
            if error:
                self.kernel.events["torn"] += (
                    error == errno.ESTALE and fill.version != self.files[name].version
                )
                self.machine.drop(number)
                for ticket, head in fill.waiting:
                    self._try_again(ticket, head)
                continue
            self.kernel.events["filled"] += 1
            # What cannot be registered is sent by copying.
            if self.rng.random() < 0.9:
                self.machine.register_mapping(number)
            check_at_ms = self.now_ms + REVALIDATE_MS
            self.holdings[name] = Holding(self.machine.entry(check_at_ms), fill.version, check_at_ms, number)
            for ticket, head in fill.waiting:
                self._judge(ticket, head)

    def _try_again(self, ticket: int, head: bytes) -> None:
        self.attempts[ticket] = self.attempts.get(ticket, 0) + 1
        if self.attempts[ticket] < ATTEMPTS_MAX:
            self._judge(ticket, head)
            return
        self._socket(ticket).client.kept_waiting = True
        self._refuse(ticket, 503)

    def _hold(self, ask: Ask) -> Holding:
        """An entry of what needs no snapshot."""
        version = self.files[ask.name].version
        check_at_ms = self.now_ms + REVALIDATE_MS
        holding = Holding(self.machine.entry(check_at_ms), version, check_at_ms)
        if ask.shape in STREAMED:
            frozen = self.files[ask.name].frozen
            device, aside = self.kernel.files.place_of(ask.name)
            holding.source = self.machine.source(*self.open_file(ask.name), device, frozen, aside)
        self.holdings[ask.name] = holding
        return holding

    def _look(self, name: str, holding: Holding) -> None:
        lost = holding.source is not None and not self.machine.holds(holding.source)
        if holding.version == self.files[name].version and not lost:
            holding.check_at_ms = self.now_ms + REVALIDATE_MS
            self.machine.refresh(holding.number, holding.check_at_ms)
        else:
            self.retire(name)

    def retire(self, name: str) -> None:
        """Outdated or evicted, whoever is being sent it."""
        holding = self.holdings.pop(name)
        steps = [lambda: self.machine.retire(holding.number)]
        if holding.mapping is not None:
            steps.append(lambda: self.machine.drop(holding.mapping))
        if holding.source is not None:
            steps.append(lambda: self.machine.drop_source(holding.source))
        self.rng.shuffle(steps)
        for step in steps:
            step()

    def close(self) -> None:
        for name in list(self.holdings):
            self.retire(name)
        for plan in self.refusals.values():
            self.machine.release(plan)
        self.refusals.clear()
        testing_site.forget_own(self.machine)
