# Sends on a socket by plain system calls: one, or a linked pair; and where they wait for room.

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from zchttpd._core.completions cimport Completions
from zchttpd._core.op cimport Op
from zchttpd._core.pipes cimport Pipe, Pipes

cdef struct Sends:
    Op[2] ops           # the second is linked to the first
    uint32_t count
    uint32_t done       # bytes of the first that have left, where it is to go whole

cdef struct Outbox:     # of one socket
    Sends* waiting      # for room; NULL when no send does
    Pipe* pipe          # with what is left of a splice, or NULL

cdef bint outbox_begin(Outbox* outbox, Sends* pushed, Pipes* pipes, Completions* done) noexcept nogil
cdef bint outbox_resume(Outbox* outbox, Pipes* pipes, Completions* done) noexcept nogil
cdef void outbox_end(Outbox* outbox, int32_t res, Pipes* pipes, Completions* done) noexcept nogil
