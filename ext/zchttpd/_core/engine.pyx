"""The loop: waits once, acts on every completion, hands new heads to the handler once per batch, submits once.

Without the GIL from completion to submission; the GIL is taken only when the handler has work or a signal arrived.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EINTR, EINVAL, EMFILE, ENFILE
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from posix.unistd cimport close

import os
import select

from zchttpd._core.access_record cimport Peer, access_drop, access_due, access_pending, access_take
from zchttpd._core.address cimport address_peer, address_route
from zchttpd._core.conn cimport (
    conn_abandon, conn_abort_all, conn_accepted, conn_answer, conn_drain, conn_expire, conn_queued, conn_retry,
    conn_shed, conn_step)
from zchttpd._core.machine cimport (
    Conn, Limits, Machine, SEND_AUTO, SEND_PLAIN, SEND_ZEROCOPY, StreamFile, WORK_HEAD, WORK_STALE, Work, conn_at,
    machine_close, machine_file_holds, machine_let_go_file, machine_let_go_mapping, machine_open, machine_open_access,
    machine_retire_entry, machine_set_time, machine_trim_pool, machine_try_free_plan)
from zchttpd._core.mapping cimport (
    MAPPING_SNAPSHOT, Mapping, mapping_at, mapping_disown, mapping_hold, mapping_make, mapping_registered,
    mapping_unmap)
from zchttpd._core.op cimport Completion, OP_CLEAR, OP_FILL, OP_QUEUED, OP_REGISTER, OP_RESET, OP_SHUTDOWN, Op
from zchttpd._core.plans cimport (
    Plan, SEGMENT_LITERAL, SEGMENT_MAPPED, SEGMENT_STREAMED, Segment, entry_at, plan_at, plan_make)
from zchttpd._core.ring cimport (
    FEATURE_MULTISHOT_ACCEPT, FEATURE_REPORT_USAGE, FEATURE_SEND_ZC, FEATURE_SPARSE_BUFFERS, Ring, ring_accept,
    ring_cancel, ring_clear, ring_close, ring_finish, ring_give_back, ring_open, ring_publish, ring_push, ring_queued,
    ring_reap, ring_register, ring_reset, ring_wait, ring_watch)
from zchttpd._core.ring import FEATURES
from zchttpd._core.slab cimport Slab, slab_holds, slab_row, slab_take
from zchttpd._core.stats cimport ROUTE_COUNT, Stats, ZEROCOPY_ON
from zchttpd._core.system cimport system_now_us, system_signal, system_unix_second
from zchttpd._core.token cimport (
    NO_SLOT, TOKEN_ACCEPT, TOKEN_FILL, TOKEN_NOBODY, TOKEN_TAG, TOKEN_WAKE, token_generation, token_kind, token_pack,
    token_slot)
from zchttpd._core.version cimport version_holds, version_match, version_take

cdef extern from "<errno.h>" nogil:
    enum:
        ECONNABORTED
        EPROTO
        ESTALE

cdef enum:
    BATCH = 256
    BATCHES_MAX = 16            # before deadlines, the handler and the signals have their turn
    FILLS_MAX = 2               # reads of snapshots under way at a time
    FILL_SIZE = 256 * 1024      # bytes of one: well under a millisecond of copying
    MAPPINGS_MAX = 16384        # the kernel's bound on the table
    TICK_US = 100_000
    IDLE_US = 60_000_000
    TRIM_US = 1_000_000
    ACCEPT_PAUSE_MS = 100
    LEASE_GRACE_MS = 2000       # for notifications, once every connection is closed

SEGMENT_KINDS = {"literal": SEGMENT_LITERAL, "mapped": SEGMENT_MAPPED, "streamed": SEGMENT_STREAMED}
SEND_MODES = {"plain": SEND_PLAIN, "zerocopy": SEND_ZEROCOPY, "auto": SEND_AUTO}
# The fixed part of an access record (access.pxd), for struct.unpack.
ACCESS_RECORD = "=IIIIqQQHHBB16s2x"


cdef bint _gone_before_accept(int32_t res) noexcept nogil:
    """Errors of accept(2) that say nothing about the next connection."""
    return res == -ECONNABORTED or res == -EPROTO or res == -EINTR


cdef inline object _number(uint32_t slot, uint32_t generation):
    return (<uint64_t>generation << 24) | slot


cdef class Engine:
    """One worker's loop over one listener.

    `handler` is called with (work, filled, now_ms) whenever there is something that needs judgement: `work` is a list of
    ("head", ticket, head bytes), ("stale", ticket, entry) and ("refuse", ticket, status), 1000 more than that if it began
    as a HEAD request; `filled` a list of (mapping, errno or 0). While there are sources it is called every second, to give
    back those that nobody reads. It answers through `answer`, `retry` and `abandon`, now or later. Numbers of mappings,
    sources, entries, plans and tickets are opaque and never reused. Raises OSError when the ring cannot be set up.
    """

    cdef Machine machine
    cdef Ring ring
    cdef Completion[256] completions
    cdef int listener
    cdef int wake
    cdef object handler
    cdef object on_route
    cdef uint32_t fill_first
    cdef uint32_t fill_last
    cdef uint32_t fills
    cdef uint32_t done_first        # mappings whose fill has ended, as a list through Mapping.next
    cdef uint8_t machine_made
    cdef uint8_t accepting
    cdef uint8_t woken
    cdef uint8_t sources_due        # the handler is to look which sources nobody reads
    cdef int64_t sources_at_ms      # when it next is
    cdef int64_t accept_at_ms
    cdef int64_t drain_until_ms
    cdef int64_t drain_ms_max
    cdef int access_event           # eventfd that tells the log of records; -1 without a log
    cdef object _stats

    def __cinit__(self, *, int listener, int wake, handler, on_route, stats, dict limits, str send_mode, int plans_max,
                  int recv_buffers, int recv_buffer_size, int drain_ms_max, tuple without=(), int access_bytes=0,
                  int access_event=-1):
        cdef uint32_t left_out = 0
        cdef Limits bounds
        cdef bytes key = os.urandom(16)
        cdef const char* key_bytes = key
        cdef unsigned char[:] block = stats
        cdef uint32_t route
        cdef int rc
        if block.shape[0] < <Py_ssize_t>sizeof(Stats):
            raise ValueError("the stats block is too small")
        self._stats = stats
        for name in without:
            left_out |= FEATURES.get(name, 0)
        for name in ("head_size_max", "line_size_max", "head_ms_max", "idle_ms_max", "stall_ms_max", "linger_ms_max",
                     "zc_size_min", "window_size", "windows_per_connection", "window_count", "connections_max",
                     "refusals_max", "leases_per_connection"):
            if limits[name] <= 0:
                raise ValueError(f"{name} must be positive")
        bounds = limits
        self.listener = listener
        self.wake = wake
        self.handler = handler
        self.on_route = on_route
        self.fill_first = NO_SLOT
        self.fill_last = NO_SLOT
        self.done_first = NO_SLOT
        self.drain_ms_max = drain_ms_max
        rc = ring_open(&self.ring, left_out, recv_buffers, recv_buffer_size, MAPPINGS_MAX)
        if rc < 0:
            raise OSError(-rc, os.strerror(-rc))
        rc = machine_open(&self.machine, &bounds, plans_max, MAPPINGS_MAX, (<uint64_t*>key_bytes)[0],
                          (<uint64_t*>key_bytes)[1], <Stats*>&block[0], system_now_us())
        if rc < 0:
            ring_close(&self.ring)
            raise OSError(-rc, os.strerror(-rc))
        self.machine_made = 1
        self.access_event = access_event
        if access_bytes and machine_open_access(&self.machine, access_bytes) < 0:
            raise MemoryError("no memory for access records")
        machine_set_time(&self.machine, system_now_us(), system_unix_second())
        self.machine.send_mode = SEND_MODES[send_mode]
        self.machine.reports_usage = self.ring.features & FEATURE_REPORT_USAGE != 0
        self.machine.zerocopy_able = (self.ring.features & FEATURE_SEND_ZC != 0
                                      and self.ring.features & FEATURE_SPARSE_BUFFERS != 0)
        if self.machine.send_mode == SEND_ZEROCOPY and self.machine.zerocopy_able:
            for route in range(ROUTE_COUNT):
                self.machine.stats.zerocopy_active[route] = ZEROCOPY_ON

    def __dealloc__(self):
        ring_close(&self.ring)
        if self.machine_made:
            machine_close(&self.machine)

    @property
    def missing(self) -> list:
        """Features that are not there."""
        return [name for name, bit in FEATURES.items() if not self.ring.features & <uint32_t>bit]

    @property
    def now_ms(self) -> int:
        """Monotonic time of this batch, in milliseconds."""
        return self.machine.now_ms

    @property
    def image_bytes(self) -> int:
        """Bytes held by the images of plans."""
        return self.machine.table.image_bytes

    @property
    def plans_held(self) -> tuple:
        """Plans that there are, and may be."""
        return self.machine.table.plans.live, self.machine.table.plans.capacity

    @property
    def snapshot_bytes(self) -> int:
        """Bytes of files in memory, also of those that the handler has let go and somebody still reads."""
        cdef uint64_t window = (self.machine.limits.window_size + 4095) // 4096 * 4096
        return self.machine.stats.mapped_bytes - self.machine.stats.windows_open * window

    # ---- for the log, from its own thread ----

    def take_records(self) -> bytes:
        """The access records that wait: each an ACCESS_RECORD, then its text, together as long as its first number says."""
        cdef uint64_t length = access_pending(&self.machine.access)
        cdef bytes records = PyBytes_FromStringAndSize(NULL, length)
        access_take(&self.machine.access, records, length)
        return records

    def drop_records(self, count: int) -> None:
        """Count records that could not be written."""
        access_drop(&self.machine.access, count)

    # ---- for the handler ----

    def answer(self, ticket: int, plan: int, cacheable: bool) -> bool:
        """Replay `plan` to the connection that waits with `ticket`, and remember its head if `cacheable`. False when it is
        gone."""
        cdef uint32_t slot = self._slot(&self.machine.table.plans, plan)
        if plan_at(&self.machine.table, slot).dead:
            raise LookupError("the entry of this plan has been retired")
        if plan_at(&self.machine.table, slot).entry != NO_SLOT:
            entry_at(&self.machine.table, plan_at(&self.machine.table, slot).entry).used_at_ms = self.machine.now_ms
        return conn_answer(&self.machine, ticket & 0xFFFFFF, ticket >> 24, slot, cacheable)

    def retry(self, ticket: int) -> None:
        """Look the head of `ticket` up again."""
        conn_retry(&self.machine, ticket & 0xFFFFFF, ticket >> 24)

    def abandon(self, ticket: int) -> None:
        """Drop the connection of `ticket`."""
        conn_abandon(&self.machine, ticket & 0xFFFFFF, ticket >> 24)

    def fill(self, fd: int, size: int, mtime_ns: int, grown: bool) -> int:
        """Start to read a file of `size` > 0 bytes, `grown` by now or not, into a new mapping; takes the fd over anyhow.

        The handler hears of the end through `filled`: ESTALE if the file has not, or no longer, the bytes of this mtime.
        Raises MemoryError when there is no slot or no memory.
        """
        cdef uint32_t slot = mapping_make(&self.machine.mappings, size, MAPPING_SNAPSHOT)
        cdef Mapping* mapping
        if slot == NO_SLOT:
            os.close(fd)
            raise MemoryError("no room for another mapping")
        mapping = mapping_at(&self.machine.mappings, slot)
        mapping.fd = fd
        version_take(&mapping.version, fd, size, <int64_t><uint64_t>(mtime_ns & 0xFFFF_FFFF_FFFF_FFFF), grown)
        mapping_hold(&self.machine.mappings, slot)
        if self.fill_first == NO_SLOT:
            self.fill_first = slot
        else:
            mapping_at(&self.machine.mappings, self.fill_last).next = slot
        self.fill_last = slot
        self._start_fills()
        return _number(slot, self.machine.mappings.slab.generations[slot])

    def register_mapping(self, mapping: int) -> int:
        """Register a filled mapping. Returns 0, or the errno that says why it stays unregistered."""
        cdef uint32_t slot = self._slot(&self.machine.mappings.slab, mapping)
        return self._register(slot)

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

    def source(self, fd: int, size: int, mtime_ns: int, grown: bool) -> int:
        """A file version to stream from, `grown` by now or not; takes the fd over. Raises MemoryError."""
        cdef uint32_t slot = slab_take(&self.machine.sources)
        cdef StreamFile* source
        if slot == NO_SLOT:
            os.close(fd)
            raise MemoryError("no room for another streamed file")
        source = <StreamFile*>slab_row(&self.machine.sources, slot)
        source.fd = fd
        version_take(&source.version, fd, size, <int64_t><uint64_t>(mtime_ns & 0xFFFF_FFFF_FFFF_FFFF), grown)
        source.opened = 1
        source.refs = 1
        return _number(slot, self.machine.sources.generations[slot])

    def holds(self, source: int) -> bool:
        """Whether the file of a source still has the bytes of its version."""
        return machine_file_holds(&self.machine, self._slot(&self.machine.sources, source))

    def drop_source(self, source: int) -> None:
        """The handler lets go of a source."""
        machine_let_go_file(&self.machine, self._slot(&self.machine.sources, source))

    def entry(self, check_at_ms: int) -> int:
        """A unit of freshness for plans. Raises MemoryError."""
        cdef uint32_t slot = slab_take(&self.machine.table.entries)
        if slot == NO_SLOT:
            raise MemoryError("no room for another entry")
        entry_at(&self.machine.table, slot).first_plan = NO_SLOT
        entry_at(&self.machine.table, slot).check_at_ms = check_at_ms
        entry_at(&self.machine.table, slot).used_at_ms = self.machine.now_ms
        self.machine.stats.entries_open += 1
        return _number(slot, self.machine.table.entries.generations[slot])

    def refresh(self, entry: int, check_at_ms: int) -> None:
        """The entry has been looked at and is what it was."""
        entry_at(&self.machine.table, self._slot(&self.machine.table.entries, entry)).check_at_ms = check_at_ms

    def used_at_ms(self, entry: int) -> int:
        """When a plan of the entry was last replayed."""
        return entry_at(&self.machine.table, self._slot(&self.machine.table.entries, entry)).used_at_ms

    def retire(self, entry: int) -> None:
        """The entry is outdated: no new replay of its plans."""
        machine_retire_entry(&self.machine, self._slot(&self.machine.table.entries, entry))

    def plan(self, *, int status, bytes image, int date_at, list segments, bint keep_alive, bint linger, object entry=None,
             object mapping=None, object source=None, uint32_t head_length=0) -> int:
        """Make a plan; the handler keeps its number until `release`, or until the entry is retired.

        `segments` are (kind, offset, length), in the order of sending; the first `head_length` bytes of the image are the
        response head. Raises MemoryError.
        """
        cdef uint32_t count = len(segments)
        cdef uint32_t entry_slot = NO_SLOT if entry is None else self._slot(&self.machine.table.entries, entry)
        cdef uint32_t mapping_slot = NO_SLOT if mapping is None else self._slot(&self.machine.mappings.slab, mapping)
        cdef uint32_t source_slot = NO_SLOT if source is None else self._slot(&self.machine.sources, source)
        cdef uint32_t slot
        cdef uint32_t i
        cdef Plan* plan
        cdef Segment* rows
        cdef uint64_t bound
        if count == 0 or not image:
            raise ValueError("a plan sends at least a head")
        if date_at >= 0 and date_at + 29 > len(image):
            raise ValueError("the Date value lies outside the image")
        rows = <Segment*>malloc(count * sizeof(Segment))
        if rows == NULL:
            raise MemoryError
        try:
            for i in range(count):
                rows[i].kind = SEGMENT_KINDS[segments[i][0]]
                rows[i].offset = segments[i][1]
                rows[i].length = segments[i][2]
                if rows[i].kind == SEGMENT_LITERAL:
                    bound = len(image)
                elif rows[i].kind == SEGMENT_MAPPED and mapping_slot != NO_SLOT:
                    bound = mapping_at(&self.machine.mappings, mapping_slot).filled
                elif rows[i].kind == SEGMENT_STREAMED and source_slot != NO_SLOT:
                    bound = (<StreamFile*>slab_row(&self.machine.sources, source_slot)).version.size
                else:
                    raise ValueError("a segment without its bytes")
                if rows[i].length == 0 or rows[i].offset > bound or rows[i].length > bound - rows[i].offset:
                    raise ValueError("a segment lies outside its bytes")
            slot = plan_make(&self.machine.table, entry_slot, image, len(image), date_at, rows, count)
        finally:
            free(rows)
        if slot == NO_SLOT:
            raise MemoryError("no room for another plan")
        plan = plan_at(&self.machine.table, slot)
        plan.status = status
        plan.head_length = head_length
        plan.keep_alive = keep_alive
        plan.linger = linger
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

    # ---- the loop ----

    def run(self) -> None:
        """Serve until `drain` has been called and everything under way is done."""
        cdef bint going = True
        ring_watch(&self.ring, self.wake, token_pack(TOKEN_WAKE, 0, 1))
        self._arm_accept()
        with nogil:
            while going:
                self._turn()
                if (self.machine.work_count or self.done_first != NO_SLOT or self.woken or self.machine.route_news
                        or self.sources_due):
                    with gil:
                        self._run_handler()
                going = self._should_run()

    def drain(self) -> None:
        """Accept no more; end when the responses under way are done, or after drain_ms_max. The caller closes the
        listener."""
        if self.drain_until_ms:
            return
        machine_set_time(&self.machine, system_now_us(), system_unix_second())
        self.drain_until_ms = self.machine.now_ms + self.drain_ms_max
        self.accept_at_ms = 0
        ring_cancel(&self.ring, token_pack(TOKEN_ACCEPT, 0, 1), token_pack(TOKEN_NOBODY, 0, 1))
        conn_drain(&self.machine)
        self._flush()

    cdef void _turn(self) noexcept nogil:
        cdef int64_t timeout = IDLE_US
        cdef uint32_t taken = BATCH
        cdef uint32_t accepts
        cdef uint32_t i
        cdef int batch = 0
        if self.machine.conns.live or self.machine.ledger.slab.live or self.accept_at_ms or self.drain_until_ms:
            timeout = TICK_US
        elif self.machine.access.due_at_ms:
            timeout = TICK_US
        elif self.machine.pool_free_count or self.machine.sources.live:
            timeout = TRIM_US
        ring_wait(&self.ring, timeout)
        self.machine.stats.enters += 1
        machine_set_time(&self.machine, system_now_us(), system_unix_second())
        while taken == BATCH and batch < BATCHES_MAX:
            batch += 1
            taken = ring_reap(&self.ring, self.completions, BATCH)
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
                    self._on_accept(&self.completions[i])
            # Receive buffers go back only now: what lay in them has been served or copied.
            for i in range(taken):
                if self.completions[i].has_buffer:
                    ring_give_back(&self.ring, self.completions[i].buffer_id)
            ring_publish(&self.ring)
            self._flush()
        conn_expire(&self.machine)
        machine_trim_pool(&self.machine)
        if self.accept_at_ms and self.machine.now_ms >= self.accept_at_ms:
            self.accept_at_ms = 0
            self._arm_accept()
        self._flush()
        if access_due(&self.machine.access, self.machine.now_ms):
            system_signal(self.access_event)
        if self.machine.sources.live and self.machine.now_ms >= self.sources_at_ms:
            self.sources_at_ms = self.machine.now_ms + TRIM_US // 1000
            self.sources_due = 1

    cdef void _dispatch(self, Completion* completion) noexcept nogil:
        cdef uint8_t kind = token_kind(completion.token)
        if kind == TOKEN_FILL:
            self._on_fill(token_slot(completion.token), token_generation(completion.token), completion.res)
        elif kind == TOKEN_TAG:
            # The tag outlives nothing: the slot is ours until this moment.
            mapping_unmap(&self.machine.mappings, token_slot(completion.token))
        elif kind == TOKEN_WAKE:
            self.woken = 1
        elif kind != TOKEN_NOBODY:
            conn_step(&self.machine, completion)

    cdef void _on_accept(self, Completion* completion) noexcept nogil:
        cdef uint8_t route = completion.route
        cdef Peer peer
        cdef bint logged = self.machine.access.open_records != NULL
        if completion.res >= 0:
            if self.machine.send_mode != SEND_PLAIN:
                route = address_route(completion.res)
            if logged:
                address_peer(completion.res, &peer)
            if not conn_accepted(&self.machine, completion.res, route, &peer if logged else NULL):
                close(completion.res)
        elif completion.res == -EINVAL and self.ring.features & FEATURE_MULTISHOT_ACCEPT:
            self.ring.features &= ~FEATURE_MULTISHOT_ACCEPT
        elif not self.drain_until_ms and not _gone_before_accept(completion.res):
            self.machine.stats.accept_errors += 1
            if completion.res == -EMFILE or completion.res == -ENFILE:
                conn_shed(&self.machine)
            # Out of descriptors, or of memory: trying at once would spin.
            self.accept_at_ms = self.machine.now_ms + ACCEPT_PAUSE_MS
        if not completion.more:
            self.accepting = 0
            if not self.accept_at_ms:
                self._arm_accept()

    cdef void _arm_accept(self) noexcept nogil:
        if not self.accepting and not self.drain_until_ms:
            ring_accept(&self.ring, self.listener, token_pack(TOKEN_ACCEPT, 0, 1))
            self.accepting = 1

    cdef void _flush(self) noexcept nogil:
        """Hand the ops of this batch to the ring, in order; a few are done on the spot."""
        cdef uint32_t i = 0
        cdef Op* op
        while i < self.machine.op_count:
            op = &self.machine.ops[i]
            i += 1
            if op.kind == OP_CLEAR:
                if ring_clear(&self.ring, op.slot) < 0:
                    # Never seen; the mapping stays, which is safe.
                    continue
            elif op.kind == OP_REGISTER:
                self._register(op.slot)
            elif op.kind == OP_SHUTDOWN:
                ring_finish(op.fd)
            elif op.kind == OP_RESET:
                ring_reset(op.fd)
            elif op.kind == OP_QUEUED:
                # May append ops, and move the list.
                conn_queued(&self.machine, token_slot(op.token), token_generation(op.token), ring_queued(op.fd))
            else:
                ring_push(&self.ring, op)
        self.machine.op_count = 0

    cdef int _register(self, uint32_t slot) noexcept nogil:
        cdef Mapping* mapping = mapping_at(&self.machine.mappings, slot)
        cdef int rc
        if self.machine.send_mode == SEND_PLAIN:
            return 0
        rc = ring_register(&self.ring, slot, mapping.base, mapping.capacity,
                           token_pack(TOKEN_TAG, slot, self.machine.mappings.slab.generations[slot]))
        if rc == 0:
            mapping_registered(&self.machine.mappings, slot)
        return -rc

    cdef bint _should_run(self) noexcept nogil:
        if not self.drain_until_ms:
            return True
        if self.machine.conns.live == 0:
            return ((self.accepting or self.machine.ledger.slab.live > 0)
                    and self.machine.now_ms < self.drain_until_ms + LEASE_GRACE_MS)
        if self.machine.now_ms >= self.drain_until_ms:
            conn_abort_all(&self.machine)
            self._flush()
        return self.machine.now_ms < self.drain_until_ms + LEASE_GRACE_MS

    # ---- snapshots ----

    cdef void _start_fills(self) noexcept nogil:
        cdef uint32_t slot
        while self.fills < FILLS_MAX and self.fill_first != NO_SLOT:
            slot = self.fill_first
            self.fill_first = mapping_at(&self.machine.mappings, slot).next
            mapping_at(&self.machine.mappings, slot).next = NO_SLOT
            self.fills += 1
            self._fill_on(slot)

    cdef void _fill_on(self, uint32_t slot) noexcept nogil:
        cdef Mapping* mapping = mapping_at(&self.machine.mappings, slot)
        cdef Op op
        op.kind = OP_FILL
        op.flags = 0
        op.fd = mapping.fd
        op.buffer = -1
        op.slot = slot
        op.token = token_pack(TOKEN_FILL, slot, self.machine.mappings.slab.generations[slot])
        op.address = mapping.base + mapping.filled
        op.offset = mapping.filled
        op.length = <uint32_t>min(mapping.length - mapping.filled, <size_t>FILL_SIZE)
        ring_push(&self.ring, &op)

    cdef void _on_fill(self, uint32_t slot, uint32_t generation, int32_t res) noexcept nogil:
        cdef Mapping* mapping
        if not slab_holds(&self.machine.mappings.slab, slot, generation):
            self.machine.stats.stale_completions += 1
            return
        mapping = mapping_at(&self.machine.mappings, slot)
        if res > 0:
            mapping.filled += <size_t>res
            if mapping.filled < mapping.length:
                self._fill_on(slot)
                return
            version_match(&mapping.version, mapping.base)
            if not version_holds(&mapping.version, mapping.fd, True):
                res = -ESTALE
        elif res == 0:
            res = -ESTALE
        close(mapping.fd)
        # From here on the field carries how it ended: -1 well, else -errno - 1.
        mapping.fd = -1 if res > 0 else res - 1
        mapping.next = self.done_first
        self.done_first = slot
        self.fills -= 1
        self._start_fills()

    # ---- with the GIL ----

    cdef void _run_handler(self):
        """Let the handler work off what needs judgement. What it does may park connections again: a few rounds."""
        # For a signal, by another thread for the handler, or for it to give files back.
        cdef int round_number, woken = self.woken or self.sources_due
        # What the handler reads off its own clock must not be later than the Date that goes with it.
        machine_set_time(&self.machine, system_now_us(), system_unix_second())
        self.sources_due = 0
        if self.woken:
            self.woken = 0
            self._handle_signals()
        if self.machine.route_news:
            self._report_routes()
        for round_number in range(8):
            if round_number >= woken and not self.machine.work_count and self.done_first == NO_SLOT:
                break
            work = self._collect_work()
            filled = self._collect_filled()
            try:
                self.handler(work, filled, self.machine.now_ms)
            except Exception:
                import logging
                logging.getLogger("zchttpd").exception("the handler failed")
                for _kind, ticket, _subject in work:
                    self.abandon(ticket)
        self._flush()

    cdef void _handle_signals(self):
        try:
            # Empty the wake-up pipe; the handlers run in PyErr_CheckSignals.
            while select.select([self.wake], [], [], 0)[0]:
                if not os.read(self.wake, 512):
                    break
            PyErr_CheckSignals()
        finally:
            ring_watch(&self.ring, self.wake, token_pack(TOKEN_WAKE, 0, 1))

    cdef void _report_routes(self):
        cdef uint32_t route
        for route in range(ROUTE_COUNT):
            if self.machine.route_news & (1 << route):
                self.on_route(route, self.machine.stats.zerocopy_active[route] == ZEROCOPY_ON,
                              self.machine.route_seen[route], self.machine.route_copied[route])
        self.machine.route_news = 0

    cdef list _collect_work(self):
        cdef list work = []
        cdef uint32_t i
        cdef Work* item
        cdef Conn* conn
        for i in range(self.machine.work_count):
            item = &self.machine.work[i]
            if not slab_holds(&self.machine.conns, item.conn, item.generation):
                continue
            conn = conn_at(&self.machine, item.conn)
            ticket = _number(item.conn, item.generation)
            if item.kind == WORK_HEAD:
                if conn.head_length:
                    head = PyBytes_FromStringAndSize(conn.received.bytes + conn.received.start, conn.head_length)
                    work.append(("head", ticket, head))
            elif item.kind == WORK_STALE:
                # The entry may have been retired since: then nothing is left to look at.
                work.append(("stale", ticket, _number(item.entry, self.machine.table.entries.generations[item.entry])))
            else:
                work.append(("refuse", ticket, conn.refuse_status))
        self.machine.work_count = 0
        return work

    cdef list _collect_filled(self):
        cdef list filled = []
        cdef uint32_t slot
        cdef Mapping* mapping
        while self.done_first != NO_SLOT:
            slot = self.done_first
            mapping = mapping_at(&self.machine.mappings, slot)
            self.done_first = mapping.next
            mapping.next = NO_SLOT
            filled.append((_number(slot, self.machine.mappings.slab.generations[slot]), -(mapping.fd + 1)))
            mapping.fd = -1
            machine_let_go_mapping(&self.machine, slot)
        return filled
