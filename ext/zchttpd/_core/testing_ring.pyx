"""What the tests ask of an open ring."""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t, uint32_t

from zchttpd._core cimport uring as lib
from zchttpd._core.ring cimport Ring, ring_clear, ring_close, ring_register
from zchttpd._core.ring_setup cimport ring_open
from zchttpd._core.ring_setup import FEATURES


cdef class OpenRing:
    """A ring as a worker has it, less the features in `without`, with so many receive buffers. Raises OSError."""

    cdef Ring ring

    def __init__(self, tuple without=(), *, uint32_t buffers=8):
        cdef uint32_t left_out = 0
        cdef int rc
        for name in without:
            left_out |= FEATURES[name]
        rc = ring_open(&self.ring, left_out, buffers, 256, 8)
        if rc < 0:
            raise OSError(-rc, "io_uring")

    def __dealloc__(self):
        ring_close(&self.ring)

    @property
    def fd(self) -> int:
        """Its descriptor."""
        return self.ring.uring.ring_fd

    def ask(self, uint8_t opcode, uint8_t flags=0) -> int:
        """Submit an sqe for descriptor -1 with nothing else in it. Returns its result."""
        cdef lib.io_uring_sqe* sqe = lib.io_uring_get_sqe(&self.ring.uring)
        cdef lib.io_uring_cqe* cqe = NULL
        cdef int result
        lib.io_uring_prep_nop(sqe)
        sqe.opcode = opcode
        sqe.flags = flags
        sqe.fd = -1
        lib.io_uring_submit(&self.ring.uring)
        result = lib.io_uring_wait_cqe(&self.ring.uring, &cqe)
        if result == 0:
            result = cqe.res
            lib.io_uring_cq_advance(&self.ring.uring, 1)
        return result

    def register(self, memory) -> int:
        """Put writable memory into the first slot of the table of registered buffers. Returns 0 or -errno."""
        cdef Py_buffer view
        cdef int rc
        PyObject_GetBuffer(memory, &view, PyBUF_WRITABLE)
        # The kernel holds the pages.
        rc = ring_register(&self.ring, 0, view.buf, view.len, 1)
        PyBuffer_Release(&view)
        return rc

    def clear(self) -> int:
        """Clear that slot. Returns 0 or -errno."""
        return ring_clear(&self.ring, 0)
