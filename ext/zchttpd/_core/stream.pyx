"""Large files on their way through the pool of registered windows.

Memory is bounded by the pool whatever the file's size and however slowly clients read. Reading ahead is for when windows
are plentiful. The last eighth of the pool is a reserve: a connection that gets one of those sends by copying, without
waiting with the window in hand, so that clients that do not read cannot keep the others from being served.
"""

from libc.errno cimport ENOMEM
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free

from zchttpd._core.check cimport zc_assert
from zchttpd._core.machine cimport (
    CONN_CLOSING, CONN_POLLING, COPY_NO, FLOW_WINDOWS, Flow, Source, conn_at, core_let_go_mapping, core_op, core_send_window,
    core_source_holds, core_take_window, core_windows_left)
from zchttpd._core.queues cimport LINE_NONE, LINE_WINDOW, lines_join, lines_leave
from zchttpd._core.mapping cimport mapping_at
from zchttpd._core.op cimport OP_NOWAIT, OP_POLL, OP_READ, Op
from zchttpd._core.plans cimport plan_at
from zchttpd._core.slab cimport slab_row
from zchttpd._core.stats cimport REASON_WINDOWS
from zchttpd._core.token cimport NO_SLOT, TOKEN_POLL, TOKEN_READ


cdef int flow_open(Core* core, uint32_t slot, const Segment* segment) noexcept nogil:
    """Begin to stream a segment. Returns 0 or -ENOMEM."""
    cdef Conn* conn = conn_at(core, slot)
    zc_assert(conn.flow == NULL)
    conn.flow = <Flow*>calloc(1, sizeof(Flow))
    if conn.flow == NULL:
        return -ENOMEM
    conn.flow.read_at = segment.offset
    conn.flow.end = segment.offset + segment.length
    conn.flow.reading = NO_SLOT
    return 0


cdef inline bint _may_take(Core* core, Conn* conn) noexcept nogil:
    cdef uint32_t left = core_windows_left(core)
    # A window that has just come back is for those that wait, not for whoever gave it.
    if left == 0 or (core.pool_news and core.lines.first[LINE_WINDOW] != NO_SLOT):
        return False
    if conn.windows_held == 0:
        return True
    return conn.windows_held < core.limits.windows_per_connection and left > core.limits.window_count // 4


cdef void _read(Core* core, uint32_t slot) noexcept nogil:
    cdef Conn* conn = conn_at(core, slot)
    cdef Flow* flow = conn.flow
    cdef Op* op = core_op(core, slot, OP_READ, TOKEN_READ)
    cdef uint32_t source_slot = plan_at(&core.table, conn.plan).source
    op.fd = (<Source*>slab_row(&core.sources, source_slot)).fd
    op.slot = source_slot
    op.address = mapping_at(&core.mappings, flow.reading).base + flow.reading_have
    op.offset = flow.read_at + flow.reading_have
    op.length = flow.reading_want - flow.reading_have


cdef void flow_pump(Core* core, uint32_t slot, uint8_t copy_reason) noexcept nogil:
    """Keep the stream going: read the next window if one may be had, send the oldest if none is being sent.

    `copy_reason` is COPY_NO, or why this send is to be copied.
    """
    cdef Conn* conn = conn_at(core, slot)
    cdef Flow* flow = conn.flow
    cdef uint32_t filled = flow.count
    if conn.flags & CONN_POLLING:
        return
    if flow.reading == NO_SLOT and flow.read_at < flow.end and filled < FLOW_WINDOWS and not (flow.frugal and filled):
        if _may_take(core, conn):
            flow.frugal = (conn.windows_held == 0
                           and core_windows_left(core) <= max(<uint32_t>1, core.limits.window_count // 8))
            flow.reading = core_take_window(core, slot)
        if flow.reading != NO_SLOT:
            lines_leave(&core.lines, slot)
            flow.reading_have = 0
            flow.reading_want = <uint32_t>min(<unsigned long long>core.limits.window_size, flow.end - flow.read_at)
            _read(core, slot)
        elif filled == 0 and conn.sends == 0 and core.lines.line[slot] == LINE_NONE:
            lines_join(&core.lines, slot, LINE_WINDOW)
    if conn.sends == 0 and filled > 0:
        _send(core, slot, REASON_WINDOWS if flow.frugal else copy_reason)


cdef void _send(Core* core, uint32_t slot, uint8_t copy_reason) noexcept nogil:
    cdef Conn* conn = conn_at(core, slot)
    cdef Flow* flow = conn.flow
    cdef uint32_t window = flow.windows[flow.first]
    core_send_window(core, slot, window, flow.sent, flow.lengths[flow.first] - flow.sent, copy_reason)
    if flow.frugal:
        core.ops[core.op_count - 1].flags |= OP_NOWAIT


cdef int flow_read(Core* core, uint32_t slot, int32_t res) noexcept nogil:
    """A read has completed with `res`. Returns 0, or -1 when the stream cannot go on: the file failed, shrank or
    changed, and one response is one version of one file."""
    cdef Conn* conn = conn_at(core, slot)
    cdef Flow* flow = conn.flow
    cdef uint32_t window = flow.reading
    if (conn.state == CONN_CLOSING or res <= 0
            or not core_source_holds(core, plan_at(&core.table, conn.plan).source)):
        flow.reading = NO_SLOT
        core_let_go_mapping(core, window)
        return -1
    flow.reading_have += <uint32_t>res
    if flow.reading_have < flow.reading_want:
        _read(core, slot)
        return 0
    cdef uint32_t place = (flow.first + flow.count) % FLOW_WINDOWS
    flow.windows[place] = window
    flow.lengths[place] = flow.reading_want
    flow.count += 1
    flow.read_at += flow.reading_want
    flow.reading = NO_SLOT
    flow_pump(core, slot, COPY_NO)
    return 0


cdef void _drop_oldest(Core* core, Flow* flow) noexcept nogil:
    cdef uint32_t window = flow.windows[flow.first]
    flow.first = <unsigned char>((flow.first + 1) % FLOW_WINDOWS)
    flow.count -= 1
    flow.sent = 0
    core_let_go_mapping(core, window)


cdef void flow_sent(Core* core, uint32_t slot, uint32_t length) noexcept nogil:
    """`length` bytes of the oldest window have left; when it is through, only leases still hold it."""
    cdef Flow* flow = conn_at(core, slot).flow
    zc_assert(flow.count > 0 and flow.sent + length <= flow.lengths[flow.first])
    flow.sent += length
    if flow.sent == flow.lengths[flow.first]:
        _drop_oldest(core, flow)


cdef void flow_give_back(Core* core, uint32_t slot) noexcept nogil:
    """The socket takes nothing for now and the window is from the reserve: give it back, and read the rest again when
    the socket takes bytes."""
    cdef Conn* conn = conn_at(core, slot)
    cdef Flow* flow = conn.flow
    zc_assert(flow.count == 1 and flow.reading == NO_SLOT)
    flow.read_at -= flow.lengths[flow.first] - flow.sent
    _drop_oldest(core, flow)
    flow.frugal = 0
    core_op(core, slot, OP_POLL, TOKEN_POLL)
    conn.flags |= CONN_POLLING


cdef void flow_stop(Core* core, uint32_t slot) noexcept nogil:
    """Let go of everything but the window that a read is filling and the one that is being sent: those go when the
    read or the send completes."""
    cdef Conn* conn = conn_at(core, slot)
    cdef Flow* flow = conn.flow
    cdef uint32_t sending = 1 if conn.sends > 0 else 0
    if flow == NULL:
        return
    lines_leave(&core.lines, slot)
    while flow.count > sending:
        flow.count -= 1
        core_let_go_mapping(core, flow.windows[(flow.first + flow.count) % FLOW_WINDOWS])
    if flow.count == 0 and flow.reading == NO_SLOT:
        free(flow)
        conn.flow = NULL


cdef void flow_wake(Core* core) noexcept nogil:
    """Windows have come back, or may be made again: let those that wait try, each once."""
    cdef uint32_t last = core.lines.last[LINE_WINDOW]
    cdef uint32_t slot = core.lines.first[LINE_WINDOW]
    core.pool_news = 0
    core.pool_retry_at_ms = 0
    while slot != NO_SLOT and core_windows_left(core) > 0 and not core.pool_retry_at_ms:
        lines_leave(&core.lines, slot)
        flow_pump(core, slot, COPY_NO)
        if slot == last:
            break
        slot = core.lines.first[LINE_WINDOW]
