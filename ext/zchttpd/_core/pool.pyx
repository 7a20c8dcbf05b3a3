"""The pool of windows through which large files stream: made when they are first wanted, given back when nobody does."""

from libc.stdint cimport uint32_t

from zchttpd._core.machine cimport conn_at, machine_blank_op, machine_clear, machine_registers
from zchttpd._core.mapping cimport MAPPING_WINDOW, Mapping, mapping_at, mapping_make, mapping_unmap
from zchttpd._core.op cimport OP_REGISTER, Op
from zchttpd._core.token cimport NO_SLOT, TOKEN_TAG, token_pack

cdef enum:
    POOL_IDLE_MS = 10_000       # windows that nobody has taken for so long are given back
    POOL_RETRY_MS = 100


cdef uint32_t pool_windows_left(Machine* machine) noexcept nogil:
    """Windows of the pool that nobody has."""
    return machine.pool_free_count + machine.limits.window_count - machine.pool_made


cdef uint32_t pool_take(Machine* machine, uint32_t conn_slot) noexcept nogil:
    """A window of the pool with one reference, or NO_SLOT when all are out or there is no memory for another."""
    cdef uint32_t slot = machine.pool_free
    cdef Mapping* mapping
    cdef Op* op
    if slot != NO_SLOT:
        machine.pool_free = mapping_at(&machine.mappings, slot).next
        machine.pool_free_count -= 1
    elif machine.pool_made < machine.limits.window_count:
        slot = mapping_make(&machine.mappings, machine.limits.window_size, MAPPING_WINDOW, False)
        if slot == NO_SLOT:
            # Perhaps none is out that could come back: whoever waits must not depend on it.
            machine.pool_retry_at_ms = machine.now_ms + POOL_RETRY_MS
            return NO_SLOT
        machine.pool_made += 1
        if machine_registers(machine):
            op = machine_blank_op(machine)
            op.kind = OP_REGISTER
            op.slot = slot
            op.token = token_pack(TOKEN_TAG, slot, machine.mappings.slab.generations[slot])
    else:
        return NO_SLOT
    mapping = mapping_at(&machine.mappings, slot)
    mapping.holder = conn_slot
    mapping.holder_generation = machine.conns.generations[conn_slot]
    conn_at(machine, conn_slot).windows_held += 1
    machine.pool_used_at_ms = machine.now_ms
    machine.stats.windows_open += 1
    machine.stats.mappings_open += 1
    machine.stats.mapped_bytes += mapping.capacity
    return slot


cdef void pool_trim(Machine* machine) noexcept nogil:
    """Give the memory of windows back that nobody has wanted for a while."""
    cdef uint32_t slot
    if machine.pool_free == NO_SLOT or machine.now_ms - machine.pool_used_at_ms < POOL_IDLE_MS:
        return
    while machine.pool_free != NO_SLOT:
        slot = machine.pool_free
        machine.pool_free = mapping_at(&machine.mappings, slot).next
        machine.pool_free_count -= 1
        machine.pool_made -= 1
        mapping_at(&machine.mappings, slot).refs = 0
        if mapping_at(&machine.mappings, slot).buffer >= 0:
            machine_clear(machine, slot)
        else:
            mapping_unmap(&machine.mappings, slot)
