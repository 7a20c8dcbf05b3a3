"""The connection: a state machine that turns completions into ops.

READING -> PARKED (the desk judges a new head) -> SENDING -> READING or LINGERING -> CLOSING. A head that is known goes from
READING to SENDING at once. One send is under way per connection, or a head and its first window linked so that the
second starts only when the first has gone whole. Whatever happens to the connection, leases end on their own terms.
"""

from libc.errno cimport EAGAIN, EINTR, EINVAL, ENOBUFS, ENOMEM, EOPNOTSUPP, ETIMEDOUT
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memset

from zchttpd._core.access_record cimport access_came, access_heard, access_note, access_sent
from zchttpd._core.check cimport unlikely, zc_assert
from zchttpd._core.machine cimport (
    CONN_CLOSING, CONN_CRLF_SKIPPED, CONN_LINGERING, CONN_NO_ZEROCOPY, CONN_PARKED, CONN_PEER_DONE, CONN_POLLING,
    CONN_READING, CONN_RECV_ARMED, CONN_RECV_ENDING, CONN_SENDING, COPY_NO, REFUSED_HEAD, WORK_HEAD, WORK_REFUSE,
    WORK_STALE, Conn, conn_at, core_delivered, core_end_lease, core_notified, core_op, core_send_window,
    core_settle_plan, core_source_holds, core_work)
from zchttpd._core.timer_wheel cimport wheel_drop, wheel_due, wheel_file
from zchttpd._core.stream cimport flow_give_back, flow_open, flow_pump, flow_read, flow_sent, flow_stop, flow_wake
from zchttpd._core.cache_key cimport gist
from zchttpd._core.recv_buffer cimport (
    FRAME_HEAD, FRAME_HEAD_LONG, FRAME_LINE_LONG, FRAME_MORE, Framer, frame, inbox_append, inbox_consume,
    inbox_free)
from zchttpd._core.lease cimport Lease, lease_at
from zchttpd._core.queues cimport lines_leave
from zchttpd._core.op cimport (
    OP_CANCEL_ALL, OP_CANCEL_RECV, OP_CLOSE, OP_LINK, OP_MORE, OP_QUEUED, OP_RECV, OP_RESET, OP_SEND, OP_SHUTDOWN, Op)
from zchttpd._core.plans cimport (
    NO_ROW, SEGMENT_LITERAL, SEGMENT_MAPPED, Entry, Plan, Row, Segment, entry_at, plan_at, plans_admit, plans_drop_row,
    plans_find)
from zchttpd._core.replay cimport replay_begin, replay_end
from zchttpd._core.admission cimport room_give, room_is_left, room_may_refuse, room_oldest_idle, room_stand_by, room_take
from zchttpd._core.slab cimport slab_give, slab_holds, slab_take
from zchttpd._core.stats cimport REASON_MEMORY
from zchttpd._core.token cimport (
    NO_SLOT, TOKEN_CANCEL, TOKEN_CLOSE, TOKEN_POLL, TOKEN_READ, TOKEN_RECV, TOKEN_SEND, TOKEN_SEND_ZC,
    token_generation, token_kind, token_pack, token_slot)

cdef extern from "<errno.h>" nogil:
    enum:
        ECANCELED

cdef enum:
    PARTIAL_CONTENT = 206


# ---- what the driver calls ----

cdef bint conn_accepted(Core* core, int32_t fd, uint8_t route, const Peer* peer) noexcept nogil:
    """A new connection. Above the limit an idle one makes room, or the new one is told 503; False when there is no
    room even for that, and the socket is still the caller's. `peer` may be NULL where there is no log."""
    cdef bint admitted
    cdef uint32_t told
    cdef uint32_t slot
    cdef Conn* conn
    if core.draining:
        return False
    admitted = room_is_left(core) or conn_shed(core)
    if not admitted:
        if not room_may_refuse(core, &told):
            return False
        if told != NO_SLOT:
            _close(core, told)
    slot = slab_take(&core.conns)
    if slot == NO_SLOT:
        return False
    conn = conn_at(core, slot)
    conn.fd = fd
    conn.state = CONN_READING
    conn.route = route
    conn.row = NO_ROW
    conn.plan = NO_SLOT
    conn.queued_last = -1
    core.tally.connections_open += 1
    core.tally.connections_total += 1
    _set_deadline(core, slot, core.limits.idle_ms_max)
    access_came(&core.access, slot, peer)
    room_take(core, slot, admitted)
    if admitted:
        room_stand_by(core, slot)
    else:
        _refuse(core, slot, 503)
    _want_recv(core, slot)
    return True


cdef bint conn_shed(Core* core) noexcept nogil:
    """Close an idle connection to make room; False when none may go."""
    cdef uint32_t idle = room_oldest_idle(core)
    if idle != NO_SLOT:
        _close(core, idle)
    return idle != NO_SLOT


cdef void conn_step(Core* core, const Completion* completion) noexcept nogil:
    """Act on one completion. Stale ones are counted and dropped; leases see theirs in any case."""
    cdef uint32_t slot = token_slot(completion.token)
    cdef uint32_t generation = token_generation(completion.token)
    cdef uint8_t kind = token_kind(completion.token)
    if kind == TOKEN_SEND_ZC:
        _on_zerocopy(core, slot, generation, completion)
    elif not slab_holds(&core.conns, slot, generation):
        core.tally.stale_completions += 1
    elif kind == TOKEN_RECV:
        _on_received(core, slot, completion)
    else:
        conn_at(core, slot).ops_open -= 1
        if kind == TOKEN_SEND:
            _on_sent(core, slot, completion.res, False)
        elif kind == TOKEN_READ:
            _on_read(core, slot, completion.res)
        elif kind == TOKEN_POLL:
            _on_writable(core, slot)
        elif kind == TOKEN_CANCEL or kind == TOKEN_CLOSE:
            _settle(core, slot)
        else:
            zc_assert(False)
    if core.pool_news:
        flow_wake(core)


cdef bint conn_answer(Core* core, uint32_t slot, uint32_t generation, uint32_t plan_slot, bint memo) noexcept nogil:
    """The desk's answer to a parked head: replay this plan. With `memo` its gist may lead to it from now on.

    False when the connection is gone.
    """
    cdef Conn* conn
    cdef uint32_t unrowed
    cdef uint32_t gist_length
    if not slab_holds(&core.conns, slot, generation):
        return False
    conn = conn_at(core, slot)
    # Who waited too long is told 503, and nothing else any more.
    if conn.state != CONN_PARKED or (
            conn.refuse_status and conn.refuse_status % REFUSED_HEAD != plan_at(&core.table, plan_slot).status):
        return False
    conn.row = NO_ROW
    gist_length = gist(conn.inbox.bytes + conn.inbox.start, conn.head_length, core.gist) if memo else 0
    if gist_length > 0:
        # The ranges of a file are very many, and each costs an image: only one that comes back is remembered.
        conn.row = plans_admit(&core.table, core.gist, gist_length, plan_slot,
                               plan_at(&core.table, plan_slot).status != PARTIAL_CONTENT, &unrowed)
        if conn.row != NO_ROW:
            conn.row_edition = core.table.rows[conn.row].edition
        if unrowed != NO_SLOT:
            core_settle_plan(core, unrowed)
    if conn.head_length > 0:
        access_note(&core.access, slot, conn.inbox.bytes + conn.inbox.start, conn.head_length)
    inbox_consume(&conn.inbox, conn.head_length)
    conn.head_length = 0
    _begin(core, slot, plan_slot)
    return True


cdef void conn_retry(Core* core, uint32_t slot, uint32_t generation) noexcept nogil:
    """Look the parked head up again: the desk has looked at its entry."""
    if (slab_holds(&core.conns, slot, generation) and conn_at(core, slot).state == CONN_PARKED
            and not conn_at(core, slot).refuse_status):
        conn_at(core, slot).state = CONN_READING
        conn_at(core, slot).head_length = 0
        _read_heads(core, slot)


cdef void conn_abandon(Core* core, uint32_t slot, uint32_t generation) noexcept nogil:
    """The desk has no answer, not even an error: drop the connection."""
    if slab_holds(&core.conns, slot, generation):
        _abort(core, slot)


cdef void conn_expire(Core* core) noexcept nogil:
    """Act on every deadline that has passed."""
    cdef uint32_t slot = wheel_due(&core.wheel, core.now_ms)
    cdef Conn* conn
    while slot != NO_SLOT:
        conn = conn_at(core, slot)
        if conn.deadline_ms > core.now_ms:
            wheel_file(&core.wheel, slot, conn.deadline_ms)
        else:
            _expired(core, slot)
        slot = wheel_due(&core.wheel, core.now_ms)
    if core.pool_retry_at_ms and core.now_ms >= core.pool_retry_at_ms:
        flow_wake(core)


cdef void conn_queued(Core* core, uint32_t slot, uint32_t generation, int32_t bytes) noexcept nogil:
    """The answer to OP_QUEUED. A slow reader still shrinks its queue; one that has stopped reading does not, and where
    nothing is queued the file or a window for it has not come."""
    cdef Conn* conn
    if not slab_holds(&core.conns, slot, generation):
        return
    conn = conn_at(core, slot)
    if conn.state != CONN_SENDING:
        return
    if conn.queued_last >= 0 and bytes >= conn.queued_last:
        core.tally.timeouts_stall += 1
        _abort(core, slot)
        return
    conn.queued_last = bytes
    _set_deadline(core, slot, core.limits.stall_ms_max // 2 + 1)


cdef void conn_drain(Core* core) noexcept nogil:
    """Stop keeping connections alive: the idle ones close now, the others after the response they are at."""
    cdef uint32_t slot
    core.draining = 1
    for slot in range(core.conns.fresh):
        if conn_at(core, slot).state == CONN_READING and conn_at(core, slot).inbox.bytes == NULL:
            _close(core, slot)


cdef void conn_abort_all(Core* core) noexcept nogil:
    """The time to drain is over."""
    cdef uint32_t slot
    for slot in range(core.conns.fresh):
        if conn_at(core, slot).state != 0 and conn_at(core, slot).state != CONN_CLOSING:
            _abort(core, slot)


# ---- receiving ----

cdef void _on_received(Core* core, uint32_t slot, const Completion* completion) noexcept nogil:
    cdef Conn* conn = conn_at(core, slot)
    cdef int32_t res = completion.res
    if not completion.more:
        conn.flags &= ~(CONN_RECV_ARMED | CONN_RECV_ENDING)
        conn.ops_open -= 1
    if conn.state == CONN_CLOSING:
        _settle(core, slot)
        return
    if res >= 0:
        core_delivered(core, slot)
    if res > 0:
        access_heard(&core.access, slot, core.now_us)
        if conn.state == CONN_READING:
            lines_leave(&core.lines, slot)
        if conn.state == CONN_READING and conn.inbox.bytes == NULL:
            _take(core, slot, completion.bytes, <uint32_t>res)
        elif conn.state != CONN_LINGERING:
            _keep(core, slot, completion.bytes, <uint32_t>res)
            if conn.state == CONN_READING:
                _read_heads(core, slot)
    elif res == 0:
        conn.flags |= CONN_PEER_DONE
        # A peer that has closed its direction may still be reading: what it asked for is served first.
        if conn.state == CONN_READING or conn.state == CONN_LINGERING:
            _close(core, slot)
    elif res != -ENOBUFS and res != -ECANCELED and res != -EINTR and res != -EAGAIN:
        _fail(core, slot, res)
    _want_recv(core, slot)


cdef void _want_recv(Core* core, uint32_t slot) noexcept nogil:
    """Receive whenever there is room for what may come; stop when a peer sends ahead more than it may."""
    cdef Conn* conn = conn_at(core, slot)
    cdef uint32_t room = 2 * core.limits.head_size_max
    cdef uint32_t waiting = conn.inbox.end - conn.inbox.start
    if conn.state == CONN_CLOSING or conn.state == 0 or conn.flags & CONN_PEER_DONE:
        return
    if not conn.flags & CONN_RECV_ARMED:
        if waiting < room:
            core_op(core, slot, OP_RECV, TOKEN_RECV)
            conn.flags |= CONN_RECV_ARMED
    elif waiting >= room and not conn.flags & CONN_RECV_ENDING:
        _cancel_recv(core, slot)


cdef void _cancel_recv(Core* core, uint32_t slot) noexcept nogil:
    cdef Conn* conn = conn_at(core, slot)
    cdef Op* op = core_op(core, slot, OP_CANCEL_RECV, TOKEN_CANCEL)
    op.offset = token_pack(TOKEN_RECV, slot, core.conns.generations[slot])
    conn.flags |= CONN_RECV_ENDING


cdef void _keep(Core* core, uint32_t slot, const char* bytes, uint32_t length) noexcept nogil:
    cdef Conn* conn = conn_at(core, slot)
    if conn.state == CONN_CLOSING:
        return
    if conn.head_began_ms == 0 and conn.state == CONN_READING:
        conn.head_began_ms = core.now_ms
        _set_deadline(core, slot, core.limits.head_ms_max)
    if inbox_append(&conn.inbox, bytes, length) < 0:
        _abort(core, slot)


cdef void _take(Core* core, uint32_t slot, const char* bytes, uint32_t length) noexcept nogil:
    """Bytes straight from the receive buffer, with nothing waiting before them: serve a known head in place."""
    cdef Conn* conn = conn_at(core, slot)
    cdef Row* row
    cdef uint32_t plan
    cdef uint32_t used = 0
    cdef Framer framer
    cdef uint32_t head_length = 0
    if conn.row != NO_ROW:
        row = &core.table.rows[conn.row]
        # A row's gist ends with the empty line and has none before it: equal bytes are a framed head, and its own gist.
        if (row.edition == conn.row_edition and row.length <= length and row.gist != NULL
                and memcmp(row.gist, bytes, row.length) == 0):
            if _usable(core, slot, conn.row, &plan):
                row.used = 1
                used = row.length
                access_note(&core.access, slot, bytes, used)
                _begin(core, slot, plan)
    if used == 0 and conn.state == CONN_READING:
        memset(&framer, 0, sizeof(framer))
        if frame(&framer, bytes, length, core.limits.line_size_max, core.limits.head_size_max,
                 &head_length) == FRAME_HEAD and head_length > 2:
            if _lookup(core, slot, bytes, head_length, &plan):
                used = head_length
                access_note(&core.access, slot, bytes, used)
                _begin(core, slot, plan)
    if used < length:
        _keep(core, slot, bytes + used, length - used)
        if conn.state == CONN_READING:
            _read_heads(core, slot)


cdef void _read_heads(Core* core, uint32_t slot) noexcept nogil:
    """Look for a head in what waits: serve it if it is known, park otherwise."""
    cdef Conn* conn = conn_at(core, slot)
    cdef uint32_t head_length = 0
    cdef uint32_t plan
    cdef int found
    while conn.state == CONN_READING and conn.inbox.bytes != NULL:
        found = frame(&conn.framer, conn.inbox.bytes + conn.inbox.start, conn.inbox.end - conn.inbox.start,
                      core.limits.line_size_max, core.limits.head_size_max, &head_length)
        if found == FRAME_MORE:
            if conn.head_began_ms == 0:
                conn.head_began_ms = core.now_ms
                _set_deadline(core, slot, core.limits.head_ms_max)
            return
        if found == FRAME_HEAD and head_length == 2 and not conn.flags & CONN_CRLF_SKIPPED:
            conn.flags |= CONN_CRLF_SKIPPED
            inbox_consume(&conn.inbox, 2)
            if conn.inbox.bytes == NULL:
                # Behind a request rather than before one: the connection is as idle as it was.
                conn.head_began_ms = 0
                _set_deadline(core, slot, core.limits.idle_ms_max)
                room_stand_by(core, slot)
        elif found == FRAME_HEAD and head_length > 2:
            if _lookup(core, slot, conn.inbox.bytes + conn.inbox.start, head_length, &plan):
                access_note(&core.access, slot, conn.inbox.bytes + conn.inbox.start, head_length)
                inbox_consume(&conn.inbox, head_length)
                _begin(core, slot, plan)
            elif conn.state == CONN_READING:
                conn.head_length = head_length
                core.tally.plan_misses += 1
                _park(core, slot, WORK_HEAD, NO_SLOT)
        elif found == FRAME_LINE_LONG:
            _refuse(core, slot, 414)
        elif found == FRAME_HEAD_LONG:
            _refuse(core, slot, 431)
        else:
            _refuse(core, slot, 400)


cdef bint _usable(Core* core, uint32_t slot, uint32_t row_index, uint32_t* plan_slot) noexcept nogil:
    """Whether the row's plan may be replayed now. A plan of a dead entry loses the row; a stale entry parks the
    connection until the desk has looked at it."""
    cdef uint32_t found = core.table.rows[row_index].plan
    cdef Plan* plan = plan_at(&core.table, found)
    cdef Entry* entry
    if unlikely(plan.dead):
        core_settle_plan(core, plans_drop_row(&core.table, row_index))
        return False
    if plan.entry != NO_SLOT:
        entry = entry_at(&core.table, plan.entry)
        if unlikely(core.now_ms > entry.check_at_ms or plan.source != NO_SLOT and not core_source_holds(core, plan.source)):
            conn_at(core, slot).row = row_index
            conn_at(core, slot).row_edition = core.table.rows[row_index].edition
            _park(core, slot, WORK_STALE, plan.entry)
            return False
        entry.used_at_ms = core.now_ms
    core.tally.plan_hits += 1
    plan_slot[0] = found
    return True


cdef bint _lookup(Core* core, uint32_t slot, const char* head, uint32_t length, uint32_t* plan_slot) noexcept nogil:
    cdef Conn* conn = conn_at(core, slot)
    cdef uint32_t gist_length = gist(head, length, core.gist)
    cdef uint32_t row
    if gist_length == 0:
        return False
    row = plans_find(&core.table, core.gist, gist_length)
    if row == NO_ROW or not _usable(core, slot, row, plan_slot):
        return False
    conn.row = row
    conn.row_edition = core.table.rows[row].edition
    return True


cdef void _park(Core* core, uint32_t slot, uint8_t kind, uint32_t entry) noexcept nogil:
    cdef Conn* conn = conn_at(core, slot)
    conn.state = CONN_PARKED
    _set_deadline(core, slot, core.limits.stall_ms_max)
    core_work(core, slot, kind, entry)


cdef void _refuse(Core* core, uint32_t slot, uint32_t status) noexcept nogil:
    """Answer with an error that needs no judge, then close."""
    cdef Conn* conn = conn_at(core, slot)
    conn.refuse_status = <uint16_t>status
    # RFC 9110 section 9.3.2: no content in answer to HEAD.
    if conn.inbox.end - conn.inbox.start >= 5 and memcmp(conn.inbox.bytes + conn.inbox.start, b"HEAD ", 5) == 0:
        conn.refuse_status += REFUSED_HEAD
    if conn.inbox.bytes != NULL:
        access_note(&core.access, slot, conn.inbox.bytes + conn.inbox.start, conn.inbox.end - conn.inbox.start)
    # What has arrived is not to be read as a request.
    inbox_free(&conn.inbox)
    conn.head_length = 0
    _park(core, slot, WORK_REFUSE, NO_SLOT)


# ---- sending ----

cdef void _begin(Core* core, uint32_t slot, uint32_t plan_slot) noexcept nogil:
    """Start to replay a plan."""
    cdef Conn* conn = conn_at(core, slot)
    conn.state = CONN_SENDING
    conn.head_began_ms = 0
    conn.queued_last = -1
    conn.answers = 2 if conn.answers else 1
    conn.flags &= ~CONN_CRLF_SKIPPED
    if not replay_begin(core, slot, plan_slot):
        _abort(core, slot)
        return
    _set_deadline(core, slot, core.limits.stall_ms_max)
    _send(core, slot, COPY_NO)


cdef void _send(Core* core, uint32_t slot, uint8_t copy_reason) noexcept nogil:
    """Send what comes next; nothing of this connection is being sent."""
    cdef Conn* conn = conn_at(core, slot)
    cdef Plan* plan = plan_at(&core.table, conn.plan)
    cdef Segment* segment = &plan.segments[conn.segment]
    cdef bint last = conn.segment + 1 == plan.segment_count
    cdef Op* op
    if segment.kind == SEGMENT_LITERAL:
        op = core_op(core, slot, OP_SEND, TOKEN_SEND)
        op.address = conn.image + segment.offset + conn.done
        op.length = <uint32_t>(segment.length - conn.done)
        conn.sends += 1
        if not last:
            op.flags = OP_MORE
            if segment[1].kind == SEGMENT_MAPPED:
                # The window goes out in the same submission, but only if the head has gone whole.
                op.flags |= OP_LINK
                core_send_window(core, slot, plan.mapping, segment[1].offset, segment[1].length, copy_reason)
    elif segment.kind == SEGMENT_MAPPED:
        core_send_window(core, slot, plan.mapping, segment.offset + conn.done, segment.length - conn.done, copy_reason)
    else:
        if conn.flow == NULL and flow_open(core, slot, segment) < 0:
            _abort(core, slot)
            return
        flow_pump(core, slot, copy_reason)


cdef void _on_zerocopy(Core* core, uint32_t lease_slot, uint32_t generation, const Completion* completion) noexcept nogil:
    """A result or a notification of a zero-copy send. The lease outlives the connection if need be."""
    cdef Lease* lease
    cdef uint32_t slot
    cdef uint32_t conn_generation
    if not slab_holds(&core.ledger.slab, lease_slot, generation):
        core.tally.stale_completions += 1
        return
    lease = lease_at(&core.ledger, lease_slot)
    slot = lease.conn
    conn_generation = lease.conn_generation
    if completion.notification:
        core_notified(core, lease_slot, completion.res)
        # A stream that was held up by its share of the pool may go on.
        if slab_holds(&core.conns, slot, conn_generation) and conn_at(core, slot).state == CONN_SENDING:
            if conn_at(core, slot).flow != NULL and conn_at(core, slot).sends == 0:
                flow_pump(core, slot, COPY_NO)
        return
    lease.result = completion.res
    lease.answered = 1
    if not completion.more:
        core_end_lease(core, lease_slot)
    zc_assert(slab_holds(&core.conns, slot, conn_generation))
    conn_at(core, slot).ops_open -= 1
    _on_sent(core, slot, completion.res, True)


cdef void _on_sent(Core* core, uint32_t slot, int32_t res, bint zerocopy) noexcept nogil:
    """The result of a send. Bytes leave in order, so what counts is how many."""
    cdef Conn* conn = conn_at(core, slot)
    cdef uint8_t copy_reason = COPY_NO
    conn.sends -= 1
    if res > 0:
        access_sent(&core.access, slot, <uint32_t>res, zerocopy)
        if zerocopy:
            core.tally.sends_zerocopy += 1
            core.tally.send_bytes_zerocopy += <uint64_t>res
        else:
            core.tally.sends_plain += 1
            core.tally.send_bytes_plain += <uint64_t>res
    if conn.state == CONN_CLOSING:
        _settle(core, slot)
        return
    if res > 0:
        _advance(core, slot, <uint32_t>res)
    elif res == -ECANCELED or res == -EINTR:
        pass    # a linked window whose head went out short, or a signal: sent again below
    elif res == -EAGAIN:
        if conn.flow != NULL and conn.flow.count > 0 and conn.flow.frugal:
            flow_give_back(core, slot)
            return
    elif zerocopy and (res == -EOPNOTSUPP or res == -EINVAL):
        conn.flags |= CONN_NO_ZEROCOPY
    elif zerocopy and (res == -ENOMEM or res == -ENOBUFS):
        copy_reason = REASON_MEMORY
    else:
        _fail(core, slot, res)
        return
    if conn.sends > 0:
        return
    if conn.segment == plan_at(&core.table, conn.plan).segment_count:
        _finish(core, slot)
    else:
        _send(core, slot, copy_reason)


cdef void _advance(Core* core, uint32_t slot, uint32_t length) noexcept nogil:
    cdef Conn* conn = conn_at(core, slot)
    cdef Plan* plan = plan_at(&core.table, conn.plan)
    cdef uint64_t left = length
    cdef uint64_t step
    _set_deadline(core, slot, core.limits.stall_ms_max)
    conn.queued_last = -1
    while left > 0:
        zc_assert(conn.segment < plan.segment_count)
        step = min(left, plan.segments[conn.segment].length - conn.done)
        if conn.flow != NULL and plan.segments[conn.segment].kind != SEGMENT_LITERAL:
            flow_sent(core, slot, <uint32_t>step)
        conn.done += step
        left -= step
        if conn.done == plan.segments[conn.segment].length:
            if conn.flow != NULL and plan.segments[conn.segment].kind != SEGMENT_LITERAL:
                flow_stop(core, slot)
            conn.segment += 1
            conn.done = 0


cdef void _finish(Core* core, uint32_t slot) noexcept nogil:
    """The response has gone: the next head, or the end."""
    cdef Conn* conn = conn_at(core, slot)
    cdef Plan* plan = plan_at(&core.table, conn.plan)
    cdef bint keep = plan.keep_alive and not (core.draining and conn.inbox.bytes == NULL)
    cdef bint linger = plan.linger or (not keep and conn.inbox.bytes != NULL)
    replay_end(core, slot)
    if keep and not (conn.flags & CONN_PEER_DONE and conn.inbox.bytes == NULL):
        conn.state = CONN_READING
        _set_deadline(core, slot, core.limits.idle_ms_max)
        _read_heads(core, slot)
        if conn.state == CONN_READING and conn.flags & CONN_PEER_DONE:
            _close(core, slot)
        else:
            room_stand_by(core, slot)
            _want_recv(core, slot)
    elif linger and not conn.flags & CONN_PEER_DONE:
        # Closing with unread bytes in the socket would send RST, which can destroy the response on its way.
        conn.state = CONN_LINGERING
        inbox_free(&conn.inbox)
        core_op(core, slot, OP_SHUTDOWN, TOKEN_CLOSE)
        # Done on the spot, like the reset.
        conn.ops_open -= 1
        _set_deadline(core, slot, core.limits.linger_ms_max)
        room_stand_by(core, slot)
        _want_recv(core, slot)
    else:
        _close(core, slot)


cdef void _on_read(Core* core, uint32_t slot, int32_t res) noexcept nogil:
    cdef Conn* conn = conn_at(core, slot)
    if conn.state == CONN_CLOSING:
        if conn.flow != NULL and conn.flow.reading != NO_SLOT:
            flow_read(core, slot, res)
        _settle(core, slot)
    elif flow_read(core, slot, res) < 0:
        _abort(core, slot)


cdef void _on_writable(Core* core, uint32_t slot) noexcept nogil:
    cdef Conn* conn = conn_at(core, slot)
    conn.flags &= ~CONN_POLLING
    if conn.state == CONN_CLOSING:
        _settle(core, slot)
    elif conn.flow != NULL:
        flow_pump(core, slot, COPY_NO)


# ---- time ----

cdef void _set_deadline(Core* core, uint32_t slot, uint32_t ms) noexcept nogil:
    conn_at(core, slot).deadline_ms = core.now_ms + ms
    wheel_file(&core.wheel, slot, core.now_ms + ms)


cdef void _expired(Core* core, uint32_t slot) noexcept nogil:
    cdef Conn* conn = conn_at(core, slot)
    if conn.state == CONN_READING:
        if conn.head_began_ms != 0:
            core.tally.timeouts_head += 1
            _refuse(core, slot, 408)
        else:
            core.tally.timeouts_idle += 1
            _close(core, slot)
    elif conn.state == CONN_SENDING:
        core_op(core, slot, OP_QUEUED, TOKEN_SEND)
        # Answered on the spot, not by a completion.
        conn.ops_open -= 1
        _set_deadline(core, slot, core.limits.stall_ms_max)
    elif conn.state == CONN_LINGERING:
        _close(core, slot)
    elif conn.state == CONN_PARKED:
        # The bytes of its file do not come, and nothing of the response has left.
        core.tally.timeouts_stall += 1
        if conn.refuse_status:
            _abort(core, slot)
        else:
            _refuse(core, slot, 503)


# ---- the end ----

cdef void _leave(Core* core, uint32_t slot) noexcept nogil:
    """Let go of all but the socket."""
    cdef Conn* conn = conn_at(core, slot)
    conn.state = CONN_CLOSING
    conn.row = NO_ROW
    # A parked head goes with the inbox: the desk may not have seen it yet.
    conn.head_length = 0
    inbox_free(&conn.inbox)
    flow_stop(core, slot)
    room_give(core, slot)
    wheel_drop(&core.wheel, slot)


cdef void _close(Core* core, uint32_t slot) noexcept nogil:
    """Orderly: what has been sent is still delivered. No send is under way."""
    cdef Conn* conn = conn_at(core, slot)
    zc_assert(conn.sends == 0)
    _leave(core, slot)
    replay_end(core, slot)
    if conn.flags & CONN_RECV_ARMED and not conn.flags & CONN_RECV_ENDING:
        _cancel_recv(core, slot)
    core_op(core, slot, OP_CLOSE, TOKEN_CLOSE)


cdef void _abort(Core* core, uint32_t slot) noexcept nogil:
    """With a reset: queued bytes are dropped, so that the kernel lets go of our memory."""
    cdef Conn* conn = conn_at(core, slot)
    if conn.state == CONN_CLOSING:
        return
    _leave(core, slot)
    core.tally.aborts += 1
    core_op(core, slot, OP_RESET, TOKEN_CLOSE)
    # SO_LINGER is set on the spot, without a completion.
    conn.ops_open -= 1
    core_op(core, slot, OP_CANCEL_ALL, TOKEN_CANCEL)
    core_op(core, slot, OP_CLOSE, TOKEN_CLOSE)


cdef void _fail(Core* core, uint32_t slot, int32_t res) noexcept nogil:
    """The socket is broken. TCP_USER_TIMEOUT may find a stalled peer before our own deadline does."""
    if res == -ETIMEDOUT:
        core.tally.timeouts_stall += 1
    _abort(core, slot)


cdef void _settle(Core* core, uint32_t slot) noexcept nogil:
    """A closing connection gives its slot back when the last of its ops has completed."""
    cdef Conn* conn = conn_at(core, slot)
    if conn.state != CONN_CLOSING or conn.ops_open > 0:
        return
    # Until now a send under way could still read the image.
    replay_end(core, slot)
    flow_stop(core, slot)
    conn.state = 0
    core.tally.connections_open -= 1
    slab_give(&core.conns, slot)
