"""The poller: ops in, plain system calls, completions out (epoll(7), recv(2), send(2), accept4(2), preadv2(2)).

Level-triggered: what was left over is told again, so nothing is read or accepted a second time only to hear that there is
no more, and whoever watches the epoll descriptor may come late. What epoll has been told to look for changes only when it
must, and just before the next wait: receives stay armed, room to write is asked for only while something waits for it, and
a descriptor of which nothing is wanted leaves the set, because errors and hang-ups are reported whether asked for or not.
Where nothing but notifications of zero-copy sends is wanted, it is edge-triggered: a hang-up would be told again and again.
"""

from libc.errno cimport EAGAIN, EINTR, ENOENT, ENOMEM, errno
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memmove, memset
from posix.unistd cimport close

from zchttpd._core.check cimport likely, unlikely, zc_assert
from zchttpd._core.completions cimport completions_add, completions_close, completions_take
from zchttpd._core.epoll cimport (
    EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT,
    epoll_create1, epoll_ctl, epoll_event, epoll_wait)
from zchttpd._core.op cimport (
    OP_ACCEPT, OP_CANCEL, OP_CANCEL_ALL, OP_CLOSE, OP_COLLAPSE, OP_FILL, OP_LINK, OP_POLL, OP_READ, OP_RECV, OP_SEND,
    OP_SEND_ZC, OP_SPLICE, OP_WATCH)
from zchttpd._core.pipes cimport pipes_close, pipes_drop
from zchttpd._core.readers cimport readers_close, readers_collect, readers_open, readers_read
from zchttpd._core.sends cimport sends_go
from zchttpd._core.tls cimport TlsLayer, tls_encrypts, tls_send, tls_takes
from zchttpd._core.zerocopy cimport zerocopy_close, zerocopy_collect, zerocopy_end

cdef extern from "<errno.h>" nogil:
    enum:
        ECANCELED

cdef extern from "<sys/socket.h>" nogil:
    enum:
        SOCK_CLOEXEC
        SOCK_NONBLOCK
        MSG_DONTWAIT
    int accept4(int fd, void* address, void* length, int flags)
    ssize_t recv(int fd, void* buffer, size_t length, int flags)

cdef enum:
    EVENTS_MAX = 256        # of one wait
    ACCEPTS_MAX = 64        # connections taken before others have their turn
    FEW = 64                # first capacities
    ALWAYS = 1              # what is armed and never completes


cdef int poller_open(Poller* poller, uint32_t buffer_count, uint32_t buffer_size) noexcept nogil:
    """Ready for ops, with `buffer_count` (at most 65536) receive buffers of `buffer_size` bytes. Returns 0 or -errno, then
    nothing is held."""
    cdef uint32_t i
    memset(poller, 0, sizeof(Poller))
    poller.epoll = epoll_create1(EPOLL_CLOEXEC)
    if poller.epoll < 0:
        return -errno
    poller.readers = readers_open()
    poller.buffers = <char*>malloc(<size_t>buffer_count * buffer_size)
    poller.free_buffers = <uint16_t*>malloc(buffer_count * sizeof(uint16_t))
    poller.events = <epoll_event*>malloc(EVENTS_MAX * sizeof(epoll_event))
    if poller.readers == NULL or poller.buffers == NULL or poller.free_buffers == NULL or poller.events == NULL:
        poller_close(poller)
        return -ENOMEM
    poller.buffer_count = buffer_count
    poller.buffer_size = buffer_size
    for i in range(buffer_count):
        poller_give_back(poller, <uint16_t>i)
    _arm(poller, poller.readers.event, DESCRIPTOR_READERS, ALWAYS)
    return 0


cdef uint32_t poller_close(Poller* poller) noexcept nogil:
    """Give everything back; whose sockets they are closes those that it has not closed yet. Returns how many reads are still
    under way: unless it is 0 the memory that they read into must stay for as long as the process lives."""
    cdef uint32_t reading = 0
    cdef uint32_t i
    for i in range(poller.descriptor_count):
        pipes_drop(&poller.pipes, &poller.descriptors[i].pipe)
        if poller.descriptors[i].closing:
            close(<int>i)
    pipes_close(&poller.pipes)
    if poller.readers != NULL:
        reading = readers_close(poller.readers)
    if poller.events != NULL:
        close(poller.epoll)
    zerocopy_close(&poller.zerocopy)
    free(poller.descriptors)
    free(poller.changed)
    free(poller.events)
    completions_close(&poller.done)
    free(poller.buffers)
    free(poller.free_buffers)
    memset(poller, 0, sizeof(Poller))
    return reading


# ---- what is known of descriptors ----

cdef Descriptor* _at(Poller* poller, int32_t fd) noexcept nogil:
    """Valid until the next call."""
    cdef uint32_t count = poller.descriptor_count
    if unlikely(<uint32_t>fd >= count):
        count = max(count, <uint32_t>FEW)
        while count <= <uint32_t>fd:
            count *= 2
        poller.descriptors = <Descriptor*>realloc(poller.descriptors, count * sizeof(Descriptor))
        # Without its completions a connection would never end.
        zc_assert(poller.descriptors != NULL)
        memset(poller.descriptors + poller.descriptor_count, 0, (count - poller.descriptor_count) * sizeof(Descriptor))
        poller.descriptor_count = count
    return &poller.descriptors[fd]


cdef inline uint32_t _wanted(const Descriptor* row) noexcept nogil:
    cdef bint room = row.room and tls_takes(&row.tls) or row.arrive and row.tls.again
    cdef uint32_t events = (EPOLLIN if row.arrive else 0) | (EPOLLOUT if room else 0)
    return <uint32_t>(EPOLLERR | EPOLLET) if not events and row.unnotified.first else events


cdef void _change(Poller* poller, int32_t fd) noexcept nogil:
    """What is wanted of it may have changed: look before the next wait."""
    cdef Descriptor* row = &poller.descriptors[fd]
    cdef uint32_t capacity = poller.changed_capacity
    if row.changed:
        return
    if poller.changed_count == capacity:
        capacity = max(capacity * 2, <uint32_t>FEW)
        poller.changed = <int32_t*>realloc(poller.changed, capacity * sizeof(int32_t))
        zc_assert(poller.changed != NULL)
        poller.changed_capacity = capacity
    row.changed = 1
    poller.changed[poller.changed_count] = fd
    poller.changed_count += 1


cdef void _set_events(Poller* poller) noexcept nogil:
    """Tell epoll what is wanted of the descriptors that have changed. What it cannot watch fails; while zero-copy sends are
    out of it, it is tried again with the next wait."""
    cdef epoll_event event
    cdef Descriptor* row
    cdef int32_t fd
    cdef int what
    cdef uint32_t count = poller.changed_count
    cdef uint32_t i
    for i in range(count):
        fd = poller.changed[i]
        row = &poller.descriptors[fd]
        row.changed = 0
        event.events = _wanted(row)
        event.data.fd = fd
        if event.events == row.events:
            continue
        what = EPOLL_CTL_MOD if row.events else EPOLL_CTL_ADD
        row.events = event.events
        if epoll_ctl(poller.epoll, what if event.events else EPOLL_CTL_DEL, fd, &event) < 0 and event.events:
            row.events = 0
            _end_all(poller, fd, -errno)
    poller.changed_count -= count
    memmove(poller.changed, poller.changed + count, poller.changed_count * sizeof(int32_t))


cdef inline Completion* _complete(Poller* poller, uint64_t token, int32_t res) noexcept nogil:
    return completions_add(&poller.done, token, res)


# ---- ops ----

cdef void _arm(Poller* poller, int32_t fd, uint8_t kind, uint64_t token) noexcept nogil:
    cdef Descriptor* row = _at(poller, fd)
    row.kind = kind
    row.arrive = token
    _change(poller, fd)


cdef void _disarm(Poller* poller, int32_t fd) noexcept nogil:
    poller.descriptors[fd].arrive = 0
    _change(poller, fd)


cdef void poller_push(Poller* poller, const Op* op) noexcept nogil:
    """Execute an op, or have it wait for its descriptor. Whatever happens, it is completed. A listener does not block."""
    cdef uint8_t kind = op.kind
    cdef int32_t res
    cdef bint sends = kind == OP_SEND or kind == OP_SPLICE or kind == OP_SEND_ZC
    zc_assert(sends or not poller.pushed.count)
    if sends:
        _send(poller, op)
    elif kind == OP_RECV:
        _arm(poller, op.fd, DESCRIPTOR_SOCKET, op.token)
    elif kind == OP_READ or kind == OP_FILL or kind == OP_COLLAPSE:
        if readers_read(poller.readers, op, &res):
            _complete(poller, op.token, res)
    elif kind == OP_POLL:
        _at(poller, op.fd).room = op.token
        _change(poller, op.fd)
    elif kind == OP_ACCEPT:
        _arm(poller, op.fd, DESCRIPTOR_LISTENER, op.token)
    elif kind == OP_WATCH:
        _arm(poller, op.fd, DESCRIPTOR_WATCHED, op.token)
    elif kind == OP_CANCEL:
        _cancel(poller, op)
    elif kind == OP_CANCEL_ALL:
        _end_all(poller, op.fd, -ECANCELED)
        _complete(poller, op.token, 0)
    elif kind == OP_CLOSE:
        _end_all(poller, op.fd, -ECANCELED)
        _at(poller, op.fd).closing = op.token
        if _at(poller, op.fd).unnotified.first:
            zerocopy_end(op.fd)
            _collect_notifications(poller, op.fd)
        else:
            _close(poller, op.fd)
    else:
        zc_assert(False)


cdef void _send(Poller* poller, const Op* op) noexcept nogil:
    cdef Descriptor* row = _at(poller, op.fd)
    poller.pushed.ops[poller.pushed.count] = op[0]
    poller.pushed.count += 1
    if op.flags & OP_LINK:
        return
    if tls_encrypts(&row.tls):
        tls_send(poller.tls, &poller.pushed, &poller.done)
    else:
        sends_go(&poller.pushed, &poller.pipes, &row.pipe, &poller.done, &poller.zerocopy, &row.unnotified)
        if row.unnotified.first:
            _change(poller, op.fd)


cdef void _close(Poller* poller, int32_t fd) noexcept nogil:
    """Do the close that has waited, or need not wait: what is out of zero-copy sends is over."""
    cdef Descriptor* row = _at(poller, fd)
    # The last descriptor of a socket takes it out of the epoll set.
    row.events = 0
    memset(&row.unnotified, 0, sizeof(row.unnotified))
    memset(&row.tls, 0, sizeof(row.tls))
    _complete(poller, row.closing, 0 if close(fd) == 0 else -errno)
    row.closing = 0


cdef bint _collect_notifications(Poller* poller, int32_t fd) noexcept nogil:
    """Complete the zero-copy sends that the kernel has let go of, and then a close that waits for them. False when there is
    no news of any."""
    cdef Descriptor* row = _at(poller, fd)
    cdef bint any = zerocopy_collect(&poller.zerocopy, &row.unnotified, fd, &poller.done)
    if not row.unnotified.first:
        _change(poller, fd)
        if row.closing:
            _close(poller, fd)
    return any


cdef void _cancel(Poller* poller, const Op* op) noexcept nogil:
    """End a receive, an accept or a watch, which completes with -ECANCELED if it is there."""
    cdef bint there = op.offset != 0 and _at(poller, op.fd).arrive == op.offset
    if there:
        _complete(poller, op.offset, -ECANCELED)
        _disarm(poller, op.fd)
    _complete(poller, op.token, 0 if there else -ENOENT)


cdef void _end_all(Poller* poller, int32_t fd, int32_t res) noexcept nogil:
    """Complete whatever is under way on a descriptor with this result."""
    cdef Descriptor* row = _at(poller, fd)
    if row.arrive:
        _complete(poller, row.arrive, res)
        row.arrive = 0
    if row.room:
        _complete(poller, row.room, res)
        row.room = 0
    pipes_drop(&poller.pipes, &row.pipe)
    _change(poller, fd)


# ---- completions ----

cdef int poller_wait(Poller* poller, int64_t timeout_us) noexcept nogil:
    """Wait until a completion is there or `timeout_us` has passed. Returns 0 or -errno. Receive buffers that were reaped
    have been given back by now."""
    cdef int timeout_ms = <int>min((timeout_us + 999) // 1000, <int64_t>0x7FFFFFFF)
    cdef int count
    _set_events(poller)
    if poller.event_at < poller.event_count:
        return 0
    poller.event_at = 0
    poller.event_count = 0
    count = epoll_wait(poller.epoll, poller.events, EVENTS_MAX, 0 if poller.done.count else timeout_ms)
    if count < 0:
        return -errno
    poller.event_count = <uint32_t>count
    return 0


cdef bint poller_has_more(Poller* poller) noexcept nogil:
    """Whether there are completions, or may be, of which the epoll descriptor says nothing."""
    return poller.done.count > 0 or poller.event_at < poller.event_count or poller.changed_count > 0


cdef uint32_t poller_reap(Poller* poller, Completion* completions, uint32_t count) noexcept nogil:
    """Copy up to `count` completions out. Returns how many."""
    cdef uint32_t taken = 0
    if poller.done.count >= count:
        # However much is done on the spot, who comes takes his place behind it, not behind all that follows from it.
        while poller.event_at < poller.event_count and _act(poller, &poller.events[poller.event_at]):
            poller.event_at += 1
    while taken < count:
        if poller.done.count > 0:
            completions_take(&poller.done, &completions[taken])
            taken += 1
        elif poller.event_at == poller.event_count or not _act(poller, &poller.events[poller.event_at]):
            break
        else:
            poller.event_at += 1
    return taken


cdef bint _act(Poller* poller, const epoll_event* event) noexcept nogil:
    """Do what waited for this event. False when it has to wait on, for a receive buffer.

    The descriptor may have been closed since, and its number be another's: nothing that is done here harms that one.
    """
    cdef int32_t fd = event.data.fd
    cdef Descriptor* row = _at(poller, fd)
    cdef uint32_t events = event.events
    # If it was an error beside that, it is told again.
    if events & EPOLLERR and row.unnotified.first and _collect_notifications(poller, fd):
        events &= ~<uint32_t>EPOLLERR
    if events & (EPOLLOUT | EPOLLHUP | EPOLLERR):
        if row.room and (tls_takes(&row.tls) or events & (EPOLLHUP | EPOLLERR)):
            _complete(poller, row.room, <int32_t>events)
            row.room = 0
            _change(poller, fd)
    if row.arrive and (events & (EPOLLIN | EPOLLHUP | EPOLLERR) or row.tls.again):
        if likely(row.kind == DESCRIPTOR_SOCKET):
            return _receive(poller, fd)
        if row.kind == DESCRIPTOR_LISTENER:
            _accept(poller, fd)
        elif row.kind == DESCRIPTOR_READERS:
            readers_collect(poller.readers, &poller.done)
        else:
            _complete(poller, row.arrive, EPOLLIN)
            _disarm(poller, fd)
    return True


cdef bint _receive(Poller* poller, int32_t fd) noexcept nogil:
    """Receive once. False without a buffer: the bytes stay where they are."""
    cdef Descriptor* row = &poller.descriptors[fd]
    cdef Completion* completion
    cdef char* bytes
    cdef uint16_t buffer_id
    cdef ssize_t got
    if poller.free_count == 0:
        return False
    buffer_id = poller.free_buffers[poller.free_count - 1]
    bytes = poller.buffers + <size_t>buffer_id * poller.buffer_size
    if unlikely(row.tls.state):
        got = (<TlsLayer>poller.tls).receive(fd, &row.tls, bytes, poller.buffer_size)
        _change(poller, fd)
    else:
        got = recv(fd, bytes, poller.buffer_size, MSG_DONTWAIT)
        if got < 0:
            got = -errno
    if got > 0:
        poller.free_count -= 1
        completion = _complete(poller, row.arrive, <int32_t>got)
        completion.more = 1
        completion.has_buffer = 1
        completion.buffer_id = buffer_id
        completion.bytes = bytes
    elif got != -EAGAIN and got != -EINTR:
        _complete(poller, row.arrive, <int32_t>got)
        _disarm(poller, fd)
    return True


cdef void _accept(Poller* poller, int32_t listener) noexcept nogil:
    """Take the connections that wait; epoll tells again of those that are left."""
    cdef uint64_t token = poller.descriptors[listener].arrive
    cdef int accepted
    for _ in range(ACCEPTS_MAX):
        accepted = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if accepted < 0:
            if errno == EAGAIN or errno == EINTR:
                return
            _complete(poller, token, -errno)
            _disarm(poller, listener)
            return
        if poller.tls != NULL:
            (<TlsLayer>poller.tls).accepted(listener, accepted, &_at(poller, accepted).tls)
        _complete(poller, token, accepted).more = 1


cdef void poller_give_back(Poller* poller, uint16_t buffer_id) noexcept nogil:
    """The receive buffer may be filled again."""
    zc_assert(poller.free_count < poller.buffer_count)
    poller.free_buffers[poller.free_count] = buffer_id
    poller.free_count += 1
