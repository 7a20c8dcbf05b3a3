# Whether the bytes of an open file that were announced are still what they were, although it may have grown meanwhile.

from libc.stdint cimport int64_t, uint8_t, uint64_t

cdef enum:
    SAMPLE_COUNT = 8        # as announced.py has them
    SAMPLE_SIZE = 64

cdef struct Version:        # of an open file
    uint64_t size           # bytes that were announced
    uint64_t seen_size      # and that it had when it was last looked at
    int64_t seen_mtime_ns   # modulo 2**64: file systems keep times that have no place in so many bits
    uint8_t taken           # bit per sample
    uint8_t lost            # they are gone, whatever the file looks like later
    uint8_t aside           # its file system may hang: no bytes of it are read on the spot
    char[512] samples       # SAMPLE_COUNT of SAMPLE_SIZE bytes: what is to be found again when it has grown

cdef void version_announce(Version* version, uint64_t size, int64_t mtime_ns, bint aside) noexcept nogil
cdef bint version_take(Version* version, int fd, bint grown) noexcept nogil
cdef void version_match(Version* version, const char* copy) noexcept nogil
cdef bint version_holds(Version* version, int fd, bint wait) noexcept nogil
