"""Sends by plain system calls, with the meaning that io_uring gives them (send(2), sendmsg(2), io_uring_enter(2)).

What is linked behind a send begins only when that has gone whole, however many calls it takes, as with MSG_WAITALL. Any
other send is done as soon as the socket has taken some bytes. None waits for room: it ends with what has gone, or -EAGAIN.
"""

from libc.errno cimport EINTR, EINVAL, EMFILE, ENFILE, ENOMEM, errno
from libc.stdint cimport int32_t, uint8_t
from libc.string cimport memset

from zchttpd._core.completions cimport completions_add
from zchttpd._core.op cimport Completion, OP_LINK, OP_MORE, OP_SEND, OP_SEND_ZC, OP_SPLICE
from zchttpd._core.pipes cimport pipes_drop, pipes_send
from zchttpd._core.uio cimport iovec
from zchttpd._core.zerocopy cimport zerocopy_send

cdef extern from "<errno.h>" nogil:
    enum:
        ECANCELED

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


cdef void sends_go(Sends* sends, Pipes* pipes, Pipe** kept, Completions* done, Zerocopy* zerocopy=NULL,
                   Unnotified* unnotified=NULL) noexcept nogil:
    """Send what has been pushed, as much of it as the socket takes, and complete it: nothing is left, but notifications.
    `kept` is what the socket keeps of `pipes`, `unnotified` what is out of it of `zerocopy`, for a driver that has that."""
    cdef Op* op = &sends.ops[0]
    cdef Completion* completion
    cdef ssize_t sent
    cdef uint8_t copied
    cdef bint linked
    while sends.count > 0:
        linked = op.flags & OP_LINK != 0
        copied = 0
        if op.kind == OP_SPLICE:
            sent = _splice(pipes, kept, op, &copied)
        else:
            # Whoever sends from elsewhere has no use for what is left of a splice.
            pipes_drop(pipes, kept)
            sent = zerocopy_send(zerocopy, unnotified, op) if op.kind == OP_SEND_ZC else _send(sends)
        if sent == -EINTR:
            continue
        if sent >= 0 and linked and sends.done + sent < op.length:
            sends.done += <uint32_t>sent
            continue
        if not linked:
            completion = completions_add(done, op.token, <int32_t>sent)
            completion.copied = copied
            completion.more = op.kind == OP_SEND_ZC and sent > 0
            sends.count = 0
        elif sent < 0:
            completions_add(done, op.token, <int32_t>(sends.done if sends.done else sent))
            completions_add(done, sends.ops[1].token, -ECANCELED)
            sends.count = 0
        else:
            completions_add(done, op.token, <int32_t>op.length)
            # What went of the second in the same call.
            sent -= op.length - sends.done
            op[0] = sends.ops[1]
            sends.count = 1
            sends.done = 0
            if sent > 0:
                completions_add(done, op.token, <int32_t>sent)
                sends.count = 0
    sends.done = 0


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
