"""A worker: the Python face of the machine, and the loop.

The loop waits once, acts on every completion, gives the handler about a millisecond, and has the driver submit once. What
the handler has not come to stays in its queue, and the next turn waits for nothing. The GIL is taken for the handler alone.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memset

import logging
import os
import select

from zchttpd._core.acceptor cimport acceptor_arm, acceptor_end, acceptor_expire, acceptor_step
from zchttpd._core.access_record cimport (
    REQUEST_ID_AT, REQUEST_ID_MAX, access_drop, access_due, access_pending, access_take, access_user)
from zchttpd._core.budget cimport budget_image_bytes, budget_snapshot_bytes
from zchttpd._core.conn cimport (
    conn_abandon, conn_answer, conn_await_fill, conn_go_on, conn_retry, conn_step, conn_told, conn_wants_more)
from zchttpd._core.deadlines cimport deadlines_expire
from zchttpd._core.devices cimport devices_wake
from zchttpd._core.drain cimport drain_abort_all, drain_begin, drain_is_last
from zchttpd._core.fill cimport fill_begin, fill_progress_ms, fill_step, fill_take_ended
from zchttpd._core.http_date cimport HTTP_DATE_LENGTH
from zchttpd._core.listening cimport listening_set
from zchttpd._core.machine cimport (
    CONN_SENDING, Conn, Limits, SEND_AUTO, SEND_PLAIN, SEND_ZEROCOPY, StreamFile, conn_at, machine_blank_op, machine_close,
    machine_close_file, machine_has_room, machine_let_go_file, machine_let_go_mapping, machine_map_source, machine_open,
    machine_open_access, machine_registers, machine_retire_entry, machine_set_time, machine_source_holds,
    machine_take_version, machine_try_free_plan)
from zchttpd._core.mapping cimport (
    MAPPING_SNAPSHOT, Mapping, mapping_at, mapping_disown, mapping_hold, mapping_huge_length, mapping_make,
    mapping_registered, mapping_unmap)
from zchttpd._core.new_paths cimport new_path_is_known, new_path_stale_entry
from zchttpd._core.op cimport Completion, OP_QUEUED, OP_REGISTER, OP_SIGNAL, OP_UNREAD, OP_WATCH, Op
from zchttpd._core.plans cimport (
    Entry, Plan, Segment, USE_PERIOD_SHIFT, entry_age, entry_at, entry_make, entry_use, plan_at, plan_describe, plan_make)
from zchttpd._core.pool cimport pool_trim
from zchttpd._core.queues cimport QUEUE_HEAD, QUEUE_LOOK, queues_remove
from zchttpd._core.routes cimport routes_refer, routes_want_other_pages
from zchttpd._core.segments cimport segments_of
from zchttpd._core.slab cimport slab_holds, slab_row, slab_take
from zchttpd._core.stats cimport ROUTE_COUNT, Stats, ZEROCOPY_ON
from zchttpd._core.system cimport system_now_us, system_unix_second
from zchttpd._core.timer_wheel cimport timer_wheel_pause_ms
from zchttpd._core.token cimport (
    TOKEN_ACCEPT, TOKEN_FILL, TOKEN_NOBODY, TOKEN_TAG, TOKEN_WAKE, token_generation, token_kind, token_pack, token_slot)
from zchttpd._core.turns cimport turns_anybody, turns_begin, turns_handled, turns_handler_is_due, turns_send
from zchttpd._core.version cimport version_announce

cdef enum:
    BATCHES_MAX = 16            # before deadlines, the handler and the signals have their turn, and at most so long:
    TURN_US = 1000
    STEP_TURNS_MAX = 16         # before whoever has the loop has its turn
    HANDLER_ITEMS = 64          # that the handler does before what needs no handler has its turn
    TICKS_MAX = 10              # of the timing wheel that nobody looks at anything, while there are connections
    IDLE_US = 5_000_000         # between turns of a loop that nobody wants: it shows that it does not hang
    TRIM_US = 1_000_000
    LEASE_GRACE_MS = 2000       # for notifications, once every connection is closed

LOGGER = logging.getLogger("zchttpd")
SEND_MODES = {"plain": SEND_PLAIN, "zerocopy": SEND_ZEROCOPY, "auto": SEND_AUTO}


cdef inline object _number(uint32_t slot, uint32_t generation):
    return (<uint64_t>generation << 24) | slot


cdef int32_t _execute_for(void* worker, const Op* op) noexcept nogil:
    return (<Worker>worker)._execute(op)


cdef class Worker:
    """One worker over its listeners. Which driver executes its ops is what its subclasses differ in.

    `handler` is called with (work, filled, now_ms) whenever there is something that needs judgement. `work` iterates over
    ("head", ticket, head bytes), ("more", ticket, 0) for who has been sent a plan with more, ("stale", ticket, entry) and
    ("refuse", ticket, status), 1000 more than that if it began as a HEAD request, and ends when the handler has had its
    share of the turn; `filled` over (mapping, errno or 0). While there are sources it is called every second, to give back
    those that nobody reads. It answers through `answer`, `go_on`, `retry` and `abandon`, now or later; what it raises costs
    the request in hand its connection. Numbers of mappings, sources, entries, plans and tickets are opaque and never reused.

    `wake` is a descriptor that becomes readable when a signal or a thread wants the handler; `limits` has the fields of
    `Limits` (machine.pxd), all positive; `stats` is the shared block; with `request_ids` each Date is followed by the place
    of an X-Request-Id; `listeners`, `proxies`: see `listening`. Raises OSError when there is no memory.
    """

    def __init__(self, *, listeners, int wake, handler, on_route, stats, dict limits, str send_mode, int plans_max,
                 int drain_ms_max, int access_bytes=0, int access_event=-1, bint request_ids=False,
                 int mappings_max=MAPPINGS_MAX, proxies=()):
        cdef bytes key = os.urandom(32)
        cdef const uint64_t* keys = <const uint64_t*><const char*>key
        cdef unsigned char[:] block = stats
        cdef Limits bounds = limits
        cdef int64_t now_us, unix_second
        if self.opened:
            raise RuntimeError("a worker is made once")
        if block.shape[0] < <Py_ssize_t>sizeof(Stats):
            raise ValueError("the stats block is too small")
        for name, value in (<dict>bounds).items():
            if value == 0:
                raise ValueError(f"{name} must be positive")
        self._read_clock(&now_us, &unix_second)
        if machine_open(&self.machine, &bounds, plans_max, mappings_max, keys[0], keys[1], <Stats*>&block[0], now_us) < 0:
            raise MemoryError("no memory for a worker")
        # Its first turn is due: whoever hangs before that is found to hang, too.
        self.machine.stats.due_ms = self.machine.now_ms
        self.opened = 1
        self.machine.execute = _execute_for
        self.machine.driver = <void*>self
        if (access_bytes or request_ids) and machine_open_access(
                &self.machine, access_bytes, keys + 2 if request_ids else NULL) < 0:
            raise MemoryError("no memory for access records")
        listening_set(&self.machine, listeners, proxies)
        self.stats = stats
        self.batch = BATCH
        self.wake = wake
        self.access_event = access_event
        self.handler = handler
        self.on_route = on_route
        self.drain_ms_max = drain_ms_max
        self.machine.send_mode = SEND_MODES[send_mode]
        machine_set_time(&self.machine, now_us, unix_second)

    def __dealloc__(self):
        if self.opened:
            machine_close(&self.machine)

    @property
    def now_ms(self) -> int:
        """Monotonic time of this batch, in milliseconds."""
        return self.machine.now_ms

    @property
    def image_bytes(self) -> int:
        """Bytes held by the images of plans that can be evicted, less those that answer with parts of files and have a
        budget of their own."""
        return budget_image_bytes(&self.machine)

    @property
    def plans_held(self) -> tuple:
        """Plans that there are, and may be."""
        return self.machine.table.plans.live, self.machine.table.plans.capacity

    @property
    def snapshot_bytes(self) -> int:
        """Bytes of files in memory, also of those that the handler has let go and somebody still reads."""
        return budget_snapshot_bytes(&self.machine)

    # ---- for the log, from its own thread ----

    def take_records(self) -> bytes:
        """The access records that wait: each a fixed part (access_record.pxd), then its text; its length comes first."""
        cdef uint64_t length = access_pending(&self.machine.access)
        cdef bytes records = PyBytes_FromStringAndSize(NULL, length)
        access_take(&self.machine.access, records, length)
        return records

    def drop_records(self, count: int) -> None:
        """Count records that could not be written."""
        access_drop(&self.machine.access, count)

    # ---- for the handler ----

    def answer(self, ticket: int, plan: int, cacheable: bool, user: bytes = b"") -> bool:
        """Replay `plan` to the connection that waits with `ticket`, and remember its head if `cacheable`. False when it is
        gone. `user`: who is to be named in the log; at most 255 bytes."""
        cdef uint32_t slot = self._slot(&self.machine.table.plans, plan)
        if plan_at(&self.machine.table, slot).dead:
            raise LookupError("the entry of this plan has been retired")
        if plan_at(&self.machine.table, slot).entry != NO_SLOT:
            entry_use(entry_at(&self.machine.table, plan_at(&self.machine.table, slot).entry), self.machine.now_ms)
        answered = conn_answer(&self.machine, ticket & 0xFFFFFF, ticket >> 24, slot, cacheable)
        if answered and user:
            access_user(&self.machine.access, ticket & 0xFFFFFF, user, <uint8_t>len(user))
        return answered

    def go_on(self, ticket: int, plan: int) -> bool:
        """Send `plan` next in the response of `ticket`, whose last one had more. False when the connection is gone."""
        cdef uint32_t slot = self._slot(&self.machine.table.plans, plan)
        return conn_go_on(&self.machine, ticket & 0xFFFFFF, ticket >> 24, slot)

    def wants_more(self, ticket: int) -> bool:
        """Whether the response of `ticket` goes on with another plan than it has now."""
        return conn_wants_more(&self.machine, ticket & 0xFFFFFF, ticket >> 24)

    def retry(self, ticket: int) -> None:
        """Look the head of `ticket` up again."""
        conn_retry(&self.machine, ticket & 0xFFFFFF, ticket >> 24)

    def abandon(self, ticket: int) -> None:
        """Drop the connection of `ticket`."""
        conn_abandon(&self.machine, ticket & 0xFFFFFF, ticket >> 24)

    def is_last(self, ticket: int) -> bool:
        """Whether the answer to `ticket` is to say that it is the last of its connection."""
        return drain_is_last(&self.machine, ticket & 0xFFFFFF, ticket >> 24)

    def may_go_on(self) -> bool:
        """Whether the handler may do one more thing in this turn; it counts as one that `work` gave it."""
        return self._may_go_on()

    def call_again(self) -> None:
        """Have the handler called in the next turn, whatever else there is."""
        self.called = 1

    def fill(self, fd: int, size: int, mtime_ns: int, grown: bool, device: int, aside: bool = False) -> int:
        """Start to read a file of `size` > 0 bytes, `grown` by now or not, on `device`, which may hang if `aside`, into a
        new mapping; takes the fd over anyhow.

        The handler hears of the end through `filled`: ESTALE if the file has not, or no longer, the bytes of this mtime.
        Raises MemoryError when there is no slot or no memory.
        """
        cdef bint huge = mapping_huge_length(&self.machine.mappings, size) > 0 and not aside and routes_refer(&self.machine)
        cdef uint32_t slot = mapping_make(&self.machine.mappings, size, MAPPING_SNAPSHOT, huge)
        if slot == NO_SLOT:
            machine_close_file(&self.machine, fd)
            raise MemoryError("no room for another mapping")
        cdef Mapping* mapping = mapping_at(&self.machine.mappings, slot)
        mapping.fd = fd
        version_announce(&mapping.version, size, <int64_t><uint64_t>(mtime_ns & 0xFFFF_FFFF_FFFF_FFFF), aside)
        machine_take_version(&self.machine, &mapping.version, fd, grown)
        self.machine.stats.fills += 1
        fill_begin(&self.machine, slot, device)
        return _number(slot, self.machine.mappings.slab.generations[slot])

    def capacity(self, mapping: int) -> int:
        """Bytes of memory that a mapping takes: its file's, and what its last page has to spare."""
        return mapping_at(&self.machine.mappings, self._slot(&self.machine.mappings.slab, mapping)).capacity

    def wants_other_pages(self, mapping: int) -> bool:
        """Whether a filled mapping has huge pages and would get small ones if it were made now, or the other way round."""
        cdef uint32_t slot = self._slot(&self.machine.mappings.slab, mapping)
        return routes_want_other_pages(&self.machine, mapping_at(&self.machine.mappings, slot))

    def await_fill(self, ticket: int, mapping: int) -> bool:
        """Have the connection of `ticket` wait for a mapping that is being filled, for as long as that makes progress. False
        when it has made none for stall_ms_max."""
        cdef uint32_t slot = self._slot(&self.machine.mappings.slab, mapping)
        conn_await_fill(&self.machine, ticket & 0xFFFFFF, ticket >> 24, slot)
        return self.machine.now_ms - fill_progress_ms(&self.machine, slot) <= self.machine.limits.stall_ms_max

    def register_mapping(self, mapping: int) -> int:
        """Register a filled mapping, where that is of use. Returns 0, or the errno that says why it stays unregistered."""
        cdef uint32_t slot = self._slot(&self.machine.mappings.slab, mapping)
        cdef Op op
        cdef int32_t result
        if not machine_registers(&self.machine) or mapping_at(&self.machine.mappings, slot).huge:
            return 0
        memset(&op, 0, sizeof(Op))
        op.kind = OP_REGISTER
        op.slot = slot
        op.token = token_pack(TOKEN_TAG, slot, self.machine.mappings.slab.generations[slot])
        result = self._execute(&op)
        if result == 0:
            mapping_registered(&self.machine.mappings, slot)
        return -result

    def read(self, mapping: int, offset: int, length: int) -> bytes:
        """A copy of some bytes of a filled mapping."""
        cdef Mapping* row = mapping_at(&self.machine.mappings, self._slot(&self.machine.mappings.slab, mapping))
        if offset < 0 or length < 0 or offset + length > row.filled:
            raise ValueError("outside the mapping")
        return PyBytes_FromStringAndSize(row.base + <size_t>offset, length)

    def drop(self, mapping: int) -> None:
        """The handler lets go of a mapping; plans and leases may hold it on."""
        cdef uint32_t slot = self._slot(&self.machine.mappings.slab, mapping)
        mapping_disown(&self.machine.mappings, slot)
        machine_let_go_mapping(&self.machine, slot)

    def source(self, fd: int, size: int, mtime_ns: int, grown: bool, device: int, frozen=False, aside=False) -> int:
        """A file version to stream from, as `fill` has it; `frozen`: so it may leave by reference. Raises MemoryError."""
        cdef uint32_t slot = slab_take(&self.machine.sources)
        cdef StreamFile* source
        if slot == NO_SLOT:
            machine_close_file(&self.machine, fd)
            raise MemoryError("no room for another streamed file")
        source = <StreamFile*>slab_row(&self.machine.sources, slot)
        source.fd = fd
        source.device = device
        source.frozen = frozen
        version_announce(&source.version, size, <int64_t><uint64_t>(mtime_ns & 0xFFFF_FFFF_FFFF_FFFF), aside)
        machine_take_version(&self.machine, &source.version, fd, grown)
        machine_map_source(&self.machine, slot)
        source.refs = 1
        return _number(slot, self.machine.sources.generations[slot])

    def holds(self, source: int) -> bool:
        """Whether the file of a source still has the bytes of its version."""
        return machine_source_holds(&self.machine, self._slot(&self.machine.sources, source))

    def part_bytes(self, source: int) -> int:
        """Bytes that have left in answers with parts of a source."""
        return (<StreamFile*>slab_row(&self.machine.sources, self._slot(&self.machine.sources, source))).part_bytes

    def drop_source(self, source: int) -> None:
        """The handler lets go of a source."""
        machine_let_go_file(&self.machine, self._slot(&self.machine.sources, source))

    def entry(self, check_at_ms: int) -> int:
        """A unit of freshness for plans. Raises MemoryError."""
        cdef uint32_t slot = entry_make(&self.machine.table, check_at_ms, self.machine.now_ms)
        if slot == NO_SLOT:
            raise MemoryError("no room for another entry")
        return _number(slot, self.machine.table.entries.generations[slot])

    def refresh(self, entry: int, check_at_ms: int) -> None:
        """The entry has been looked at and is what it was."""
        entry_at(&self.machine.table, self._slot(&self.machine.table.entries, entry)).check_at_ms = check_at_ms

    def used_at_ms(self, entry: int) -> int:
        """When a plan of the entry was last replayed."""
        return entry_at(&self.machine.table, self._slot(&self.machine.table.entries, entry)).used_at_ms

    def uses(self, entry: int) -> int:
        """How often plans of the entry were replayed; of what is about a minute old a half, and so on."""
        cdef Entry* row = entry_at(&self.machine.table, self._slot(&self.machine.table.entries, entry))
        entry_age(row, <uint32_t>(self.machine.now_ms >> USE_PERIOD_SHIFT))
        return row.uses

    def retire(self, entry: int, *, bint evicted=False) -> None:
        """The entry is outdated, or `evicted`: no new replay of its plans."""
        self.machine.stats.evictions += evicted
        machine_retire_entry(&self.machine, self._slot(&self.machine.table.entries, entry))

    def plan(self, *, int status, bytes image, int date_at, list segments, bint keep_alive, bint linger, object entry=None,
             object mapping=None, object source=None, uint32_t head_length=0, uint64_t more=0) -> int:
        """Make a plan; the handler keeps its number until `release`, or until the entry is retired.

        `segments` are (kind, offset, length), in the order of sending; the first `head_length` bytes of the image are the
        response head. `more`: bytes of the response that follow; the handler is asked for what comes next when these have
        been sent, and answers by `go_on`. Raises MemoryError.
        """
        cdef uint32_t entry_slot = NO_SLOT if entry is None else self._slot(&self.machine.table.entries, entry)
        cdef uint32_t mapping_slot = NO_SLOT if mapping is None else self._slot(&self.machine.mappings.slab, mapping)
        cdef uint32_t source_slot = NO_SLOT if source is None else self._slot(&self.machine.sources, source)
        cdef uint32_t slot
        cdef Plan* plan
        cdef uint64_t mapped = 0, streamed = 0
        if not segments or not image:
            raise ValueError("a plan sends at least a head")
        if date_at >= 0 and date_at + (
                REQUEST_ID_AT + REQUEST_ID_MAX if self.machine.access.request_ids else HTTP_DATE_LENGTH) > (
                segments[0][2] if segments[0][0] == "literal" else 0):
            raise ValueError("the values of Date and X-Request-Id lie outside the first segment")
        if not machine_has_room(&self.machine, len(image)):
            self.machine.stats.refused_memory += 1
            raise MemoryError("responses under way hold too much")
        if mapping_slot != NO_SLOT:
            mapped = mapping_at(&self.machine.mappings, mapping_slot).filled
        if source_slot != NO_SLOT:
            streamed = (<StreamFile*>slab_row(&self.machine.sources, source_slot)).version.size
        cdef Segment* rows = segments_of(segments, len(image), mapped, streamed)
        slot = plan_make(&self.machine.table, entry_slot, image, len(image), date_at, rows, len(segments))
        free(rows)
        if slot == NO_SLOT:
            raise MemoryError("no room for another plan")
        plan = plan_at(&self.machine.table, slot)
        plan_describe(plan, status, head_length, keep_alive, linger, more)
        if mapping_slot != NO_SLOT:
            mapping_hold(&self.machine.mappings, mapping_slot)
            plan.mapping = mapping_slot
        if source_slot != NO_SLOT:
            (<StreamFile*>slab_row(&self.machine.sources, source_slot)).refs += 1
            plan.source = source_slot
        return _number(slot, self.machine.table.plans.generations[slot])

    def release(self, plan: int) -> None:
        """The handler will not answer with this plan again."""
        cdef uint32_t slot = self._slot(&self.machine.table.plans, plan)
        plan_at(&self.machine.table, slot).kept = 0
        machine_try_free_plan(&self.machine, slot)

    cdef uint32_t _slot(self, Slab* slab, number) except? NO_SLOT:
        cdef uint32_t slot = number & 0xFFFFFF
        if not slab_holds(slab, slot, number >> 24):
            raise LookupError("no such number")
        return slot

    # ---- what a driver is ----

    cdef void _wait(self, int64_t timeout_us) noexcept nogil:
        """Submit, and wait until a completion is there or `timeout_us` has passed; 0 is not to wait at all."""

    cdef bint _pending(self) noexcept nogil:
        """Whether completions are there that no wait is needed for."""
        return False

    cdef uint32_t _reap(self, Completion* completions, uint32_t count) noexcept nogil:
        """Copy up to `count` completions out, oldest first. Returns how many."""
        return 0

    cdef int32_t _execute(self, const Op* op) noexcept nogil:
        """Do an op, or see that it is done; the op itself is gone afterwards. Returns the result of what is done on the
        spot, else 0."""
        return 0

    cdef void _give_back(self, uint16_t buffer_id) noexcept nogil:
        """What lay in the receive buffer has been served or copied."""

    cdef void _publish(self) noexcept nogil:
        """The receive buffers of this batch have been given back."""

    cdef void _read_clock(self, int64_t* now_us, int64_t* unix_second) noexcept nogil:
        """Microseconds of a monotonic clock, and the Unix time."""
        now_us[0] = system_now_us()
        unix_second[0] = system_unix_second()

    cdef void _set_features(self, bint zerocopy, bint reports_usage, bint accept_multishot) noexcept nogil:
        """For a driver, before the first turn: what it can do."""
        cdef uint32_t route
        self.machine.zerocopy_able = zerocopy
        self.machine.reports_usage = reports_usage
        self.machine.accept_multishot = accept_multishot
        if self.machine.send_mode == SEND_ZEROCOPY and zerocopy:
            for route in range(ROUTE_COUNT):
                self.machine.stats.zerocopy_active[route] = ZEROCOPY_ON

    # ---- the loop ----

    def start(self) -> None:
        """Watch the wake descriptor, and accept."""
        self.started = 1
        self._watch()
        acceptor_arm(&self.machine)
        self._flush()

    def run(self) -> None:
        """Serve until `drain` has been called and everything under way is done."""
        cdef bint running = True
        self.start()
        with nogil:
            while running:
                self._turn(self._pause_us())
                if self._may_handle():
                    with gil:
                        self._run_handler()
                running = self._should_run()

    def step(self) -> int:
        """Turns that wait for nothing, as many as there is work for up to a bound, for whoever has a loop of its own.

        Returns in how many milliseconds the next is due at the latest, also when nothing happens; -1 when it has drained and
        is to be called no more.
        """
        cdef int turns = 0
        cdef int64_t pause_ms
        if not self.started:
            self.start()
        with nogil:
            self._turn(0)
            while turns < STEP_TURNS_MAX and self._pending() and not self._may_handle():
                turns += 1
                self._turn(0)
        if self._may_handle():
            self._run_handler()
        if not self._should_run():
            return -1
        pause_ms = 0 if self._pending() else self._pause_us() // 1000
        self.machine.stats.due_ms = self.machine.now_ms + pause_ms
        return pause_ms

    def drain(self, idle_ms: int = 0) -> None:
        """Accept no more, and close the listener; end when the responses under way are done, or after drain_ms_max. Who is
        idle has `idle_ms` for one more request."""
        cdef bint again = self.drain_until_ms != 0
        self._set_time()
        drain_begin(&self.machine, idle_ms, self.drain_ms_max)
        if not again:
            self.drain_until_ms = self.machine.now_ms + self.drain_ms_max
            acceptor_end(&self.machine)
        self._flush()

    cdef int64_t _pause_us(self) noexcept nogil:
        """How long nothing needs to be looked at if nothing happens."""
        if self._wants_handler() or turns_anybody(&self.machine):
            return 0
        cdef bint soon = (self.machine.accept_at_ms != 0 or self.machine.pool_retry_at_ms != 0 or self.drain_until_ms != 0
                          or self.machine.access.due_at_ms != 0)
        if soon or self.machine.conns.live or self.machine.ledger.slab.live:
            return 1000 * timer_wheel_pause_ms(&self.machine.wheel, self.machine.now_ms, 1 if soon else TICKS_MAX)
        return TRIM_US if self.machine.pool_free_count or self.machine.sources.live else IDLE_US

    cdef void _set_time(self) noexcept nogil:
        cdef int64_t now_us, unix_second
        self._read_clock(&now_us, &unix_second)
        machine_set_time(&self.machine, now_us, unix_second)

    cdef void _turn(self, int64_t timeout_us) noexcept nogil:
        cdef uint32_t accepts, i, taken = self.batch
        cdef int batches = 0
        self.machine.stats.due_ms = (self.machine.now_us + timeout_us) // 1000
        self._wait(timeout_us)
        self._set_time()
        self.machine.stats.due_ms = self.machine.now_ms
        turns_begin(&self.machine)
        while taken == self.batch and batches < BATCHES_MAX and (batches == 0 or self._spent_us() < TURN_US):
            batches += 1
            taken = self._reap(self.completions, self.batch)
            self.machine.stats.completions += taken
            accepts = 0
            for i in range(taken):
                if token_kind(self.completions[i].token) == TOKEN_ACCEPT:
                    accepts += 1
                else:
                    self._dispatch(&self.completions[i])
            # New connections last: none is shed for them whose request is in this very batch.
            for i in range(taken if accepts else 0):
                if token_kind(self.completions[i].token) == TOKEN_ACCEPT:
                    acceptor_step(&self.machine, &self.completions[i])
            # Receive buffers go back only now: what lay in them has been served or copied.
            for i in range(taken):
                if self.completions[i].has_buffer:
                    self._give_back(self.completions[i].buffer_id)
            self._publish()
            self._flush()
        deadlines_expire(&self.machine)
        pool_trim(&self.machine)
        acceptor_expire(&self.machine)
        if access_due(&self.machine.access, self.machine.now_ms):
            self._signal_log()
        self._flush()
        if self.machine.sources.live and self.machine.now_ms >= self.sources_at_ms:
            self.sources_at_ms = self.machine.now_ms + TRIM_US // 1000
            self.sources_due = 1

    cdef void _dispatch(self, Completion* completion) noexcept nogil:
        cdef uint8_t kind = token_kind(completion.token)
        if kind == TOKEN_FILL:
            fill_step(&self.machine, token_slot(completion.token), token_generation(completion.token), completion.res)
        elif kind == TOKEN_TAG:
            mapping_unmap(&self.machine.mappings, token_slot(completion.token))     # Until now the slot was ours.
        elif kind == TOKEN_WAKE:
            self.woken = 1
        elif kind != TOKEN_NOBODY:
            conn_step(&self.machine, completion)
        devices_wake(&self.machine)

    cdef void _watch(self) noexcept nogil:
        cdef Op* op = machine_blank_op(&self.machine)
        op.kind = OP_WATCH
        op.fd = self.wake
        op.token = token_pack(TOKEN_WAKE, 0, 1)

    cdef void _signal_log(self) noexcept nogil:
        cdef Op* op = machine_blank_op(&self.machine)
        op.kind = OP_SIGNAL
        op.fd = self.access_event

    cdef void _flush(self) noexcept nogil:
        """Hand the ops of this batch to the driver, in order, and act on what it says on the spot."""
        cdef uint32_t i = 0
        cdef uint8_t kind
        cdef int32_t result
        turns_send(&self.machine)
        while i < self.machine.op_count:
            kind = self.machine.ops[i].kind
            result = self._execute(&self.machine.ops[i])
            if kind == OP_REGISTER and result == 0:
                mapping_registered(&self.machine.mappings, self.machine.ops[i].slot)
            elif kind == OP_QUEUED or kind == OP_UNREAD:
                # May append ops, and move the list.
                conn_told(&self.machine, kind, token_slot(self.machine.ops[i].token),
                          token_generation(self.machine.ops[i].token), result)
            # An OP_CLEAR that fails has never been seen; the mapping stays, which is safe.
            i += 1
        self.machine.op_count = 0

    cdef int64_t _spent_us(self) noexcept nogil:
        """How long this turn, or the handler's part of it, has taken."""
        cdef int64_t now_us, unix_second
        self._read_clock(&now_us, &unix_second)
        return now_us - self.machine.now_us

    cdef bint _may_go_on(self) noexcept nogil:
        self.handled += 1
        return self.handled <= HANDLER_ITEMS and self._spent_us() < TURN_US

    cdef bint _wants_handler(self) noexcept nogil:
        return (self.machine.queues.first[QUEUE_HEAD] != NO_SLOT or self.machine.queues.first[QUEUE_LOOK] != NO_SLOT
                or self.machine.filled_first != NO_SLOT or self.woken or self.called or self.machine.route_news != 0
                or self.sources_due or self.machine.crowded or self.machine.broken_off)

    cdef bint _may_handle(self) noexcept nogil:
        return self._wants_handler() and turns_handler_is_due(&self.machine)

    cdef bint _should_run(self) noexcept nogil:
        if not self.drain_until_ms:
            return True
        if self.machine.conns.live == 0:
            return ((self.machine.accepting or self.machine.ledger.slab.live > 0)
                    and self.machine.now_ms < self.drain_until_ms + LEASE_GRACE_MS)
        if self.machine.now_ms >= self.drain_until_ms:
            drain_abort_all(&self.machine)
            self._flush()
        return self.machine.now_ms < self.drain_until_ms + LEASE_GRACE_MS

    # ---- with the GIL ----

    cdef void _run_handler(self):
        """Let the handler work off what needs judgement, as far as it comes in its share of the turn."""
        # What the handler reads off its own clock must not be later than the Date that goes with it.
        self._set_time()
        self.broken_off = self.machine.broken_off
        self.sources_due = self.called = self.machine.crowded = self.machine.broken_off = self.handled = self.in_hand = 0
        if self.woken:
            self.woken = 0
            self._handle_signals()
        if self.machine.route_news:
            self._report_routes()
        try:
            self.handler(self._work(), self._filled(), self.machine.now_ms)
        except Exception:
            LOGGER.exception("the handler failed")
            if not self.handled:
                # It did not come to anybody: who is next goes, so that this has an end.
                next(self._work(), None)
            self.abandon(self.in_hand)
        turns_handled(&self.machine, self._spent_us(), TURN_US)
        self._flush()

    cdef void _handle_signals(self):
        poll = select.poll()
        poll.register(self.wake, select.POLLIN)
        try:
            # Empty the wake-up pipe; the handlers run in PyErr_CheckSignals.
            while poll.poll(0) and os.read(self.wake, 512):
                pass
            PyErr_CheckSignals()
        finally:
            self._watch()

    cdef void _report_routes(self):
        cdef uint32_t route
        for route in range(ROUTE_COUNT):
            if self.machine.route_news & (1 << route):
                self.on_route(route, self.machine.stats.zerocopy_active[route] == ZEROCOPY_ON,
                              self.machine.trials[route].delivered, self.machine.trials[route].copied)
        self.machine.route_news = 0

    def _work(self):
        """What waits for the handler, in its order: first what is quick, then heads, of which one always has time."""
        cdef uint32_t heads = 0
        while self.machine.queues.first[QUEUE_LOOK] != NO_SLOT and self._may_go_on():
            item = self._item(QUEUE_LOOK)
            if item is not None:
                yield item
        while self.machine.queues.first[QUEUE_HEAD] != NO_SLOT and (self._may_go_on() or not heads):
            item = self._item(QUEUE_HEAD)
            if item is not None:
                heads += 1
                yield item
        self.in_hand = 0

    cdef tuple _item(self, uint8_t queue):
        """Who is next there; None if somebody asked for the same meanwhile, or has looked at its entry, and it went on."""
        cdef uint32_t slot = self.machine.queues.first[queue]
        cdef Conn* conn = conn_at(&self.machine, slot)
        queues_remove(&self.machine.queues, slot)
        self.in_hand = _number(slot, self.machine.conns.generations[slot])
        if conn.state == CONN_SENDING:
            return "more", self.in_hand, 0
        if queue == QUEUE_HEAD:
            if new_path_is_known(&self.machine, slot):
                conn_retry(&self.machine, slot, self.machine.conns.generations[slot])
                if self.machine.queues.queue[slot] != QUEUE_HEAD:
                    return None
                queues_remove(&self.machine.queues, slot)
            return "head", self.in_hand, PyBytes_FromStringAndSize(
                conn.received.bytes + conn.received.start, conn.head_length)
        if conn.refuse_status:
            return "refuse", self.in_hand, conn.refuse_status
        cdef uint32_t entry = new_path_stale_entry(&self.machine, slot)
        if entry != NO_SLOT:
            return "stale", self.in_hand, _number(entry, self.machine.table.entries.generations[entry])
        conn_retry(&self.machine, slot, self.machine.conns.generations[slot])
        return None

    def _filled(self):
        """The mappings whose fills have ended."""
        cdef int32_t error = 0
        while self.machine.filled_first != NO_SLOT:
            # Taking it may end it.
            number = _number(self.machine.filled_first, self.machine.mappings.slab.generations[self.machine.filled_first])
            fill_take_ended(&self.machine, &error)
            yield number, error
