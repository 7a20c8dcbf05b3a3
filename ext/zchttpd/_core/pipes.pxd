# Pipes through which pages of a file go to a socket without being copied.

from libc.stdint cimport int32_t, uint32_t, uint64_t

from zchttpd._core.op cimport Op

cdef struct Pipe:
    Pipe* next          # in the list of free ones
    int32_t sink        # where pages go in
    int32_t source      # where they come out
    uint32_t size       # bytes it holds
    uint32_t left       # bytes in it
    int32_t file        # that they are of
    uint64_t offset     # of the first of them in the file

cdef struct Pipes:
    Pipe* free          # empty ones
    uint32_t free_count
    uint32_t kept       # with bytes in them, for the sockets that did not take those

cdef void pipes_close(Pipes* pipes) noexcept nogil
cdef ssize_t pipes_send(Pipes* pipes, Pipe** kept, const Op* op) noexcept nogil
cdef void pipes_drop(Pipes* pipes, Pipe** kept) noexcept nogil
