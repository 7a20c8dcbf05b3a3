"""Pages of a file to a socket, by reference: splice(2) into a pipe and out of it.

A pipe holds 1 MiB where the system allows (fcntl(2), F_SETPIPE_SZ; pipe-user-pages-soft, pipe(7)), which is why this costs
less than sendfile(2), whose own holds 64 KiB. A socket keeps one only while there is something left in it that the socket
did not take, and only so many sockets do: for the others the rest is thrown away, and comes again out of the file.
"""

from libc.errno cimport EINVAL, errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset
from posix.unistd cimport close

from zchttpd._core.op cimport OP_MORE

cdef extern from "<fcntl.h>" nogil:
    enum:
        F_GETPIPE_SZ
        F_SETPIPE_SZ
        O_CLOEXEC
        SPLICE_F_MORE
        SPLICE_F_NONBLOCK
    int fcntl(int fd, int command, int value)
    ssize_t splice(int source, int64_t* source_offset, int sink, int64_t* sink_offset, size_t length, unsigned int flags)

cdef extern from "<unistd.h>" nogil:
    int pipe2(int* ends, int flags)

cdef enum:
    PIPE_SIZE = 1 << 20
    FREE_MAX = 4            # more are closed
    KEPT_MAX = 16           # of 64 that a user's limit allows in all
    SHARE_SIZE = 128 * 1024  # put in at a time where what is left will be thrown away


cdef void pipes_close(Pipes* pipes) noexcept nogil:
    """Close the free ones. All that were kept have been dropped."""
    while pipes.free != NULL:
        _close(_take_free(pipes))
    memset(pipes, 0, sizeof(Pipes))


cdef void _close(Pipe* pipe) noexcept nogil:
    close(pipe.sink)
    close(pipe.source)
    free(pipe)


cdef Pipe* _take_free(Pipes* pipes) noexcept nogil:
    cdef Pipe* pipe = pipes.free
    pipes.free = pipe.next
    pipes.free_count -= 1
    return pipe


cdef Pipe* _take(Pipes* pipes) noexcept nogil:
    """An empty pipe, or NULL with errno set."""
    cdef Pipe* pipe
    cdef int[2] ends
    cdef int size
    if pipes.free != NULL:
        return _take_free(pipes)
    pipe = <Pipe*>malloc(sizeof(Pipe))
    if pipe == NULL:
        return NULL
    if pipe2(ends, O_CLOEXEC) < 0:
        free(pipe)
        return NULL
    memset(pipe, 0, sizeof(Pipe))
    pipe.source = ends[0]
    pipe.sink = ends[1]
    # What was refused leaves it as it is.
    fcntl(pipe.sink, F_SETPIPE_SZ, PIPE_SIZE)
    size = fcntl(pipe.sink, F_GETPIPE_SZ, 0)
    pipe.size = <uint32_t>size if size > 0 else 4096
    return pipe


cdef ssize_t pipes_send(Pipes* pipes, Pipe** kept, const Op* op) noexcept nogil:
    """Send bytes of an OP_SPLICE, as many as the socket takes. `kept`: the pipe that it keeps, or NULL. Returns how many,
    or -errno: -EAGAIN when it takes none now, -EMFILE and the like when there is no pipe."""
    cdef Pipe* pipe = kept[0]
    cdef int64_t offset
    cdef uint32_t most
    cdef uint32_t sent = 0
    cdef ssize_t got
    if pipe != NULL and (pipe.file != op.file or pipe.offset != op.offset or pipe.left > op.length):
        pipes_drop(pipes, kept)
        pipe = NULL
    if pipe == NULL:
        pipe = _take(pipes)
        if pipe == NULL:
            return -errno
        pipe.file = op.file
        pipe.offset = op.offset
    most = pipe.size if kept[0] != NULL or pipes.kept < KEPT_MAX else min(pipe.size, <uint32_t>SHARE_SIZE)
    while True:
        if pipe.left == 0:
            offset = <int64_t>pipe.offset
            got = splice(op.file, &offset, pipe.sink, NULL, min(op.length - sent, most), SPLICE_F_NONBLOCK)
            if got <= 0:
                got = -errno if got < 0 else -EINVAL
                break
            pipe.left = <uint32_t>got
        got = splice(pipe.source, NULL, op.fd, NULL, pipe.left,
                     SPLICE_F_NONBLOCK | (SPLICE_F_MORE if op.flags & OP_MORE or sent + pipe.left < op.length else 0))
        if got < 0:
            got = -errno
            break
        pipe.left -= <uint32_t>got
        pipe.offset += <uint64_t>got
        sent += <uint32_t>got
        if pipe.left > 0 or sent == op.length:
            break
    _put(pipes, kept, pipe)
    return sent if sent > 0 else got


cdef void _put(Pipes* pipes, Pipe** kept, Pipe* pipe) noexcept nogil:
    """After use: the socket keeps what it has not taken, or the pipe is free."""
    if pipe.left > 0:
        if kept[0] == NULL:
            if pipes.kept == KEPT_MAX:
                _close(pipe)
                return
            pipes.kept += 1
            kept[0] = pipe
        return
    if kept[0] != NULL:
        pipes.kept -= 1
        kept[0] = NULL
    if pipes.free_count == FREE_MAX:
        _close(pipe)
        return
    pipe.next = pipes.free
    pipes.free = pipe
    pipes.free_count += 1


cdef void pipes_drop(Pipes* pipes, Pipe** kept) noexcept nogil:
    """The socket wants nothing any more of what is left in its pipe, if it keeps one."""
    if kept[0] != NULL:
        _close(kept[0])
        kept[0] = NULL
        pipes.kept -= 1
