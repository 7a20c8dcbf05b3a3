"""Connection limit: admit, shed an idle connection, or reject.

Above the limit an idle connection makes room for a new one; where none may go, the new one is told 503. Those that are
told so do not count against the limit, and neither do those that are closing, unless their sockets stay open meanwhile.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from zchttpd._core.addresses cimport addresses_enter, addresses_leave
from zchttpd._core.machine cimport CONN_GREETING, CONN_READING, CONN_REJECTED, Conn, conn_at
from zchttpd._core.queues cimport (
    QUEUE_HALF, QUEUE_IN_USE, QUEUE_NEW, QUEUE_NONE, QUEUE_ONCE, QUEUE_REJECTED, queues_push, queues_remove)
from zchttpd._core.token cimport NO_SLOT

cdef enum:
    IDLE_MS_MIN = 1000      # a connection that is in use, or has just come, may wait so long for its request


cdef bint admission_has_place(Machine* machine) noexcept nogil:
    return machine.admitted < machine.limits.connections_max


cdef inline int64_t _idle_since(Machine* machine, uint32_t slot) noexcept nogil:
    cdef Conn* conn = conn_at(machine, slot)
    return conn.head_began_ms if conn.head_began_ms != 0 else conn.deadline_ms - machine.limits.idle_ms_max


cdef inline uint32_t _longer(Machine* machine, uint32_t one, uint32_t other) noexcept nogil:
    """Who of the two, either of which may be NO_SLOT, has waited longer."""
    if one == NO_SLOT or (other != NO_SLOT and _idle_since(machine, other) < _idle_since(machine, one)):
        return other
    return one


cdef inline uint32_t _idle_beyond_grace(Machine* machine, uint8_t queue) noexcept nogil:
    cdef uint32_t slot = machine.queues.first[queue]
    return NO_SLOT if slot == NO_SLOT or _idle_since(machine, slot) > machine.now_ms - IDLE_MS_MIN else slot


cdef uint32_t admission_oldest_idle(Machine* machine) noexcept nogil:
    """The connection that has waited longest for a request, or for the rest of one, and may be shed, or NO_SLOT.

    One that has had a single answer may go at once; any other has a grace first. Where there is none such the oldest new one
    goes, but never one in use, or in the middle of a head, within its grace."""
    cdef uint32_t idle = _longer(machine, machine.queues.first[QUEUE_ONCE], _idle_beyond_grace(machine, QUEUE_NEW))
    idle = _longer(machine, idle, _idle_beyond_grace(machine, QUEUE_IN_USE))
    idle = _longer(machine, idle, _idle_beyond_grace(machine, QUEUE_HALF))
    return machine.queues.first[QUEUE_NEW] if idle == NO_SLOT else idle


cdef bint admission_may_reject(Machine* machine, uint32_t* evicted) noexcept nogil:
    """Whether one more newcomer can be told 503. `evicted`: who must be closed for it, or NO_SLOT."""
    evicted[0] = NO_SLOT
    if machine.rejected >= machine.limits.refusals_max:
        evicted[0] = machine.queues.first[QUEUE_REJECTED]
        return evicted[0] != NO_SLOT
    return True


cdef void admission_enter(Machine* machine, uint32_t slot, bint admitted, const Peer* peer) noexcept nogil:
    """A new connection is there, within the limits or above one."""
    if admitted:
        machine.admitted += 1
        addresses_enter(machine, slot, peer)
    else:
        machine.rejected += 1
        conn_at(machine, slot).flags |= CONN_REJECTED


cdef void admission_turn_away(Machine* machine, uint32_t slot) noexcept nogil:
    """One that has been admitted is above a limit after all. No address counts it yet."""
    machine.admitted -= 1
    machine.rejected += 1
    conn_at(machine, slot).flags |= CONN_REJECTED


cdef inline void _forget(Machine* machine, uint32_t slot) noexcept nogil:
    if conn_at(machine, slot).flags & CONN_REJECTED:
        machine.rejected -= 1
    else:
        machine.admitted -= 1
        addresses_leave(machine, slot)


cdef void admission_leave(Machine* machine, uint32_t slot) noexcept nogil:
    """A connection is about to close. Where its socket has to stay, for sends of it that are out, it goes on to count."""
    cdef Conn* conn = conn_at(machine, slot)
    queues_remove(&machine.queues, slot)
    conn.stays = machine.zerocopy_by_socket and conn.leases > 0
    if not conn.stays:
        _forget(machine, slot)


cdef void admission_closed(Machine* machine, uint32_t slot) noexcept nogil:
    """Its socket has been closed."""
    if conn_at(machine, slot).stays:
        conn_at(machine, slot).stays = False
        _forget(machine, slot)


cdef void admission_enqueue(Machine* machine, uint32_t slot) noexcept nogil:
    """The connection waits for a request, or for the rest of one; if it has been rejected, for the peer to go."""
    cdef Conn* conn = conn_at(machine, slot)
    if machine.queues.queue[slot] != QUEUE_NONE:
        return
    if conn.flags & CONN_REJECTED:
        queues_push(&machine.queues, slot, QUEUE_REJECTED)
    elif conn.state == CONN_READING and conn.received.bytes != NULL:
        queues_push(&machine.queues, slot, QUEUE_HALF)
    elif conn.state == CONN_READING or conn.state == CONN_GREETING:
        queues_push(&machine.queues, slot, <uint8_t>(QUEUE_NEW + conn.answers))
