"""What each address may still ask for and be sent: a token bucket for requests, and one for bytes.

A bucket is one time, that at which it would be full again (GCRA, "generic cell rate algorithm", ITU-T I.371): what is taken
moves it on, and who would move it further ahead than the bucket is deep has to wait. A request beyond its rate is told 429.
Bytes are paid for before they are sent, a share at a time, in the order in which connections come: each knows when its
share is due, sleeps until then in the timer wheel, and takes nothing else meanwhile. What it cannot send after all it gives
back, so that nobody saves up; what it comes late for, it pays for again.

Addresses are those of `addresses`. The table has a fixed size: who has to go for another one is, of the few that its hash
leads to, the one whose buckets are full again soonest. Only where all of them are in debt does an address get off.
"""

from libc.errno cimport ENOMEM
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

from zchttpd._core.addresses cimport addresses_name
from zchttpd._core.machine cimport AddressRate, NO_LIMIT, NO_RATE, conn_at
from zchttpd._core.memory cimport memory_give, memory_take_zeroed
from zchttpd._core.plans cimport cache_key_hash, plan_at
from zchttpd._core.timer_wheel cimport timer_wheel_set

cdef enum:
    ROWS = 65536            # of 48 bytes
    WAYS = 8                # that one hash leads to
    NS = 1_000_000_000
    DEPTH_NS = 700_000_000  # of the bucket of bytes: with LATE_MS a second's worth at most leaves at once
    LATE_MS = 300           # the wheel's ticks, and a turn; later a share is not worth anything any more
    SHARES = 16             # of a second's worth that are paid for at a time, or what is left,
    SHARES_MIN = 4          # or so many where that would be less than
    SHARE_SIZE = 1460       # a packet
    SHARE_SIZE_MAX = 1 << 30


cdef int rates_open(Machine* machine) noexcept nogil:
    """Keep rates from now on, if there is a limit. Returns 0 or -ENOMEM."""
    if machine.limits.requests_per_second == NO_LIMIT and machine.limits.bytes_per_second == NO_RATE:
        return 0
    machine.rates = <AddressRate*>memory_take_zeroed(ROWS, sizeof(AddressRate))
    return 0 if machine.rates != NULL else -ENOMEM


cdef void rates_close(Machine* machine) noexcept nogil:
    memory_give(machine.rates)
    machine.rates = NULL


cdef void rates_enter(Machine* machine, uint32_t slot, const Peer* peer) noexcept nogil:
    """A connection is there. By a unix socket it has no address, and no limit."""
    cdef Conn* conn = conn_at(machine, slot)
    conn.peer[0] = conn.peer[1] = 0
    if machine.rates != NULL and peer != NULL and peer.family != 0:
        addresses_name(peer, conn.peer)


cdef inline int64_t _full_at(const AddressRate* row) noexcept nogil:
    return max(row.requests_ns, row.bytes_ns)


cdef AddressRate* _of(Machine* machine, const Conn* conn) noexcept nogil:
    """The buckets of the address of a connection."""
    cdef uint64_t hash = cache_key_hash(&machine.table, <const char*>conn.peer, sizeof(conn.peer))
    cdef AddressRate* row = machine.rates + hash % (ROWS // WAYS) * WAYS
    cdef AddressRate* found = row
    for _ in range(WAYS):
        if row.address[0] == conn.peer[0] and row.address[1] == conn.peer[1]:
            return row
        if _full_at(row) < _full_at(found):
            found = row
        row += 1
    memset(found, 0, sizeof(AddressRate))
    found.address[0] = conn.peer[0]
    found.address[1] = conn.peer[1]
    found.full_ns = machine.now_us * 1000
    return found


cdef inline int64_t _cost(uint64_t amount, uint64_t per_second) noexcept nogil:
    """Nanoseconds in which so much comes into a bucket, rounded up."""
    return <int64_t>((amount * NS + per_second - 1) // per_second)


cdef bint rates_may_ask(Machine* machine, uint32_t slot) noexcept nogil:
    """Whether the address of a connection may have one more request now. If not, that is counted."""
    cdef Conn* conn = conn_at(machine, slot)
    cdef int64_t now_ns = machine.now_us * 1000
    cdef int64_t each_ns = _cost(1, machine.limits.requests_per_second)
    cdef AddressRate* row
    cdef int64_t moved_ns
    if conn.peer[0] == 0:
        return True
    row = _of(machine, conn)
    moved_ns = max(row.requests_ns, now_ns) + each_ns
    if moved_ns - now_ns > each_ns * machine.limits.requests_burst:
        machine.stats.refused_rate += 1
        return False
    row.requests_ns = moved_ns
    return True


cdef inline uint32_t _share(uint64_t per_second) noexcept nogil:
    cdef uint64_t share = max(per_second // SHARES, min(<uint64_t>SHARE_SIZE, per_second // SHARES_MIN))
    return <uint32_t>max(<uint64_t>1, min(share, <uint64_t>SHARE_SIZE_MAX))


cdef inline uint64_t _left(Machine* machine, const Conn* conn) noexcept nogil:
    """Bytes of this part of its response that have not left."""
    return plan_at(&machine.table, conn.plan).segments[conn.segment].length - conn.done


cdef void _pay(Machine* machine, Conn* conn) noexcept nogil:
    """Take a share out of the bucket, which may be in debt then: the share is due when it no longer is."""
    cdef int64_t now_ns = machine.now_us * 1000
    cdef AddressRate* row = _of(machine, conn)
    cdef int64_t cost_ns, due_ns
    conn.paid = <uint32_t>min(<uint64_t>_share(machine.limits.bytes_per_second), _left(machine, conn))
    conn.paid_ns = now_ns
    if row.bytes_ns <= now_ns:
        row.bytes_ns = row.full_ns = now_ns
    cost_ns = _cost(conn.paid, machine.limits.bytes_per_second)
    row.bytes_ns += cost_ns
    conn.paid_to_ns = row.bytes_ns
    conn.back_ns = row.back_ns
    due_ns = row.bytes_ns - max(<int64_t>DEPTH_NS, cost_ns)
    conn.due_ms = machine.now_ms if due_ns <= now_ns else due_ns // 1_000_000 + 1


cdef bint rates_may_send(Machine* machine, uint32_t slot) noexcept nogil:
    """Whether the connection may send what it has paid for. If not, it sends nothing until its deadline."""
    cdef Conn* conn = conn_at(machine, slot)
    if conn.peer[0] == 0 or machine.limits.bytes_per_second == NO_RATE:
        conn.paid = NO_LIMIT
        return True
    if conn.paid > 0 and machine.now_ms > conn.due_ms + LATE_MS:
        rates_give_back(machine, slot)
    if conn.paid == 0:
        _pay(machine, conn)
    conn.paced = conn.due_ms > machine.now_ms
    if conn.paced:
        conn.deadline_ms = conn.due_ms
        timer_wheel_set(&machine.wheel, slot, conn.deadline_ms)
    return not conn.paced


cdef void rates_give_back(Machine* machine, uint32_t slot) noexcept nogil:
    """What has been paid for is not sent now: what of it time has not brought back yet comes back."""
    cdef Conn* conn = conn_at(machine, slot)
    cdef int64_t left_ns
    cdef AddressRate* row
    if conn.paid > 0 and conn.peer[0] != 0 and machine.limits.bytes_per_second != NO_RATE:
        row = _of(machine, conn)
        # As if all that others gave back had been paid before it.
        left_ns = conn.paid_to_ns - (row.back_ns - conn.back_ns) - machine.now_us * 1000
        left_ns = min(left_ns, _cost(conn.paid, machine.limits.bytes_per_second))
        if row.full_ns <= conn.paid_ns and left_ns > 0:
            row.bytes_ns -= left_ns
            row.back_ns += left_ns
    conn.paid = 0
    conn.paced = 0
