"""The connection: a state machine that turns completions into ops.

READING -> PARKED (the handler judges a new head) -> SENDING -> READING or LINGERING -> CLOSING. A head that is known goes
from READING to SENDING at once. GREETING comes before the first READING where proxies connect. One send is under way per
connection, or a head and its first window linked so that the second starts only when the first has gone whole. Whatever
happens to the connection, leases end on their own terms.
"""

from libc.errno cimport EAGAIN, EINTR, EINVAL, ENOBUFS, ENOMEM, EOPNOTSUPP, ETIMEDOUT
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memset

from zchttpd._core.access_record cimport access_bytes_sent, access_connected, access_request_head
from zchttpd._core.addresses cimport addresses_have_room, addresses_leave
from zchttpd._core.admission cimport (
    admission_closed, admission_enqueue, admission_enter, admission_has_place, admission_leave, admission_may_reject,
    admission_oldest_idle)
from zchttpd._core.budget cimport budget_part_fits
from zchttpd._core.check cimport unlikely, zc_assert
from zchttpd._core.clients cimport clients_believe, clients_connected
from zchttpd._core.deadlines cimport deadlines_queued
from zchttpd._core.drain cimport drain_at_once, drain_ends
from zchttpd._core.lease cimport Lease, lease_at
from zchttpd._core.machine cimport (
    CONN_CLOSING, CONN_CRLF_SKIPPED, CONN_GREETING, CONN_LINGERING, CONN_NO_ZEROCOPY, CONN_PARKED, CONN_PEER_DONE,
    CONN_POLLING, CONN_READING, CONN_RECV_ARMED, CONN_RECV_ENDING, CONN_SENDING, Conn, HELD_SMALL, REFUSED_HEAD,
    ROUTE_UNKNOWN, conn_at, machine_has_room, machine_hold_plan, machine_let_go_plan, machine_next_plan, machine_op,
    machine_try_free_plan)
from zchttpd._core.new_paths cimport (
    LOOK_ASK, LOOK_GONE, SecondLook, new_path_is_stale, new_path_look, new_path_plan)
from zchttpd._core.op cimport (
    OP_BROKEN, OP_CANCEL, OP_CANCEL_ALL, OP_CLOSE, OP_LINK, OP_MORE, OP_POLL, OP_QUEUED, OP_RECV, OP_RESET, OP_SEND,
    OP_SHUTDOWN, OP_UNREAD, Op)
from zchttpd._core.parking cimport park, park_for_more, park_head, park_lost, park_may_ask, park_refused
from zchttpd._core.plans cimport (
    NO_ROW, PARTIAL_CONTENT, Plan, Row, SEGMENT_LITERAL, SEGMENT_MAPPED, SEGMENT_STREAMED, Segment, entry_at, entry_use,
    plan_at, plans_admit, plans_drop_row, plans_find)
from zchttpd._core.proxy cimport proxy_begin, proxy_step, proxy_trusts
from zchttpd._core.queues cimport QUEUE_BEGIN, QUEUE_HALF, QUEUE_LOOK, QUEUE_SEND, queues_remove
from zchttpd._core.rates cimport rates_clip, rates_give_back, rates_may_send
from zchttpd._core.recv_buffer cimport (
    FRAME_HEAD, FRAME_HEAD_LONG, FRAME_LINE_LONG, FRAME_MORE, HeadFramer, frame, recv_buffer_append, recv_buffer_consume,
    recv_buffer_free)
from zchttpd._core.routes cimport routes_forget, routes_heard_from
from zchttpd._core.scheme cimport scheme_cache_key, scheme_connected
from zchttpd._core.slab cimport slab_give, slab_holds, slab_take
from zchttpd._core.stats cimport REASON_MEMORY, ROUTE_COUNT, SENT_PLAIN, SENT_SPLICED, SENT_ZEROCOPY, WAYS
from zchttpd._core.stream cimport (
    stream_open, stream_pump, stream_read, stream_sent, stream_stop, stream_wait, stream_wake)
from zchttpd._core.timer_wheel cimport timer_wheel_cancel, timer_wheel_set
from zchttpd._core.token cimport (
    NO_SLOT, TOKEN_CANCEL, TOKEN_CLOSE, TOKEN_POLL, TOKEN_READ, TOKEN_RECV, TOKEN_SEND, TOKEN_SEND_ZC, TOKEN_SPLICE,
    token_generation, token_kind, token_pack, token_slot)
from zchttpd._core.transmit cimport COPY_NO, transmit_end_lease, transmit_notified, transmit_window
from zchttpd._core.turns cimport turns_is_small, turns_wait
from zchttpd._core.ways cimport ways_sent

cdef extern from "<errno.h>" nogil:
    enum:
        ECANCELED

# ---- what the driver calls ----

cdef bint conn_accepted(Machine* machine, int32_t fd, uint8_t proxy, const Peer* peer) noexcept nogil:
    """A new connection. Above the limit an idle one makes room, or the new one is told 503, as it is above that of its
    address; False when there is no room even for that, and the socket is still the caller's. `peer` may be NULL where
    nobody wants it. `proxy`: who connects is not the client, whom a header will name."""
    # Whoever brings requests of others has as many connections as it takes.
    cdef const Peer* counted = NULL if proxy or clients_believe(machine, peer) else peer
    cdef bint admitted
    cdef uint32_t evicted, slot
    cdef Conn* conn
    if machine.draining and drain_at_once(machine) or not proxy_trusts(machine, proxy, peer):
        return False
    admitted = addresses_have_room(machine, counted) and (admission_has_place(machine) or conn_shed(machine))
    if not admitted:
        if not admission_may_reject(machine, &evicted):
            return False
        if evicted != NO_SLOT:
            conn_close(machine, evicted)
    slot = slab_take(&machine.conns)
    if slot == NO_SLOT:
        return False
    conn = conn_at(machine, slot)
    conn.fd = fd
    conn.state = CONN_READING
    conn.route = ROUTE_UNKNOWN
    conn.row = NO_ROW
    conn.plan = conn.address = NO_SLOT
    conn.queued_last = -1
    machine.stats.connections_open += 1
    machine.stats.connections_total += 1
    conn_set_deadline(machine, slot, machine.limits.idle_ms_max)
    access_connected(&machine.access, slot)
    clients_connected(machine, slot, peer, not proxy)
    scheme_connected(machine, slot, peer)
    admission_enter(machine, slot, admitted, counted)
    if admitted:
        proxy_begin(machine, slot, proxy)
        admission_enqueue(machine, slot)
    else:
        park_refused(machine, slot, 503)
    _arm_recv(machine, slot)
    return True


cdef bint conn_shed(Machine* machine) noexcept nogil:
    """Close an idle connection to make room; False when none may go."""
    cdef uint32_t idle = admission_oldest_idle(machine)
    if idle != NO_SLOT:
        conn_close(machine, idle)
    return idle != NO_SLOT


cdef void conn_step(Machine* machine, const Completion* completion) noexcept nogil:
    """Act on one completion. Stale ones are counted and dropped; leases see theirs in any case."""
    cdef uint32_t slot = token_slot(completion.token)
    cdef uint32_t generation = token_generation(completion.token)
    cdef uint8_t kind = token_kind(completion.token)
    if kind == TOKEN_SEND_ZC:
        _on_zerocopy(machine, slot, generation, completion)
    elif not slab_holds(&machine.conns, slot, generation):
        machine.stats.stale_completions += 1
    elif kind == TOKEN_RECV:
        _on_received(machine, slot, completion)
    else:
        conn_at(machine, slot).ops_open -= 1
        if kind == TOKEN_SEND:
            _on_sent(machine, slot, completion.res, SENT_PLAIN)
        elif kind == TOKEN_SPLICE:
            _on_sent(machine, slot, completion.res, SENT_PLAIN if completion.copied else SENT_SPLICED)
        elif kind == TOKEN_READ:
            _on_read(machine, slot, completion.res)
        elif kind == TOKEN_POLL:
            _on_polled(machine, slot)
        elif kind == TOKEN_CANCEL or kind == TOKEN_CLOSE:
            _try_free(machine, slot)
        else:
            zc_assert(False)
    if machine.pool_news:
        stream_wake(machine)


cdef bint conn_answer(Machine* machine, uint32_t slot, uint32_t generation, uint32_t plan_slot,
                      bint cacheable) noexcept nogil:
    """The handler's answer to a parked head: replay this plan. With `cacheable` its cache key may lead to it from now on.

    False when the connection is gone.
    """
    cdef Conn* conn
    cdef uint32_t unrowed
    cdef uint32_t key_length = 0
    cdef bint part = plan_at(&machine.table, plan_slot).status == PARTIAL_CONTENT
    if not slab_holds(&machine.conns, slot, generation):
        return False
    conn = conn_at(machine, slot)
    # Who waited too long is told 503, and nothing else any more.
    if conn.state != CONN_PARKED or (
            conn.refuse_status and conn.refuse_status % REFUSED_HEAD != plan_at(&machine.table, plan_slot).status):
        return False
    conn.row = NO_ROW
    if cacheable and (not part or budget_part_fits(machine, plan_slot)):
        key_length = scheme_cache_key(machine, slot, conn.received.bytes + conn.received.start, conn.head_length)
    if key_length > 0:
        conn.row = plans_admit(&machine.table, machine.cache_key, key_length, plan_slot, not part, &unrowed)
        if conn.row != NO_ROW:
            conn.row_edition = machine.table.rows[conn.row].edition
        if unrowed != NO_SLOT:
            machine_try_free_plan(machine, unrowed)
    if conn.head_length > 0:
        access_request_head(&machine.access, slot, conn.received.bytes + conn.received.start, conn.head_length)
    recv_buffer_consume(&conn.received, conn.head_length)
    conn.head_length = 0
    _begin(machine, slot, plan_slot)
    return True


cdef bint conn_wants_more(Machine* machine, uint32_t slot, uint32_t generation) noexcept nogil:
    """Whether its response goes on with another plan than it has now."""
    cdef Conn* conn
    if not slab_holds(&machine.conns, slot, generation):
        return False
    conn = conn_at(machine, slot)
    return conn.state == CONN_SENDING and plan_at(&machine.table, conn.plan).more


cdef bint conn_go_on(Machine* machine, uint32_t slot, uint32_t generation, uint32_t plan_slot) noexcept nogil:
    """What comes next of a response whose plan has been sent, and has more. False when the connection is gone."""
    if not _waits_for_more(machine, slot, generation):
        return False
    machine_next_plan(machine, slot, plan_slot)
    conn_set_deadline(machine, slot, machine.limits.stall_ms_max)
    turns_wait(machine, slot, QUEUE_SEND)
    return True


cdef bint _waits_for_more(Machine* machine, uint32_t slot, uint32_t generation) noexcept nogil:
    return (conn_wants_more(machine, slot, generation) and conn_at(machine, slot).segment
            == plan_at(&machine.table, conn_at(machine, slot).plan).segment_count)


cdef void conn_await_fill(Machine* machine, uint32_t slot, uint32_t generation, uint32_t mapping) noexcept nogil:
    """The parked head waits for a fill: for as long as that makes progress."""
    if slab_holds(&machine.conns, slot, generation) and conn_at(machine, slot).state == CONN_PARKED:
        conn_at(machine, slot).awaits = mapping
        conn_at(machine, slot).awaits_generation = machine.mappings.slab.generations[mapping]


cdef void conn_retry(Machine* machine, uint32_t slot, uint32_t generation) noexcept nogil:
    """Look the parked head up again: the handler has looked at its entry."""
    if (slab_holds(&machine.conns, slot, generation) and conn_at(machine, slot).state == CONN_PARKED
            and not conn_at(machine, slot).refuse_status):
        conn_at(machine, slot).state = CONN_READING
        conn_at(machine, slot).head_length = 0
        _read_heads(machine, slot)


cdef void conn_abandon(Machine* machine, uint32_t slot, uint32_t generation) noexcept nogil:
    """The handler has no answer, not even an error, or not the rest of one: end the connection."""
    if slab_holds(&machine.conns, slot, generation) and (
            conn_at(machine, slot).state == CONN_PARKED or _waits_for_more(machine, slot, generation)):
        conn_break_off(machine, slot)


cdef void conn_told(Machine* machine, uint8_t kind, uint32_t slot, uint32_t generation, int32_t result) noexcept nogil:
    """The answer to an op that asks."""
    if not slab_holds(&machine.conns, slot, generation):
        return
    if kind == OP_QUEUED and conn_at(machine, slot).state == CONN_SENDING:
        deadlines_queued(machine, slot, result)
    elif kind == OP_UNREAD and conn_at(machine, slot).state == CONN_LINGERING:
        if result == 0:
            conn_close(machine, slot)
        else:
            conn_now(machine, slot, OP_SHUTDOWN)


# ---- receiving ----

cdef void _on_received(Machine* machine, uint32_t slot, const Completion* completion) noexcept nogil:
    cdef Conn* conn = conn_at(machine, slot)
    cdef int32_t res = completion.res
    if not completion.more:
        conn.flags &= ~(CONN_RECV_ARMED | CONN_RECV_ENDING)
        conn.ops_open -= 1
    if conn.state == CONN_CLOSING:
        _try_free(machine, slot)
        return
    if res >= 0:
        routes_heard_from(machine, conn)
    if res > 0:
        if conn.began_us == 0:
            conn.began_us = machine.now_us
        if conn.state == CONN_READING and machine.queues.queue[slot] != QUEUE_HALF:
            queues_remove(&machine.queues, slot)
        if conn.state == CONN_READING and conn.received.bytes == NULL and machine.rates == NULL and not conn.believed:
            _take(machine, slot, completion.bytes, <uint32_t>res)
        elif conn.state != CONN_LINGERING:
            _append(machine, slot, completion.bytes, <uint32_t>res)
            if conn.state == CONN_GREETING:
                proxy_step(machine, slot)
            if conn.state == CONN_READING:
                _read_heads(machine, slot)
    elif res == 0:
        conn.flags |= CONN_PEER_DONE
        # A peer that has closed its direction may still be reading: what it asked for is served first.
        if conn.state == CONN_READING or conn.state == CONN_LINGERING or conn.state == CONN_GREETING:
            conn_close(machine, slot)
        park_lost(machine, slot)
    elif res != -ENOBUFS and res != -ECANCELED and res != -EINTR and res != -EAGAIN:
        _fail(machine, slot, res)
    _arm_recv(machine, slot)


cdef void _arm_recv(Machine* machine, uint32_t slot) noexcept nogil:
    """Receive whenever there is room for what may come; stop when a peer sends ahead more than it may."""
    cdef Conn* conn = conn_at(machine, slot)
    # Whoever sends ahead has to wait when memory is short.
    cdef uint32_t most = 2 * machine.limits.head_size_max if machine_has_room(machine, HELD_SMALL + 1) else HELD_SMALL
    cdef uint32_t waiting = conn.received.end - conn.received.start
    if conn.state == CONN_CLOSING or conn.state == 0 or conn.flags & CONN_PEER_DONE:
        return
    if not conn.flags & CONN_RECV_ARMED:
        if waiting < most:
            machine_op(machine, slot, OP_RECV, TOKEN_RECV)
            conn.flags |= CONN_RECV_ARMED
    elif waiting >= most and not conn.flags & CONN_RECV_ENDING:
        _cancel_recv(machine, slot)


cdef void _cancel_recv(Machine* machine, uint32_t slot) noexcept nogil:
    cdef Conn* conn = conn_at(machine, slot)
    cdef Op* op = machine_op(machine, slot, OP_CANCEL, TOKEN_CANCEL)
    op.offset = token_pack(TOKEN_RECV, slot, machine.conns.generations[slot])
    conn.flags |= CONN_RECV_ENDING


cdef void _append(Machine* machine, uint32_t slot, const char* bytes, uint32_t length) noexcept nogil:
    cdef Conn* conn = conn_at(machine, slot)
    if conn.state == CONN_CLOSING:
        return
    if conn.head_began_ms == 0 and conn.state == CONN_READING:
        conn.head_began_ms = machine.now_ms
        conn_set_deadline(machine, slot, machine.limits.head_ms_max)
    if recv_buffer_append(&conn.received, bytes, length, &machine.stats.held_bytes) < 0:
        conn_abort(machine, slot)


cdef void _take(Machine* machine, uint32_t slot, const char* bytes, uint32_t length) noexcept nogil:
    """Bytes straight from the receive buffer, with nothing waiting before them: serve a known head in place."""
    cdef Conn* conn = conn_at(machine, slot)
    cdef Row* row
    cdef uint32_t plan, used = 0, head_length = 0
    cdef HeadFramer framer
    cdef bint unknown = False
    if conn.row != NO_ROW and not machine.draining:
        row = &machine.table.rows[conn.row]
        # A row's cache key ends with the empty line and has none before it: equal bytes are a framed head,
        # and its own cache key.
        if (row.edition == conn.row_edition and row.length <= length and row.cache_key != NULL
                and memcmp(row.cache_key, bytes, row.length) == 0 and _usable(machine, slot, conn.row, &plan)):
            row.used = 1
            used = row.length
            access_request_head(&machine.access, slot, bytes, used)
            _begin(machine, slot, plan)
    if used == 0 and conn.state == CONN_READING:
        memset(&framer, 0, sizeof(framer))
        if frame(&framer, bytes, length, machine.limits.line_size_max, machine.limits.head_size_max,
                 &head_length) == FRAME_HEAD and head_length > 2:
            if _lookup(machine, slot, bytes, head_length, head_length == length, &plan):
                used = head_length
                access_request_head(&machine.access, slot, bytes, used)
                _begin(machine, slot, plan)
            else:
                unknown = conn.state == CONN_READING
    if used < length:
        _append(machine, slot, bytes + used, length - used)
        if conn.state == CONN_READING and unknown:
            park_head(machine, slot, head_length)
        elif conn.state == CONN_READING:
            _read_heads(machine, slot)


cdef void _read_heads(Machine* machine, uint32_t slot) noexcept nogil:
    """Look for a head in what waits: serve it if it is known, park otherwise."""
    cdef Conn* conn = conn_at(machine, slot)
    cdef uint32_t plan, head_length = 0
    cdef int found
    while conn.state == CONN_READING and conn.received.bytes != NULL:
        found = frame(&conn.framer, conn.received.bytes + conn.received.start, conn.received.end - conn.received.start,
                      machine.limits.line_size_max, machine.limits.head_size_max, &head_length)
        if found == FRAME_MORE:
            if conn.received.capacity > HELD_SMALL and not machine_has_room(machine, conn.received.capacity):
                machine.stats.refused_memory += 1
                park_refused(machine, slot, 503)
                return
            if conn.head_began_ms == 0:
                conn.head_began_ms = machine.now_ms
                conn_set_deadline(machine, slot, machine.limits.head_ms_max)
            admission_enqueue(machine, slot)
            return
        if found == FRAME_HEAD and head_length == 2 and not conn.flags & CONN_CRLF_SKIPPED:
            conn.flags |= CONN_CRLF_SKIPPED
            recv_buffer_consume(&conn.received, 2)
            if conn.received.bytes == NULL:
                # Behind a request rather than before one: the connection is as idle as it was.
                conn.head_began_ms = 0
                conn_set_deadline(machine, slot, machine.limits.idle_ms_max)
                queues_remove(&machine.queues, slot)
                admission_enqueue(machine, slot)
        elif found == FRAME_HEAD and head_length > 2:
            if (machine.rates != NULL or conn.believed) and not park_may_ask(machine, slot, head_length):
                return
            if _lookup(machine, slot, conn.received.bytes + conn.received.start, head_length,
                       head_length == conn.received.end - conn.received.start, &plan):
                access_request_head(&machine.access, slot, conn.received.bytes + conn.received.start, head_length)
                recv_buffer_consume(&conn.received, head_length)
                _begin(machine, slot, plan)
            elif conn.state == CONN_READING:
                park_head(machine, slot, head_length)
        elif found == FRAME_LINE_LONG:
            park_refused(machine, slot, 414)
        elif found == FRAME_HEAD_LONG:
            park_refused(machine, slot, 431)
        else:
            park_refused(machine, slot, 400)


cdef bint _usable(Machine* machine, uint32_t slot, uint32_t row_index, uint32_t* plan_slot) noexcept nogil:
    """Whether the row's plan may be replayed now. A plan of a dead entry loses the row; an entry that is stale, and not
    known to be what it was, parks the connection until the handler has looked at it."""
    cdef uint32_t found = machine.table.rows[row_index].plan
    cdef Plan* plan = plan_at(&machine.table, found)
    cdef SecondLook look
    if unlikely(plan.dead):
        machine_try_free_plan(machine, plans_drop_row(&machine.table, row_index))
        return False
    if plan.entry != NO_SLOT:
        if unlikely(new_path_is_stale(machine, plan)):
            look = new_path_look(machine, row_index)
            if look == LOOK_ASK:
                conn_at(machine, slot).row = row_index
                conn_at(machine, slot).row_edition = machine.table.rows[row_index].edition
                park(machine, slot, QUEUE_LOOK)
            if look == LOOK_ASK or look == LOOK_GONE:
                return False
        entry_use(entry_at(&machine.table, plan.entry), machine.now_ms)
    machine.stats.plan_hits += 1
    plan_slot[0] = found
    return True


cdef bint _lookup(Machine* machine, uint32_t slot, const char* head, uint32_t length, bint last,
                  uint32_t* plan_slot) noexcept nogil:
    """Whether the answer is at hand. `last`: nothing has been received behind this head."""
    cdef Conn* conn = conn_at(machine, slot)
    cdef uint32_t key_length = scheme_cache_key(machine, slot, head, length)
    cdef uint32_t row
    # The last response of a worker that drains says so, and no plan does.
    if key_length == 0 or drain_ends(machine, last):
        return False
    row = plans_find(&machine.table, machine.cache_key, key_length)
    if row == NO_ROW or not _usable(machine, slot, row, plan_slot):
        if conn.state != CONN_READING or not new_path_plan(machine, key_length, &row, plan_slot):
            return False
    conn.row = row
    if row != NO_ROW:
        conn.row_edition = machine.table.rows[row].edition
    return True


# ---- sending ----

cdef void _begin(Machine* machine, uint32_t slot, uint32_t plan_slot) noexcept nogil:
    """Start to replay a plan."""
    cdef Conn* conn = conn_at(machine, slot)
    queues_remove(&machine.queues, slot)
    conn.state = CONN_SENDING
    conn.head_began_ms = 0
    conn.queued_last = -1
    conn.answers = 2 if conn.answers else 1
    conn.asked_for = 0
    conn.flags &= ~CONN_CRLF_SKIPPED
    if not machine_hold_plan(machine, slot, plan_slot):
        conn_break_off(machine, slot)
        return
    conn_set_deadline(machine, slot, machine.limits.stall_ms_max)
    if turns_is_small(machine, plan_slot):
        conn_send(machine, slot, COPY_NO)
    else:
        turns_wait(machine, slot, QUEUE_BEGIN)


cdef void conn_send(Machine* machine, uint32_t slot, uint8_t copy_reason) noexcept nogil:
    """Send what comes next; nothing of this connection is being sent."""
    cdef Conn* conn = conn_at(machine, slot)
    cdef Plan* plan = plan_at(&machine.table, conn.plan)
    cdef Segment* segment = &plan.segments[conn.segment]
    cdef bint last = conn.segment + 1 == plan.segment_count
    cdef Op* op
    if segment.kind != SEGMENT_STREAMED and machine.rates != NULL and not rates_may_send(machine, slot):
        return
    if segment.kind == SEGMENT_LITERAL:
        op = machine_op(machine, slot, OP_SEND, TOKEN_SEND)
        op.address = (conn.image if conn.segment == 0 else plan.image) + segment.offset + conn.done
        op.length = <uint32_t>rates_clip(machine, conn, segment.length - conn.done)
        conn.asked = op.length
        conn.sends += 1
        if not last and machine.rates == NULL:
            op.flags = OP_MORE
            if segment[1].kind == SEGMENT_MAPPED:
                # The window goes out in the same submission, but only if the head has gone whole.
                op.flags |= OP_LINK
                transmit_window(machine, slot, plan.mapping, segment[1].offset, segment[1].length, copy_reason)
    elif segment.kind == SEGMENT_MAPPED:
        transmit_window(machine, slot, plan.mapping, segment.offset + conn.done, segment.length - conn.done, copy_reason)
    else:
        if conn.stream == NULL and stream_open(machine, slot, segment) < 0:
            conn_break_off(machine, slot)
            return
        stream_pump(machine, slot, copy_reason)


cdef void _on_zerocopy(Machine* machine, uint32_t lease_slot, uint32_t generation,
                       const Completion* completion) noexcept nogil:
    """A result or a notification of a zero-copy send. The lease outlives the connection if need be."""
    cdef Lease* lease
    cdef uint32_t slot
    cdef uint32_t conn_generation
    if not slab_holds(&machine.ledger.slab, lease_slot, generation):
        machine.stats.stale_completions += 1
        return
    lease = lease_at(&machine.ledger, lease_slot)
    slot = lease.conn
    conn_generation = lease.conn_generation
    if completion.notification:
        transmit_notified(machine, lease_slot, completion.res)
        # A stream that was held up by its share of the pool may go on.
        if slab_holds(&machine.conns, slot, conn_generation) and conn_at(machine, slot).state == CONN_SENDING:
            if conn_at(machine, slot).stream != NULL and conn_at(machine, slot).sends == 0:
                turns_wait(machine, slot, QUEUE_SEND)
        return
    lease.result = completion.res
    lease.answered = 1
    if not completion.more:
        transmit_end_lease(machine, lease_slot)
    zc_assert(slab_holds(&machine.conns, slot, conn_generation))
    conn_at(machine, slot).ops_open -= 1
    _on_sent(machine, slot, completion.res, SENT_ZEROCOPY)


cdef void _on_sent(Machine* machine, uint32_t slot, int32_t res, uint8_t way) noexcept nogil:
    """The result of a send. Bytes leave in order, so what counts is how many. `way`: how they left, a SentWay."""
    cdef Conn* conn = conn_at(machine, slot)
    cdef bint zerocopy = way == SENT_ZEROCOPY
    cdef uint8_t copy_reason = COPY_NO
    conn.sends -= 1
    if res > 0:
        ways_sent(machine, conn, <uint32_t>res)
        if machine.rates != NULL:
            conn.paid -= <uint32_t>res
        access_bytes_sent(&machine.access, slot, <uint32_t>res, zerocopy)
        if zerocopy:
            machine.stats.sends_zerocopy += 1
            machine.stats.send_bytes_zerocopy += <uint64_t>res
        elif way == SENT_SPLICED:
            machine.stats.sends_splice += 1
            machine.stats.send_bytes_splice += <uint64_t>res
        else:
            machine.stats.sends_plain += 1
            machine.stats.send_bytes_plain += <uint64_t>res
        machine.stats.route_bytes[min(conn.route, <uint8_t>ROUTE_COUNT) * WAYS + way] += <uint64_t>res
    if conn.state == CONN_CLOSING:
        _try_free(machine, slot)
        return
    if res > 0:
        _advance(machine, slot, <uint32_t>res)
        # What was not taken whole found no more room: to try again would but be refused.
        if conn.sends == 0 and <uint32_t>res < conn.asked:
            _await_room(machine, slot)
    elif res == -ECANCELED or res == -EINTR:
        pass    # a linked window whose head went out short, or a signal: sent again below
    elif res == -EAGAIN:
        _await_room(machine, slot)
    elif zerocopy and (res == -EOPNOTSUPP or res == -EINVAL):
        conn.flags |= CONN_NO_ZEROCOPY
    elif zerocopy and (res == -ENOMEM or res == -ENOBUFS):
        copy_reason = REASON_MEMORY
    else:
        _fail(machine, slot, res)
        return
    _go_on(machine, slot, copy_reason)


cdef void _await_room(Machine* machine, uint32_t slot) noexcept nogil:
    cdef Conn* conn = conn_at(machine, slot)
    if conn.stream != NULL:
        stream_wait(machine, slot)
    rates_give_back(machine, slot)
    machine_op(machine, slot, OP_POLL, TOKEN_POLL)
    conn.flags |= CONN_POLLING


cdef void _go_on(Machine* machine, uint32_t slot, uint8_t copy_reason) noexcept nogil:
    """Send what comes next, unless something is being sent or waits for room."""
    cdef Conn* conn = conn_at(machine, slot)
    if conn.sends > 0 or conn.flags & CONN_POLLING:
        return
    if unlikely(conn.broken):
        stream_stop(machine, slot)
        _let_go(machine, slot)
        _end(machine, slot, True)
    elif conn.segment == plan_at(&machine.table, conn.plan).segment_count:
        _finish(machine, slot)
    elif copy_reason != COPY_NO:
        conn_send(machine, slot, copy_reason)
    else:
        turns_wait(machine, slot, QUEUE_SEND)


cdef void _advance(Machine* machine, uint32_t slot, uint32_t length) noexcept nogil:
    cdef Conn* conn = conn_at(machine, slot)
    cdef Plan* plan = plan_at(&machine.table, conn.plan)
    cdef uint64_t left = length
    cdef uint64_t step
    conn_set_deadline(machine, slot, machine.limits.stall_ms_max)
    conn.queued_last = -1
    while left > 0:
        zc_assert(conn.segment < plan.segment_count)
        step = min(left, plan.segments[conn.segment].length - conn.done)
        if conn.stream != NULL and plan.segments[conn.segment].kind != SEGMENT_LITERAL:
            stream_sent(machine, slot, <uint32_t>step)
        conn.done += step
        left -= step
        if conn.done == plan.segments[conn.segment].length:
            if conn.stream != NULL and plan.segments[conn.segment].kind != SEGMENT_LITERAL:
                stream_stop(machine, slot)
            conn.segment += 1
            conn.done = 0


cdef void _finish(Machine* machine, uint32_t slot) noexcept nogil:
    """The response has gone: the next head, or the end. Or its plan has, and the handler is asked for what comes next."""
    cdef Conn* conn = conn_at(machine, slot)
    cdef Plan* plan = plan_at(&machine.table, conn.plan)
    if unlikely(plan.more):
        park_for_more(machine, slot)
        return
    cdef bint keep = plan.keep_alive and not (machine.draining and conn.received.bytes == NULL and drain_at_once(machine))
    cdef bint linger = plan.linger or conn.received.bytes != NULL
    _let_go(machine, slot)
    if keep and not (conn.flags & CONN_PEER_DONE and conn.received.bytes == NULL):
        conn.state = CONN_READING
        conn_set_deadline(machine, slot, machine.limits.idle_ms_max)
        _read_heads(machine, slot)
        if conn.state == CONN_READING and conn.flags & CONN_PEER_DONE:
            conn_close(machine, slot)
        else:
            admission_enqueue(machine, slot)
            _arm_recv(machine, slot)
    else:
        _end(machine, slot, linger)


cdef void _let_go(Machine* machine, uint32_t slot) noexcept nogil:
    """The response is over."""
    cdef Conn* conn = conn_at(machine, slot)
    machine_let_go_plan(machine, slot)
    rates_give_back(machine, slot)
    conn.refuse_status = 0
    if conn.believed:
        # What counts is the request, and not the connection.
        addresses_leave(machine, slot)


cdef void _end(Machine* machine, uint32_t slot, bint linger) noexcept nogil:
    """No more is sent. `linger`: the peer may still send, as it has not said that it does not."""
    cdef Conn* conn = conn_at(machine, slot)
    if conn.broken or linger and not conn.flags & CONN_PEER_DONE:
        conn_now(machine, slot, OP_SHUTDOWN).flags = OP_BROKEN if conn.broken else 0
    if conn.flags & CONN_PEER_DONE:
        conn_close(machine, slot)
        return
    # Closing with unread bytes in the socket would send RST, which can destroy the response on its way.
    conn.state = CONN_LINGERING
    conn.head_length = 0
    recv_buffer_free(&conn.received)
    conn_set_deadline(machine, slot, machine.limits.linger_ms_max)
    admission_enqueue(machine, slot)
    _arm_recv(machine, slot)
    if not linger:
        # The peer has said that it sends nothing more (RFC 9112 section 9.6), so there is nothing to wait for. Still it
        # is looked first: bytes that the receive under way has taken out of the socket send no RST, and what it has
        # left there is counted just before the close. Only what comes later, of a peer that broke its word or does not
        # know yet that the worker drains, meets one.
        conn_now(machine, slot, OP_UNREAD)


cdef void conn_break_off(Machine* machine, uint32_t slot) noexcept nogil:
    """Its response cannot go on, and ends before its time, as the client can tell. No reset: it may destroy the responses
    before it, which are on their way."""
    cdef Conn* conn = conn_at(machine, slot)
    machine.stats.aborts += 1
    conn.broken = 1
    queues_remove(&machine.queues, slot)
    stream_stop(machine, slot)
    _go_on(machine, slot, COPY_NO)


cdef Op* conn_now(Machine* machine, uint32_t slot, uint8_t kind) noexcept nogil:
    """An op on the connection's socket that is done on the spot, without a completion. Valid until the next append."""
    conn_at(machine, slot).ops_open -= 1
    return machine_op(machine, slot, kind, TOKEN_CLOSE)


cdef void _on_read(Machine* machine, uint32_t slot, int32_t res) noexcept nogil:
    cdef Conn* conn = conn_at(machine, slot)
    if conn.state == CONN_CLOSING:
        if conn.stream != NULL and conn.stream.reading != NO_SLOT:
            stream_read(machine, slot, res)
        _try_free(machine, slot)
    elif stream_read(machine, slot, res) < 0:
        conn_break_off(machine, slot)


cdef void _on_polled(Machine* machine, uint32_t slot) noexcept nogil:
    """The socket takes bytes, or its next send says why not."""
    cdef Conn* conn = conn_at(machine, slot)
    conn.flags &= ~CONN_POLLING
    if conn.state == CONN_CLOSING:
        _try_free(machine, slot)
    else:
        _go_on(machine, slot, COPY_NO)


cdef void conn_set_deadline(Machine* machine, uint32_t slot, uint32_t ms) noexcept nogil:
    conn_at(machine, slot).deadline_ms = machine.now_ms + ms
    timer_wheel_set(&machine.wheel, slot, machine.now_ms + ms)


# ---- the end ----

cdef void _leave(Machine* machine, uint32_t slot) noexcept nogil:
    """Let go of all but the socket."""
    cdef Conn* conn = conn_at(machine, slot)
    park_lost(machine, slot)
    conn.state = CONN_CLOSING
    conn.row = NO_ROW
    # A parked head goes with the receive buffer: the handler may not have seen it yet.
    conn.head_length = 0
    recv_buffer_free(&conn.received)
    stream_stop(machine, slot)
    rates_give_back(machine, slot)
    admission_leave(machine, slot)
    timer_wheel_cancel(&machine.wheel, slot)


cdef void conn_close(Machine* machine, uint32_t slot) noexcept nogil:
    """Orderly: what has been sent is still delivered. No send is under way."""
    cdef Conn* conn = conn_at(machine, slot)
    zc_assert(conn.sends == 0)
    _leave(machine, slot)
    machine_let_go_plan(machine, slot)
    if conn.flags & CONN_RECV_ARMED and not conn.flags & CONN_RECV_ENDING:
        _cancel_recv(machine, slot)
    machine_op(machine, slot, OP_CLOSE, TOKEN_CLOSE)


cdef void conn_abort(Machine* machine, uint32_t slot) noexcept nogil:
    """With a reset: queued bytes are dropped, so that the kernel lets go of our memory."""
    cdef Conn* conn = conn_at(machine, slot)
    if conn.state == CONN_CLOSING:
        return
    _leave(machine, slot)
    machine.stats.aborts += 1
    conn_now(machine, slot, OP_RESET)
    machine_op(machine, slot, OP_CANCEL_ALL, TOKEN_CANCEL)
    machine_op(machine, slot, OP_CLOSE, TOKEN_CLOSE)


cdef void _fail(Machine* machine, uint32_t slot, int32_t res) noexcept nogil:
    """The socket is broken. TCP_USER_TIMEOUT may find a stalled peer before our own deadline does."""
    if res == -ETIMEDOUT:
        machine.stats.timeouts_stall += 1
    conn_abort(machine, slot)


cdef void _try_free(Machine* machine, uint32_t slot) noexcept nogil:
    """A closing connection gives its slot back when the last of its ops has completed."""
    cdef Conn* conn = conn_at(machine, slot)
    if conn.state != CONN_CLOSING or conn.ops_open > 0:
        return
    # Until now a send under way could still read the image.
    machine_let_go_plan(machine, slot)
    stream_stop(machine, slot)
    routes_forget(machine, conn)
    admission_closed(machine, slot)
    conn.state = 0
    machine.stats.connections_open -= 1
    slab_give(&machine.conns, slot)
