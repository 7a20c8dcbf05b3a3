# Slots with generations: the reusable places behind every token.

from libc.stdint cimport uint32_t

cdef struct Slab:
    char* rows              # capacity * row_size bytes, lazily touched
    uint32_t* generations   # edition of each slot, bumped when it is given back
    uint32_t* links         # free list
    size_t row_size         # bytes
    uint32_t capacity       # slots
    uint32_t fresh          # first slot never taken
    uint32_t free_head      # NO_SLOT when the free list is empty
    uint32_t live           # slots taken

cdef int slab_open(Slab* slab, size_t row_size, uint32_t capacity) noexcept nogil
cdef void slab_close(Slab* slab) noexcept nogil
cdef uint32_t slab_take(Slab* slab) noexcept nogil
cdef void slab_give(Slab* slab, uint32_t slot) noexcept nogil


cdef inline void* slab_row(Slab* slab, uint32_t slot) noexcept nogil:
    return slab.rows + slab.row_size * slot


cdef inline bint slab_holds(Slab* slab, uint32_t slot, uint32_t generation) noexcept nogil:
    # A slot given back has moved on to a generation that nobody was told.
    return slot < slab.fresh and slab.generations[slot] == generation
