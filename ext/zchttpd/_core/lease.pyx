"""The ledger of leases: the kernel's right to read a window of a mapping (io_uring_prep_send_zc(3))."""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from zchttpd._core.check cimport zc_assert
from zchttpd._core.mapping cimport Mapping, REST_NOTHING, mapping_at, mapping_hold, mapping_let_go
from zchttpd._core.slab cimport slab_close, slab_give, slab_open, slab_row, slab_take
from zchttpd._core.stats cimport stats_lease
from zchttpd._core.token cimport NO_SLOT


cdef int ledger_open(Ledger* ledger, uint32_t capacity, Mappings* mappings, Stats* stats) noexcept nogil:
    """Room for `capacity` open leases. Returns 0 or -ENOMEM."""
    ledger.mappings = mappings
    ledger.stats = stats
    return slab_open(&ledger.slab, sizeof(Lease), capacity)


cdef void ledger_close(Ledger* ledger) noexcept nogil:
    slab_close(&ledger.slab)


cdef Lease* lease_at(Ledger* ledger, uint32_t slot) noexcept nogil:
    return <Lease*>slab_row(&ledger.slab, slot)


cdef uint32_t lease_open(Ledger* ledger, uint32_t mapping, uint32_t conn, uint32_t conn_generation, uint32_t length,
                         uint8_t route, int64_t now_us) noexcept nogil:
    """Open a lease on `mapping`, which it holds until lease_end, or on none (NO_SLOT). NO_SLOT when the ledger is full."""
    cdef uint32_t slot = slab_take(&ledger.slab)
    if slot == NO_SLOT:
        return NO_SLOT
    cdef Lease* lease = lease_at(ledger, slot)
    lease.opened_us = now_us
    lease.mapping = mapping
    lease.conn = conn
    lease.conn_generation = conn_generation
    lease.length = length
    lease.route = route
    if mapping != NO_SLOT:
        mapping_hold(ledger.mappings, mapping)
        mapping_at(ledger.mappings, mapping).leases += 1
    ledger.stats.leases_open += 1
    ledger.stats.leased_bytes += length
    return slot


cdef int lease_end(Ledger* ledger, uint32_t slot, int64_t now_us) noexcept nogil:
    """The kernel no longer reads the window. Returns the MappingRest of the mapping's reference, if it is on one."""
    cdef Lease* lease = lease_at(ledger, slot)
    cdef uint32_t mapping_slot = lease.mapping
    cdef Mapping* mapping
    ledger.stats.leases_open -= 1
    ledger.stats.leased_bytes -= lease.length
    if lease.result > 0:  # else nothing was held
        stats_lease(ledger.stats, now_us - lease.opened_us)
    slab_give(&ledger.slab, slot)
    if mapping_slot == NO_SLOT:
        return REST_NOTHING
    mapping = mapping_at(ledger.mappings, mapping_slot)
    zc_assert(mapping.leases > 0)
    mapping.leases -= 1
    return mapping_let_go(ledger.mappings, mapping_slot)
