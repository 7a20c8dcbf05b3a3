"""The readiness driver: ops by plain system calls, for a worker that lives in a loop of somebody else's."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t

import os

from zchttpd._core.address cimport address_look_up
from zchttpd._core.machine cimport machine_wants_peers
from zchttpd._core.mapping cimport HUGE_SIZE, MEMFD_SIZE_MIN
from zchttpd._core.op cimport Completion, OP_BROKEN, OP_CLOSE, OP_REJECT, OP_RESET, OP_SHUTDOWN, Op, Peer
from zchttpd._core.poller cimport (
    Poller, poller_close, poller_give_back, poller_has_more, poller_open, poller_push, poller_reap, poller_wait)
from zchttpd._core.plain_calls cimport plain_call
from zchttpd._core.site_worker cimport SiteWorker
from zchttpd._core.system cimport system_now_us
from zchttpd._core.tls cimport TlsLayer
from zchttpd._core.worker cimport BATCH
from zchttpd._core.zerocopy cimport zerocopy_exists

cdef class PollWorker(SiteWorker):
    """A worker whose ops are plain system calls, over a listener that does not block.

    Whoever has a loop calls `step` when `fileno()` is readable, and when it says so. It receives into `recv_buffers` buffers
    of `recv_buffer_size` bytes. `tls`: a `tls_transport.Transport` beneath its connections, which then have no zero copy, or
    None. Raises OSError when there is no descriptor.
    """

    cdef Poller poller
    cdef Peer[BATCH] peers      # of the connections accepted in this batch
    cdef uint8_t polls          # the poller is open
    cdef TlsLayer tls

    def __init__(self, *, int recv_buffers, int recv_buffer_size, str send_mode, listeners, tls=None, **options):
        cdef int rc = poller_open(&self.poller, recv_buffers, recv_buffer_size)
        if rc < 0:
            raise OSError(-rc, os.strerror(-rc))
        self.polls = 1
        super().__init__(send_mode=send_mode, listeners=listeners, **options)
        self.machine.zerocopy_by_socket = 1
        if tls is not None:
            self.tls = TlsLayer(tls, [fd for fd, who in listeners if who])
            self.poller.tls = <void*>self.tls
        self._set_features(tls is None and zerocopy_exists(), True, True)
        if send_mode == "auto":
            self.machine.mappings.memfd_size_min = MEMFD_SIZE_MIN
            self.machine.mappings.huge_size = HUGE_SIZE

    def __dealloc__(self):
        # A read that hangs in a thread may come back, and must find the memory that it reads into.
        if self.polls and poller_close(&self.poller) > 0:
            self.opened = 0

    @property
    def zerocopy(self) -> bool:
        """Whether there are zero-copy sends (MSG_ZEROCOPY)."""
        return self.machine.zerocopy_able

    def fileno(self) -> int:
        """A descriptor that is readable while there is something to do, to be watched level-triggered."""
        return self.poller.epoll

    cdef void _wait(self, int64_t timeout_us) noexcept nogil:
        cdef int64_t due_ms = self.tls.due_ms if self.poller.tls != NULL else 0
        if due_ms and system_now_us() >= 1000 * due_ms:
            self.tls.expire(system_now_us() // 1000)
        poller_wait(&self.poller, timeout_us)

    cdef bint _pending(self) noexcept nogil:
        return poller_has_more(&self.poller)

    cdef uint32_t _reap(self, Completion* completions, uint32_t count) noexcept nogil:
        cdef uint32_t taken = poller_reap(&self.poller, completions, count)
        if machine_wants_peers(&self.machine):
            address_look_up(completions, taken, self.peers)
        return taken

    cdef int32_t _execute(self, const Op* op) noexcept nogil:
        cdef int32_t result
        if self.poller.tls != NULL:
            if op.kind == OP_SHUTDOWN:
                self.tls.end(op.fd, op.flags & OP_BROKEN != 0)
            elif op.kind == OP_RESET:
                self.tls.reset(op.fd)
            elif op.kind == OP_CLOSE or op.kind == OP_REJECT:
                self.tls.closing(op.fd)
        if not plain_call(op, &result):
            poller_push(&self.poller, op)
        return result

    cdef void _give_back(self, uint16_t buffer_id) noexcept nogil:
        poller_give_back(&self.poller, buffer_id)
