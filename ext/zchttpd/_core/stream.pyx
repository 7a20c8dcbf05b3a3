"""Large files on their way: straight from their mappings, or through the pool of registered windows.

What is in the page cache is sent from the mapping of the file, piece by piece. Others may write to it meanwhile: the bytes
of a copying send are fixed when its result is in, those of a zero-copy send when its notification is. So the end of a
response is read into a window only when all before it is fixed, and is sent if the file has its version even then. Whoever
is told a whole response, is told one version; else it is broken off. The version is looked at before each piece too, so that
little of another is sent in vain. Nobody writes to a frozen file: it leaves whole, and also by reference.

Memory is bounded by the pool whatever the file's size and however slowly clients read. Reading ahead is for when windows
are plentiful. Nobody keeps one for little while the socket takes nothing. The last eighth of the pool is a reserve: a
connection that gets one of those sends by copying, and waits with no window in hand at all, so that clients that do not read
cannot keep the others from being served.
"""

from libc.errno cimport EAGAIN, ENOMEM, EOPNOTSUPP
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from zchttpd._core.check cimport zc_assert
from zchttpd._core.devices cimport devices_begin, devices_end, devices_free, devices_got_on, devices_queue
from zchttpd._core.machine cimport (
    CONN_CLOSING, CONN_POLLING, LIVE_COPIED, LIVE_NONE, LIVE_REFERRED, STREAM_WINDOWS, Stream, StreamFile, conn_at,
    machine_ask, machine_let_go_mapping, machine_op, machine_source_holds)
from zchttpd._core.mapping cimport mapping_at
from zchttpd._core.memory cimport memory_give, memory_take_zeroed
from zchttpd._core.op cimport OP_ASIDE, OP_NOWAIT, OP_READ, OP_RESIDENT, Op
from zchttpd._core.plans cimport PARTIAL_CONTENT, Plan, SEGMENT_STREAMED, plan_at
from zchttpd._core.pool cimport pool_take, pool_windows_left
from zchttpd._core.queues cimport QUEUE_DEVICE, QUEUE_NONE, QUEUE_SEND, QUEUE_WINDOW, queues_push, queues_remove
from zchttpd._core.rates cimport rates_clip, rates_may_send
from zchttpd._core.slab cimport slab_row
from zchttpd._core.stats cimport REASON_WINDOWS
from zchttpd._core.token cimport NO_SLOT, TOKEN_READ
from zchttpd._core.transmit cimport (
    COPY_NO, SPLICE_SIZE_MAX, transmit_copies, transmit_drop_pages, transmit_file, transmit_window)
from zchttpd._core.turns cimport turns_wait

cdef enum:
    TAIL_PART = 32              # of a window: so much of a response is held back to the end
    PIECE_PART_MIN = 8          # of a window: less is not worth a send of its own
    LITTLE_PART = 8             # of a window: less is not worth a window while it waits
    BELIEVED_MS = 10
    NOWHERE = 0xFFFFFFFFFFFFFFFF


cdef int stream_open(Machine* machine, uint32_t slot, const Segment* segment) noexcept nogil:
    """Begin to stream a segment. Returns 0 or -ENOMEM."""
    cdef Conn* conn = conn_at(machine, slot)
    zc_assert(conn.stream == NULL)
    conn.stream = <Stream*>memory_take_zeroed(1, sizeof(Stream))
    if conn.stream == NULL:
        return -ENOMEM
    conn.stream.read_at = segment.offset
    conn.stream.end = segment.offset + segment.length
    conn.stream.reading = NO_SLOT
    conn.stream.cold_at = NOWHERE
    return 0


cdef inline bint _may_take(Machine* machine, Conn* conn) noexcept nogil:
    cdef uint32_t left = pool_windows_left(machine)
    if left == 0:
        return False
    if conn.windows_held == 0:
        return True
    return conn.windows_held < machine.limits.windows_per_connection and left > machine.limits.window_count // 4


cdef inline StreamFile* _source(Machine* machine, Conn* conn) noexcept nogil:
    return <StreamFile*>slab_row(&machine.sources, plan_at(&machine.table, conn.plan).source)


cdef void _read(Machine* machine, uint32_t slot) noexcept nogil:
    cdef Conn* conn = conn_at(machine, slot)
    cdef Stream* stream = conn.stream
    cdef Op* op = machine_op(machine, slot, OP_READ, TOKEN_READ)
    cdef StreamFile* source = _source(machine, conn)
    op.flags = 0 if stream.turn else OP_NOWAIT
    if source.version.aside:
        op.flags = OP_ASIDE
    op.fd = source.fd
    op.slot = plan_at(&machine.table, conn.plan).source
    op.address = mapping_at(&machine.mappings, stream.reading).base + stream.reading_have
    op.offset = stream.read_at + stream.reading_have
    op.length = stream.reading_want - stream.reading_have


cdef inline bint _is_last(Machine* machine, Conn* conn) noexcept nogil:
    """Whether no other part of the file follows."""
    cdef Plan* plan = plan_at(&machine.table, conn.plan)
    cdef uint32_t i
    for i in range(conn.segment + 1, plan.segment_count):
        if plan.segments[i].kind == SEGMENT_STREAMED:
            return False
    return True


cdef uint32_t _live(Machine* machine, uint32_t slot) noexcept nogil:
    """How many of the next bytes go straight from the mapping; 0 where they are read into a window.

    So they are when the file has changed, too: the read ends the response.
    """
    cdef Conn* conn = conn_at(machine, slot)
    cdef Stream* stream = conn.stream
    cdef uint32_t source_slot = plan_at(&machine.table, conn.plan).source
    cdef StreamFile* source = _source(machine, conn)
    cdef uint64_t left = stream.end - stream.read_at
    cdef uint32_t tail = machine.limits.window_size // TAIL_PART if not source.frozen and _is_last(machine, conn) else 0
    cdef uint32_t least = machine.limits.window_size // PIECE_PART_MIN
    cdef uint32_t size = machine.limits.window_size
    cdef uint32_t most
    if machine.rates != NULL:
        size = min(size, conn.paid)
        least = min(least, size)
    if source.map.base == NULL or left < tail + least:
        return 0
    if source.frozen and machine.mappings.memfd_size_min > 0 and transmit_copies(machine, conn):
        size = <uint32_t>rates_clip(machine, conn, SPLICE_SIZE_MAX)
    most = _resident(machine, stream, source, <uint32_t>min(left - tail, <uint64_t>size))
    return most if most >= least and machine_source_holds(machine, source_slot) else 0


cdef uint32_t _resident(Machine* machine, Stream* stream, StreamFile* source, uint32_t length) noexcept nogil:
    """How many of the next bytes need no disk. What was found a moment ago is believed: sends often go short."""
    cdef uint32_t known
    if stream.resident_to > stream.read_at and machine.now_ms - stream.resident_ms < BELIEVED_MS:
        known = <uint32_t>min(stream.resident_to - stream.read_at, <uint64_t>length)
        if known >= machine.limits.window_size // PIECE_PART_MIN:
            return known
    length = <uint32_t>machine_ask(machine, OP_RESIDENT, source.fd, NULL, 0, stream.read_at, length)
    stream.resident_to = stream.read_at + length
    stream.resident_ms = machine.now_ms
    if length == 0:
        stream.cold_at = stream.read_at
    return length


cdef void _send_live(Machine* machine, uint32_t slot, uint32_t length, uint8_t copy_reason) noexcept nogil:
    """Send the next bytes straight from the mapping: what leaves is what the file has by then."""
    cdef Conn* conn = conn_at(machine, slot)
    cdef Stream* stream = conn.stream
    cdef uint32_t source = plan_at(&machine.table, conn.plan).source
    stream.live = LIVE_REFERRED
    if transmit_file(machine, slot, source, stream.read_at, length, stream.end - stream.read_at, copy_reason):
        stream.live = LIVE_COPIED


cdef inline bint _waits_for_notifications(Machine* machine, Conn* conn) noexcept nogil:
    """Whether the next read is of the end of the response, and some of what was sent before it may still change. The last
    notification pumps the stream."""
    return (conn.live_leases > 0 and conn.stream.end - conn.stream.read_at <= machine.limits.window_size
            and _is_last(machine, conn))


cdef inline uint32_t _device_queue(Machine* machine, Conn* conn) noexcept nogil:
    return devices_queue(machine, _source(machine, conn).device)


cdef inline bint _may_read(Machine* machine, Conn* conn) noexcept nogil:
    """Whether its device has a turn for it."""
    return devices_free(machine, _device_queue(machine, conn))


cdef inline void _begin_turn(Machine* machine, Conn* conn) noexcept nogil:
    conn.stream.turn = _device_queue(machine, conn)
    devices_begin(machine, conn.stream.turn)


cdef inline void _end_turn(Machine* machine, Stream* stream) noexcept nogil:
    if stream.turn:
        devices_end(machine, stream.turn)
        stream.turn = 0


cdef void _wait_for_turn(Machine* machine, uint32_t slot) noexcept nogil:
    """Wait for a turn at the device, unless there is something to send meanwhile: its end pumps the stream."""
    cdef Conn* conn = conn_at(machine, slot)
    if conn.stream.count == 0 and conn.sends == 0 and machine.queues.queue[slot] == QUEUE_NONE:
        queues_push(&machine.queues, slot, <uint8_t>(QUEUE_DEVICE + _device_queue(machine, conn)))


cdef void stream_pump(Machine* machine, uint32_t slot, uint8_t copy_reason) noexcept nogil:
    """Keep the stream going: send from the mapping, or read the next window if one may be had and send the oldest.

    `copy_reason` is COPY_NO, or why this send is to be copied.
    """
    cdef Conn* conn = conn_at(machine, slot)
    cdef Stream* stream = conn.stream
    cdef uint32_t filled = stream.count
    cdef uint32_t live = 0
    cdef bint cold
    if conn.flags & CONN_POLLING:
        return
    if conn.sends == 0:
        stream.live = LIVE_NONE
        if machine.rates != NULL and not rates_may_send(machine, slot):
            if stream.count == 1 and stream.reading == NO_SLOT:
                _give_back(machine, stream)
            return
    elif machine.rates != NULL:
        return      # nothing is read ahead that has not been paid for
    # While something leaves from the mapping nothing is read ahead: it might be the end, and that comes last.
    zc_assert(stream.live == LIVE_NONE)
    if stream.reading == NO_SLOT:
        live = _live(machine, slot)
    if live > 0 and filled == 0 and conn.sends == 0:
        queues_remove(&machine.queues, slot)
        _send_live(machine, slot, live, copy_reason)
        return
    # Where the mapping goes on, the windows before it leave first.
    if (live == 0 and stream.reading == NO_SLOT and stream.read_at < stream.end and filled < STREAM_WINDOWS
            and not (stream.from_reserve and filled) and not _waits_for_notifications(machine, conn)):
        cold = stream.cold_at == stream.read_at or _source(machine, conn).version.aside
        if cold and not _may_read(machine, conn):
            _wait_for_turn(machine, slot)
        elif _may_take(machine, conn):
            stream.from_reserve = (conn.windows_held == 0
                                   and pool_windows_left(machine) <= max(<uint32_t>1, machine.limits.window_count // 8))
            stream.reading = pool_take(machine, slot)
        if stream.reading != NO_SLOT:
            queues_remove(&machine.queues, slot)
            stream.reading_have = 0
            stream.reading_want = <uint32_t>min(rates_clip(machine, conn, machine.limits.window_size),
                                                stream.end - stream.read_at)
            if cold:
                _begin_turn(machine, conn)
            _read(machine, slot)
        elif filled == 0 and conn.sends == 0 and machine.queues.queue[slot] == QUEUE_NONE:
            queues_push(&machine.queues, slot, QUEUE_WINDOW)
    if conn.sends == 0 and filled > 0:
        _send(machine, slot, REASON_WINDOWS if stream.from_reserve else copy_reason)


cdef void _send(Machine* machine, uint32_t slot, uint8_t copy_reason) noexcept nogil:
    cdef Conn* conn = conn_at(machine, slot)
    cdef Stream* stream = conn.stream
    cdef uint32_t window = stream.windows[stream.first]
    transmit_window(machine, slot, window, stream.sent, stream.lengths[stream.first] - stream.sent, copy_reason)


cdef int stream_read(Machine* machine, uint32_t slot, int32_t res) noexcept nogil:
    """A read has completed with `res`. Returns 0, or -1 when the stream cannot go on: the file failed, shrank or
    changed, and one response is one version of one file."""
    cdef Conn* conn = conn_at(machine, slot)
    cdef Stream* stream = conn.stream
    cdef uint32_t window = stream.reading
    if conn.state != CONN_CLOSING and not stream.turn and (res == -EAGAIN or res == -EOPNOTSUPP):
        _read_cold(machine, slot)
        return 0
    if (conn.state == CONN_CLOSING or res <= 0
            or not machine_source_holds(machine, plan_at(&machine.table, conn.plan).source)):
        _end_turn(machine, stream)
        stream.reading = NO_SLOT
        machine_let_go_mapping(machine, window)
        return -1
    if stream.turn:
        devices_got_on(machine, stream.turn)
    stream.reading_have += <uint32_t>res
    if stream.reading_have < stream.reading_want:
        _read(machine, slot)
        return 0
    _end_turn(machine, stream)
    cdef uint32_t place = (stream.first + stream.count) % STREAM_WINDOWS
    stream.windows[place] = window
    stream.lengths[place] = stream.reading_want
    stream.count += 1
    stream.read_at += stream.reading_want
    stream.reading = NO_SLOT
    turns_wait(machine, slot, QUEUE_SEND)
    return 0


cdef void _read_cold(Machine* machine, uint32_t slot) noexcept nogil:
    """The page cache has no more for the window: its device reads the rest. Who waits for a turn has no window in hand."""
    cdef Conn* conn = conn_at(machine, slot)
    cdef Stream* stream = conn.stream
    cdef uint32_t window = stream.reading
    if _may_read(machine, conn):
        _begin_turn(machine, conn)
        _read(machine, slot)
        return
    stream.cold_at = stream.read_at
    stream.reading = NO_SLOT
    if stream.count == 0:
        stream.from_reserve = 0
    machine_let_go_mapping(machine, window)
    _wait_for_turn(machine, slot)


cdef void _drop_oldest(Machine* machine, Stream* stream) noexcept nogil:
    cdef uint32_t window = stream.windows[stream.first]
    stream.first = <unsigned char>((stream.first + 1) % STREAM_WINDOWS)
    stream.count -= 1
    stream.sent = 0
    machine_let_go_mapping(machine, window)


cdef void stream_sent(Machine* machine, uint32_t slot, uint32_t length) noexcept nogil:
    """`length` bytes have left, from the mapping or of the oldest window: once through, only leases still hold that."""
    cdef Conn* conn = conn_at(machine, slot)
    cdef Stream* stream = conn.stream
    cdef Plan* plan = plan_at(&machine.table, conn.plan)
    cdef StreamFile* source = _source(machine, conn)
    if plan.status == PARTIAL_CONTENT:
        source.part_bytes += length
    if stream.live:
        if stream.live == LIVE_COPIED:
            transmit_drop_pages(machine, source.map.base + stream.read_at, length)
        stream.live = LIVE_NONE
        stream.read_at += length
        return
    zc_assert(stream.count > 0 and stream.sent + length <= stream.lengths[stream.first])
    stream.sent += length
    if stream.sent == stream.lengths[stream.first]:
        _drop_oldest(machine, stream)


cdef void _give_back(Machine* machine, Stream* stream) noexcept nogil:
    """Its one window; what is left in it is read again."""
    stream.read_at -= stream.lengths[stream.first] - stream.sent
    _drop_oldest(machine, stream)
    stream.from_reserve = 0


cdef void stream_wait(Machine* machine, uint32_t slot) noexcept nogil:
    """The socket takes nothing for now. A window from the reserve, or with little left in it, goes back: the rest is read
    again when the socket takes bytes."""
    cdef Conn* conn = conn_at(machine, slot)
    cdef Stream* stream = conn.stream
    cdef uint32_t left
    if stream.count != 1 or stream.reading != NO_SLOT:
        return
    left = stream.lengths[stream.first] - stream.sent
    if stream.from_reserve or left < machine.limits.window_size // LITTLE_PART:
        _give_back(machine, stream)


cdef void stream_stop(Machine* machine, uint32_t slot) noexcept nogil:
    """Let go of everything but the window that a read is filling and the one that is being sent: those go when the
    read or the send completes."""
    cdef Conn* conn = conn_at(machine, slot)
    cdef Stream* stream = conn.stream
    cdef uint32_t sending = 1 if conn.sends > 0 else 0
    if stream == NULL:
        return
    queues_remove(&machine.queues, slot)
    while stream.count > sending:
        stream.count -= 1
        machine_let_go_mapping(machine, stream.windows[(stream.first + stream.count) % STREAM_WINDOWS])
    if stream.count == 0 and stream.reading == NO_SLOT:
        memory_give(stream)
        conn.stream = NULL


cdef void stream_wake(Machine* machine) noexcept nogil:
    """Windows have come back, or may be made again: let those that wait try, each once."""
    cdef uint32_t last = machine.queues.last[QUEUE_WINDOW]
    cdef uint32_t slot = machine.queues.first[QUEUE_WINDOW]
    machine.pool_news = 0
    machine.pool_retry_at_ms = 0
    while slot != NO_SLOT and pool_windows_left(machine) > 0 and not machine.pool_retry_at_ms:
        queues_remove(&machine.queues, slot)
        stream_pump(machine, slot, COPY_NO)
        if slot == last:
            break
        slot = machine.queues.first[QUEUE_WINDOW]
