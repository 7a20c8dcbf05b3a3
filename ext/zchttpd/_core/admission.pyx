"""Who is let in. Above the limit an idle connection makes room for a new one; where none may go, the new one is told 503.

Those that are told so do not count against the limit, and neither do those that are closing.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from zchttpd._core.machine cimport CONN_READING, CONN_TURNED_AWAY, Conn, conn_at
from zchttpd._core.queues cimport LINE_IN_USE, LINE_NEW, LINE_NONE, LINE_ONCE, LINE_REFUSED, lines_join, lines_leave
from zchttpd._core.token cimport NO_SLOT

cdef enum:
    IDLE_MS_MIN = 1000      # a connection that is in use, or has just come, may wait so long for its request


cdef bint room_is_left(Core* core) noexcept nogil:
    return core.admitted < core.limits.connections_max


cdef inline int64_t _idle_since(Core* core, uint32_t slot) noexcept nogil:
    return conn_at(core, slot).deadline_ms - core.limits.idle_ms_max


cdef inline uint32_t _longer(Core* core, uint32_t one, uint32_t other) noexcept nogil:
    """Who of the two, either of which may be NO_SLOT, has waited longer."""
    if one == NO_SLOT or (other != NO_SLOT and _idle_since(core, other) < _idle_since(core, one)):
        return other
    return one


cdef inline uint32_t _truly_idle(Core* core, uint8_t line) noexcept nogil:
    cdef uint32_t slot = core.lines.first[line]
    return NO_SLOT if slot == NO_SLOT or _idle_since(core, slot) > core.now_ms - IDLE_MS_MIN else slot


cdef uint32_t room_oldest_idle(Core* core) noexcept nogil:
    """The connection that has waited longest for a request and may be shed, or NO_SLOT.

    One that has had a single answer may go at once; a new one, and one that has come back for more, has a grace first. Where
    there is none such the oldest new one goes, but never one in use within its grace."""
    cdef uint32_t idle = _longer(core, core.lines.first[LINE_ONCE], _truly_idle(core, LINE_NEW))
    idle = _longer(core, idle, _truly_idle(core, LINE_IN_USE))
    return core.lines.first[LINE_NEW] if idle == NO_SLOT else idle


cdef bint room_may_refuse(Core* core, uint32_t* told) noexcept nogil:
    """Whether one more newcomer can be told 503. `told`: who must be closed for it, or NO_SLOT."""
    told[0] = NO_SLOT
    if core.turned_away >= core.limits.refusals_max:
        told[0] = core.lines.first[LINE_REFUSED]
        return told[0] != NO_SLOT
    return True


cdef void room_take(Core* core, uint32_t slot, bint admitted) noexcept nogil:
    """A new connection is there, within the limit or above it."""
    if admitted:
        core.admitted += 1
    else:
        core.turned_away += 1
        conn_at(core, slot).flags |= CONN_TURNED_AWAY


cdef void room_give(Core* core, uint32_t slot) noexcept nogil:
    """A connection is about to close."""
    lines_leave(&core.lines, slot)
    if conn_at(core, slot).flags & CONN_TURNED_AWAY:
        core.turned_away -= 1
    else:
        core.admitted -= 1


cdef void room_stand_by(Core* core, uint32_t slot) noexcept nogil:
    """If nothing of a request has come, the connection waits for one; if it has been turned away, for the peer to go."""
    cdef Conn* conn = conn_at(core, slot)
    if core.lines.line[slot] != LINE_NONE:
        return
    if conn.flags & CONN_TURNED_AWAY:
        lines_join(&core.lines, slot, LINE_REFUSED)
    elif conn.state == CONN_READING and conn.inbox.bytes == NULL:
        lines_join(&core.lines, slot, <uint8_t>(LINE_NEW + conn.answers))
