"""The io_uring driver: ops become sqes, cqes become completions.

A splice and what it is linked to are plain system calls: IORING_OP_SPLICE always goes to a worker thread. The ring is asked
when there is room in the socket again.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset

import os

from zchttpd._core.address cimport address_look_up
from zchttpd._core.check cimport unlikely, zc_assert
from zchttpd._core.completions cimport Completions, completions_close, completions_take
from zchttpd._core.machine cimport SEND_PLAIN
from zchttpd._core.mapping cimport MEMFD_SIZE_MIN, Mapping, mapping_at
from zchttpd._core.op cimport (
    Completion, OP_CANCEL_ALL, OP_CLEAR, OP_CLOSE, OP_LINK, OP_POLL, OP_REGISTER, OP_SEND, OP_SPLICE, Op, Peer)
from zchttpd._core.pipes cimport Pipes, pipes_close
from zchttpd._core.plain_calls cimport plain_call
from zchttpd._core.ring cimport (
    FEATURE_MULTISHOT_ACCEPT, FEATURE_REPORT_USAGE, FEATURE_SEND_ZC, FEATURE_SPARSE_BUFFERS, Ring, ring_clear,
    ring_close, ring_give_back, ring_open, ring_publish, ring_push, ring_reap, ring_register, ring_wait)
from zchttpd._core.ring import FEATURES
from zchttpd._core.sends cimport Outbox, Sends, outbox_begin, outbox_end, outbox_resume
from zchttpd._core.token cimport TOKEN_ROOM, token_generation, token_kind, token_pack, token_slot
from zchttpd._core.worker cimport BATCH, MAPPINGS_MAX, Worker

cdef extern from "<errno.h>" nogil:
    enum:
        ECANCELED

cdef enum:
    FEW = 64                # first sockets


cdef struct Spliced:        # a socket
    Outbox outbox
    uint32_t number         # of those that had this descriptor
    uint8_t polled          # for room


cdef class UringWorker(Worker):
    """A worker whose ops an io_uring executes, less the features in `without`.

    The kernel receives into `recv_buffers` (a power of two) buffers of `recv_buffer_size` bytes. Raises OSError when the
    ring cannot be set up.
    """

    cdef Ring ring
    cdef Peer[BATCH] peers      # of the connections accepted in this batch
    cdef Sends pushed           # the first of a linked pair, until the second tells how both are sent
    cdef Spliced* sockets       # by descriptor
    cdef uint32_t socket_count
    cdef Pipes pipes
    cdef Completions done       # of splices, not reaped yet
    cdef uint8_t stayed         # the last turn did without the ring

    def __init__(self, *, int recv_buffers, int recv_buffer_size, str send_mode, tuple without=(), **options):
        cdef uint32_t left_out = 0
        cdef int rc
        for name in without:
            left_out |= FEATURES.get(name, 0)
        rc = ring_open(&self.ring, left_out, recv_buffers, recv_buffer_size, MAPPINGS_MAX)
        if rc < 0:
            raise OSError(-rc, os.strerror(-rc))
        super().__init__(send_mode=send_mode, **options)
        self._set_features(self._has(FEATURE_SEND_ZC) and self._has(FEATURE_SPARSE_BUFFERS), self._has(FEATURE_REPORT_USAGE),
                           self._has(FEATURE_MULTISHOT_ACCEPT))
        if send_mode == "auto":
            self.machine.mappings.memfd_size_min = MEMFD_SIZE_MIN

    def __dealloc__(self):
        cdef uint32_t i
        ring_close(&self.ring)
        for i in range(self.socket_count):
            outbox_end(&self.sockets[i].outbox, -ECANCELED, &self.pipes, &self.done)
        pipes_close(&self.pipes)
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
            # What was spliced needs no system call to be told of. But the ring has news too: never two turns without it.
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
        while taken < count and self.done.count > 0:
            completions_take(&self.done, &completions[taken])
            taken += 1
        end = taken + ring_reap(&self.ring, completions + taken, count - taken)
        for i in range(taken, end):
            if token_kind(completions[i].token) == TOKEN_ROOM:
                self._resume(&completions[i])
            else:
                completions[taken] = completions[i]
                taken += 1
        address_look_up(completions, taken, self.machine.send_mode != SEND_PLAIN,
                        self.peers if self.machine.access.open_records != NULL else NULL)
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
            return ring_register(&self.ring, op.slot, mapping.base, mapping.capacity, op.token)
        if op.kind == OP_CANCEL_ALL or op.kind == OP_CLOSE:
            self._end(op)
        if not plain_call(op, &result):
            ring_push(&self.ring, op)
        return result

    cdef void _push(self, const Op* op) noexcept nogil:
        cdef Spliced* socket
        self.pushed.ops[self.pushed.count] = op[0]
        self.pushed.count += 1
        if op.kind == OP_SPLICE:
            socket = self._socket(op.fd)
            if outbox_begin(&socket.outbox, &self.pushed, &self.pipes, &self.done):
                self._poll(op.fd, socket)

    cdef Spliced* _socket(self, int32_t fd) noexcept nogil:
        """Valid until the next call."""
        cdef uint32_t count = self.socket_count
        if unlikely(<uint32_t>fd >= count):
            count = max(count, <uint32_t>FEW)
            while count <= <uint32_t>fd:
                count *= 2
            self.sockets = <Spliced*>realloc(self.sockets, count * sizeof(Spliced))
            # Without its completions a connection would never end.
            zc_assert(self.sockets != NULL)
            memset(self.sockets + self.socket_count, 0, (count - self.socket_count) * sizeof(Spliced))
            self.socket_count = count
        return &self.sockets[fd]

    cdef void _poll(self, int32_t fd, Spliced* socket) noexcept nogil:
        """Have the ring say when the socket takes bytes."""
        cdef Op op
        if socket.polled:
            return
        socket.polled = 1
        memset(&op, 0, sizeof(Op))
        op.kind = OP_POLL
        op.fd = fd
        op.token = token_pack(TOKEN_ROOM, <uint32_t>fd, socket.number)
        ring_push(&self.ring, &op)

    cdef void _resume(self, const Completion* completion) noexcept nogil:
        """There is room, or an error that the next call tells. The descriptor may be another's by now."""
        cdef int32_t fd = <int32_t>token_slot(completion.token)
        cdef Spliced* socket = self._socket(fd)
        if socket.number != token_generation(completion.token):
            return
        socket.polled = 0
        if outbox_resume(&socket.outbox, &self.pipes, &self.done):
            self._poll(fd, socket)

    cdef void _end(self, const Op* op) noexcept nogil:
        """What waits for the socket is cancelled; once closed, its number may be another's."""
        cdef Spliced* socket
        if <uint32_t>op.fd >= self.socket_count:
            return
        socket = &self.sockets[op.fd]
        outbox_end(&socket.outbox, -ECANCELED, &self.pipes, &self.done)
        if op.kind == OP_CLOSE:
            socket.number += 1
            socket.polled = 0

    cdef void _give_back(self, uint16_t buffer_id) noexcept nogil:
        ring_give_back(&self.ring, buffer_id)

    cdef void _publish(self) noexcept nogil:
        ring_publish(&self.ring)
