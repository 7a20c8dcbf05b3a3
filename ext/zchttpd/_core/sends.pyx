"""Sends by plain system calls, with the meaning that io_uring gives them (send(2), sendmsg(2), io_uring_enter(2)).

What is linked behind a send begins only when that has gone whole, which it therefore does however many calls it takes, as
with MSG_WAITALL. Any other send is done as soon as the socket has taken some bytes.
"""

from libc.errno cimport EAGAIN, EINTR, EINVAL, EMFILE, ENFILE, ENOMEM, errno
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.string cimport memset

from zchttpd._core.op cimport OP_LINK, OP_MORE, OP_NOWAIT, OP_SEND, OP_SPLICE
from zchttpd._core.pipes cimport pipes_drop, pipes_send

cdef extern from "<errno.h>" nogil:
    enum:
        ECANCELED

cdef extern from "<sys/uio.h>" nogil:
    cdef struct iovec:
        void* iov_base
        size_t iov_len

cdef extern from "<sys/socket.h>" nogil:
    enum:
        MSG_DONTWAIT
        MSG_MORE
        MSG_NOSIGNAL
    cdef struct msghdr:
        iovec* msg_iov
        size_t msg_iovlen
    ssize_t send(int fd, const void* buffer, size_t length, int flags)
    ssize_t sendmsg(int fd, const msghdr* message, int flags)


cdef uint32_t sends_go(Sends* sends, Pipes* pipes, Pipe** kept, Sent* ended) noexcept nogil:
    """Send as much as the socket takes. Returns how many ops have ended, with a place for two; what then is still there
    waits for room in the socket. `kept`: what the socket keeps of `pipes`."""
    cdef Op* op = &sends.ops[0]
    cdef uint32_t count = 0
    cdef ssize_t sent
    cdef bint linked
    memset(ended, 0, 2 * sizeof(Sent))
    while sends.count > 0:
        linked = op.flags & OP_LINK != 0
        if op.kind == OP_SPLICE:
            sent = _splice(pipes, kept, op, &ended[count].copied)
        else:
            # Whoever sends from elsewhere has no use for what is left of a splice.
            pipes_drop(pipes, kept)
            sent = _send(sends)
        if sent == -EINTR:
            continue
        if sent == -EAGAIN and not op.flags & OP_NOWAIT:
            break
        if sent >= 0 and linked and sends.done + sent < op.length:
            sends.done += <uint32_t>sent
            continue
        ended[count].token = op.token
        if sent < 0:
            ended[count].res = <int32_t>(sends.done if sends.done else sent)
        else:
            ended[count].res = <int32_t>(op.length if linked else sent)
        count += 1
        if not linked:
            sends.count = 0
        elif sent < 0:
            ended[count].token = sends.ops[1].token
            ended[count].res = -ECANCELED
            count += 1
            sends.count = 0
        else:
            sent -= op.length - sends.done
            op[0] = sends.ops[1]
            sends.count = 1
            sends.done = 0
            if sent > 0:
                ended[count].token = op.token
                ended[count].res = <int32_t>sent
                count += 1
                sends.count = 0
    return count


cdef inline ssize_t _splice(Pipes* pipes, Pipe** kept, const Op* op, uint8_t* copied) noexcept nogil:
    """Without a pipe, or where a socket cannot take pages, the bytes are copied."""
    cdef ssize_t sent = pipes_send(pipes, kept, op)
    if sent in (-EINVAL, -EMFILE, -ENFILE, -ENOMEM):
        copied[0] = 1
        sent = send(op.fd, op.address, op.length, MSG_DONTWAIT | MSG_NOSIGNAL | (MSG_MORE if op.flags & OP_MORE else 0))
        if sent < 0:
            sent = -errno
    return sent


cdef inline ssize_t _send(Sends* sends) noexcept nogil:
    """One system call for the first op, and for the second with it if that is a send too. Returns bytes or -errno."""
    cdef Op* op = &sends.ops[0]
    cdef iovec[2] vectors
    cdef msghdr message
    cdef int flags = MSG_DONTWAIT | MSG_NOSIGNAL
    cdef bint both = sends.count == 2 and sends.ops[1].kind == OP_SEND
    cdef ssize_t sent
    if sends.ops[1 if both else 0].flags & OP_MORE:
        flags |= MSG_MORE
    vectors[0].iov_base = op.address + sends.done
    vectors[0].iov_len = op.length - sends.done
    if both:
        memset(&message, 0, sizeof(message))
        message.msg_iov = vectors
        message.msg_iovlen = 2
        vectors[1].iov_base = sends.ops[1].address
        vectors[1].iov_len = sends.ops[1].length
        sent = sendmsg(op.fd, &message, flags)
    else:
        sent = send(op.fd, vectors[0].iov_base, vectors[0].iov_len, flags)
    return sent if sent >= 0 else -errno
