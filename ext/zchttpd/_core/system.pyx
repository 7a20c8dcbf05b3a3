"""Clocks and events, as the loop sees them (clock_gettime(2), eventfd(2))."""

from libc.stdint cimport int64_t, uint64_t
from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_THREAD_CPUTIME_ID, clock_gettime, timespec
from posix.unistd cimport write


cdef int64_t system_now_us() noexcept nogil:
    """Microseconds of the monotonic clock."""
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec * 1000000 + now.tv_nsec // 1000


cdef int64_t system_unix_second() noexcept nogil:
    """The Unix time, for Date."""
    cdef timespec now
    clock_gettime(CLOCK_REALTIME, &now)
    return now.tv_sec


cdef int64_t system_thread_us() noexcept nogil:
    """Microseconds of CPU time that this thread has had."""
    cdef timespec now
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now)
    return now.tv_sec * 1000000 + now.tv_nsec // 1000


cdef void system_signal(int event) noexcept nogil:
    """Wake whoever waits for an eventfd(2)."""
    cdef uint64_t one = 1
    write(event, &one, sizeof(one))
