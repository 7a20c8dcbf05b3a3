"""How memory files leave where zero copy was given up: by reference or by copying, whichever takes less CPU time here.

Neither is cheaper everywhere (docs/decisions/memory-files.md). So each route has a trial now and then: some bytes leave one
way, as many the other way, twice, and as many the first way again, so that what changes meanwhile changes both. What is
under way when the way changes belongs to neither: the first bytes of each part do not count.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from zchttpd._core.machine cimport ROUTE_UNKNOWN, WayTrial, machine_ask
from zchttpd._core.op cimport OP_CPU_TIME
from zchttpd._core.routes cimport routes_of, routes_spares

cdef enum:
    PARTS = 4
    SETTLE = 3          # before they count, one in so many bytes more
    REST = 64           # times as many until the next trial
    MARGIN = 16         # to change takes a saving of more than one in so many


cdef bint ways_copies(Machine* machine, Conn* conn) noexcept nogil:
    """Whether what a memory file has for this connection is to be copied, where it does not leave by zero copy."""
    return machine.ways[routes_of(machine, conn)].copies


cdef void ways_sent(Machine* machine, Conn* conn, uint32_t length) noexcept nogil:
    """So many bytes have left, whichever way."""
    cdef WayTrial* trial
    if conn.route == ROUTE_UNKNOWN:
        return
    trial = &machine.ways[conn.route]
    if machine.zerocopy_able and not routes_spares(machine, conn.route):
        return
    trial.bytes += length
    if trial.bytes >= trial.bytes_until:
        _go_on(machine, trial)
        trial.bytes = 0


cdef void _go_on(Machine* machine, WayTrial* trial) noexcept nogil:
    cdef uint32_t now_us = <uint32_t>machine_ask(machine, OP_CPU_TIME, -1)
    if trial.part == 0:
        trial.verdict = trial.copies
        trial.us[0] = trial.us[1] = 0
        trial.counted[0] = trial.counted[1] = 0
        _begin(machine, trial, 1)
    elif not trial.counts:
        trial.counts = 1
        trial.began_us = now_us
        trial.bytes_until = machine.limits.way_bytes
    else:
        trial.us[trial.copies] += now_us - trial.began_us
        trial.counted[trial.copies] += trial.bytes
        if trial.part < PARTS:
            _begin(machine, trial, trial.part + 1)
        else:
            _decide(machine, trial)


cdef void _begin(Machine* machine, WayTrial* trial, uint8_t part) noexcept nogil:
    trial.part = part
    trial.copies = trial.verdict != (part == 2 or part == 3)
    trial.counts = 0
    trial.bytes_until = machine.limits.way_bytes // SETTLE


cdef void _decide(Machine* machine, WayTrial* trial) noexcept nogil:
    cdef uint8_t other = not trial.verdict
    cdef double cost = <double>trial.us[trial.verdict] * trial.counted[other]
    cdef double others = <double>trial.us[other] * trial.counted[trial.verdict]
    trial.copies = other if others < cost - cost / MARGIN else trial.verdict
    trial.part = 0
    trial.bytes_until = <uint64_t>machine.limits.way_bytes * REST
