"""Test hooks: how the tests reach the layers that Python cannot call. Built with -Dtest_hooks=true only.

Thin: every method is one call of the layer behind it, with slots and tokens as plain numbers. `SimWorker` is a whole worker:
whoever executes its ops plays the kernel.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset
from posix.mman cimport MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE, mmap, munmap
from posix.unistd cimport close, pwrite

import os
from collections import namedtuple

from zchttpd._core.cache_key cimport CACHE_KEY_SIZE_MAX, cache_key
from zchttpd._core.http_date cimport HTTP_DATE_LENGTH, HttpDate, http_date_set
from zchttpd._core.lease cimport Ledger, lease_at, lease_end, lease_open, ledger_close, ledger_open
from zchttpd._core.live_map cimport LiveMap
from zchttpd._core.machine cimport (
    AddressCount, CONN_CLOSING, CONN_GREETING, CONN_IMAGE_OWN, CONN_LINGERING, CONN_PARKED, CONN_READING, CONN_SENDING, Conn,
    READS_MAX, STREAM_WINDOWS, Stream, StreamFile, conn_at, machine_close)
from zchttpd._core.mapping cimport (
    MAPPING_SNAPSHOT, MAPPING_WINDOW, Mapping, Mappings, REST_CLEAR, REST_NOTHING, REST_POOL, mapping_at,
    mapping_disown, mapping_hold, mapping_let_go, mapping_make, mapping_registered, mapping_seal, mapping_unmap,
    mappings_close, mappings_open)
from zchttpd._core.memory cimport memory_poison
from zchttpd._core.op cimport (
    Completion, OP_ACCEPT, OP_ASIDE, OP_CANCEL, OP_CANCEL_ALL, OP_CHECK_ROOT, OP_CHECK_VERSION, OP_CLEAR, OP_CLOSE,
    OP_CLOSE_FILE, OP_COLLAPSE, OP_CPU_TIME, OP_DROP_PAGES, OP_FILL, OP_LINK, OP_LOOK, OP_MAP_FILE, OP_MORE,
    OP_MULTISHOT, OP_NOWAIT, OP_POLL, OP_QUEUED, OP_READ, OP_RECV, OP_REGISTER, OP_REJECT, OP_RESET, OP_RESIDENT,
    OP_ROUTE, OP_SEND, OP_SEND_ZC, OP_SHUTDOWN, OP_SIGNAL, OP_SPLICE, OP_TAKE_VERSION, OP_UNMAP_FILE, OP_UNREAD,
    OP_WATCH, Op, Peer)
from zchttpd._core.plans cimport (
    NO_ROW, Plan, PlanTable, SEGMENT_LITERAL, Segment, cache_key_hash, entry_at, plan_at, plan_free, plan_make,
    plans_admit, plans_close, plans_drop_row, plans_find, plans_open)
from zchttpd._core.pool cimport pool_windows_left
from zchttpd._core.queues cimport QUEUE_HEAD, QUEUE_LOOK
from zchttpd._core.recv_buffer cimport (
    FRAME_BROKEN, FRAME_HEAD, FRAME_HEAD_LONG, FRAME_LINE_LONG, FRAME_MORE, HeadFramer, RecvBuffer, frame,
    recv_buffer_append, recv_buffer_consume, recv_buffer_free)
from zchttpd._core.site_worker cimport SiteWorker
from zchttpd._core.slab cimport Slab, slab_close, slab_give, slab_holds, slab_open, slab_row, slab_take
from zchttpd._core.stats cimport Stats
from zchttpd._core.stats import CELLS, STATS_BYTES
from zchttpd._core.timer_wheel cimport (
    TimerWheel, timer_wheel_cancel, timer_wheel_close, timer_wheel_due, timer_wheel_open, timer_wheel_set)
from zchttpd._core.token cimport (
    NO_SLOT, TOKEN_ACCEPT, TOKEN_FILL, TOKEN_POLL, TOKEN_READ, TOKEN_RECV, TOKEN_SEND_ZC, TOKEN_TAG, TOKEN_WAKE,
    token_generation, token_kind, token_pack, token_slot)
from zchttpd._core.worker cimport BATCH, Worker

cdef extern from "<malloc.h>" nogil:
    enum:
        M_PERTURB
        M_MMAP_THRESHOLD
    int mallopt(int parameter, int value)

OPS = {
    OP_RECV: "recv", OP_SEND: "send", OP_SEND_ZC: "send_zc", OP_READ: "read", OP_FILL: "fill", OP_POLL: "poll",
    OP_SHUTDOWN: "shutdown", OP_CANCEL: "cancel", OP_CANCEL_ALL: "cancel_all", OP_RESET: "reset", OP_CLOSE: "close",
    OP_CLEAR: "clear", OP_QUEUED: "queued", OP_REGISTER: "register", OP_ACCEPT: "accept", OP_WATCH: "watch",
    OP_REJECT: "reject", OP_SIGNAL: "signal", OP_SPLICE: "splice", OP_TAKE_VERSION: "take_version", OP_LOOK: "look",
    OP_CHECK_VERSION: "check_version", OP_CLOSE_FILE: "close_file", OP_COLLAPSE: "collapse", OP_UNREAD: "unread",
    OP_ROUTE: "route", OP_CHECK_ROOT: "check_root", OP_MAP_FILE: "map_file", OP_UNMAP_FILE: "unmap_file",
    OP_CPU_TIME: "cpu_time", OP_RESIDENT: "resident", OP_DROP_PAGES: "drop_pages"}
ASIDE, MORE, LINK, MULTISHOT, NOWAIT = OP_ASIDE, OP_MORE, OP_LINK, OP_MULTISHOT, OP_NOWAIT
FRAMES = {FRAME_MORE: "more", FRAME_HEAD: "head", FRAME_BROKEN: "broken", FRAME_LINE_LONG: "line_long",
          FRAME_HEAD_LONG: "head_long"}
RESTS = {REST_NOTHING: "nothing", REST_CLEAR: "clear", REST_POOL: "pool"}
TOKENS = {
    "accept": TOKEN_ACCEPT, "recv": TOKEN_RECV, "read": TOKEN_READ, "send_zc": TOKEN_SEND_ZC, "fill": TOKEN_FILL,
    "poll": TOKEN_POLL, "tag": TOKEN_TAG, "wake": TOKEN_WAKE,
}
STATES = {CONN_READING: "reading", CONN_PARKED: "parked", CONN_SENDING: "sending", CONN_LINGERING: "lingering",
          CONN_CLOSING: "closing", CONN_GREETING: "greeting"}
POISON = 0xDB
LISTENER = 3

# `token` comes back in the completion; `slot` is that of the mapping or source; `offset` that of a read, or a token.
ExecutedOp = namedtuple("ExecutedOp", "kind flags fd buffer slot token address offset length")


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
    cdef readonly uint64_t held         # bytes of memory
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
        if recv_buffer_append(&self.buffer, received, len(received), &self.held) < 0:
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

    def __cinit__(self, mappings_max: int, leases_max: int, memfd_size_min: int = 0, huge_size: int = 0,
                  memfds_max: int = 64):
        memset(&self.stats, 0, sizeof(Stats))
        if (mappings_open(&self.mappings, mappings_max, &self.stats) < 0
                or ledger_open(&self.ledger, leases_max, &self.mappings, &self.stats) < 0):
            raise MemoryError
        self.mappings.memfd_size_min = memfd_size_min
        self.mappings.memfds_max = memfds_max
        self.mappings.huge_size = huge_size

    def __dealloc__(self):
        ledger_close(&self.ledger)
        mappings_close(&self.mappings)

    def gauge(self, name: str) -> int:
        return (<uint64_t*>&self.stats)[<int>CELLS[name][0]]

    def lease_counts(self) -> list[int]:
        """The histogram of how long leases were held."""
        return [self.stats.lease_buckets[i] for i in range(CELLS["lease_buckets"][1])]

    def make(self, length: int, window: bool = False) -> int | None:
        cdef uint32_t slot = mapping_make(&self.mappings, length, MAPPING_WINDOW if window else MAPPING_SNAPSHOT, True)
        return None if slot == NO_SLOT else slot

    def row(self, slot: int) -> dict:
        cdef Mapping* mapping = mapping_at(&self.mappings, slot)
        return {
            "address": <uintptr_t>mapping.base, "length": mapping.length, "capacity": mapping.capacity,
            "buffer": mapping.buffer, "refs": mapping.refs, "leases": mapping.leases, "zombie": bool(mapping.zombie),
            "memfd": mapping.memfd, "huge": mapping.huge,
        }

    def seal(self, slot: int) -> None:
        mapping_seal(&self.mappings, slot)

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

    def end(self, lease: int, sent: int, now_us: int) -> str:
        lease_at(&self.ledger, lease).result = sent
        return RESTS[lease_end(&self.ledger, lease, now_us)]


cdef class SimWorker(SiteWorker):
    """A worker whose ops Python executes, and whose clock, completions and receive buffers are Python's.

    `execute` is called with each op and returns its result: 0, or what is done on the spot says. `deliver` queues a
    completion for the next turn; `before` and `after`, where there are any, are called around each but accepts with the
    `note` that it was delivered with. What any of them raises, `handler` too, ends the turn and is raised by it.

    While one lives, freed memory is scribbled over, receive buffers and windows among it, so that an op that still points to
    it shows.
    """

    cdef object execute
    cdef public object before
    cdef public object after
    cdef public int64_t now_us
    cdef public int64_t unix_second
    cdef readonly int64_t waited_us     # how long the last turn would have waited
    cdef list queue                     # of what was delivered, oldest first
    cdef list notes                     # of the completions that have been reaped
    cdef object error
    cdef uintptr_t[BATCH] lent          # addresses of the receive buffers
    cdef Peer[BATCH] peers
    cdef int scratch

    def __cinit__(self):
        self.scratch = -1

    def __init__(self, *, execute, handler, dict limits, now_us=1_000_000, unix_second=1, plans_max=64, mappings_max=256,
                 drain_ms_max=10_000_000, zerocopy_able=True, reports_usage=True, accept_multishot=True,
                 send_mode="zerocopy", access_bytes=0, memfd_size_min=0, huge_size=0, zerocopy_by_socket=False,
                 device_reads=READS_MAX, request_ids=False, listeners=((LISTENER, ""),), proxies=()):
        self.execute = execute
        self.now_us = now_us
        self.unix_second = unix_second
        self.queue = []
        self.notes = []
        self.scratch = os.memfd_create("testing")

        def judge(work, filled, now_ms):
            try:
                handler(work, filled, now_ms)
            except BaseException as error:
                self.error = self.error or error
                raise

        # The slabs are large and mostly never touched: have them as zeroed pages of the system, without poison.
        mallopt(M_MMAP_THRESHOLD, 128 * 1024)
        mallopt(M_PERTURB, 0)
        super().__init__(
            listeners=listeners, proxies=proxies, wake=os.eventfd(0), handler=judge, on_route=lambda *_: None,
            stats=bytearray(STATS_BYTES), limits=limits, send_mode=send_mode, plans_max=plans_max, mappings_max=mappings_max,
            drain_ms_max=drain_ms_max, access_bytes=access_bytes, request_ids=request_ids)
        self.machine.mappings.memfd_size_min = memfd_size_min
        self.machine.mappings.huge_size = huge_size
        self.machine.device_reads_max = device_reads
        self.machine.zerocopy_by_socket = zerocopy_by_socket
        mallopt(M_PERTURB, POISON)
        memory_poison(POISON)
        # So that runs replay.
        self.machine.table.key[0] = 1
        self.machine.table.key[1] = 2
        self._set_features(zerocopy_able, reports_usage, accept_multishot)

    def __dealloc__(self):
        mallopt(M_PERTURB, 0)
        memory_poison(0)
        if self.scratch >= 0:
            close(self.scratch)
            close(self.wake)

    # ---- the driver ----

    cdef void _read_clock(self, int64_t* now_us, int64_t* unix_second) noexcept nogil:
        now_us[0] = self.now_us
        unix_second[0] = self.unix_second

    cdef void _wait(self, int64_t timeout_us) noexcept nogil:
        self.waited_us = timeout_us

    cdef bint _pending(self) noexcept nogil:
        with gil:
            return len(self.queue) > 0

    cdef uint32_t _reap(self, Completion* completions, uint32_t count) noexcept nogil:
        cdef uint32_t taken = 0
        with gil:
            self.notes = []
            while taken < count and self.queue and self.error is None:
                self._take(taken, &completions[taken], self.queue.pop(0))
                taken += 1
        return taken

    cdef void _take(self, uint32_t place, Completion* completion, tuple delivered):
        cdef bytes received, address
        memset(completion, 0, sizeof(Completion))
        completion.token, completion.res, completion.more, completion.notification, received, address, port, note = delivered
        self.notes.append(note)
        if received:
            completion.bytes = <char*>malloc(len(received))
            self.lent[place] = <uintptr_t>completion.bytes
            memcpy(completion.bytes, <char*>received, len(received))
            completion.has_buffer = 1
            completion.buffer_id = <uint16_t>place
        if token_kind(completion.token) == TOKEN_ACCEPT:
            memset(&self.peers[place], 0, sizeof(Peer))
            self.peers[place].port = port
            self.peers[place].family = {0: 0, 4: 4, 16: 6}[len(address)]
            memcpy(self.peers[place].address, <char*>address, len(address))
            completion.peer = &self.peers[place]

    cdef int32_t _execute(self, const Op* op) noexcept nogil:
        with gil:
            return self._ask(op)

    cdef int32_t _ask(self, const Op* op):
        cdef Mapping* mapping
        cdef size_t length = op.length
        address = <uintptr_t>op.address
        if op.kind == OP_REGISTER:
            mapping = mapping_at(&self.machine.mappings, op.slot)
            address, length = <uintptr_t>mapping.base, mapping.capacity
        if self.error is None:
            try:
                return self.execute(ExecutedOp(OPS[op.kind], op.flags, op.fd, op.buffer, op.slot, op.token, address,
                                               op.offset, length)) or 0
            except BaseException as error:
                self.error = error
        return 0

    cdef void _give_back(self, uint16_t buffer_id) noexcept nogil:
        free(<void*>self.lent[buffer_id])

    cdef void _dispatch(self, Completion* completion) noexcept nogil:
        cdef uint32_t place = <uint32_t>(completion - self.completions)
        with gil:
            self._observe(self.before, place)
        Worker._dispatch(self, completion)
        with gil:
            self._observe(self.after, place)

    cdef void _observe(self, observer, uint32_t place):
        if observer is not None and self.notes[place] is not None and self.error is None:
            try:
                observer(self.notes[place])
            except BaseException as error:
                self.error = error

    # ---- what the tests do ----

    def deliver(self, token: int, res: int, more: bool = False, notification: bool = False, received: bytes = b"",
                address: bytes = b"", port: int = 0, note: object = None) -> None:
        """One completion; `received` is what lies in the receive buffer. Of an accept, `address` is 4 or 16 bytes, or
        none."""
        self.queue.append((token, res, more, notification, received, address, port, note))

    def step(self) -> int:
        """As the worker's, and raises what Python raised within."""
        result = Worker.step(self)
        self._raise()
        return result

    def drain(self, idle_ms: int = 0) -> None:
        Worker.drain(self, idle_ms)
        self._raise()

    def flush(self) -> None:
        """Have the ops executed that the tests, in the handler's place, have caused."""
        self._flush()
        self._raise()

    def map_file(self, op: ExecutedOp) -> int:
        """What a "map_file" asks for: memory for as many bytes, whose address is returned."""
        cdef LiveMap* map = <LiveMap*><uintptr_t>op.address
        map.base = <char*>mmap(NULL, map.length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        return <uintptr_t>map.base

    def unmap_file(self, op: ExecutedOp) -> None:
        """And what an "unmap_file" does."""
        munmap(<void*><uintptr_t>op.address, op.offset)

    def hog(self) -> int:
        """A mapping that nobody fills, so that there is room for one less. Raises MemoryError."""
        cdef uint32_t slot = mapping_make(&self.machine.mappings, 1, MAPPING_SNAPSHOT, False)
        if slot == NO_SLOT:
            raise MemoryError
        return <uint64_t>self.machine.mappings.slab.generations[slot] << 24 | slot

    def set_batch(self, batch: int) -> None:
        """Completions that are reaped at a time, BATCH at most."""
        self.batch = min(<uint32_t>batch, <uint32_t>BATCH)

    cdef _raise(self):
        error, self.error = self.error, None
        if error is not None:
            raise error

    # ---- what the tests look at ----

    def gauge(self, name: str, place: int = 0) -> int:
        """One cell of the stats."""
        return (<uint64_t*>self.machine.stats)[<int>(CELLS[name][0] + place)]

    def live(self) -> dict[str, int]:
        """How many of each there are. Windows are mappings too, those without a user among them."""
        return {
            "conns": self.machine.conns.live, "sources": self.machine.sources.live, "addresses": self.machine.addresses.live,
            "mappings": self.machine.mappings.slab.live,
            "windows": self.machine.pool_made, "windows_left": pool_windows_left(&self.machine),
            "leases": self.machine.ledger.slab.live, "plans": self.machine.table.plans.live,
            "entries": self.machine.table.entries.live, "image_bytes": self.machine.table.image_bytes,
            "filed": self.machine.wheel.filed, "part_bytes": self.machine.table.part_bytes,
        }

    def held(self) -> int:
        """Bytes that requests and responses under way hold."""
        cdef uint32_t slot
        cdef uint64_t bytes = 0
        cdef Conn* conn
        cdef Plan* plan
        for slot in range(self.machine.conns.fresh):
            conn = conn_at(&self.machine, slot)
            if conn.received.bytes != NULL:
                bytes += conn.received.capacity
            if conn.flags & CONN_IMAGE_OWN:
                bytes += plan_at(&self.machine.table, conn.plan).segments[0].length
        for slot in range(self.machine.table.plans.fresh):
            plan = plan_at(&self.machine.table, slot)
            if plan.image != NULL and (plan.dead or (plan.rows == 0 and not plan.kept)):
                bytes += plan.image_length
        return bytes

    def husks(self) -> int:
        """Dead plans that have nothing any more but heads that still lead to them."""
        cdef uint32_t slot, found = 0
        cdef Plan* plan
        for slot in range(self.machine.table.plans.fresh):
            plan = plan_at(&self.machine.table, slot)
            if (plan.segments != NULL and plan.dead and plan.rows > 0 and not plan.active and not plan.kept
                    and plan.image == NULL and plan.mapping == NO_SLOT and plan.source == NO_SLOT):
                found += 1
        return found

    def conn(self, slot: int) -> dict[str, int]:
        """`source_fd`: the file that it is sent windows of, or -1. `of_address`: what is counted of its address, or of
        that of its request; `network`: which that is. `pays`: the address whose rates count, or -1."""
        cdef Conn* conn = conn_at(&self.machine, slot)
        cdef uint32_t source = NO_SLOT
        cdef AddressCount* row = NULL
        if conn.state != 0 and conn.address != NO_SLOT:
            row = <AddressCount*>slab_row(&self.machine.addresses, conn.address)
        if conn.state != 0 and conn.plan != NO_SLOT:
            source = plan_at(&self.machine.table, conn.plan).source
        return {
            "source_fd": -1 if source == NO_SLOT else (<StreamFile*>slab_row(&self.machine.sources, source)).fd,
            "of_address": 0 if row == NULL else row.connections, "network": 0 if row == NULL else row.address[1],
            "pays": conn.peer[1] if conn.peer[0] else -1, "refused": conn.refuse_status,
            "flags": conn.flags, "sends": conn.sends,
            "fd": conn.fd, "state": conn.state, "ops_open": conn.ops_open, "streams": conn.stream != NULL, "done": conn.done,
            "waiting": conn.received.end - conn.received.start, "windows_held": conn.windows_held, "leases": conn.leases,
            "live_leases": conn.live_leases,
            "segment": conn.segment, "queued": self.machine.queues.queue[slot] in (QUEUE_HEAD, QUEUE_LOOK),
            "waits": self.machine.queues.queue[slot], "stays": conn.stays, "paced": conn.paced,
        }

    def owed(self) -> dict[int, tuple[int, int]]:
        """By mapping: (references that no plan, lease, stream or pool accounts for, leases)."""
        cdef list left = [mapping_at(&self.machine.mappings, slot).refs for slot in range(self.machine.mappings.slab.fresh)]
        cdef uint32_t slot, i
        cdef Plan* plan
        cdef Stream* stream
        for slot in range(self.machine.table.plans.fresh):
            plan = plan_at(&self.machine.table, slot)
            if plan.segments != NULL and plan.mapping != NO_SLOT:
                left[plan.mapping] -= 1
        for slot in range(self.machine.conns.fresh):
            stream = conn_at(&self.machine, slot).stream
            if stream != NULL:
                for i in range(stream.count):
                    left[stream.windows[(stream.first + i) % STREAM_WINDOWS]] -= 1
                if stream.reading != NO_SLOT:
                    left[stream.reading] -= 1
        slot = self.machine.pool_free
        while slot != NO_SLOT:
            left[slot] -= 1
            slot = mapping_at(&self.machine.mappings, slot).next
        return {slot: (left[slot] - mapping_at(&self.machine.mappings, slot).leases,
                       mapping_at(&self.machine.mappings, slot).leases)
                for slot in range(len(left)) if mapping_at(&self.machine.mappings, slot).base != NULL}

    def close(self) -> None:
        """Give everything back, as its end does. Only when no op is under way any more."""
        self.opened = 0
        machine_close(&self.machine)

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
