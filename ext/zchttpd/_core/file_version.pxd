# Which file, and which state of it: as `Version` of files/version.py has it.

from libc.stdint cimport int64_t, uint64_t

cdef struct FileVersion:
    uint64_t dev
    uint64_t ino
    uint64_t size           # bytes
    int64_t mtime_ns        # modulo 2**64
    int64_t ctime_ns

cdef enum:
    SECOND_NS = 1_000_000_000
    COARSE_NS = 2_000_000_000       # as files/version.py has it
    MEANINGFUL_MTIME_S = 631_152_000


cdef inline bint file_version_same(const FileVersion* one, const FileVersion* other) noexcept nogil:
    return (one.dev == other.dev and one.ino == other.ino and one.size == other.size and one.mtime_ns == other.mtime_ns
            and one.ctime_ns == other.ctime_ns)


cdef inline bint file_version_lived(const FileVersion* version) noexcept nogil:
    """Whether the modification time is that of a write: `Version.lived`, which says why."""
    cdef int64_t since_ns = version.ctime_ns - version.mtime_ns
    if version.mtime_ns // SECOND_NS < MEANINGFUL_MTIME_S or since_ns < -<int64_t>COARSE_NS:
        return False
    return version.mtime_ns % SECOND_NS != 0 or since_ns <= COARSE_NS
