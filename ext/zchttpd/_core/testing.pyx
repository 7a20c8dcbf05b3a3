"""Test hooks: how the tests reach the layers that Python cannot call. Built with -Dtest_hooks=true only.

Thin: every method is one call of the layer behind it, with slots and tokens as plain numbers. `Machine` is the whole
machine without a ring: whoever drives it plays the kernel.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset
from posix.unistd cimport close, pwrite

import os
from collections import namedtuple

from zchttpd._core.access_record cimport access_pending, access_take
from zchttpd._core.cache_key cimport CACHE_KEY_SIZE_MAX, cache_key
from zchttpd._core.conn cimport (
    conn_abandon, conn_abort_all, conn_accepted, conn_answer, conn_drain, conn_expire, conn_queued, conn_retry,
    conn_step)
from zchttpd._core.http_date cimport HTTP_DATE_LENGTH, HttpDate, http_date_set
from zchttpd._core.lease cimport Ledger, lease_end, lease_open, ledger_close, ledger_open
from zchttpd._core.machine cimport (
    CONN_CLOSING, CONN_LINGERING, CONN_PARKED, CONN_READING, CONN_SENDING, Conn, Limits, Machine, SEND_AUTO,
    SEND_PLAIN, SEND_ZEROCOPY, StreamFile, WORK_HEAD, WORK_STALE, Work, conn_at, machine_close, machine_let_go_file,
    machine_let_go_mapping, machine_open, machine_open_access, machine_retire_entry, machine_set_time,
    machine_try_free_plan)
from zchttpd._core.mapping cimport (
    MAPPING_SNAPSHOT, MAPPING_WINDOW, Mapping, Mappings, REST_CLEAR, REST_NOTHING, REST_POOL, mapping_at,
    mapping_disown, mapping_hold, mapping_let_go, mapping_make, mapping_registered, mapping_unmap, mappings_close,
    mappings_open)
from zchttpd._core.op cimport Peer
from zchttpd._core.op cimport (
    Completion, OP_CANCEL, OP_CANCEL_ALL, OP_CLEAR, OP_CLOSE, OP_FILL, OP_LINK, OP_MORE, OP_NOWAIT, OP_POLL, OP_QUEUED,
    OP_READ, OP_RECV, OP_REGISTER, OP_RESET, OP_SEND, OP_SEND_ZC, OP_SHUTDOWN)
from zchttpd._core.plans cimport (
    NO_ROW, Plan, PlanTable, SEGMENT_LITERAL, SEGMENT_MAPPED, SEGMENT_STREAMED, Segment, cache_key_hash, entry_at,
    plan_at, plan_free, plan_make, plans_admit, plans_close, plans_drop_row, plans_find, plans_open)
from zchttpd._core.pool cimport pool_trim, pool_windows_left
from zchttpd._core.recv_buffer cimport (
    FRAME_BROKEN, FRAME_HEAD, FRAME_HEAD_LONG, FRAME_LINE_LONG, FRAME_MORE, HeadFramer, RecvBuffer, frame,
    recv_buffer_append, recv_buffer_consume, recv_buffer_free)
from zchttpd._core.slab cimport Slab, slab_close, slab_give, slab_holds, slab_open, slab_row, slab_take
from zchttpd._core.stats cimport ROUTE_COUNT, Stats, ZEROCOPY_ON
from zchttpd._core.stats import CELLS
from zchttpd._core.timer_wheel cimport (
    TimerWheel, timer_wheel_cancel, timer_wheel_close, timer_wheel_due, timer_wheel_open, timer_wheel_set)
from zchttpd._core.token cimport (
    NO_SLOT, TOKEN_READ, TOKEN_RECV, TOKEN_SEND_ZC, token_generation, token_kind, token_pack, token_slot)
from zchttpd._core.version cimport version_take

cdef extern from "<malloc.h>" nogil:
    enum:
        M_PERTURB
        M_MMAP_THRESHOLD
    int mallopt(int parameter, int value)

OPS = {
    OP_RECV: "recv", OP_SEND: "send", OP_SEND_ZC: "send_zc", OP_READ: "read", OP_FILL: "fill", OP_POLL: "poll",
    OP_SHUTDOWN: "shutdown", OP_CANCEL: "cancel", OP_CANCEL_ALL: "cancel_all", OP_RESET: "reset",
    OP_CLOSE: "close", OP_CLEAR: "clear", OP_QUEUED: "queued", OP_REGISTER: "register",
}
MORE, LINK, NOWAIT = OP_MORE, OP_LINK, OP_NOWAIT
FRAMES = {FRAME_MORE: "more", FRAME_HEAD: "head", FRAME_BROKEN: "broken", FRAME_LINE_LONG: "line_long",
          FRAME_HEAD_LONG: "head_long"}
RESTS = {REST_NOTHING: "nothing", REST_CLEAR: "clear", REST_POOL: "pool"}
SEGMENT_KINDS = {"literal": SEGMENT_LITERAL, "mapped": SEGMENT_MAPPED, "streamed": SEGMENT_STREAMED}
SEND_MODES = {"plain": SEND_PLAIN, "zerocopy": SEND_ZEROCOPY, "auto": SEND_AUTO}
TOKENS = {"recv": TOKEN_RECV, "read": TOKEN_READ, "send_zc": TOKEN_SEND_ZC}
STATES = {
    CONN_READING: "reading", CONN_PARKED: "parked", CONN_SENDING: "sending", CONN_LINGERING: "lingering",
    CONN_CLOSING: "closing",
}
POISON = 0xDB

# `token` comes back in the completion; `slot` is that of the mapping or source; `offset` that of a read, or the token
# to cancel.
Op = namedtuple("Op", "kind flags fd buffer slot token address offset length")


def unpack(token: int) -> tuple[int, int, int]:
    """(kind, slot, generation) of a token."""
    return token_kind(token), token_slot(token), token_generation(token)


def pack(kind: int, slot: int, generation: int) -> int:
    """The token of (kind, slot, generation)."""
    return token_pack(kind, slot, generation)


def http_date(second: int) -> bytes:
    """The Date value of a Unix time."""
    cdef HttpDate date
    memset(&date, 0, sizeof(date))
    http_date_set(&date, second)
    return PyBytes_FromStringAndSize(date.text, HTTP_DATE_LENGTH)


cdef class Slots:
    """A slab of rows of `row_size` bytes."""

    cdef Slab slab

    def __cinit__(self, row_size: int, capacity: int):
        if slab_open(&self.slab, row_size, capacity) < 0:
            raise MemoryError

    def __dealloc__(self):
        slab_close(&self.slab)

    @property
    def live(self) -> int:
        return self.slab.live

    def take(self) -> tuple[int, int] | None:
        """(slot, generation), or None when all are taken."""
        cdef uint32_t slot = slab_take(&self.slab)
        return None if slot == NO_SLOT else (slot, self.slab.generations[slot])

    def give(self, slot: int) -> None:
        slab_give(&self.slab, slot)

    def holds(self, slot: int, generation: int) -> bool:
        return slab_holds(&self.slab, slot, generation)

    def row(self, slot: int) -> bytes:
        return PyBytes_FromStringAndSize(<char*>slab_row(&self.slab, slot), self.slab.row_size)

    def scribble(self, slot: int) -> None:
        """Fill the row, as its owner may."""
        memset(slab_row(&self.slab, slot), 0xEE, self.slab.row_size)


cdef class TimingWheel:
    """Deadlines by slot."""

    cdef TimerWheel wheel

    def __cinit__(self, capacity: int, now_ms: int):
        if timer_wheel_open(&self.wheel, capacity, now_ms) < 0:
            raise MemoryError

    def __dealloc__(self):
        timer_wheel_close(&self.wheel)

    @property
    def filed(self) -> int:
        return self.wheel.filed

    def file(self, slot: int, deadline_ms: int) -> None:
        timer_wheel_set(&self.wheel, slot, deadline_ms)

    def drop(self, slot: int) -> None:
        timer_wheel_cancel(&self.wheel, slot)

    def due(self, now_ms: int) -> int | None:
        cdef uint32_t slot = timer_wheel_due(&self.wheel, now_ms)
        return None if slot == NO_SLOT else slot


cdef class Heads:
    """A receive buffer with its framer: received bytes in, heads out."""

    cdef RecvBuffer buffer
    cdef HeadFramer framer
    cdef readonly uint32_t line_max
    cdef readonly uint32_t head_max

    def __cinit__(self, line_max: int, head_max: int):
        self.line_max = line_max
        self.head_max = head_max

    def __dealloc__(self):
        recv_buffer_free(&self.buffer)

    @property
    def waiting(self) -> bytes:
        return PyBytes_FromStringAndSize(self.buffer.bytes + self.buffer.start, self.buffer.end - self.buffer.start)

    @property
    def holds_memory(self) -> bool:
        return self.buffer.bytes != NULL

    def append(self, received: bytes) -> None:
        if recv_buffer_append(&self.buffer, received, len(received)) < 0:
            raise MemoryError

    def look(self) -> tuple[str, int | None]:
        """What the framer says of the bytes that wait, and with "head" how long it is."""
        cdef uint32_t length = 0
        cdef int found = FRAME_MORE
        if self.buffer.bytes != NULL:
            found = frame(&self.framer, self.buffer.bytes + self.buffer.start, self.buffer.end - self.buffer.start,
                          self.line_max, self.head_max, &length)
        return FRAMES[found], length if found == FRAME_HEAD else None

    def consume(self, length: int) -> None:
        recv_buffer_consume(&self.buffer, length)


def cache_key_of(head: bytes) -> bytes | None:
    """The cache key of a head, or None when it is not to be remembered."""
    cdef char[CACHE_KEY_SIZE_MAX] out
    cdef uint32_t length = cache_key(head, len(head), out)
    return PyBytes_FromStringAndSize(out, length) if length else None


cdef class Plans:
    """The table from head bytes to plans, with plans that have one literal segment."""

    cdef PlanTable table
    cdef Stats stats

    def __cinit__(self, row_count: int, entry_count: int, key0: int = 0, key1: int = 0):
        memset(&self.stats, 0, sizeof(Stats))
        if plans_open(&self.table, row_count, entry_count, key0, key1, &self.stats) < 0:
            raise MemoryError

    def __dealloc__(self):
        plans_close(&self.table)

    @property
    def set_count(self) -> int:
        return self.table.set_count

    @property
    def live(self) -> tuple[int, int, int]:
        """(plans, entries, bytes of images)."""
        return self.table.plans.live, self.table.entries.live, self.table.image_bytes

    def hash(self, head: bytes) -> int:
        return cache_key_hash(&self.table, head, len(head))

    def entry(self) -> int:
        cdef uint32_t slot = slab_take(&self.table.entries)
        entry_at(&self.table, slot).first_plan = NO_SLOT
        return slot

    def entry_plans(self, entry: int) -> list[int]:
        """The plans of an entry, newest first."""
        cdef list found = []
        cdef uint32_t slot = entry_at(&self.table, entry).first_plan
        while slot != NO_SLOT:
            found.append(slot)
            slot = plan_at(&self.table, slot).next_of_entry
        return found

    def make(self, image: bytes, entry: int | None = None) -> int:
        cdef Segment segment
        segment.kind = SEGMENT_LITERAL
        segment.offset = 0
        segment.length = len(image)
        cdef uint32_t slot = plan_make(&self.table, NO_SLOT if entry is None else entry, image, len(image), -1, &segment, 1)
        if slot == NO_SLOT:
            raise MemoryError
        return slot

    def free(self, plan: int) -> None:
        plan_free(&self.table, plan)

    def rows(self, plan: int) -> int:
        """How many heads lead to it."""
        return plan_at(&self.table, plan).rows

    def find(self, head: bytes) -> tuple[int, int] | None:
        """(row, plan) of exactly this head, or None."""
        cdef uint32_t row = plans_find(&self.table, head, len(head))
        return None if row == NO_ROW else (row, self.table.rows[row].plan)

    def admit(self, head: bytes, plan: int, eager: bool = False) -> tuple[int | None, int | None]:
        """(row or None, the plan that lost a row or None)."""
        cdef uint32_t unrowed = NO_SLOT
        cdef uint32_t row = plans_admit(&self.table, head, len(head), plan, eager, &unrowed)
        return None if row == NO_ROW else row, None if unrowed == NO_SLOT else unrowed

    def drop_row(self, row: int) -> int:
        return plans_drop_row(&self.table, row)

    def edition(self, row: int) -> int:
        return self.table.rows[row].edition

    def forge(self, row: int, hash: int) -> None:
        """Make a row claim another hash, as a collision would."""
        self.table.rows[row].hash = hash


cdef class Leases:
    """Mappings and the ledger of leases on them."""

    cdef Mappings mappings
    cdef Ledger ledger
    cdef Stats stats

    def __cinit__(self, mappings_max: int, leases_max: int):
        memset(&self.stats, 0, sizeof(Stats))
        if (mappings_open(&self.mappings, mappings_max, &self.stats) < 0
                or ledger_open(&self.ledger, leases_max, &self.mappings, &self.stats) < 0):
            raise MemoryError

    def __dealloc__(self):
        ledger_close(&self.ledger)
        mappings_close(&self.mappings)

    def gauge(self, name: str) -> int:
        return (<uint64_t*>&self.stats)[<int>CELLS[name][0]]

    def lease_counts(self) -> list[int]:
        """The histogram of how long leases were held."""
        return [self.stats.lease_buckets[i] for i in range(CELLS["lease_buckets"][1])]

    def make(self, length: int, window: bool = False) -> int | None:
        cdef uint32_t slot = mapping_make(&self.mappings, length, MAPPING_WINDOW if window else MAPPING_SNAPSHOT)
        return None if slot == NO_SLOT else slot

    def row(self, slot: int) -> dict:
        cdef Mapping* mapping = mapping_at(&self.mappings, slot)
        return {
            "address": <uintptr_t>mapping.base, "length": mapping.length, "capacity": mapping.capacity,
            "buffer": mapping.buffer, "refs": mapping.refs, "leases": mapping.leases, "zombie": bool(mapping.zombie),
        }

    def registered(self, slot: int) -> None:
        mapping_registered(&self.mappings, slot)

    def hold(self, slot: int) -> None:
        mapping_hold(&self.mappings, slot)

    def let_go(self, slot: int) -> str:
        return RESTS[mapping_let_go(&self.mappings, slot)]

    def disown(self, slot: int) -> None:
        mapping_disown(&self.mappings, slot)

    def unmap(self, slot: int) -> None:
        mapping_unmap(&self.mappings, slot)

    def open(self, mapping: int, length: int, now_us: int) -> tuple[int, int] | None:
        """(slot, generation) of a new lease, or None when the ledger is full."""
        cdef uint32_t slot = lease_open(&self.ledger, mapping, 0, 0, length, 0, now_us)
        return None if slot == NO_SLOT else (slot, self.ledger.slab.generations[slot])

    def holds(self, lease: int, generation: int) -> bool:
        return slab_holds(&self.ledger.slab, lease, generation)

    def end(self, lease: int, now_us: int) -> str:
        return RESTS[lease_end(&self.ledger, lease, now_us)]


cdef class SimWorker:
    """The machine as the engine has it, without a ring and a clock.

    Numbers of tickets, plans, entries, mappings and sources are (generation << 24 | slot), as the engine gives them out.
    While a machine lives, freed memory is scribbled over, so that an op that still points to it shows.
    """

    cdef Machine machine
    cdef Stats* stats
    cdef int scratch
    cdef uint8_t opened

    def __cinit__(self, *, dict limits, int plans_max=64, int mappings_max=256, str send_mode="zerocopy",
                  bint zerocopy_able=True, bint reports_usage=True, now_us=1_000_000, unix_second=1, int access_bytes=0):
        cdef Limits bounds
        cdef uint32_t route
        self.scratch = -1
        bounds = limits
        self.scratch = os.memfd_create("testing")
        self.stats = <Stats*>calloc(1, sizeof(Stats))
        # The slabs are large and mostly never touched: have them as zeroed pages of the system, without poison.
        mallopt(M_MMAP_THRESHOLD, 128 * 1024)
        mallopt(M_PERTURB, 0)
        if (self.stats == NULL
                or machine_open(&self.machine, &bounds, plans_max, mappings_max, 1, 2, self.stats, now_us) < 0
                or (access_bytes and machine_open_access(&self.machine, access_bytes) < 0)):
            raise MemoryError
        mallopt(M_PERTURB, POISON)
        self.opened = 1
        self.machine.send_mode = SEND_MODES[send_mode]
        self.machine.zerocopy_able = zerocopy_able
        self.machine.reports_usage = reports_usage
        if self.machine.send_mode == SEND_ZEROCOPY and zerocopy_able:
            for route in range(ROUTE_COUNT):
                self.stats.zerocopy_active[route] = ZEROCOPY_ON
        machine_set_time(&self.machine, now_us, unix_second)

    def __dealloc__(self):
        if self.opened:
            machine_close(&self.machine)
            mallopt(M_PERTURB, 0)
        if self.scratch >= 0:
            close(self.scratch)
        free(self.stats)

    # ---- what the loop calls ----

    def set_time(self, now_us: int, unix_second: int) -> None:
        machine_set_time(&self.machine, now_us, unix_second)

    def accept(self, fd: int, route: int, address: bytes = b"", port: int = 0) -> bool:
        """`address`: 4 or 16 bytes, or none."""
        cdef Peer peer
        memset(&peer, 0, sizeof(peer))
        peer.port = port
        peer.family = {0: 0, 4: 4, 16: 6}[len(address)]
        memcpy(peer.address, <char*>address, len(address))
        return conn_accepted(&self.machine, fd, route, &peer)

    def take_records(self) -> bytes:
        cdef uint64_t length = access_pending(&self.machine.access)
        cdef bytes records = PyBytes_FromStringAndSize(NULL, length)
        access_take(&self.machine.access, records, length)
        return records

    def step(self, token: int, res: int, more: bool = False, notification: bool = False, received: bytes = b"") -> None:
        """One completion; `received` is what lies in the receive buffer, gone afterwards."""
        cdef Completion completion
        cdef bytes copy
        memset(&completion, 0, sizeof(completion))
        completion.token = token
        completion.res = res
        completion.more = more
        completion.notification = notification
        if received:
            copy = received
            completion.bytes = <char*>malloc(len(copy))
            memcpy(completion.bytes, <char*>copy, len(copy))
        conn_step(&self.machine, &completion)
        free(completion.bytes)

    def expire(self) -> None:
        conn_expire(&self.machine)

    def trim_pool(self) -> None:
        pool_trim(&self.machine)

    def drain(self) -> None:
        conn_drain(&self.machine)

    def abort_all(self) -> None:
        conn_abort_all(&self.machine)

    def queued(self, token: int, queued: int) -> None:
        """The answer to a "queued" op: bytes sent and not acknowledged."""
        conn_queued(&self.machine, token_slot(token), token_generation(token), queued)

    def register(self, slot: int) -> None:
        """The mapping of a "register" op is in the buffer table."""
        mapping_registered(&self.machine.mappings, slot)

    def tag(self, slot: int) -> None:
        """The tag of a "clear" op has come back."""
        mapping_unmap(&self.machine.mappings, slot)

    def take_ops(self) -> list[Op]:
        cdef list ops = []
        cdef uint32_t i
        for i in range(self.machine.op_count):
            op = &self.machine.ops[i]
            ops.append(Op(OPS[op.kind], op.flags, op.fd, op.buffer, op.slot, op.token, <uintptr_t>op.address, op.offset,
                          op.length))
        self.machine.op_count = 0
        return ops

    def take_work(self) -> list[tuple[str, int, object]]:
        """("head", ticket, bytes), ("stale", ticket, entry) and ("refuse", ticket, status), as the handler gets them."""
        cdef list work = []
        cdef uint32_t i
        cdef Work* item
        cdef Conn* conn
        for i in range(self.machine.work_count):
            item = &self.machine.work[i]
            if not slab_holds(&self.machine.conns, item.conn, item.generation):
                continue
            conn = conn_at(&self.machine, item.conn)
            ticket = <uint64_t>item.generation << 24 | item.conn
            if item.kind == WORK_HEAD:
                if conn.head_length:
                    if conn.received.bytes == NULL:
                        raise AssertionError("a head for the handler whose bytes are gone")
                    work.append(("head", ticket, (conn.received.bytes + conn.received.start)[:conn.head_length]))
            elif item.kind == WORK_STALE:
                work.append(("stale", ticket,
                             <uint64_t>self.machine.table.entries.generations[item.entry] << 24 | item.entry))
            else:
                work.append(("refuse", ticket, conn.refuse_status))
        self.machine.work_count = 0
        return work

    # ---- what the handler calls ----

    def answer(self, ticket: int, plan: int, cacheable: bool) -> bool:
        return conn_answer(&self.machine, ticket & 0xFFFFFF, ticket >> 24, self._slot(&self.machine.table.plans, plan),
                           cacheable)

    def retry(self, ticket: int) -> None:
        conn_retry(&self.machine, ticket & 0xFFFFFF, ticket >> 24)

    def abandon(self, ticket: int) -> None:
        conn_abandon(&self.machine, ticket & 0xFFFFFF, ticket >> 24)

    def mapping(self, content: bytes, registered: bool) -> int:
        """A filled snapshot with one reference, the handler's."""
        cdef uint32_t slot = mapping_make(&self.machine.mappings, len(content), MAPPING_SNAPSHOT)
        cdef Mapping* mapping
        if slot == NO_SLOT:
            raise MemoryError
        mapping = mapping_at(&self.machine.mappings, slot)
        memcpy(mapping.base, <char*>content, len(content))
        mapping.filled = len(content)
        if registered:
            mapping_registered(&self.machine.mappings, slot)
        return <uint64_t>self.machine.mappings.slab.generations[slot] << 24 | slot

    def drop(self, mapping: int) -> None:
        cdef uint32_t slot = self._slot(&self.machine.mappings.slab, mapping)
        mapping_disown(&self.machine.mappings, slot)
        machine_let_go_mapping(&self.machine, slot)

    def source(self, fd: int, size: int, mtime_ns: int = -1) -> int:
        """A file to stream from. Without a time `fd` is a name; with the last reference it is closed as a descriptor."""
        cdef uint32_t slot = slab_take(&self.machine.sources)
        cdef StreamFile* source = <StreamFile*>slab_row(&self.machine.sources, slot)
        source.fd = fd
        version_take(&source.version, fd, size, mtime_ns, True)
        source.opened = mtime_ns >= 0
        source.refs = 1
        return <uint64_t>self.machine.sources.generations[slot] << 24 | slot

    def drop_source(self, source: int) -> None:
        machine_let_go_file(&self.machine, self._slot(&self.machine.sources, source))

    def entry(self, check_at_ms: int) -> int:
        cdef uint32_t slot = slab_take(&self.machine.table.entries)
        entry_at(&self.machine.table, slot).first_plan = NO_SLOT
        entry_at(&self.machine.table, slot).check_at_ms = check_at_ms
        self.machine.stats.entries_open += 1
        return <uint64_t>self.machine.table.entries.generations[slot] << 24 | slot

    def refresh(self, entry: int, check_at_ms: int) -> None:
        entry_at(&self.machine.table, self._slot(&self.machine.table.entries, entry)).check_at_ms = check_at_ms

    def retire(self, entry: int) -> None:
        machine_retire_entry(&self.machine, self._slot(&self.machine.table.entries, entry))

    def plan(self, *, int status, bytes image, int date_at, list segments, bint keep_alive, bint linger, object entry=None,
             object mapping=None, object source=None, uint32_t head_length=0) -> int:
        cdef uint32_t count = len(segments)
        cdef Segment* rows = <Segment*>calloc(count, sizeof(Segment))
        cdef uint32_t i
        cdef uint32_t slot
        cdef Plan* plan
        for i in range(count):
            rows[i].kind = SEGMENT_KINDS[segments[i][0]]
            rows[i].offset = segments[i][1]
            rows[i].length = segments[i][2]
        slot = plan_make(&self.machine.table, NO_SLOT if entry is None else self._slot(&self.machine.table.entries, entry),
                         image, len(image), date_at, rows, count)
        free(rows)
        if slot == NO_SLOT:
            raise MemoryError
        plan = plan_at(&self.machine.table, slot)
        plan.status = <uint16_t>status
        plan.head_length = head_length
        plan.keep_alive = keep_alive
        plan.linger = linger
        if mapping is not None:
            plan.mapping = self._slot(&self.machine.mappings.slab, mapping)
            mapping_hold(&self.machine.mappings, plan.mapping)
        if source is not None:
            plan.source = self._slot(&self.machine.sources, source)
            (<StreamFile*>slab_row(&self.machine.sources, plan.source)).refs += 1
        return <uint64_t>self.machine.table.plans.generations[slot] << 24 | slot

    def release(self, plan: int) -> None:
        cdef uint32_t slot = self._slot(&self.machine.table.plans, plan)
        plan_at(&self.machine.table, slot).kept = 0
        machine_try_free_plan(&self.machine, slot)

    cdef uint32_t _slot(self, Slab* slab, number) except? NO_SLOT:
        cdef uint32_t slot = number & 0xFFFFFF
        if not slab_holds(slab, slot, number >> 24):
            raise LookupError("no such number")
        return slot

    # ---- what the tests look at ----

    def gauge(self, name: str, place: int = 0) -> int:
        """One cell of the stats."""
        return (<uint64_t*>self.stats)[<int>(CELLS[name][0] + place)]

    def live(self) -> dict[str, int]:
        """How many of each there are. Windows are mappings too, those without a user among them."""
        return {
            "conns": self.machine.conns.live, "sources": self.machine.sources.live,
            "mappings": self.machine.mappings.slab.live,
            "windows": self.machine.pool_made, "windows_left": pool_windows_left(&self.machine),
            "leases": self.machine.ledger.slab.live, "plans": self.machine.table.plans.live,
            "entries": self.machine.table.entries.live, "image_bytes": self.machine.table.image_bytes,
            "filed": self.machine.wheel.filed,
        }

    def husks(self) -> int:
        """Dead plans that have nothing any more but heads that still lead to them."""
        cdef uint32_t slot
        cdef uint32_t found = 0
        cdef Plan* plan
        for slot in range(self.machine.table.plans.fresh):
            plan = plan_at(&self.machine.table, slot)
            if (plan.segments != NULL and plan.dead and plan.rows > 0 and not plan.active and not plan.kept
                    and plan.image == NULL and plan.mapping == NO_SLOT and plan.source == NO_SLOT):
                found += 1
        return found

    def conn(self, slot: int) -> dict[str, int]:
        cdef Conn* conn = conn_at(&self.machine, slot)
        return {
            "fd": conn.fd, "state": conn.state, "flags": conn.flags, "sends": conn.sends, "ops_open": conn.ops_open,
            "waiting": conn.received.end - conn.received.start, "leases": conn.leases, "windows_held": conn.windows_held,
            "segment": conn.segment, "done": conn.done, "streams": conn.stream != NULL,
        }

    def memory(self, slot: int) -> tuple[int, int]:
        """(address, bytes) of a mapping."""
        cdef Mapping* mapping = mapping_at(&self.machine.mappings, slot)
        return <uintptr_t>mapping.base, mapping.capacity

    def peek(self, address: int, length: int) -> bytes | None:
        """The bytes there, or None when that is not memory of ours."""
        cdef char* at = <char*><uintptr_t>address
        # The system looks first: what is unmapped is an error to it, and would be the end of us.
        if pwrite(self.scratch, at, length, 0) != length:
            return None
        return PyBytes_FromStringAndSize(at, length)

    def poke(self, address: int, content: bytes) -> None:
        """What a read into memory does."""
        memcpy(<void*><uintptr_t>address, <char*>content, len(content))

    def poison_pool(self) -> None:
        """Scribble over the windows that nobody has."""
        cdef uint32_t slot = self.machine.pool_free
        while slot != NO_SLOT:
            memset(mapping_at(&self.machine.mappings, slot).base, POISON, self.machine.limits.window_size)
            slot = mapping_at(&self.machine.mappings, slot).next
