# What the loop asks of the system: the time; and how it wakes the log.

from libc.stdint cimport int64_t

cdef int64_t system_now_us() noexcept nogil
cdef int64_t system_unix_second() noexcept nogil
cdef int64_t system_thread_us() noexcept nogil
cdef void system_signal(int event) noexcept nogil
