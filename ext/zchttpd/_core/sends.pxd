# Sends on a socket by plain system calls: one, or a linked pair.

from libc.stdint cimport uint32_t

from zchttpd._core.completions cimport Completions
from zchttpd._core.op cimport Op
from zchttpd._core.pipes cimport Pipe, Pipes
from zchttpd._core.zerocopy cimport Unnotified, Zerocopy

cdef struct Sends:
    Op[2] ops           # the second is linked to the first
    uint32_t count
    uint32_t done       # bytes of the first that have left, where it is to go whole

cdef void sends_go(Sends* pushed, Pipes* pipes, Pipe** kept, Completions* done, Zerocopy* zerocopy=*,
                   Unnotified* unnotified=*) noexcept nogil
