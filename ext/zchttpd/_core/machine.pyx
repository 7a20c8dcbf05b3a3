"""What completions act on, and the few moves that every part of the machine shares."""

from libc.errno cimport ENOMEM
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset
from posix.unistd cimport close

from zchttpd._core.access_record cimport access_close, access_open
from zchttpd._core.check cimport zc_assert
from zchttpd._core.timer_wheel cimport wheel_close, wheel_open
from zchttpd._core.recv_buffer cimport inbox_free
from zchttpd._core.lease cimport Lease, lease_at, lease_end, lease_open, ledger_close, ledger_open
from zchttpd._core.queues cimport lines_close, lines_open
from zchttpd._core.mapping cimport (
    MAPPING_WINDOW, REST_CLEAR, REST_POOL, Mapping, mapping_at, mapping_let_go, mapping_make, mapping_unmap,
    mappings_close, mappings_open)
from zchttpd._core.op cimport OP_CLEAR, OP_REGISTER, OP_SEND, OP_SEND_ZC
from zchttpd._core.plans cimport (
    Entry, Plan, entry_at, plan_at, plan_free, plan_unlink, plans_close, plans_open)
from zchttpd._core.slab cimport slab_close, slab_give, slab_holds, slab_open, slab_row
from zchttpd._core.http_date cimport stamp_set
from zchttpd._core.stats cimport (
    REASON_COPIED, REASON_LEASES, REASON_MEMLOCK, REASON_UNSUPPORTED, ROUTE_LOOPBACK, ZEROCOPY_GIVEN_UP, ZEROCOPY_ON)
from zchttpd._core.token cimport NO_SLOT, TOKEN_SEND, TOKEN_SEND_ZC, TOKEN_TAG, token_pack
from zchttpd._core.version cimport version_holds

cdef enum:
    LEASES_MAX = 1 << 17
    CLOSING_CONNS = 1024        # connections whose last completions are still to come
    ROUTE_TRIAL = 32            # notifications before `auto` decides about a route
    ROUTE_REVIEW = 4096         # and after which it looks again
    ROUTE_RETRY = 8192          # sends copied on a route that was given up before it gets another trial
    POOL_IDLE_MS = 10_000       # windows that nobody has taken for so long are given back
    POOL_RETRY_MS = 100


cdef int core_open(Core* core, const Limits* limits, uint32_t plans_max, uint32_t mappings_max, uint64_t key0,
                   uint64_t key1, Tally* tally, int64_t now_us) noexcept nogil:
    """Make the slabs. Returns 0 or -ENOMEM, then nothing is held."""
    memset(core, 0, sizeof(Core))
    core.limits = limits[0]
    core.tally = tally
    core.pool_free = NO_SLOT
    core.now_us = now_us
    core.now_ms = now_us // 1000
    cdef uint32_t conns = limits.connections_max + limits.refusals_max + CLOSING_CONNS
    if (slab_open(&core.conns, sizeof(Conn), conns) < 0
            or slab_open(&core.sources, sizeof(Source), 65536) < 0
            or mappings_open(&core.mappings, mappings_max, tally) < 0
            or ledger_open(&core.ledger, LEASES_MAX, &core.mappings, tally) < 0
            or plans_open(&core.table, plans_max, plans_max + 65536, key0, key1, tally) < 0
            or wheel_open(&core.wheel, conns, core.now_ms) < 0
            or lines_open(&core.lines, conns) < 0):
        core_close(core)
        return -ENOMEM
    return 0


cdef void core_close(Core* core) noexcept nogil:
    """Give everything back. Only when no op is under way any more."""
    cdef uint32_t slot
    cdef Conn* conn
    for slot in range(core.conns.fresh):
        conn = conn_at(core, slot)
        inbox_free(&conn.inbox)
        free(conn.flow)
        conn.flow = NULL
        if conn.flags & CONN_IMAGE_OWN:
            free(conn.image)
    for slot in range(core.sources.fresh):
        if (<Source*>slab_row(&core.sources, slot)).refs > 0:
            close((<Source*>slab_row(&core.sources, slot)).fd)
    plans_close(&core.table)
    ledger_close(&core.ledger)
    if core.mappings.slab.rows != NULL:
        mappings_close(&core.mappings)
    access_close(&core.access)
    lines_close(&core.lines)
    wheel_close(&core.wheel)
    slab_close(&core.sources)
    slab_close(&core.conns)
    free(core.ops)
    free(core.work)
    core.ops = NULL
    core.work = NULL


cdef int core_keep_access(Core* core, uint64_t capacity) noexcept nogil:
    """Keep access records from now on, before the first connection. Returns 0 or -ENOMEM."""
    return access_open(&core.access, core.conns.capacity, capacity, &core.tally.access_dropped)


cdef void core_set_time(Core* core, int64_t now_us, int64_t unix_second) noexcept nogil:
    """The time of this batch: microseconds of a monotonic clock, and the Unix time for Date."""
    core.now_us = now_us
    core.now_ms = now_us // 1000
    stamp_set(&core.stamp, unix_second)


cdef Conn* conn_at(Core* core, uint32_t slot) noexcept nogil:
    return <Conn*>slab_row(&core.conns, slot)


cdef Op* _blank_op(Core* core) noexcept nogil:
    cdef uint32_t capacity
    if core.op_count == core.op_capacity:
        capacity = max(<uint32_t>1024, core.op_capacity * 2)
        core.ops = <Op*>realloc(core.ops, capacity * sizeof(Op))
        # An op that is lost would leave a connection without its completion for ever.
        zc_assert(core.ops != NULL)
        core.op_capacity = capacity
    cdef Op* op = &core.ops[core.op_count]
    core.op_count += 1
    memset(op, 0, sizeof(Op))
    op.buffer = -1
    return op


cdef Op* core_op(Core* core, uint32_t slot, uint8_t op_kind, uint8_t token_kind) noexcept nogil:
    """Append an op on a connection's socket whose completion the connection will see. Valid until the next append."""
    cdef Conn* conn = conn_at(core, slot)
    cdef Op* op = _blank_op(core)
    op.kind = op_kind
    op.fd = conn.fd
    op.token = token_pack(token_kind, slot, core.conns.generations[slot])
    conn.ops_open += 1
    return op


cdef void core_work(Core* core, uint32_t slot, uint8_t kind, uint32_t entry) noexcept nogil:
    """Put a parked connection on the desk's list."""
    cdef uint32_t capacity
    if core.work_count == core.work_capacity:
        capacity = max(<uint32_t>256, core.work_capacity * 2)
        core.work = <Work*>realloc(core.work, capacity * sizeof(Work))
        zc_assert(core.work != NULL)
        core.work_capacity = capacity
    cdef Work* work = &core.work[core.work_count]
    core.work_count += 1
    work.conn = slot
    work.generation = core.conns.generations[slot]
    work.kind = kind
    work.entry = entry


cdef void core_let_go_mapping(Core* core, uint32_t slot) noexcept nogil:
    """Drop one reference to a mapping and start what the last one leaves to do."""
    _rest(core, slot, mapping_let_go(&core.mappings, slot))


cdef void _clear(Core* core, uint32_t slot) noexcept nogil:
    cdef Op* op = _blank_op(core)
    op.kind = OP_CLEAR
    op.slot = slot
    op.token = token_pack(TOKEN_TAG, slot, core.mappings.slab.generations[slot])


cdef void _rest(Core* core, uint32_t slot, int rest) noexcept nogil:
    cdef Mapping* mapping
    if rest == REST_CLEAR:
        _clear(core, slot)
    elif rest == REST_POOL:
        mapping = mapping_at(&core.mappings, slot)
        mapping.refs = 1
        mapping.next = core.pool_free
        core.pool_free = slot
        core.pool_free_count += 1
        core.pool_news = 1
        core.tally.windows_open -= 1
        core.tally.mappings_open -= 1
        core.tally.mapped_bytes -= mapping.capacity
        if slab_holds(&core.conns, mapping.holder, mapping.holder_generation):
            conn_at(core, mapping.holder).windows_held -= 1


cdef void core_let_go_source(Core* core, uint32_t slot) noexcept nogil:
    cdef Source* source = <Source*>slab_row(&core.sources, slot)
    zc_assert(source.refs > 0)
    source.refs -= 1
    if source.refs == 0:
        close(source.fd)
        slab_give(&core.sources, slot)


cdef bint core_source_holds(Core* core, uint32_t slot) noexcept nogil:
    """Whether its file still has the bytes that were announced."""
    cdef Source* source = <Source*>slab_row(&core.sources, slot)
    return not source.opened or version_holds(&source.version, source.fd, False)


cdef void core_settle_plan(Core* core, uint32_t slot) noexcept nogil:
    """Give back what nobody needs any more: a dead plan's bytes when its last replay ends, the plan when nothing leads
    to it."""
    cdef Plan* plan = plan_at(&core.table, slot)
    cdef uint32_t held
    cdef bint unreachable = plan.rows == 0 and not plan.kept
    if plan.active > 0 or not (plan.dead or unreachable):
        return
    held = plan.mapping
    if held != NO_SLOT:
        plan.mapping = NO_SLOT
        core_let_go_mapping(core, held)
    held = plan.source
    if held != NO_SLOT:
        plan.source = NO_SLOT
        core_let_go_source(core, held)
    if plan.dead:
        core.table.image_bytes -= plan.image_length
        free(plan.image)
        plan.image = NULL
        plan.image_length = 0
    if unreachable:
        plan_free(&core.table, slot)


cdef void core_retire_entry(Core* core, uint32_t slot) noexcept nogil:
    """The entry is outdated or evicted: none of its plans starts a new replay. Those under way finish."""
    cdef Entry* entry = entry_at(&core.table, slot)
    cdef uint32_t plan_slot
    cdef Plan* plan
    while entry.first_plan != NO_SLOT:
        plan_slot = entry.first_plan
        plan = plan_at(&core.table, plan_slot)
        plan_unlink(&core.table, plan_slot)
        plan.dead = 1
        plan.kept = 0
        core_settle_plan(core, plan_slot)
    core.tally.entries_open -= 1
    slab_give(&core.table.entries, slot)


cdef bint _spared(Core* core, uint8_t route) noexcept nogil:
    """Whether `auto` spares this send the zero copy, as the kernel would copy it all the same.

    A network may have more than one way out, so now and then the route is tried again; loopback always copies.
    """
    if core.send_mode != SEND_AUTO or core.tally.zerocopy_active[route] != ZEROCOPY_GIVEN_UP:
        return False
    if route == ROUTE_LOOPBACK:
        return True
    if core.route_spared[route] == ROUTE_RETRY + ROUTE_TRIAL:
        core.route_spared[route] = 0
    core.route_spared[route] += 1
    if core.route_spared[route] == ROUTE_RETRY + 1:
        core.route_seen[route] = 0
        core.route_copied[route] = 0
    return core.route_spared[route] <= ROUTE_RETRY


cdef inline uint8_t _copy_reason(Core* core, Conn* conn, Mapping* mapping) noexcept nogil:
    if core.send_mode == SEND_PLAIN:
        return COPY_BY_MODE
    if not core.zerocopy_able or conn.flags & CONN_NO_ZEROCOPY:
        return REASON_UNSUPPORTED
    if mapping.buffer < 0:
        return REASON_MEMLOCK
    if conn.leases >= core.limits.leases_per_connection or core.ledger.slab.live == core.ledger.slab.capacity:
        return REASON_LEASES
    if _spared(core, conn.route):
        return REASON_COPIED
    return COPY_NO


cdef void core_send_window(Core* core, uint32_t slot, uint32_t mapping_slot, uint64_t offset, uint64_t length,
                           uint8_t copy_reason) noexcept nogil:
    """Send bytes of a mapping: by zero copy under a new lease, or by copying and then saying why.

    At most window_size bytes go in one op. `copy_reason` is COPY_NO, COPY_BY_MODE or a Reason.
    """
    cdef Conn* conn = conn_at(core, slot)
    cdef Mapping* mapping = mapping_at(&core.mappings, mapping_slot)
    cdef uint8_t reason = copy_reason
    cdef uint32_t size = <uint32_t>min(length, <uint64_t>core.limits.window_size)
    cdef uint32_t lease
    cdef Op* op
    zc_assert(mapping.refs > 0 and offset + size <= mapping.length)
    if reason == COPY_NO:
        # A rest that is small is copied on purpose, like any small body.
        reason = _copy_reason(core, conn, mapping) if length >= core.limits.zc_size_min else COPY_BY_MODE
    elif reason != COPY_BY_MODE and core.send_mode == SEND_PLAIN:
        reason = COPY_BY_MODE
    conn.sends += 1
    if reason == COPY_NO:
        op = core_op(core, slot, OP_SEND_ZC, TOKEN_SEND_ZC)
        lease = lease_open(&core.ledger, mapping_slot, slot, core.conns.generations[slot], size, conn.route,
                           core.now_us)
        conn.leases += 1
        op.token = token_pack(TOKEN_SEND_ZC, lease, core.ledger.slab.generations[lease])
        op.buffer = mapping.buffer
    else:
        if reason != COPY_BY_MODE:
            core.tally.fallbacks[reason] += 1
        op = core_op(core, slot, OP_SEND, TOKEN_SEND)
    op.address = mapping.base + offset
    op.length = size


cdef void core_end_lease(Core* core, uint32_t lease_slot) noexcept nogil:
    """The kernel is done with the window, whatever became of the connection."""
    cdef Lease* lease = lease_at(&core.ledger, lease_slot)
    cdef uint32_t mapping_slot = lease.mapping
    cdef Conn* conn
    if slab_holds(&core.conns, lease.conn, lease.conn_generation):
        conn = conn_at(core, lease.conn)
        conn.leases -= 1
    _rest(core, mapping_slot, lease_end(&core.ledger, lease_slot, core.now_us))


cdef void _judge_route(Core* core, uint8_t route, bint copied) noexcept nogil:
    """A zero-copy send was delivered: decide about its route when there are enough."""
    cdef uint8_t verdict
    core.tally.delivered[copied] += 1
    core.route_seen[route] += 1
    core.route_copied[route] += copied
    if core.send_mode == SEND_AUTO and core.route_seen[route] == ROUTE_TRIAL:
        verdict = ZEROCOPY_GIVEN_UP if core.route_copied[route] * 10 >= ROUTE_TRIAL * 9 else ZEROCOPY_ON
        if core.tally.zerocopy_active[route] != verdict:
            core.tally.zerocopy_active[route] = verdict
            core.route_news |= 1 << route
    if core.route_seen[route] == ROUTE_REVIEW:
        core.route_seen[route] = 0
        core.route_copied[route] = 0


cdef void core_notified(Core* core, uint32_t lease_slot, int32_t usage) noexcept nogil:
    """A notification: count what it says about copying, end the lease."""
    cdef Lease* lease = lease_at(&core.ledger, lease_slot)
    # A send that failed reports "copied" because nothing was used: it says nothing about the path.
    if lease.result > 0:
        if not core.reports_usage:
            core.tally.notifications_unknown += 1
        elif usage < 0:  # the sign bit is IORING_NOTIF_USAGE_ZC_COPIED
            core.tally.notifications_copied += 1
            _judge_route(core, lease.route, True)
        else:
            core.tally.notifications_zero_copied += 1
            if slab_holds(&core.conns, lease.conn, lease.conn_generation):
                conn_at(core, lease.conn).uncopied += 1
    core_end_lease(core, lease_slot)


cdef void core_delivered(Core* core, uint32_t slot) noexcept nogil:
    """The peer has what it was sent without a copy; a reset, which throws away what is queued, ends sends like that too."""
    while conn_at(core, slot).uncopied > 0:
        conn_at(core, slot).uncopied -= 1
        _judge_route(core, conn_at(core, slot).route, False)


cdef uint32_t core_windows_left(Core* core) noexcept nogil:
    """Windows of the pool that nobody has."""
    return core.pool_free_count + core.limits.window_count - core.pool_made


cdef uint32_t core_take_window(Core* core, uint32_t conn_slot) noexcept nogil:
    """A window of the pool with one reference, or NO_SLOT when all are out or there is no memory for another."""
    cdef uint32_t slot = core.pool_free
    cdef Mapping* mapping
    cdef Op* op
    if slot != NO_SLOT:
        core.pool_free = mapping_at(&core.mappings, slot).next
        core.pool_free_count -= 1
    elif core.pool_made < core.limits.window_count:
        slot = mapping_make(&core.mappings, core.limits.window_size, MAPPING_WINDOW)
        if slot == NO_SLOT:
            # Perhaps none is out that could come back: whoever waits must not depend on it.
            core.pool_retry_at_ms = core.now_ms + POOL_RETRY_MS
            return NO_SLOT
        core.pool_made += 1
        op = _blank_op(core)
        op.kind = OP_REGISTER
        op.slot = slot
    else:
        return NO_SLOT
    mapping = mapping_at(&core.mappings, slot)
    mapping.holder = conn_slot
    mapping.holder_generation = core.conns.generations[conn_slot]
    conn_at(core, conn_slot).windows_held += 1
    core.pool_used_at_ms = core.now_ms
    core.tally.windows_open += 1
    core.tally.mappings_open += 1
    core.tally.mapped_bytes += mapping.capacity
    return slot


cdef void core_trim_pool(Core* core) noexcept nogil:
    """Give the memory of windows back that nobody has wanted for a while."""
    cdef uint32_t slot
    if core.pool_free == NO_SLOT or core.now_ms - core.pool_used_at_ms < POOL_IDLE_MS:
        return
    while core.pool_free != NO_SLOT:
        slot = core.pool_free
        core.pool_free = mapping_at(&core.mappings, slot).next
        core.pool_free_count -= 1
        core.pool_made -= 1
        mapping_at(&core.mappings, slot).refs = 0
        if mapping_at(&core.mappings, slot).buffer >= 0:
            _clear(core, slot)
        else:
            mapping_unmap(&core.mappings, slot)
