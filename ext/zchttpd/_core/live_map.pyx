"""Live maps (mmap(2), MAP_SHARED and PROT_READ): the page cache's own pages of a file, for sends to read from.

Nobody of us dereferences one: where the file has been cut, or a disk fails, the send says -EFAULT and nobody gets SIGBUS.
"""

from libc.errno cimport errno
from libc.stdint cimport int64_t, uint32_t, uint64_t, uintptr_t
from posix.mman cimport MAP_FAILED, MAP_SHARED, PROT_READ, madvise, mmap, munmap

from zchttpd._core.uio cimport RWF_NOWAIT, iovec, preadv2

cdef extern from "<sys/mman.h>" nogil:
    int MADV_DONTNEED

cdef enum:
    PAGE = 4096
    PROBE = 64 * 1024           # folios of a file that is read in order are no smaller, or neighbours of their kind


cdef int live_map_open(LiveMap* map, int fd) noexcept nogil:
    """Map the first `map.length` bytes of a file. Returns 0 or -errno."""
    cdef void* base
    base = mmap(NULL, map.length, PROT_READ, MAP_SHARED, fd, 0)
    if base == MAP_FAILED:
        return -errno
    map.base = <char*>base
    return 0


cdef void live_map_close(char* base, uint64_t length) noexcept nogil:
    munmap(base, length)


cdef uint32_t live_map_resident(uint32_t length, int fd, uint64_t offset) noexcept nogil:
    """How many of these bytes of the file, from the first on, a send takes without waiting for a disk.

    A byte here and there is asked for. mincore(2) would ask for every page, which costs more, and calls all of them resident
    to those who may not write the file.
    """
    cdef iovec vector
    cdef char byte
    cdef uint32_t at = 0
    vector.iov_base = &byte
    vector.iov_len = 1
    while at < length:
        if preadv2(fd, &vector, 1, <int64_t>(offset + at), RWF_NOWAIT) != 1:
            return at
        at += PROBE
    return length


cdef void live_map_drop(char* address, uint32_t length) noexcept nogil:
    """Take pages out of our page tables that no send of ours needs there, or all of a large file would count as our memory.
    The last is left to those who send what is behind it."""
    cdef uintptr_t first = <uintptr_t>address // PAGE * PAGE
    cdef uintptr_t end = (<uintptr_t>address + length) // PAGE * PAGE
    if end > first:
        madvise(<void*>first, end - first, MADV_DONTNEED)
