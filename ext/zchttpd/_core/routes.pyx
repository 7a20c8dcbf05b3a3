"""The verdicts of `auto` (docs/decisions/send-mode-auto.md).

A send that was copied has its notification at once, one that was not when the peer has acknowledged it, and it counts
when the peer has been heard from since: so in the middle of a trial most of those that were not copied are still out.
They count as what they will be, or a route that copies some sends would look like one that copies all.
"""

from libc.stdint cimport uint8_t, uint32_t

from zchttpd._core.machine cimport Conn, Machine, ROUTE_UNKNOWN, RouteTrial, SEND_AUTO, machine_ask
from zchttpd._core.mapping cimport mapping_huge_length
from zchttpd._core.op cimport OP_ROUTE
from zchttpd._core.stats cimport ROUTE_COUNT, ROUTE_LOOPBACK, ZEROCOPY_GIVEN_UP, ZEROCOPY_ON

cdef enum:
    TRIAL = 32      # sends that were delivered before there is a verdict
    REVIEW = 4096   # and after which there is another
    RETRY = 8192    # sends without zero copy on a network that was given up before it gets another trial


cdef uint8_t routes_of(Machine* machine, Conn* conn) noexcept nogil:
    """The connection's route, asked for when it decides: most connections fetch nothing that is large enough."""
    if conn.route == ROUTE_UNKNOWN:
        conn.route = <uint8_t>machine_ask(machine, OP_ROUTE, conn.fd)
        machine.trials[conn.route].met = 1
    return conn.route


cdef bint routes_spares(Machine* machine, uint8_t route) noexcept nogil:
    """Whether the next send is spared the zero copy, as the kernel would copy it all the same.

    A network may have more than one way out, so now and then it is tried again; loopback always copies.
    """
    cdef uint32_t spared = machine.trials[route].spared
    return _given_up(machine, route) and (route == ROUTE_LOOPBACK or spared < RETRY or spared == RETRY + TRIAL)


cdef bint routes_spare(Machine* machine, uint8_t route) noexcept nogil:
    """The same, for a send that goes now: it counts."""
    cdef RouteTrial* trial = &machine.trials[route]
    cdef bint spares = routes_spares(machine, route)
    if route != ROUTE_LOOPBACK and _given_up(machine, route):
        if trial.spared == RETRY + TRIAL:
            trial.spared = 0
        trial.spared += 1
        if trial.spared == RETRY + 1:
            _begin(trial)
    return spares


cdef inline bint _given_up(Machine* machine, uint8_t route) noexcept nogil:
    return machine.send_mode == SEND_AUTO and machine.stats.zerocopy_active[route] == ZEROCOPY_GIVEN_UP


cdef bint routes_refer(Machine* machine) noexcept nogil:
    """Whether large snapshots are better made to leave by reference only: zero copy saves nothing on any route that somebody
    is at, and none of them is to be tried now.
    """
    cdef uint32_t route
    cdef bint given_up = not machine.zerocopy_able
    for route in range(ROUTE_COUNT):
        if routes_spares(machine, <uint8_t>route):
            given_up = True
        elif machine.zerocopy_able and machine.trials[route].met:
            return False
    return given_up


cdef bint routes_want_other_pages(Machine* machine, const Mapping* mapping) noexcept nogil:
    """Whether a filled snapshot has huge pages and would get small ones if it were made now, or the other way round."""
    return (mapping.memfd >= 0 and mapping_huge_length(&machine.mappings, mapping.length) > 0
            and routes_refer(machine) != (mapping.huge > 0))


cdef void routes_referred(Machine* machine, Conn* conn) noexcept nogil:
    """A snapshot leaves by reference, as it can no other way. That counts until its route is to be tried again, for which
    another snapshot is made.
    """
    cdef uint8_t route = routes_of(machine, conn)
    if route != ROUTE_LOOPBACK and _given_up(machine, route) and machine.trials[route].spared < RETRY:
        machine.trials[route].spared += 1


cdef void routes_copied(Machine* machine, uint8_t route) noexcept nogil:
    """A zero-copy send was delivered, and was copied."""
    machine.trials[route].copied += 1
    _delivered(machine, route, True)


cdef void routes_not_copied(Machine* machine, Conn* conn) noexcept nogil:
    """One has ended without a copy. A reset, which throws away what is queued, ends sends like that too."""
    conn.unheard += 1
    machine.trials[conn.route].unheard += 1


cdef void routes_heard_from(Machine* machine, Conn* conn) noexcept nogil:
    """The peer lives: it has what it was sent without a copy."""
    while conn.unheard > 0:
        conn.unheard -= 1
        machine.trials[conn.route].unheard -= 1
        _delivered(machine, conn.route, False)


cdef void routes_forget(Machine* machine, Conn* conn) noexcept nogil:
    """The connection has gone, and nobody knows what became of what it was sent last."""
    if conn.unheard > 0:
        machine.trials[conn.route].unheard -= conn.unheard
        conn.unheard = 0


cdef void _begin(RouteTrial* trial) noexcept nogil:
    trial.delivered = 0
    trial.copied = 0
    trial.decided = 0


cdef void _delivered(Machine* machine, uint8_t route, bint copied) noexcept nogil:
    cdef RouteTrial* trial = &machine.trials[route]
    machine.stats.delivered[copied] += 1
    machine.stats.route_delivered[2 * route + copied] += 1
    trial.delivered += 1
    if machine.send_mode == SEND_AUTO and not trial.decided and trial.delivered >= TRIAL:
        _decide(machine, route)
    if trial.delivered == REVIEW:
        _begin(trial)


cdef void _decide(Machine* machine, uint8_t route) noexcept nogil:
    """Give up where nine of ten were copied, whatever becomes of those that are out. When that hangs on them, wait."""
    cdef RouteTrial* trial = &machine.trials[route]
    cdef uint8_t verdict
    if trial.copied * 10 < trial.delivered * 9:
        verdict = ZEROCOPY_ON
    elif trial.copied * 10 >= (trial.delivered + trial.unheard) * 9:
        verdict = ZEROCOPY_GIVEN_UP
    else:
        return
    trial.decided = 1
    if machine.stats.zerocopy_active[route] != verdict:
        machine.stats.zerocopy_active[route] = verdict
        machine.route_news |= 1 << route
