"""A ring for zero-copy sends alone, of one event loop of a program (io_uring_enter(2)). It waits for nothing: a send takes
what the socket has room for, and what the kernel tells later makes the ring's descriptor readable."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.errno cimport EINTR, ENOBUFS
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from zchttpd._core cimport uring as lib

import os

cdef extern from "<sys/socket.h>" nogil:
    enum:
        MSG_DONTWAIT
        MSG_NOSIGNAL

cdef enum:
    SQ_SIZE = 8
    CQ_SIZE = 1024              # more are kept by the kernel (IORING_FEAT_NODROP)
    LENGTH_MAX = 1 << 30        # bytes of one send: its result is an int
    NOBODY = 0                  # token of an sqe that asks nothing


cdef class SendRing:
    """Raises OSError when there is no io_uring, or none for this process.

    Not of one thread: the loop may go on in another. It is closed when it is no longer referred to.
    """

    cdef lib.io_uring uring
    cdef lib.io_uring_cqe* next
    cdef bint opened
    cdef uint64_t token         # of the last send
    cdef bint answered          # it has its result
    cdef int result             # bytes or -errno
    cdef dict leases            # by token: (lease, whether the send took anything), until the notification

    def __cinit__(self):
        cdef lib.io_uring_params params
        cdef int rc
        self.leases = {}
        memset(&params, 0, sizeof(params))
        params.flags = lib.IORING_SETUP_COOP_TASKRUN | lib.IORING_SETUP_SUBMIT_ALL | lib.IORING_SETUP_CQSIZE
        params.cq_entries = CQ_SIZE
        rc = lib.io_uring_queue_init_params(SQ_SIZE, &self.uring, &params)
        if rc < 0:
            raise OSError(-rc, f"io_uring: {os.strerror(-rc)}")
        self.opened = True

    def __dealloc__(self):
        self._close()

    def close(self) -> None:
        """In a child, what was forked: the parent's goes on."""
        self._close()

    cdef void _close(self) noexcept:
        if self.opened:
            self.opened = False
            lib.io_uring_queue_exit(&self.uring)

    @property
    def fd(self) -> int:
        """Readable when `take` has something to take."""
        return self.uring.ring_fd

    @property
    def out(self) -> int:
        """Sends that the kernel has not told the end of."""
        return len(self.leases)

    def send(self, int fd, buffer, Py_ssize_t at, lease) -> int:
        """Send of a buffer, from byte `at` on, what a socket takes now, without a copy. Returns how many bytes. Raises
        OSError: BlockingIOError when there is no room, EOPNOTSUPP or EINVAL when such a socket, or this kernel, cannot.

        `lease` keeps the buffer exported: of it `_begin_one()` is called when a notification will follow, and
        `_end_one(copied)` when it has come, in this call or in one that comes later.
        """
        cdef Py_buffer view
        if not self.opened:
            raise OSError(ENOBUFS, "the ring is closed")
        PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE)
        try:
            if not 0 <= at < view.len:
                raise ValueError("nothing is left of the buffer")
            self._submit(fd, <const char*>view.buf + at, <size_t>min(view.len - at, <Py_ssize_t>LENGTH_MAX))
            self._reap(lease)
            while not self.answered:
                with nogil:
                    lib.io_uring_wait_cqe(&self.uring, &self.next)
                self._reap(lease)
        finally:
            PyBuffer_Release(&view)
        if self.result < 0:
            raise OSError(-self.result, os.strerror(-self.result))
        return self.result

    def take(self) -> None:
        """End the sends of which the kernel has told the end."""
        if self.opened:
            self._reap(None)

    cdef int _submit(self, int fd, const char* start, size_t length) except -1:
        """Have the kernel do it: the result is there at once, as the send must not wait."""
        cdef lib.io_uring_sqe* sqe = lib.io_uring_get_sqe(&self.uring)
        cdef int rc = 0
        if sqe == NULL:
            raise OSError(ENOBUFS, "the ring is full")
        self.token += 1
        self.answered = False
        lib.io_uring_prep_send_zc(sqe, fd, start, length, MSG_DONTWAIT | MSG_NOSIGNAL, lib.IORING_SEND_ZC_REPORT_USAGE)
        lib.io_uring_sqe_set_data64(sqe, self.token)
        while lib.io_uring_sq_ready(&self.uring):
            with nogil:
                rc = lib.io_uring_submit(&self.uring)
            if rc < 0 and rc != -EINTR:
                # It has not been taken, and must not be with the next.
                lib.io_uring_prep_nop(sqe)
                lib.io_uring_sqe_set_data64(sqe, NOBODY)
                raise OSError(ENOBUFS, f"io_uring: {os.strerror(-rc)}")
        return 0

    cdef int _reap(self, lease) except -1:
        """Act on all completions. `lease` is of the send under way."""
        cdef uint64_t token
        cdef uint32_t flags
        cdef int res
        while lib.io_uring_peek_batch_cqe(&self.uring, &self.next, 1):
            token, res, flags = self.next.user_data, self.next.res, self.next.flags
            lib.io_uring_cq_advance(&self.uring, 1)
            if flags & lib.IORING_CQE_F_NOTIF:
                ended, took = self.leases.pop(token)
                # One that took nothing counts as copied.
                ended._end_one(copied=took and <uint32_t>res & lib.IORING_NOTIF_USAGE_ZC_COPIED != 0)
            elif token != NOBODY:
                self.result = res
                self.answered = True
                if flags & lib.IORING_CQE_F_MORE:
                    self.leases[token] = (lease, res > 0)
                    lease._begin_one()
        return 0
