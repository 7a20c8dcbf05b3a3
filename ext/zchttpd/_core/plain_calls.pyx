"""Ops that are one short system call, which no driver puts off."""

from libc.stdint cimport int32_t, uint32_t
from posix.unistd cimport close

from zchttpd._core.address cimport address_route
from zchttpd._core.live_map cimport LiveMap, live_map_close, live_map_drop, live_map_open, live_map_resident
from zchttpd._core.look cimport Look, RootPath, look_at, look_at_root
from zchttpd._core.op cimport (
    OP_CHECK_ROOT, OP_CHECK_VERSION, OP_CLOSE_FILE, OP_CPU_TIME, OP_DROP_PAGES, OP_GROWN, OP_LOOK, OP_MAP_FILE, OP_QUEUED,
    OP_REJECT, OP_RESET, OP_RESIDENT, OP_ROUTE, OP_SHUTDOWN, OP_SIGNAL, OP_TAKE_VERSION, OP_UNMAP_FILE, OP_UNREAD, OP_WAIT)
from zchttpd._core.system cimport system_signal, system_thread_us
from zchttpd._core.version cimport Version, version_holds, version_take

cdef extern from "<errno.h>" nogil:
    enum:
        ESTALE

cdef extern from "<sys/socket.h>" nogil:
    enum:
        SHUT_WR
        SOL_SOCKET
        SO_LINGER
    cdef struct linger_t "linger":
        int l_onoff
        int l_linger
    ctypedef uint32_t socklen_t
    int shutdown(int fd, int how)
    int setsockopt(int fd, int level, int name, const void* value, socklen_t length)

cdef extern from "<sys/ioctl.h>" nogil:
    enum:
        FIONREAD
    int ioctl(int fd, unsigned long request, int* value)

cdef extern from "<linux/sockios.h>" nogil:
    enum:
        SIOCOUTQ


cdef bint plain_call(const Op* op, int32_t* result) noexcept nogil:
    """Do an op if it is one of these, and say so. `result` is what the op gives back."""
    result[0] = 0
    if op.kind == OP_SHUTDOWN:
        # Never through a ring: that always goes to a worker thread, which looks the descriptor up when it gets there, and
        # by then it can be another connection's.
        shutdown(op.fd, SHUT_WR)
    elif op.kind == OP_RESET:
        _reset(op.fd)
    elif op.kind == OP_QUEUED:
        result[0] = _bytes(op.fd, SIOCOUTQ)
    elif op.kind == OP_UNREAD:
        result[0] = _bytes(op.fd, FIONREAD)
    elif op.kind == OP_ROUTE:
        result[0] = address_route(op.fd)
    elif op.kind == OP_CHECK_VERSION:
        # IORING_OP_STATX goes to a worker thread as well, and this is asked between two sends.
        if not version_holds(<Version*>op.address, op.fd, op.flags & OP_WAIT != 0):
            result[0] = -ESTALE
    elif op.kind == OP_TAKE_VERSION:
        if not version_take(<Version*>op.address, op.fd, op.flags & OP_GROWN != 0):
            result[0] = -ESTALE
    elif op.kind == OP_LOOK:
        result[0] = look_at(<Look*>op.address, op.fd)
    elif op.kind == OP_CHECK_ROOT:
        result[0] = look_at_root(<RootPath*>op.address)
    elif op.kind == OP_RESIDENT:
        result[0] = <int32_t>live_map_resident(op.length, op.fd, op.offset)
    elif op.kind == OP_DROP_PAGES:
        live_map_drop(op.address, op.length)
    elif op.kind == OP_MAP_FILE:
        result[0] = live_map_open(<LiveMap*>op.address, op.fd)
    elif op.kind == OP_UNMAP_FILE:
        live_map_close(op.address, op.offset)
    elif op.kind == OP_CPU_TIME:
        result[0] = <int32_t>system_thread_us()
    elif op.kind == OP_REJECT or op.kind == OP_CLOSE_FILE:
        close(op.fd)
    elif op.kind == OP_SIGNAL:
        system_signal(op.fd)
    else:
        return False
    return True


cdef int _bytes(int fd, unsigned long which) noexcept nogil:
    """Bytes sent and not acknowledged (SIOCOUTQ), or arrived and not received (FIONREAD, tcp(7)); 0 when nobody can tell."""
    cdef int count = 0
    if ioctl(fd, which, &count) < 0:
        return 0
    return count


cdef void _reset(int fd) noexcept nogil:
    """Make the close that follows send RST and drop what is queued (SO_LINGER, socket(7))."""
    cdef linger_t option
    option.l_onoff = 1
    option.l_linger = 0
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &option, sizeof(option))
