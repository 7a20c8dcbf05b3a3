"""Slots with generations. A taken row is all zero; a slot given back moves to its next generation."""

from libc.errno cimport ENOMEM
from libc.stdint cimport uint32_t
from libc.string cimport memset

from zchttpd._core.check cimport zc_assert, zc_check
from zchttpd._core.memory cimport memory_give, memory_take_zeroed
from zchttpd._core.token cimport NO_SLOT, SLOT_MAX


cdef int slab_open(Slab* slab, size_t row_size, uint32_t capacity) noexcept nogil:
    """Make room for `capacity` rows (0 < capacity <= SLOT_MAX). Returns 0 or -ENOMEM, then nothing is held."""
    zc_assert(0 < capacity <= SLOT_MAX)
    memset(slab, 0, sizeof(Slab))
    slab.rows = <char*>memory_take_zeroed(capacity, row_size)
    slab.generations = <uint32_t*>memory_take_zeroed(capacity, sizeof(uint32_t))
    slab.links = <uint32_t*>memory_take_zeroed(capacity, sizeof(uint32_t))
    slab.row_size = row_size
    slab.capacity = capacity
    slab.free_head = NO_SLOT
    if slab.rows == NULL or slab.generations == NULL or slab.links == NULL:
        slab_close(slab)
        return -ENOMEM
    return 0


cdef void slab_close(Slab* slab) noexcept nogil:
    memory_give(slab.rows)
    memory_give(slab.generations)
    memory_give(slab.links)
    memset(slab, 0, sizeof(Slab))


cdef uint32_t slab_take(Slab* slab) noexcept nogil:
    """The slot of a zeroed row, or NO_SLOT when all are taken."""
    cdef uint32_t slot = slab.free_head
    if slot != NO_SLOT:
        slab.free_head = slab.links[slot]
        memset(slab_row(slab, slot), 0, slab.row_size)
    elif slab.fresh < slab.capacity:
        slot = slab.fresh
        slab.fresh += 1
        # Generation 0 is never in use, so an all-zero token can match nothing.
        slab.generations[slot] = 1
    else:
        return NO_SLOT
    slab.live += 1
    return slot


cdef void slab_give(Slab* slab, uint32_t slot) noexcept nogil:
    zc_check(slot < slab.fresh)
    zc_assert(slab.live > 0)
    slab.generations[slot] += 1
    if slab.generations[slot] == 0:
        slab.generations[slot] = 1
    slab.links[slot] = slab.free_head
    slab.free_head = slot
    slab.live -= 1
