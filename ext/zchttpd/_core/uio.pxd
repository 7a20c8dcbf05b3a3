# Reads and writes of several pieces (readv(2)), and those that wait for no disk.

from libc.stdint cimport int64_t

cdef extern from "<sys/uio.h>" nogil:
    cdef struct iovec:
        void* iov_base
        size_t iov_len
    int RWF_NOWAIT
    ssize_t pwritev(int fd, const iovec* vector, int count, int64_t offset)
    ssize_t preadv2(int fd, const iovec* vector, int count, int64_t offset, int flags)
