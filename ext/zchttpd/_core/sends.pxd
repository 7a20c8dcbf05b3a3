# One send on a socket, or a linked pair of them.

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from zchttpd._core.op cimport Op
from zchttpd._core.pipes cimport Pipe, Pipes

cdef struct Sends:
    Op[2] ops           # the second is linked to the first
    uint32_t count
    uint32_t done       # bytes of the first that have left, where it is to go whole

cdef struct Sent:       # how an op ended
    uint64_t token
    int32_t res         # bytes, or -errno
    uint8_t copied      # though it was a splice

cdef uint32_t sends_go(Sends* sends, Pipes* pipes, Pipe** kept, Sent* ended) noexcept nogil
