"""MSG_ZEROCOPY with the meaning that io_uring gives to a zero-copy send: a result, and later a notification.

The kernel numbers the sends of a socket that have succeeded, and tells ranges of numbers in the socket's error queue
(Documentation/networking/msg_zerocopy.rst): several sends in one, in any order, and nothing any more once the socket is
closed. So whoever closes one waits until no send of it is out.
"""

from libc.errno cimport EINTR, EOPNOTSUPP, errno
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset
from posix.unistd cimport close

from zchttpd._core.check cimport unlikely, zc_assert
from zchttpd._core.completions cimport completions_add
from zchttpd._core.op cimport OP_MORE

cdef extern from "<sys/socket.h>" nogil:
    enum:
        AF_INET
        AF_UNSPEC
        SOCK_STREAM
        SOCK_CLOEXEC
        SOL_SOCKET
        SO_LINGER
        SO_ZEROCOPY
        SHUT_RDWR
        MSG_DONTWAIT
        MSG_ERRQUEUE
        MSG_MORE
        MSG_NOSIGNAL
        MSG_ZEROCOPY
    ctypedef uint32_t socklen_t
    cdef struct linger_t "linger":
        int l_onoff
        int l_linger
    cdef struct sockaddr:
        unsigned short sa_family
    cdef struct msghdr:
        void* msg_control
        size_t msg_controllen
    cdef struct cmsghdr:
        int cmsg_level
        int cmsg_type
    cmsghdr* CMSG_FIRSTHDR(msghdr* message)
    unsigned char* CMSG_DATA(cmsghdr* header)
    int socket(int domain, int type, int protocol)
    int connect(int fd, const sockaddr* address, socklen_t length)
    int shutdown(int fd, int how)
    int getsockopt(int fd, int level, int name, void* value, socklen_t* length)
    int setsockopt(int fd, int level, int name, const void* value, socklen_t length)
    ssize_t send(int fd, const void* buffer, size_t length, int flags)
    ssize_t recvmsg(int fd, msghdr* message, int flags)

cdef extern from "<netinet/in.h>" nogil:
    enum:
        SOL_IP
        IP_RECVERR
        SOL_IPV6 "IPPROTO_IPV6"
        IPV6_RECVERR

cdef extern from *:
    """
    #include <time.h>
    #include <linux/errqueue.h>
    """
    enum:
        SO_EE_ORIGIN_ZEROCOPY
        SO_EE_CODE_ZEROCOPY_COPIED
    cdef struct sock_extended_err:
        unsigned char ee_origin
        unsigned char ee_code
        uint32_t ee_info
        uint32_t ee_data

cdef enum:
    FEW = 64                # first rows
    CONTROL_WORDS = 16      # of 8 bytes: room for the one control message and an address


cdef inline int _enable(int32_t fd) noexcept nogil:
    cdef int one = 1
    return setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one))


cdef bint zerocopy_exists() noexcept nogil:
    """Whether this kernel, or its sandbox, knows of zero copy for TCP."""
    cdef int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)
    cdef bint exists
    if fd < 0:
        return False
    exists = _enable(fd) == 0
    close(fd)
    return exists


cdef void zerocopy_close(Zerocopy* zerocopy) noexcept nogil:
    free(zerocopy.rows)
    memset(zerocopy, 0, sizeof(Zerocopy))


cdef ssize_t zerocopy_send(Zerocopy* zerocopy, Unnotified* socket, const Op* op) noexcept nogil:
    """Send as many of the op's bytes as the socket takes now. Returns how many, and then a notification follows, or -errno:
    -EOPNOTSUPP when the socket has no zero copy, -ENOBUFS when there is no memory for it, or none that may be locked."""
    cdef ssize_t sent
    if not socket.enabled:
        if _enable(op.fd) < 0:
            return -EOPNOTSUPP
        socket.enabled = 1
    sent = send(op.fd, op.address, op.length,
                MSG_ZEROCOPY | MSG_DONTWAIT | MSG_NOSIGNAL | (MSG_MORE if op.flags & OP_MORE else 0))
    if sent < 0:
        return -errno
    zerocopy_sent(zerocopy, socket, op.token)
    return sent


cdef void zerocopy_sent(Zerocopy* zerocopy, Unnotified* socket, uint64_t token) noexcept nogil:
    """One more send has succeeded."""
    cdef uint32_t row = zerocopy.free
    if row:
        zerocopy.free = zerocopy.rows[row].next
    else:
        if unlikely(zerocopy.count == zerocopy.capacity):
            zerocopy.capacity = max(2 * zerocopy.capacity, <uint32_t>FEW)
            zerocopy.rows = <ZerocopySend*>realloc(zerocopy.rows, zerocopy.capacity * sizeof(ZerocopySend))
            # A lease would never end.
            zc_assert(zerocopy.rows != NULL)
            zerocopy.count = max(zerocopy.count, <uint32_t>1)
        row = zerocopy.count
        zerocopy.count += 1
    zerocopy.rows[row].token = token
    zerocopy.rows[row].number = socket.next_number
    zerocopy.rows[row].next = 0
    socket.next_number += 1
    if socket.first:
        zerocopy.rows[socket.last].next = row
    else:
        socket.first = row
    socket.last = row


cdef void zerocopy_notified(Zerocopy* zerocopy, Unnotified* socket, uint32_t first, uint32_t last, bint copied,
                            Completions* done) noexcept nogil:
    """The kernel has let go of the sends numbered from `first` to `last`."""
    cdef uint32_t before = 0
    cdef uint32_t row = socket.first
    cdef uint32_t after
    while row:
        after = zerocopy.rows[row].next
        # Numbers start again at 0: what lies between two of them is told by differences.
        if zerocopy.rows[row].number - first > last - first:
            before = row
        else:
            completions_add(done, zerocopy.rows[row].token, -1 if copied else 0).notification = 1
            if before:
                zerocopy.rows[before].next = after
            else:
                socket.first = after
            if not after:
                socket.last = before
            zerocopy.rows[row].next = zerocopy.free
            zerocopy.free = row
        row = after


cdef bint zerocopy_collect(Zerocopy* zerocopy, Unnotified* socket, int32_t fd, Completions* done) noexcept nogil:
    """Complete what the error queue tells of. False when it tells nothing."""
    cdef uint64_t[CONTROL_WORDS] control
    cdef msghdr message
    cdef cmsghdr* header
    cdef sock_extended_err* told
    cdef bint any = False
    while socket.first:
        memset(&message, 0, sizeof(message))
        message.msg_control = control
        message.msg_controllen = sizeof(control)
        if recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0:
            if errno == EINTR:
                continue
            break
        any = True
        header = CMSG_FIRSTHDR(&message)
        if header == NULL or not (header.cmsg_level == SOL_IP and header.cmsg_type == IP_RECVERR
                                  or header.cmsg_level == SOL_IPV6 and header.cmsg_type == IPV6_RECVERR):
            continue
        told = <sock_extended_err*>CMSG_DATA(header)
        if told.ee_origin == SO_EE_ORIGIN_ZEROCOPY:
            zerocopy_notified(zerocopy, socket, told.ee_info, told.ee_data,
                              told.ee_code & SO_EE_CODE_ZEROCOPY_COPIED != 0, done)
    return any


cdef void zerocopy_end(int32_t fd) noexcept nogil:
    """What a close does at once, to a socket that cannot be closed yet: end it in order, or with a reset where it is set so
    (SO_LINGER, socket(7)). A connect to nowhere resets, and drops what is queued (connect(2))."""
    cdef linger_t option
    cdef socklen_t length = sizeof(option)
    cdef sockaddr nowhere
    if getsockopt(fd, SOL_SOCKET, SO_LINGER, &option, &length) == 0 and option.l_onoff and option.l_linger == 0:
        memset(&nowhere, 0, sizeof(nowhere))
        nowhere.sa_family = AF_UNSPEC
        connect(fd, &nowhere, sizeof(nowhere))
    else:
        shutdown(fd, SHUT_RDWR)
