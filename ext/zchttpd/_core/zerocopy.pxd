# Zero copy by plain system calls: send(2) with MSG_ZEROCOPY, and the notifications in the error queues of sockets.

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from zchttpd._core.completions cimport Completions
from zchttpd._core.op cimport Op

cdef struct Unnotified:     # zero-copy sends of a socket whose notifications have not come. All zero: a new socket
    uint32_t first          # oldest, a row of Zerocopy; 0: there is none
    uint32_t last
    uint32_t next_number    # of its next send: the kernel counts those that succeed, and starts again after 2**32
    uint8_t enabled         # SO_ZEROCOPY is set

cdef struct ZerocopySend:
    uint64_t token
    uint32_t number
    uint32_t next           # of the same socket, or of the free rows; 0: none

cdef struct Zerocopy:       # the sends of all sockets. All zero: none
    ZerocopySend* rows      # the first is never used
    uint32_t count          # that have ever been used, and the first
    uint32_t capacity
    uint32_t free           # first of those that are free again; 0: none

cdef bint zerocopy_exists() noexcept nogil
cdef void zerocopy_close(Zerocopy* zerocopy) noexcept nogil
cdef ssize_t zerocopy_send(Zerocopy* zerocopy, Unnotified* socket, const Op* op) noexcept nogil
cdef bint zerocopy_collect(Zerocopy* zerocopy, Unnotified* socket, int32_t fd, Completions* done) noexcept nogil
cdef void zerocopy_end(int32_t fd) noexcept nogil

# The books alone.
cdef void zerocopy_sent(Zerocopy* zerocopy, Unnotified* socket, uint64_t token) noexcept nogil
cdef void zerocopy_notified(Zerocopy* zerocopy, Unnotified* socket, uint32_t first, uint32_t last, bint copied,
                            Completions* done) noexcept nogil
