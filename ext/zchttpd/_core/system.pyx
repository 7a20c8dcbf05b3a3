"""Clocks and files, as the loop sees them (clock_gettime(2), fstat(2))."""

from libc.stdint cimport int64_t, uint64_t
from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime, timespec
from posix.unistd cimport write

cdef extern from "<sys/stat.h>" nogil:
    cdef struct stat_t "stat":
        int64_t st_size
        timespec st_mtim
    int fstat(int fd, stat_t* status)


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


cdef void system_signal(int event) noexcept nogil:
    """Wake whoever waits for an eventfd(2)."""
    cdef uint64_t one = 1
    write(event, &one, sizeof(one))


cdef bint system_is_version(int fd, uint64_t size, int64_t mtime_ns) noexcept nogil:
    """Whether the open file still has the bytes it had; a chmod or a rename, which change ctime alone, leave them."""
    cdef stat_t status
    if fstat(fd, &status) < 0:
        return False
    return (<uint64_t>status.st_size == size
            and status.st_mtim.tv_sec * 1_000_000_000 + status.st_mtim.tv_nsec == mtime_ns)
