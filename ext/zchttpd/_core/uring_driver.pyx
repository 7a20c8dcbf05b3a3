"""The io_uring driver: ops become sqes, cqes become completions."""

from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t

import os

from zchttpd._core.address cimport address_look_up
from zchttpd._core.machine cimport SEND_PLAIN
from zchttpd._core.mapping cimport Mapping, mapping_at
from zchttpd._core.op cimport Completion, OP_CLEAR, OP_REGISTER, Op, Peer
from zchttpd._core.ring cimport (
    FEATURE_MULTISHOT_ACCEPT, FEATURE_REPORT_USAGE, FEATURE_SEND_ZC, FEATURE_SPARSE_BUFFERS, Ring, ring_clear,
    ring_close, ring_give_back, ring_open, ring_publish, ring_push, ring_reap, ring_register, ring_wait)
from zchttpd._core.ring import FEATURES
from zchttpd._core.socket_ops cimport socket_op
from zchttpd._core.worker cimport BATCH, MAPPINGS_MAX, Worker


cdef class UringWorker(Worker):
    """A worker whose ops an io_uring executes, less the features in `without`.

    The kernel receives into `recv_buffers` (a power of two) buffers of `recv_buffer_size` bytes. Raises OSError when the
    ring cannot be set up.
    """

    cdef Ring ring
    cdef Peer[BATCH] peers      # of the connections accepted in this batch

    def __init__(self, *, int recv_buffers, int recv_buffer_size, tuple without=(), **options):
        cdef uint32_t left_out = 0
        cdef int rc
        for name in without:
            left_out |= FEATURES.get(name, 0)
        rc = ring_open(&self.ring, left_out, recv_buffers, recv_buffer_size, MAPPINGS_MAX)
        if rc < 0:
            raise OSError(-rc, os.strerror(-rc))
        super().__init__(**options)
        self._set_features(self._has(FEATURE_SEND_ZC) and self._has(FEATURE_SPARSE_BUFFERS), self._has(FEATURE_REPORT_USAGE),
                           self._has(FEATURE_MULTISHOT_ACCEPT))

    def __dealloc__(self):
        ring_close(&self.ring)

    @property
    def missing(self) -> list:
        """Features that are not there."""
        return [name for name, bit in FEATURES.items() if not self._has(bit)]

    cdef bint _has(self, uint32_t feature) noexcept nogil:
        return self.ring.features & feature != 0

    cdef void _wait(self, int64_t timeout_us) noexcept nogil:
        ring_wait(&self.ring, timeout_us)
        self.machine.stats.enters += 1

    cdef uint32_t _reap(self, Completion* completions, uint32_t count) noexcept nogil:
        cdef uint32_t taken = ring_reap(&self.ring, completions, count)
        address_look_up(completions, taken, self.machine.send_mode != SEND_PLAIN,
                        self.peers if self.machine.access.open_records != NULL else NULL)
        return taken

    cdef int32_t _execute(self, const Op* op) noexcept nogil:
        cdef Mapping* mapping
        cdef int32_t result
        if op.kind == OP_CLEAR:
            return ring_clear(&self.ring, op.slot)
        if op.kind == OP_REGISTER:
            mapping = mapping_at(&self.machine.mappings, op.slot)
            return ring_register(&self.ring, op.slot, mapping.base, mapping.capacity, op.token)
        if not socket_op(op, &result):
            ring_push(&self.ring, op)
        return result

    cdef void _give_back(self, uint16_t buffer_id) noexcept nogil:
        ring_give_back(&self.ring, buffer_id)

    cdef void _publish(self) noexcept nogil:
        ring_publish(&self.ring)
