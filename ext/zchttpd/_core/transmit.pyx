"""Bytes of a file to a socket: by zero copy under a lease, by reference, or by copying; and the ends of leases."""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from zchttpd._core.check cimport zc_assert
from zchttpd._core.lease cimport Lease, lease_at, lease_end, lease_open
from zchttpd._core.machine cimport (
    CONN_NO_ZEROCOPY, Conn, SEND_PLAIN, StreamFile, conn_at, machine_blank_op, machine_let_go_file, machine_op,
    machine_registers, machine_rest)
from zchttpd._core.mapping cimport Mapping, mapping_at
from zchttpd._core.op cimport OP_DROP_PAGES, OP_SEND, OP_SEND_ZC, OP_SPLICE, Op
from zchttpd._core.rates cimport rates_clip
from zchttpd._core.routes cimport (
    routes_copied, routes_not_copied, routes_of, routes_referred, routes_spare, routes_spares)
from zchttpd._core.slab cimport slab_holds, slab_row
from zchttpd._core.stats cimport REASON_COPIED, REASON_LEASES, REASON_MEMLOCK, REASON_UNSUPPORTED
from zchttpd._core.token cimport NO_SLOT, TOKEN_SEND, TOKEN_SEND_ZC, TOKEN_SPLICE, token_pack, token_slot
from zchttpd._core.ways cimport ways_copies


cdef inline uint8_t _copy_reason(Machine* machine, Conn* conn, bint registered, uint64_t left,
                                 uint8_t copy_reason) noexcept nogil:
    """COPY_NO, or why the next send is to be copied, of which `left` bytes are left in all."""
    if machine.send_mode == SEND_PLAIN:
        return COPY_BY_MODE
    if copy_reason != COPY_NO:
        return copy_reason
    # A rest that is small is copied on purpose, like any small body.
    if left < machine.limits.zc_size_min:
        return COPY_BY_MODE
    if not machine.zerocopy_able or conn.flags & CONN_NO_ZEROCOPY:
        return REASON_UNSUPPORTED
    if not registered and machine_registers(machine):
        return REASON_MEMLOCK
    if conn.leases >= machine.limits.leases_per_connection or machine.ledger.slab.live == machine.ledger.slab.capacity:
        return REASON_LEASES
    if routes_spare(machine, routes_of(machine, conn)):
        return REASON_COPIED
    return COPY_NO


cdef bint transmit_copies(Machine* machine, Conn* conn) noexcept nogil:
    """Whether the next send of a file is no zero copy in any case."""
    return (machine.send_mode == SEND_PLAIN or not machine.zerocopy_able or conn.flags & CONN_NO_ZEROCOPY
            or routes_spares(machine, routes_of(machine, conn)))


cdef Op* _send(Machine* machine, uint32_t slot, uint8_t reason, uint32_t mapping, char* address,
               uint32_t length) noexcept nogil:
    """Send by zero copy under a new lease on `mapping`, or on no mapping; or by copying, and say why. Valid until the next
    op is appended."""
    cdef Conn* conn = conn_at(machine, slot)
    cdef uint32_t lease
    cdef Op* op
    conn.sends += 1
    conn.asked = length
    if reason == COPY_NO:
        op = machine_op(machine, slot, OP_SEND_ZC, TOKEN_SEND_ZC)
        lease = lease_open(&machine.ledger, mapping, slot, machine.conns.generations[slot], length, conn.route,
                           machine.now_us)
        conn.leases += 1
        op.token = token_pack(TOKEN_SEND_ZC, lease, machine.ledger.slab.generations[lease])
        op.slot = mapping
    else:
        if reason != COPY_BY_MODE:
            machine.stats.fallbacks[reason] += 1
        op = machine_op(machine, slot, OP_SEND, TOKEN_SEND)
    op.address = address
    op.length = length
    return op


cdef void _splice(Machine* machine, uint32_t slot, int32_t file, char* base, uint64_t offset,
                  uint64_t length) noexcept nogil:
    """Send bytes of a file that is mapped at `base`, without a lease: nobody can write its pages, which live on."""
    cdef Conn* conn = conn_at(machine, slot)
    cdef Op* op = machine_op(machine, slot, OP_SPLICE, TOKEN_SPLICE)
    op.file = file
    op.offset = offset
    op.address = base + offset
    op.length = <uint32_t>min(length, <uint64_t>SPLICE_SIZE_MAX)
    conn.asked = op.length
    conn.sends += 1


cdef void transmit_window(Machine* machine, uint32_t slot, uint32_t mapping_slot, uint64_t offset, uint64_t length,
                          uint8_t copy_reason) noexcept nogil:
    """Send bytes of a mapping: by zero copy under a new lease; where that cannot be had or saves nothing by reference, if
    it is a memory file, else by copying and then saying why.

    At most window_size bytes go in one op, or what a pipe holds. `copy_reason` is COPY_NO, COPY_BY_MODE or a Reason.
    """
    cdef Conn* conn = conn_at(machine, slot)
    cdef Mapping* mapping = mapping_at(&machine.mappings, mapping_slot)
    cdef uint8_t reason = COPY_BY_MODE
    cdef uint32_t size
    cdef Op* op
    length = rates_clip(machine, conn, length)
    size = <uint32_t>min(length, <uint64_t>machine.limits.window_size)
    zc_assert(mapping.refs > 0 and offset + size <= mapping.length)
    if mapping.huge:
        routes_referred(machine, conn)
    else:
        reason = _copy_reason(machine, conn, mapping.buffer >= 0, length, copy_reason)
    if mapping.memfd >= 0 and reason != COPY_NO and not ways_copies(machine, conn):
        _splice(machine, slot, mapping.memfd, mapping.base, offset, length)
        return
    op = _send(machine, slot, reason, mapping_slot, mapping.base + offset, size)
    if reason == COPY_NO:
        op.buffer = mapping.buffer


cdef bint transmit_file(Machine* machine, uint32_t slot, uint32_t source_slot, uint64_t offset, uint32_t length,
                        uint64_t left, uint8_t copy_reason) noexcept nogil:
    """Send bytes of an open file from its mapping, of which `left` are left in all: by zero copy, under a lease that holds
    the file and its mapping; else by reference, if nobody writes to it and the driver sends so; else by copying. Whether
    that is a copy, whose bytes are fixed when its result is in.

    A zero-copy send reads what others may write until its notification has come.
    """
    cdef Conn* conn = conn_at(machine, slot)
    cdef StreamFile* source = <StreamFile*>slab_row(&machine.sources, source_slot)
    cdef uint8_t reason = _copy_reason(machine, conn, True, left, copy_reason)
    cdef Op* op
    if reason != COPY_NO and source.frozen and machine.mappings.memfd_size_min > 0:
        _splice(machine, slot, source.fd, source.map.base, offset, length)
        return False
    op = _send(machine, slot, reason, NO_SLOT, source.map.base + offset, length)
    if reason == COPY_NO:
        lease_at(&machine.ledger, token_slot(op.token)).source = source_slot
        lease_at(&machine.ledger, token_slot(op.token)).address = op.address
        source.refs += 1
        conn.live_leases += 1
    return reason != COPY_NO


cdef void transmit_drop_pages(Machine* machine, char* address, uint32_t length) noexcept nogil:
    """Mapped bytes of a file have been sent, and nobody reads them any more."""
    cdef Op* op = machine_blank_op(machine)
    op.kind = OP_DROP_PAGES
    op.address = address
    op.length = length


cdef void transmit_end_lease(Machine* machine, uint32_t lease_slot) noexcept nogil:
    """The kernel is done with the window, whatever became of the connection."""
    cdef Lease* lease = lease_at(&machine.ledger, lease_slot)
    cdef uint32_t mapping_slot = lease.mapping
    cdef bint live = mapping_slot == NO_SLOT
    cdef Conn* conn
    if slab_holds(&machine.conns, lease.conn, lease.conn_generation):
        conn = conn_at(machine, lease.conn)
        conn.leases -= 1
        conn.live_leases -= live
    if live:
        if lease.result > 0:
            transmit_drop_pages(machine, lease.address, <uint32_t>lease.result)
        machine_let_go_file(machine, lease.source)
        lease_end(&machine.ledger, lease_slot, machine.now_us)
    else:
        machine_rest(machine, mapping_slot, lease_end(&machine.ledger, lease_slot, machine.now_us))


cdef void transmit_notified(Machine* machine, uint32_t lease_slot, int32_t usage) noexcept nogil:
    """A notification: count what it says about copying, end the lease."""
    cdef Lease* lease = lease_at(&machine.ledger, lease_slot)
    # A send that failed reports "copied" because nothing was used: it says nothing about the path.
    if lease.result > 0:
        if not machine.reports_usage:
            machine.stats.notifications_unknown += 1
        elif usage < 0:
            machine.stats.notifications_copied += 1
            routes_copied(machine, lease.route)
        else:
            machine.stats.notifications_zero_copied += 1
            if slab_holds(&machine.conns, lease.conn, lease.conn_generation):
                routes_not_copied(machine, conn_at(machine, lease.conn))
    transmit_end_lease(machine, lease_slot)
