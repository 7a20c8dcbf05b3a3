"""What completions act on, and the few moves that every part of the machine shares."""

from libc.errno cimport ENOMEM
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from posix.unistd cimport close

from zchttpd._core.access_record cimport (
    REQUEST_ID_AT, access_close, access_open, access_put_request_id, access_response_ended)
from zchttpd._core.addresses cimport addresses_close, addresses_open
from zchttpd._core.check cimport zc_assert
from zchttpd._core.clients cimport clients_close, clients_named, clients_open
from zchttpd._core.http_date cimport HTTP_DATE_LENGTH, http_date_set
from zchttpd._core.live_map cimport live_map_close
from zchttpd._core.lease cimport ledger_close, ledger_open
from zchttpd._core.mapping cimport (
    Mapping, REST_CLEAR, REST_POOL, mapping_at, mapping_let_go, mappings_close, mappings_open)
from zchttpd._core.memory cimport memory_give, memory_is_over, memory_resize, memory_take
from zchttpd._core.networks cimport networks_close
from zchttpd._core.op cimport (
    OP_CHECK_VERSION, OP_CLEAR, OP_CLOSE_FILE, OP_GROWN, OP_MAP_FILE, OP_TAKE_VERSION, OP_UNMAP_FILE, OP_WAIT)
from zchttpd._core.plans cimport (
    Entry, Plan, entry_at, plan_at, plan_free, plan_free_image, plan_loosen, plan_unlink, plans_close, plans_open)
from zchttpd._core.queues cimport queues_close, queues_open
from zchttpd._core.site cimport site_close
from zchttpd._core.rates cimport rates_close, rates_open
from zchttpd._core.slab cimport slab_close, slab_give, slab_holds, slab_open, slab_row
from zchttpd._core.stats cimport ROUTE_COUNT, stats_latency
from zchttpd._core.timer_wheel cimport timer_wheel_close, timer_wheel_open
from zchttpd._core.token cimport NO_SLOT, TOKEN_TAG, token_pack

cdef enum:
    LEASES_MAX = 1 << 17
    CLOSING_CONNS = 1024        # connections whose last completions are still to come
    OPS_SPARE = 4096            # what one batch asks for beyond a few for each connection
    OPS_PER_CONN = 4            # what ends one takes three


cdef int machine_open(Machine* machine, const Limits* limits, uint32_t plans_max, uint32_t mappings_max, uint64_t key0,
                      uint64_t key1, Stats* stats, int64_t now_us) noexcept nogil:
    """Make the slabs. Returns 0 or -ENOMEM, then nothing is held."""
    cdef uint32_t route
    memset(machine, 0, sizeof(Machine))
    machine.limits = limits[0]
    machine.stats = stats
    machine.pool_free = NO_SLOT
    machine.filled_first = NO_SLOT
    machine.device_reads_max = READS_MAX
    for route in range(ROUTE_COUNT):
        machine.ways[route].bytes_until = limits.way_bytes
    machine.now_us = now_us
    machine.now_ms = now_us // 1000
    cdef uint32_t conns = limits.connections_max + limits.refusals_max + CLOSING_CONNS
    machine.op_capacity = OPS_SPARE + OPS_PER_CONN * conns  # where nothing is written they cost addresses, not memory
    machine.ops = <Op*>memory_take(machine.op_capacity * sizeof(Op))
    if (machine.ops == NULL or slab_open(&machine.conns, sizeof(Conn), conns) < 0
            or slab_open(&machine.sources, sizeof(StreamFile), 65536) < 0
            or mappings_open(&machine.mappings, mappings_max, stats) < 0
            or ledger_open(&machine.ledger, LEASES_MAX, &machine.mappings, stats) < 0
            or plans_open(&machine.table, plans_max, plans_max + 65536, key0, key1, stats) < 0
            or timer_wheel_open(&machine.wheel, conns, machine.now_ms) < 0
            or queues_open(&machine.queues, conns) < 0 or addresses_open(machine) < 0
            or rates_open(machine) < 0):
        machine_close(machine)
        return -ENOMEM
    machine.mappings.memfds_max = limits.memory_files_max
    return 0


cdef void machine_close(Machine* machine) noexcept nogil:
    """Give everything back. Only when no op is under way any more."""
    cdef uint32_t slot
    cdef Conn* conn
    cdef StreamFile* source
    for slot in range(machine.conns.fresh):
        conn = conn_at(machine, slot)
        memory_give(conn.received.bytes)
        memory_give(conn.stream)
        conn.stream = NULL
        if conn.flags & CONN_IMAGE_OWN:
            memory_give(conn.image)
    for slot in range(machine.sources.fresh):
        source = <StreamFile*>slab_row(&machine.sources, slot)
        if source.refs > 0:
            if source.map.base != NULL:
                live_map_close(source.map.base, source.map.length)
            close(source.fd)
    site_close(&machine.site)
    plans_close(&machine.table)
    ledger_close(&machine.ledger)
    if machine.mappings.slab.rows != NULL:
        mappings_close(&machine.mappings)
    access_close(&machine.access)
    queues_close(&machine.queues)
    timer_wheel_close(&machine.wheel)
    slab_close(&machine.sources)
    slab_close(&machine.conns)
    addresses_close(machine)
    clients_close(machine)
    networks_close(&machine.proxies)
    rates_close(machine)
    memory_give(machine.ops)
    machine.ops = NULL


cdef int machine_open_access(Machine* machine, uint64_t capacity, const uint64_t* id_keys) noexcept nogil:
    """Keep access records from now on, before the first connection, as `access_open` has it. Returns 0 or -ENOMEM."""
    if capacity and clients_open(machine) < 0:
        return -ENOMEM
    return access_open(&machine.access, machine.conns.capacity, capacity, &machine.stats.access_dropped, id_keys)


cdef void machine_set_time(Machine* machine, int64_t now_us, int64_t unix_second) noexcept nogil:
    """The time of this batch: microseconds of a monotonic clock, and the Unix time for Date."""
    machine.now_us = now_us
    machine.now_ms = now_us // 1000
    http_date_set(&machine.http_date, unix_second)


cdef Conn* conn_at(Machine* machine, uint32_t slot) noexcept nogil:
    return <Conn*>slab_row(&machine.conns, slot)


cdef Op* machine_blank_op(Machine* machine) noexcept nogil:
    """Append an op that is nobody's yet. Valid until the next append."""
    cdef uint32_t capacity
    if machine.op_count == machine.op_capacity:
        capacity = machine.op_capacity * 2
        machine.ops = <Op*>memory_resize(machine.ops, capacity * sizeof(Op))
        # An op that is lost would leave a connection without its completion for ever. No batch should get here.
        zc_assert(machine.ops != NULL)
        machine.op_capacity = capacity
    cdef Op* op = &machine.ops[machine.op_count]
    machine.op_count += 1
    memset(op, 0, sizeof(Op))
    op.buffer = -1
    return op


cdef Op* machine_op(Machine* machine, uint32_t slot, uint8_t op_kind, uint8_t token_kind) noexcept nogil:
    """Append an op on a connection's socket whose completion the connection will see. Valid until the next append."""
    cdef Conn* conn = conn_at(machine, slot)
    cdef Op* op = machine_blank_op(machine)
    op.kind = op_kind
    op.fd = conn.fd
    op.token = token_pack(token_kind, slot, machine.conns.generations[slot])
    conn.ops_open += 1
    return op


cdef void machine_let_go_mapping(Machine* machine, uint32_t slot) noexcept nogil:
    """Drop one reference to a mapping and start what the last one leaves to do."""
    machine_rest(machine, slot, mapping_let_go(&machine.mappings, slot))


cdef bint machine_registers(Machine* machine) noexcept nogil:
    """Whether memory that zero-copy sends read has to be registered."""
    return machine.send_mode != SEND_PLAIN and not machine.zerocopy_by_socket


cdef void machine_clear(Machine* machine, uint32_t slot) noexcept nogil:
    """Take a mapping that nobody holds out of the buffer table; it is unmapped when the tag comes back."""
    cdef Op* op = machine_blank_op(machine)
    op.kind = OP_CLEAR
    op.slot = slot
    op.token = token_pack(TOKEN_TAG, slot, machine.mappings.slab.generations[slot])


cdef void machine_rest(Machine* machine, uint32_t slot, int rest) noexcept nogil:
    """What the last reference to a mapping leaves to do, a MappingRest."""
    cdef Mapping* mapping
    if rest == REST_CLEAR:
        machine_clear(machine, slot)
    elif rest == REST_POOL:
        mapping = mapping_at(&machine.mappings, slot)
        memory_is_over(mapping.base, mapping.capacity)
        mapping.refs = 1
        mapping.next = machine.pool_free
        machine.pool_free = slot
        machine.pool_free_count += 1
        machine.pool_news = 1
        machine.stats.windows_open -= 1
        machine.stats.mappings_open -= 1
        machine.stats.mapped_bytes -= mapping.capacity
        if slab_holds(&machine.conns, mapping.holder, mapping.holder_generation):
            conn_at(machine, mapping.holder).windows_held -= 1


cdef void machine_let_go_file(Machine* machine, uint32_t slot) noexcept nogil:
    cdef StreamFile* source = <StreamFile*>slab_row(&machine.sources, slot)
    cdef Op* op
    zc_assert(source.refs > 0)
    source.refs -= 1
    if source.refs == 0:
        if source.map.base != NULL:
            op = machine_blank_op(machine)
            op.kind = OP_UNMAP_FILE
            op.address = source.map.base
            op.offset = source.map.length
        machine_close_file(machine, source.fd)
        slab_give(&machine.sources, slot)


cdef void machine_close_file(Machine* machine, int32_t fd) noexcept nogil:
    cdef Op* op = machine_blank_op(machine)
    op.kind = OP_CLOSE_FILE
    op.fd = fd


cdef int32_t machine_ask(Machine* machine, uint8_t kind, int32_t fd, char* address=NULL, uint8_t flags=0, uint64_t offset=0,
                         uint32_t length=0) noexcept nogil:
    """The result of an op that is done now, ahead of those that wait for the end of the batch."""
    cdef Op op
    memset(&op, 0, sizeof(Op))
    op.kind = kind
    op.flags = flags
    op.fd = fd
    op.address = address
    op.offset = offset
    op.length = length
    return machine.execute(machine.driver, &op)


cdef bint _look(Machine* machine, uint8_t kind, uint8_t flags, Version* version, int32_t fd) noexcept nogil:
    """Look at an open file now. False for good once its bytes are not those of its version any more."""
    if not version.lost:
        version.lost = machine_ask(machine, kind, fd, <char*>version, flags) < 0
    return not version.lost


cdef void machine_take_version(Machine* machine, Version* version, int32_t fd, bint grown) noexcept nogil:
    """A version has been announced of a file that has just been opened, and may be longer by now if it has `grown`."""
    _look(machine, OP_TAKE_VERSION, OP_GROWN if grown else 0, version, fd)


cdef bint machine_version_holds(Machine* machine, Version* version, int32_t fd, bint wait) noexcept nogil:
    """Whether an open file still has the bytes that were announced. `wait`: they have just been read."""
    return _look(machine, OP_CHECK_VERSION, OP_WAIT if wait else 0, version, fd)


cdef bint machine_source_holds(Machine* machine, uint32_t slot) noexcept nogil:
    cdef StreamFile* source = <StreamFile*>slab_row(&machine.sources, slot)
    return machine_version_holds(machine, &source.version, source.fd, False)


cdef void machine_map_source(Machine* machine, uint32_t slot) noexcept nogil:
    """Map its file. Where that cannot be, or nobody can say what is in memory of it, it goes through windows alone."""
    cdef StreamFile* source = <StreamFile*>slab_row(&machine.sources, slot)
    source.map.base = NULL
    source.map.length = source.version.size
    if not source.version.aside:
        machine_ask(machine, OP_MAP_FILE, source.fd, <char*>&source.map)


cdef void machine_try_free_plan(Machine* machine, uint32_t slot) noexcept nogil:
    """Give back what nobody needs any more: a dead plan's bytes when its last replay ends, a plan that nothing leads to."""
    cdef Plan* plan = plan_at(&machine.table, slot)
    cdef uint32_t held
    cdef bint unreachable = plan.rows == 0 and not plan.kept
    if not (plan.dead or unreachable):
        return
    plan_loosen(&machine.table, slot)
    if plan.active > 0:
        return
    held = plan.mapping
    if held != NO_SLOT:
        plan.mapping = NO_SLOT
        machine_let_go_mapping(machine, held)
    held = plan.source
    if held != NO_SLOT:
        plan.source = NO_SLOT
        machine_let_go_file(machine, held)
    if plan.dead:
        plan_free_image(&machine.table, slot)
    if unreachable:
        plan_free(&machine.table, slot)


cdef bint machine_has_room(Machine* machine, uint32_t length) noexcept nogil:
    """Whether requests and responses under way may hold `length` bytes more. Little is always let through."""
    return length <= HELD_SMALL or machine.stats.held_bytes + length <= machine.limits.held_bytes_max


cdef bint machine_hold_plan(Machine* machine, uint32_t slot, uint32_t plan_slot) noexcept nogil:
    """The connection holds the plan from here on. False when there is no memory for an image with today's Date."""
    cdef Conn* conn = conn_at(machine, slot)
    cdef Plan* plan = plan_at(&machine.table, plan_slot)
    conn.plan = plan_slot
    conn.segment = 0
    conn.done = 0
    conn.image = plan.image
    plan.active += 1
    machine.stats.requests[plan.status] += 1
    cdef bint own = machine.access.request_ids
    if plan.date_at >= 0 and (own or plan.image_second != machine.http_date.second):
        if plan.image_held > 0:
            # A response of an earlier second, or with another id, is still being sent from the image: leave that as it is.
            conn.image = NULL
            if machine_has_room(machine, plan.segments[0].length):
                conn.image = <char*>memory_take(plan.segments[0].length)
            else:
                machine.stats.refused_memory += 1
            if conn.image == NULL:
                conn.image = plan.image
                plan.image_held += 1
                return False
            memcpy(conn.image, plan.image, plan.segments[0].length)
            conn.flags |= CONN_IMAGE_OWN
            machine.stats.held_bytes += plan.segments[0].length
        else:
            plan.image_second = machine.http_date.second
        memcpy(conn.image + plan.date_at, machine.http_date.text, HTTP_DATE_LENGTH)
        if own:
            access_put_request_id(&machine.access, slot, conn.image + plan.date_at + REQUEST_ID_AT)
    if not conn.flags & CONN_IMAGE_OWN:
        plan.image_held += 1
    return True


cdef void machine_let_go_plan(Machine* machine, uint32_t slot) noexcept nogil:
    """The connection lets go of its plan, if it has one."""
    cdef Conn* conn = conn_at(machine, slot)
    cdef uint32_t plan_slot = conn.plan
    # Who is refused before a byte has come has waited for nothing.
    cdef int64_t took_us = machine.now_us - conn.began_us if conn.began_us else 0
    cdef Plan* plan
    if plan_slot == NO_SLOT:
        return
    plan = plan_at(&machine.table, plan_slot)
    if plan.more:
        machine.broken_off = 1
    elif conn.segment == plan.segment_count:
        stats_latency(machine.stats, plan.latency_row, took_us)
    access_response_ended(&machine.access, slot, clients_named(machine, slot), plan.status, plan.head_length, took_us,
                          machine.http_date.second)
    # Another request may have come already.
    conn.began_us = machine.now_us if conn.received.bytes != NULL else 0
    _drop_plan(machine, conn)


cdef void _drop_plan(Machine* machine, Conn* conn) noexcept nogil:
    cdef uint32_t plan_slot = conn.plan
    cdef Plan* plan = plan_at(&machine.table, plan_slot)
    if conn.flags & CONN_IMAGE_OWN:
        memory_give(conn.image)
        machine.stats.held_bytes -= plan.segments[0].length
        conn.flags &= ~CONN_IMAGE_OWN
    else:
        plan.image_held -= 1
    conn.image = NULL
    conn.plan = NO_SLOT
    plan.active -= 1
    machine_try_free_plan(machine, plan_slot)


cdef void machine_next_plan(Machine* machine, uint32_t slot, uint32_t plan_slot) noexcept nogil:
    """The response goes on with a plan that has no head, and no Date. It counts as one, and in the log too."""
    cdef Conn* conn = conn_at(machine, slot)
    cdef Plan* before = plan_at(&machine.table, conn.plan)
    cdef Plan* plan = plan_at(&machine.table, plan_slot)
    plan.status = before.status
    plan.head_length = before.head_length
    plan.latency_row = before.latency_row
    _drop_plan(machine, conn)
    conn.plan = plan_slot
    conn.segment = 0
    conn.done = 0
    conn.image = plan.image
    plan.image_held += 1
    plan.active += 1


cdef void machine_retire_entry(Machine* machine, uint32_t slot) noexcept nogil:
    """The entry is outdated or evicted: none of its plans starts a new replay. Those under way finish."""
    cdef Entry* entry = entry_at(&machine.table, slot)
    cdef uint32_t plan_slot
    cdef Plan* plan
    while entry.first_plan != NO_SLOT:
        plan_slot = entry.first_plan
        plan = plan_at(&machine.table, plan_slot)
        plan_unlink(&machine.table, plan_slot)
        plan.dead = 1
        plan.kept = 0
        machine_try_free_plan(machine, plan_slot)
    machine.stats.entries_open -= 1
    slab_give(&machine.table.entries, slot)
