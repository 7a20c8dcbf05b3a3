# What the loop asks of the system: the time, and whether a file is still what it was.

from libc.stdint cimport int64_t, uint64_t

cdef int64_t system_now_us() noexcept nogil
cdef int64_t system_unix_second() noexcept nogil
cdef void system_signal(int event) noexcept nogil
cdef bint system_is_version(int fd, uint64_t size, int64_t mtime_ns) noexcept nogil
