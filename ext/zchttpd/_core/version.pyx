"""Whether an open file still has the bytes that were announced: the twin of files/announced.py, which says why.

statx(2) and, only when the file has grown, a few bytes of the page cache (preadv2(2), RWF_NOWAIT).
"""

from libc.errno cimport EOPNOTSUPP, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec
from posix.unistd cimport usleep

from zchttpd._core.uio cimport RWF_NOWAIT, iovec, preadv2

cdef extern from "<sys/stat.h>" nogil:
    cdef struct stat_t "stat":
        int64_t st_size
        timespec st_mtim
    int fstat(int fd, stat_t* status)

    cdef struct statx_timestamp:
        int64_t tv_sec
        uint32_t tv_nsec
    cdef struct statx_t "statx":
        uint64_t stx_size
        statx_timestamp stx_mtime
    enum:
        STATX_MTIME
        STATX_SIZE
    int statx(int directory, const char* path, int flags, unsigned int mask, statx_t* status)

cdef extern from "<fcntl.h>" nogil:
    enum:
        AT_EMPTY_PATH
        AT_STATX_DONT_SYNC
        F_GET_SEALS
    int fcntl(int fd, int command, ...)

cdef enum:
    DOUBT_LOOKS = 10
    DOUBT_US = 200
    YOUNG_NS = 100_000_000


cdef inline uint64_t _offset(uint64_t size, uint32_t number) noexcept nogil:
    """Where a sample begins. The first is at the start, the last ends with what was announced."""
    if size <= SAMPLE_COUNT * SAMPLE_SIZE:
        return number * SAMPLE_SIZE
    return number * (size - SAMPLE_SIZE) // (SAMPLE_COUNT - 1)


cdef inline uint32_t _length(uint64_t size, uint32_t number) noexcept nogil:
    cdef uint64_t offset = _offset(size, number)
    return <uint32_t>min(size - offset, <uint64_t>SAMPLE_SIZE) if offset < size else 0


cdef inline int64_t _nanoseconds(int64_t seconds, int64_t rest) noexcept nogil:
    return <int64_t>(<uint64_t>seconds * 1_000_000_000 + <uint64_t>rest)


cdef inline bint _is_memory(int fd) noexcept nogil:
    """Whether it is a file of tmpfs: those alone have seals, fcntl(2). statfs(2) would ask a file system that may hang."""
    return fcntl(fd, F_GET_SEALS) >= 0


cdef bint _state(int fd, uint64_t* size, int64_t* mtime_ns) noexcept nogil:
    """Size and time as this machine knows them (AT_STATX_DONT_SYNC): reads have just brought what a network file system has
    to say of them, and to ask again would wait for one that hangs. False when it cannot be said."""
    cdef statx_t known
    cdef stat_t status
    if statx(fd, b"", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_SIZE | STATX_MTIME, &known) == 0:
        size[0] = known.stx_size
        mtime_ns[0] = _nanoseconds(known.stx_mtime.tv_sec, known.stx_mtime.tv_nsec)
        return True
    # Old kernels and sandboxes refuse the call itself.
    if fstat(fd, &status) < 0:
        return False
    size[0] = <uint64_t>status.st_size
    mtime_ns[0] = _nanoseconds(status.st_mtim.tv_sec, status.st_mtim.tv_nsec)
    return True


cdef ssize_t _read(int fd, char* to, uint32_t length, uint64_t offset, bint wait) noexcept nogil:
    """What preadv2 gives of bytes at hand; with `wait`, and in memory, also where the file system cannot tell."""
    cdef iovec vector
    cdef ssize_t got
    vector.iov_base = to
    vector.iov_len = length
    got = preadv2(fd, &vector, 1, <int64_t>offset, RWF_NOWAIT)
    if got < 0 and errno == EOPNOTSUPP and (wait or _is_memory(fd)):
        got = preadv2(fd, &vector, 1, <int64_t>offset, 0)
    return got


cdef void version_announce(Version* version, uint64_t size, int64_t mtime_ns, bint aside) noexcept nogil:
    """The version that was announced with this size and time, without any samples; `aside`: none may be taken."""
    memset(version, 0, sizeof(Version))
    version.aside = aside
    version.size = size
    version.seen_size = size
    version.seen_mtime_ns = mtime_ns


cdef bint version_take(Version* version, int fd, bint grown) noexcept nogil:
    """Sample what is at hand of it. False when the file is of another size by now; with `grown` it may be."""
    cdef uint64_t size
    cdef int64_t mtime_ns
    cdef uint32_t number
    cdef uint32_t length
    for number in range(0 if version.aside else SAMPLE_COUNT):
        length = _length(version.size, number)
        if (length and _read(fd, version.samples + number * SAMPLE_SIZE, length, _offset(version.size, number), False)
                == length):
            version.taken |= <uint8_t>(1 << number)
    # Else it may have been written anew before the samples were taken.
    return grown or (_state(fd, &size, &mtime_ns) and size == version.size)


cdef void version_match(Version* version, const char* copy) noexcept nogil:
    """A copy has been made of all its bytes, and must be of them too; it has the samples that could not be taken."""
    cdef uint32_t number
    cdef uint32_t length
    cdef char* sample
    for number in range(0 if version.aside else SAMPLE_COUNT):
        sample = version.samples + number * SAMPLE_SIZE
        length = _length(version.size, number)
        if length and not version.taken & (1 << number):
            version.taken |= <uint8_t>(1 << number)
            memcpy(sample, copy + _offset(version.size, number), length)
        elif length and memcmp(sample, copy + _offset(version.size, number), length) != 0:
            version.lost = 1


cdef bint _samples_hold(Version* version, int fd, bint wait) noexcept nogil:
    cdef char[SAMPLE_SIZE] now
    cdef uint32_t number
    cdef uint32_t length
    cdef ssize_t got
    for number in range(SAMPLE_COUNT):
        if not version.taken & (1 << number):
            continue
        length = _length(version.size, number)
        got = _read(fd, now, length, _offset(version.size, number), wait)
        if got >= 0 and (got != length or memcmp(now, version.samples + number * SAMPLE_SIZE, length) != 0):
            return False
    return True


cdef bint version_holds(Version* version, int fd, bint wait) noexcept nogil:
    """Whether the announced bytes are still there. False when the file shrank or was written to in place.

    `wait`: its bytes have just been read, so reading some of them again is not held up by a disk.
    """
    cdef uint64_t size
    cdef timespec now
    cdef int64_t mtime_ns
    cdef int64_t since_ns
    cdef int looks
    for looks in range(DOUBT_LOOKS + 1):
        if not _state(fd, &size, &mtime_ns):
            return False
        if size != version.seen_size:
            break
        if mtime_ns == version.seen_mtime_ns:
            return True
        clock_gettime(CLOCK_REALTIME, &now)
        # write(2) sets the time before the size: an append may be under way.
        since_ns = <int64_t>(<uint64_t>_nanoseconds(now.tv_sec, now.tv_nsec) - <uint64_t>mtime_ns)
        if looks == DOUBT_LOOKS or since_ns > YOUNG_NS:
            return False
        usleep(DOUBT_US)
    if size < version.size or not _samples_hold(version, fd, wait):
        return False
    version.seen_size = size
    version.seen_mtime_ns = mtime_ns
    return True
