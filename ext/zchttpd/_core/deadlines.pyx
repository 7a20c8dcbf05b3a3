"""What becomes of a connection whose time has come: a request or the rest of one has not, or the peer takes nothing."""

from libc.stdint cimport int32_t, int64_t, uint32_t

from zchttpd._core.conn cimport conn_abort, conn_break_off, conn_close, conn_now, conn_set_deadline
from zchttpd._core.fill cimport fill_progress_ms
from zchttpd._core.machine cimport (
    CONN_GREETING, CONN_LINGERING, CONN_PARKED, CONN_READING, CONN_SENDING, Conn, conn_at)
from zchttpd._core.op cimport OP_QUEUED
from zchttpd._core.parking cimport park_refused
from zchttpd._core.queues cimport QUEUE_LOOK, QUEUE_SEND
from zchttpd._core.slab cimport slab_holds
from zchttpd._core.stream cimport stream_wake
from zchttpd._core.timer_wheel cimport timer_wheel_due, timer_wheel_set
from zchttpd._core.token cimport NO_SLOT
from zchttpd._core.turns cimport turns_wait


cdef void _expired(Machine* machine, uint32_t slot) noexcept nogil:
    cdef Conn* conn = conn_at(machine, slot)
    if conn.state == CONN_READING:
        if conn.head_began_ms != 0:
            machine.stats.timeouts_head += 1
            park_refused(machine, slot, 408)
        else:
            machine.stats.timeouts_idle += 1
            conn_close(machine, slot)
    elif conn.state == CONN_SENDING and conn.paced:
        conn.paced = 0
        conn_set_deadline(machine, slot, machine.limits.stall_ms_max)
        turns_wait(machine, slot, QUEUE_SEND)
    elif conn.state == CONN_SENDING:
        conn_now(machine, slot, OP_QUEUED)
        conn_set_deadline(machine, slot, machine.limits.stall_ms_max)
    elif conn.state == CONN_LINGERING or conn.state == CONN_GREETING:
        machine.stats.timeouts_head += conn.state == CONN_GREETING
        conn_close(machine, slot)
    elif conn.state == CONN_PARKED and not conn.refuse_status and _waits_until_ms(machine, conn) > machine.now_ms:
        conn_set_deadline(machine, slot, <uint32_t>(_waits_until_ms(machine, conn) - machine.now_ms))
    elif conn.state == CONN_PARKED and conn.refuse_status and machine.queues.queue[slot] == QUEUE_LOOK:
        # Its turn with the handler has not come yet.
        conn_set_deadline(machine, slot, machine.limits.stall_ms_max)
    elif conn.state == CONN_PARKED:
        # The bytes of its file do not come, and nothing of the response has left.
        machine.stats.timeouts_stall += 1
        if conn.refuse_status:
            conn_break_off(machine, slot)
        else:
            park_refused(machine, slot, 503)


cdef int64_t _waits_until_ms(Machine* machine, Conn* conn) noexcept nogil:
    """Until when a parked head may wait for a fill that gets no further; 0 when it waits for none."""
    if conn.awaits == NO_SLOT or not slab_holds(&machine.mappings.slab, conn.awaits, conn.awaits_generation):
        return 0
    return fill_progress_ms(machine, conn.awaits) + machine.limits.stall_ms_max


cdef void deadlines_queued(Machine* machine, uint32_t slot, int32_t bytes) noexcept nogil:
    """A slow reader still shrinks its queue; one that has stopped reading does not, and where nothing is queued the file or
    a window for it has not come."""
    cdef Conn* conn = conn_at(machine, slot)
    if conn.queued_last >= 0 and bytes >= conn.queued_last:
        machine.stats.timeouts_stall += 1
        conn_abort(machine, slot)
        return
    conn.queued_last = bytes
    conn_set_deadline(machine, slot, machine.limits.stall_ms_max // 2 + 1)


cdef void deadlines_expire(Machine* machine) noexcept nogil:
    """Act on every deadline that has passed."""
    cdef uint32_t slot = timer_wheel_due(&machine.wheel, machine.now_ms)
    cdef Conn* conn
    while slot != NO_SLOT:
        conn = conn_at(machine, slot)
        if conn.deadline_ms > machine.now_ms:
            timer_wheel_set(&machine.wheel, slot, conn.deadline_ms)
        else:
            _expired(machine, slot)
        slot = timer_wheel_due(&machine.wheel, machine.now_ms)
    if machine.pool_retry_at_ms and machine.now_ms >= machine.pool_retry_at_ms:
        stream_wake(machine)
