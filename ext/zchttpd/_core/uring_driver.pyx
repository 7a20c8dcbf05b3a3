"""The io_uring driver: ops become sqes, cqes become completions.

A splice and what it is linked to are plain system calls: IORING_OP_SPLICE always goes to a worker thread.

Polls for room are io_uring's until a peer closes its direction: io_uring adds POLLRDHUP to every mask, so that from then on
each would end at once. epoll(7) does not, so those wait in an epoll set, which the ring polls as a whole.
"""

from libc.errno cimport ENOMEM, errno
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset
from posix.unistd cimport close

import os

from zchttpd._core.address cimport address_look_up
from zchttpd._core.check cimport unlikely, zc_assert
from zchttpd._core.completions cimport Completions, completions_add, completions_close, completions_take
from zchttpd._core.epoll cimport (
    EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLLOUT, epoll_create1, epoll_ctl, epoll_event, epoll_wait)
from zchttpd._core.machine cimport machine_wants_peers
from zchttpd._core.mapping cimport HUGE_SIZE, MEMFD_SIZE_MIN, Mapping, mapping_at
from zchttpd._core.op cimport (
    Completion, OP_CANCEL_ALL, OP_CLEAR, OP_CLOSE, OP_LINK, OP_POLL, OP_REGISTER, OP_SEND, OP_SPLICE, Op, Peer)
from zchttpd._core.pipes cimport Pipe, Pipes, pipes_close, pipes_drop
from zchttpd._core.plain_calls cimport plain_call
from zchttpd._core.ring cimport (
    FEATURE_MULTISHOT_ACCEPT, FEATURE_REPORT_USAGE, FEATURE_SEND_ZC, FEATURE_SPARSE_BUFFERS, Ring, ring_clear,
    ring_close, ring_give_back, ring_poll, ring_publish, ring_push, ring_reap, ring_register, ring_wait)
from zchttpd._core.ring_setup cimport ring_open
from zchttpd._core.ring_setup import FEATURES
from zchttpd._core.sends cimport Sends, sends_go
from zchttpd._core.site_worker cimport SiteWorker
from zchttpd._core.token cimport TOKEN_ROOM, token_generation, token_kind, token_pack, token_slot
from zchttpd._core.worker cimport BATCH, MAPPINGS_MAX

cdef extern from "<errno.h>" nogil:
    enum:
        ECANCELED

cdef extern from "<poll.h>" nogil:
    enum:
        POLLIN
        POLLOUT
        POLLERR
        POLLHUP

cdef enum:
    FEW = 64                # first sockets
    EVENTS_MAX = 64         # of one look at the epoll set


cdef struct Socket:
    Pipe* pipe              # with what is left of a splice, or NULL
    uint64_t room           # token of the poll for room that is under way, or 0
    uint32_t number         # of those that had this descriptor
    uint8_t aside           # that poll is in the epoll set


cdef class UringWorker(SiteWorker):
    """A worker whose ops an io_uring executes, less the features in `without`.

    The kernel receives into `recv_buffers` (a power of two) buffers of `recv_buffer_size` bytes. At most `registered_max`
    bytes are registered. Raises OSError when the ring cannot be set up.
    """

    cdef Ring ring
    cdef Peer[BATCH] peers      # of the connections accepted in this batch
    cdef Sends pushed           # the first of a linked pair, until the second tells how both are sent
    cdef Socket* sockets        # by descriptor
    cdef uint32_t socket_count
    cdef Pipes pipes
    cdef Completions done       # of what the ring has not done, not reaped yet
    cdef int epoll              # of sockets whose peers have closed their directions, and that are polled for room
    cdef uint32_t aside         # how many
    cdef uint8_t epoll_polled   # the ring polls that set
    cdef uint8_t stayed         # the last turn did without the ring
    cdef uint64_t registered_max

    def __cinit__(self):
        self.epoll = -1

    def __init__(self, *, int recv_buffers, int recv_buffer_size, str send_mode, uint64_t registered_max, tuple without=(),
                 **options):
        cdef uint32_t left_out = 0
        cdef int rc
        for name in without:
            left_out |= FEATURES.get(name, 0)
        rc = ring_open(&self.ring, left_out, recv_buffers, recv_buffer_size, MAPPINGS_MAX)
        if rc < 0:
            raise OSError(-rc, os.strerror(-rc))
        self.registered_max = registered_max
        self.epoll = epoll_create1(EPOLL_CLOEXEC)
        if self.epoll < 0:
            raise OSError(errno, os.strerror(errno))
        super().__init__(send_mode=send_mode, **options)
        self._set_features(self._has(FEATURE_SEND_ZC) and self._has(FEATURE_SPARSE_BUFFERS), self._has(FEATURE_REPORT_USAGE),
                           self._has(FEATURE_MULTISHOT_ACCEPT))
        if send_mode == "auto":
            self.machine.mappings.memfd_size_min = MEMFD_SIZE_MIN
            self.machine.mappings.huge_size = HUGE_SIZE

    def __dealloc__(self):
        cdef uint32_t i
        ring_close(&self.ring)
        for i in range(self.socket_count):
            pipes_drop(&self.pipes, &self.sockets[i].pipe)
        pipes_close(&self.pipes)
        if self.epoll >= 0:
            close(self.epoll)
        completions_close(&self.done)
        free(self.sockets)

    @property
    def missing(self) -> list:
        """Features that are not there."""
        return [name for name, bit in FEATURES.items() if not self._has(bit)]

    cdef bint _has(self, uint32_t feature) noexcept nogil:
        return self.ring.features & feature != 0

    cdef void _wait(self, int64_t timeout_us) noexcept nogil:
        if self.done.count > 0:
            timeout_us = 0
            # What is done already needs no system call to be told of. But the ring has news too: never two turns without it.
            self.stayed = not self.stayed
            if self.stayed:
                return
        self.stayed = 0
        ring_wait(&self.ring, timeout_us)
        self.machine.stats.enters += 1

    cdef uint32_t _reap(self, Completion* completions, uint32_t count) noexcept nogil:
        cdef uint32_t taken = 0
        cdef uint32_t end
        cdef uint32_t i
        # The ring has its share of a batch, however much is done without it.
        while taken < count // 2 and self.done.count > 0:
            completions_take(&self.done, &completions[taken])
            taken += 1
        end = taken + ring_reap(&self.ring, completions + taken, count - taken)
        for i in range(taken, end):
            if token_kind(completions[i].token) == TOKEN_ROOM:
                self._polled(&completions[i])
            else:
                completions[taken] = completions[i]
                taken += 1
        while taken < count and self.done.count > 0:
            completions_take(&self.done, &completions[taken])
            taken += 1
        if machine_wants_peers(&self.machine):
            address_look_up(completions, taken, self.peers)
        return taken

    cdef int32_t _execute(self, const Op* op) noexcept nogil:
        cdef Mapping* mapping
        cdef int32_t result
        if op.kind == OP_SPLICE or (op.kind == OP_SEND and op.flags & OP_LINK):
            self._push(op)
            return 0
        if self.pushed.count > 0:
            # No splice follows: both go through the ring.
            ring_push(&self.ring, &self.pushed.ops[0])
            self.pushed.count = 0
        if op.kind == OP_CLEAR:
            return ring_clear(&self.ring, op.slot)
        if op.kind == OP_REGISTER:
            mapping = mapping_at(&self.machine.mappings, op.slot)
            if self.machine.stats.registered_bytes + mapping.capacity > self.registered_max:
                # As where the limit itself is reached.
                return -ENOMEM
            return ring_register(&self.ring, op.slot, mapping.base, mapping.capacity, op.token)
        if op.kind == OP_POLL:
            self._socket(op.fd).room = op.token
            self._poll(op.fd, POLLOUT)
            return 0
        if op.kind == OP_CANCEL_ALL or op.kind == OP_CLOSE:
            self._end(op)
        if not plain_call(op, &result):
            ring_push(&self.ring, op)
        return result

    cdef void _push(self, const Op* op) noexcept nogil:
        self.pushed.ops[self.pushed.count] = op[0]
        self.pushed.count += 1
        if op.kind == OP_SPLICE:
            sends_go(&self.pushed, &self.pipes, &self._socket(op.fd).pipe, &self.done)

    cdef Socket* _socket(self, int32_t fd) noexcept nogil:
        """Valid until the next call."""
        cdef uint32_t count = self.socket_count
        if unlikely(<uint32_t>fd >= count):
            count = max(count, <uint32_t>FEW)
            while count <= <uint32_t>fd:
                count *= 2
            self.sockets = <Socket*>realloc(self.sockets, count * sizeof(Socket))
            # Without its completions a connection would never end.
            zc_assert(self.sockets != NULL)
            memset(self.sockets + self.socket_count, 0, (count - self.socket_count) * sizeof(Socket))
            self.socket_count = count
        return &self.sockets[fd]

    cdef void _poll(self, int32_t fd, uint32_t events) noexcept nogil:
        """Have the ring poll a descriptor, once."""
        ring_poll(&self.ring, fd, events, token_pack(TOKEN_ROOM, <uint32_t>fd, self._socket(fd).number))

    cdef void _polled(self, const Completion* completion) noexcept nogil:
        """A poll of the ring's has ended. The descriptor may be another's by now."""
        cdef int32_t fd = <int32_t>token_slot(completion.token)
        cdef Socket* socket = self._socket(fd)
        if fd == self.epoll:
            self._look_aside()
        elif socket.number == token_generation(completion.token) and socket.room:
            if completion.res < 0 or completion.res & (POLLOUT | POLLERR | POLLHUP):
                completions_add(&self.done, socket.room, completion.res)
                socket.room = 0
            else:
                self._set_aside(fd, socket)

    cdef void _set_aside(self, int32_t fd, Socket* socket) noexcept nogil:
        """The peer has closed its direction: wait in the epoll set."""
        cdef epoll_event event
        event.events = EPOLLOUT
        event.data.fd = fd
        if epoll_ctl(self.epoll, EPOLL_CTL_ADD, fd, &event) < 0:
            completions_add(&self.done, socket.room, -errno)
            socket.room = 0
            return
        socket.aside = 1
        self.aside += 1
        self._poll_aside()

    cdef void _poll_aside(self) noexcept nogil:
        if self.aside > 0 and not self.epoll_polled:
            self.epoll_polled = 1
            self._poll(self.epoll, POLLIN)

    cdef void _look_aside(self) noexcept nogil:
        """Some that wait in the epoll set have room, or are broken."""
        cdef epoll_event[EVENTS_MAX] events
        cdef int count = epoll_wait(self.epoll, events, EVENTS_MAX, 0)
        cdef Socket* socket
        cdef int i
        self.epoll_polled = 0
        for i in range(count):
            socket = self._socket(events[i].data.fd)
            completions_add(&self.done, socket.room, <int32_t>events[i].events)
            socket.room = 0
            self._take_back(events[i].data.fd, socket)
        self._poll_aside()

    cdef void _take_back(self, int32_t fd, Socket* socket) noexcept nogil:
        cdef epoll_event event
        epoll_ctl(self.epoll, EPOLL_CTL_DEL, fd, &event)
        socket.aside = 0
        self.aside -= 1

    cdef void _end(self, const Op* op) noexcept nogil:
        """What waits for the socket is cancelled; once closed, its number may be another's."""
        cdef Socket* socket
        if <uint32_t>op.fd >= self.socket_count:
            return
        socket = &self.sockets[op.fd]
        pipes_drop(&self.pipes, &socket.pipe)
        if socket.aside:
            self._take_back(op.fd, socket)
        if socket.room:
            completions_add(&self.done, socket.room, -ECANCELED)
            socket.room = 0
        if op.kind == OP_CLOSE:
            socket.number += 1

    cdef void _give_back(self, uint16_t buffer_id) noexcept nogil:
        ring_give_back(&self.ring, buffer_id)

    cdef void _publish(self) noexcept nogil:
        ring_publish(&self.ring)
