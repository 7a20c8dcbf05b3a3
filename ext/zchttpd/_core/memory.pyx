"""The machine's allocator: malloc(3) and its like. NULL is no memory, which each caller answers for."""

from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc

cdef extern from "zc_memory.h" nogil:
    ctypedef struct zc_memory:
        int64_t until_failure
        int64_t live
        uint64_t failures
        int poison
    bint zc_memory_refuses(zc_memory* memory)
    void zc_memory_count(zc_memory* memory, int change)
    int zc_memory_poison()
    void zc_memory_overwrite(zc_memory* memory, void* base, size_t size)

cdef zc_memory counts
counts.until_failure = -1
counts.poison = zc_memory_poison()


cdef void* memory_take(size_t size) noexcept nogil:
    cdef void* taken = NULL if zc_memory_refuses(&counts) else malloc(size)
    zc_memory_count(&counts, taken != NULL)
    return taken


cdef void* memory_take_zeroed(size_t count, size_t size) noexcept nogil:
    cdef void* taken = NULL if zc_memory_refuses(&counts) else calloc(count, size)
    zc_memory_count(&counts, taken != NULL)
    return taken


cdef void* memory_resize(void* memory, size_t size) noexcept nogil:
    """As realloc(3): with NULL the memory is `memory`, as it was."""
    cdef void* taken = NULL if zc_memory_refuses(&counts) else realloc(memory, size)
    zc_memory_count(&counts, taken != NULL and memory == NULL)
    return taken


cdef void memory_give(void* memory) noexcept nogil:
    zc_memory_count(&counts, -1 if memory != NULL else 0)
    free(memory)


cdef bint memory_refuses() noexcept nogil:
    """Whether a test wants this allocation to fail, for what is not had from here."""
    return zc_memory_refuses(&counts)


cdef void memory_is_over(void* base, size_t size) noexcept nogil:
    """Nobody reads this memory any more. A test may have it overwritten, so that whoever does shows."""
    zc_memory_overwrite(&counts, base, size)


cdef void memory_poison(int byte) noexcept nogil:
    """Overwrite what is over with this byte; 0: with nothing."""
    counts.poison = byte


cdef void memory_fail_after(int64_t allocations) noexcept nogil:
    """Have the one behind the next so many fail; negative: none."""
    counts.until_failure = allocations


cdef int64_t memory_live() noexcept nogil:
    return counts.live


cdef uint64_t memory_failures() noexcept nogil:
    return counts.failures
