"""The end of a worker: no connection is kept alive any longer, and those that are idle go.

A client may send a request at the moment at which its idle connection is closed, and cannot know whether it was seen. So
where others go on to serve, who is idle has a while for one more request, and the response to it says that it is the last.

What has been pipelined is served, but for half of the time only: then the next answer is the last whatever waits behind it,
so that a long pipeline ends between two answers, and the end of the drain cuts none of them.
"""

from libc.stdint cimport uint32_t

from zchttpd._core.conn cimport conn_abort, conn_close, conn_set_deadline
from zchttpd._core.machine cimport CONN_CLOSING, CONN_GREETING, CONN_LINGERING, CONN_PARKED, CONN_READING, Conn, conn_at
from zchttpd._core.slab cimport slab_holds


cdef void drain_begin(Machine* machine, uint32_t idle_ms, uint32_t drain_ms_max) noexcept nogil:
    """Who waits for a request waits for `idle_ms` milliseconds at most, and with 0 not at all. Called again it shortens
    that. After `drain_ms_max` milliseconds whoever is left is to be aborted."""
    cdef uint32_t slot
    cdef Conn* conn
    if not machine.draining:
        machine.drain_hurries_at_ms = machine.now_ms + drain_ms_max // 2
    machine.draining = 1
    machine.limits.idle_ms_max = min(machine.limits.idle_ms_max, idle_ms)
    for slot in range(machine.conns.fresh):
        conn = conn_at(machine, slot)
        if conn.state != CONN_GREETING and (conn.state != CONN_READING or conn.received.bytes != NULL):
            continue
        if drain_at_once(machine):
            conn_close(machine, slot)
        elif conn.deadline_ms > machine.now_ms + machine.limits.idle_ms_max:
            conn_set_deadline(machine, slot, machine.limits.idle_ms_max)


cdef void drain_abort_all(Machine* machine) noexcept nogil:
    """The time to drain is over. Whose answers have all left still gets them."""
    cdef uint32_t slot
    for slot in range(machine.conns.fresh):
        if conn_at(machine, slot).state == CONN_LINGERING:
            conn_close(machine, slot)
        elif conn_at(machine, slot).state != 0 and conn_at(machine, slot).state != CONN_CLOSING:
            conn_abort(machine, slot)


cdef bint drain_is_last(Machine* machine, uint32_t slot, uint32_t generation) noexcept nogil:
    """Whether the answer to a parked head is the last of its connection, because the worker drains."""
    cdef Conn* conn
    if not slab_holds(&machine.conns, slot, generation):
        return False
    conn = conn_at(machine, slot)
    return conn.state == CONN_PARKED and drain_ends(
        machine, conn.received.end - conn.received.start == conn.head_length)
