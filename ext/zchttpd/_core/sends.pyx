"""Sends by plain system calls, with the meaning that io_uring gives them (send(2), sendmsg(2), io_uring_enter(2)).

What is linked behind a send begins only when that has gone whole, which it therefore does however many calls it takes, as
with MSG_WAITALL. Any other send is done as soon as the socket has taken some bytes.
"""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int32_t, uint32_t
from libc.string cimport memset

from zchttpd._core.op cimport OP_LINK, OP_MORE, OP_NOWAIT

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


cdef uint32_t sends_go(Sends* sends, Sent* ended) noexcept nogil:
    """Send as much as the socket takes. Returns how many ops have ended, with a place for two; what then is still there
    waits for room in the socket."""
    cdef Op* op = &sends.ops[0]
    cdef uint32_t count = 0
    cdef ssize_t sent
    cdef bint linked
    while sends.count > 0:
        linked = op.flags & OP_LINK != 0
        sent = _attempt(sends)
        if sent < 0:
            if errno == EINTR:
                continue
            if errno == EAGAIN and not op.flags & OP_NOWAIT:
                break
            ended[count].res = <int32_t>sends.done if sends.done else -errno
        elif linked and sends.done + sent < op.length:
            sends.done += <uint32_t>sent
            continue
        else:
            ended[count].res = <int32_t>(op.length if linked else sent)
        ended[count].token = op.token
        count += 1
        if linked and sent < 0:
            ended[count].token = sends.ops[1].token
            ended[count].res = -ECANCELED
            count += 1
        elif linked:
            sent -= op.length - sends.done
            op[0] = sends.ops[1]
            sends.count = 1
            sends.done = 0
            if sent == 0:
                continue
            ended[count].token = op.token
            ended[count].res = <int32_t>sent
            count += 1
        sends.count = 0
    return count


cdef inline ssize_t _attempt(Sends* sends) noexcept nogil:
    """One system call for the first op, and for the second with it."""
    cdef Op* op = &sends.ops[0]
    cdef iovec[2] vectors
    cdef msghdr message
    cdef int flags = MSG_DONTWAIT | MSG_NOSIGNAL
    if sends.ops[sends.count - 1].flags & OP_MORE:
        flags |= MSG_MORE
    if sends.count == 1:
        return send(op.fd, op.address, op.length, flags)
    memset(&message, 0, sizeof(message))
    message.msg_iov = vectors
    message.msg_iovlen = 2
    vectors[0].iov_base = op.address + sends.done
    vectors[0].iov_len = op.length - sends.done
    vectors[1].iov_base = sends.ops[1].address
    vectors[1].iov_len = sends.ops[1].length
    return sendmsg(op.fd, &message, flags)
