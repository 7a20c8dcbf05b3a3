# The machine's allocator: malloc(3), which the tests can have fail.

from libc.stdint cimport int64_t, uint64_t

cdef void* memory_take(size_t size) noexcept nogil
cdef void* memory_take_zeroed(size_t count, size_t size) noexcept nogil
cdef void* memory_resize(void* memory, size_t size) noexcept nogil
cdef void memory_give(void* memory) noexcept nogil
cdef bint memory_refuses() noexcept nogil
cdef void memory_is_over(void* base, size_t size) noexcept nogil

# For the tests; without their hooks nothing is counted, and nothing fails.
cdef void memory_fail_after(int64_t allocations) noexcept nogil
cdef void memory_poison(int byte) noexcept nogil
cdef int64_t memory_live() noexcept nogil
cdef uint64_t memory_failures() noexcept nogil
