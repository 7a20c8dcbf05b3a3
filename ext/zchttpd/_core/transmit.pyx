"""Bytes of a file to a socket: by zero copy under a lease, by reference, or by copying; and the ends of leases."""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from zchttpd._core.check cimport zc_assert
from zchttpd._core.lease cimport Lease, lease_at, lease_end, lease_open
from zchttpd._core.machine cimport (
    CONN_NO_ZEROCOPY, Conn, SEND_PLAIN, conn_at, machine_op, machine_registers, machine_rest)
from zchttpd._core.mapping cimport Mapping, mapping_at
from zchttpd._core.op cimport OP_SEND, OP_SEND_ZC, OP_SPLICE, Op
from zchttpd._core.routes cimport routes_copied, routes_not_copied, routes_of, routes_referred, routes_spare
from zchttpd._core.slab cimport slab_holds
from zchttpd._core.stats cimport REASON_COPIED, REASON_LEASES, REASON_MEMLOCK, REASON_UNSUPPORTED
from zchttpd._core.token cimport TOKEN_SEND, TOKEN_SEND_ZC, TOKEN_SPLICE, token_pack


cdef inline uint8_t _copy_reason(Machine* machine, Conn* conn, Mapping* mapping) noexcept nogil:
    if machine.send_mode == SEND_PLAIN:
        return COPY_BY_MODE
    if not machine.zerocopy_able or conn.flags & CONN_NO_ZEROCOPY:
        return REASON_UNSUPPORTED
    if mapping.buffer < 0 and machine_registers(machine):
        return REASON_MEMLOCK
    if conn.leases >= machine.limits.leases_per_connection or machine.ledger.slab.live == machine.ledger.slab.capacity:
        return REASON_LEASES
    if routes_spare(machine, routes_of(machine, conn)):
        return REASON_COPIED
    return COPY_NO


cdef void transmit_window(Machine* machine, uint32_t slot, uint32_t mapping_slot, uint64_t offset, uint64_t length,
                          uint8_t copy_reason) noexcept nogil:
    """Send bytes of a mapping: by zero copy under a new lease; where that cannot be had or saves nothing by reference, if
    it is a memory file, else by copying and then saying why.

    At most window_size bytes go in one op, or what a pipe holds. `copy_reason` is COPY_NO, COPY_BY_MODE or a Reason.
    """
    cdef Conn* conn = conn_at(machine, slot)
    cdef Mapping* mapping = mapping_at(&machine.mappings, mapping_slot)
    cdef uint8_t reason = copy_reason
    cdef uint32_t size = <uint32_t>min(length, <uint64_t>machine.limits.window_size)
    cdef uint32_t lease
    cdef Op* op
    zc_assert(mapping.refs > 0 and offset + size <= mapping.length)
    if mapping.huge:
        routes_referred(machine, conn)
        reason = COPY_BY_MODE
    elif reason == COPY_NO:
        # A rest that is small is copied on purpose, like any small body.
        reason = _copy_reason(machine, conn, mapping) if length >= machine.limits.zc_size_min else COPY_BY_MODE
    elif reason != COPY_BY_MODE and machine.send_mode == SEND_PLAIN:
        reason = COPY_BY_MODE
    if mapping.memfd >= 0 and reason != COPY_NO:
        transmit_splice(machine, slot, mapping.memfd, mapping.base, offset, length)
        return
    conn.sends += 1
    if reason == COPY_NO:
        op = machine_op(machine, slot, OP_SEND_ZC, TOKEN_SEND_ZC)
        lease = lease_open(&machine.ledger, mapping_slot, slot, machine.conns.generations[slot], size, conn.route,
                           machine.now_us)
        conn.leases += 1
        op.token = token_pack(TOKEN_SEND_ZC, lease, machine.ledger.slab.generations[lease])
        op.buffer = mapping.buffer
        op.slot = mapping_slot
    else:
        if reason != COPY_BY_MODE:
            machine.stats.fallbacks[reason] += 1
        op = machine_op(machine, slot, OP_SEND, TOKEN_SEND)
    op.address = mapping.base + offset
    op.length = size
    conn.asked = size


cdef void transmit_splice(Machine* machine, uint32_t slot, int32_t file, char* base, uint64_t offset,
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


cdef void transmit_end_lease(Machine* machine, uint32_t lease_slot) noexcept nogil:
    """The kernel is done with the window, whatever became of the connection."""
    cdef Lease* lease = lease_at(&machine.ledger, lease_slot)
    cdef uint32_t mapping_slot = lease.mapping
    cdef Conn* conn
    if slab_holds(&machine.conns, lease.conn, lease.conn_generation):
        conn = conn_at(machine, lease.conn)
        conn.leases -= 1
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
