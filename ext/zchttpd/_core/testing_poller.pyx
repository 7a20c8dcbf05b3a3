"""The poller, as the tests reach it: ops in, completions out, over descriptors of theirs. Built for tests only.

And its books of zero-copy sends, without a socket.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

import os

from zchttpd._core.op cimport (
    OP_ACCEPT, OP_CANCEL, OP_CANCEL_ALL, OP_CLOSE, OP_COLLAPSE, OP_FILL, OP_LINK, OP_MORE, OP_POLL, OP_READ,
    OP_RECV, OP_SEND, OP_SEND_ZC, OP_SPLICE, OP_WATCH, Completion, Op)
from zchttpd._core.completions cimport Completions, completions_close, completions_take
from zchttpd._core.poller cimport (
    Poller, poller_close, poller_give_back, poller_has_more, poller_open, poller_push, poller_reap, poller_wait)
from zchttpd._core.zerocopy cimport Unnotified, Zerocopy, zerocopy_close, zerocopy_notified, zerocopy_sent

from collections import namedtuple

KINDS = {
    "recv": OP_RECV, "send": OP_SEND, "read": OP_READ, "fill": OP_FILL, "poll": OP_POLL, "cancel": OP_CANCEL,
    "cancel_all": OP_CANCEL_ALL, "close": OP_CLOSE, "accept": OP_ACCEPT, "watch": OP_WATCH, "splice": OP_SPLICE,
    "collapse": OP_COLLAPSE, "send_zc": OP_SEND_ZC,
}
MORE, LINK = OP_MORE, OP_LINK

# `received` is None where no receive buffer came with it.
Done = namedtuple("Done", "token res more received buffer copied notification")

cdef enum:
    REAPED_MAX = 256


cdef class Driver:
    """A poller with `buffers` receive buffers of `size` bytes."""

    cdef Poller poller
    cdef dict kept      # memory that ops point to, by token, the latest first
    cdef uint8_t opened

    def __cinit__(self, buffers: int = 16, size: int = 4096):
        cdef int rc = poller_open(&self.poller, buffers, size)
        if rc < 0:
            raise OSError(-rc, os.strerror(-rc))
        self.opened = 1
        self.kept = {}

    def __dealloc__(self):
        self.close()

    def close(self) -> int:
        """How many reads were still under way."""
        cdef uint32_t reading = poller_close(&self.poller) if self.opened else 0
        self.opened = 0
        return reading

    def fileno(self) -> int:
        return self.poller.epoll

    @property
    def pipes(self) -> tuple:
        """(pipes that are free, pipes that sockets keep)."""
        return self.poller.pipes.free_count, self.poller.pipes.kept

    @property
    def has_more(self) -> bool:
        return poller_has_more(&self.poller)

    def events(self, fd: int) -> int:
        """What the epoll set has for a descriptor."""
        return self.poller.descriptors[fd].events if <uint32_t>fd < self.poller.descriptor_count else 0

    def push(self, str kind, int fd, uint64_t token, *, object memory=None, int flags=0, uint64_t offset=0,
             int file=-1) -> None:
        """One op. `memory`: bytes to send, or a bytearray to read into; `offset`: in the file, or the token to cancel;
        `file`: what is spliced from, of which `memory` is a copy."""
        cdef Op op
        cdef const unsigned char[::1] constant
        memset(&op, 0, sizeof(op))
        op.kind = KINDS[kind]
        op.flags = <uint8_t>flags
        op.fd = fd
        op.token = token
        op.offset = offset
        op.file = file
        if memory is not None and len(memory):
            self.kept.setdefault(token, []).insert(0, memory)
            constant = memory
            op.address = <char*>&constant[0]
            op.length = len(memory)
        poller_push(&self.poller, &op)

    def overwrite(self, token: int, value: int) -> None:
        """Fill the memory of this token's last op, a bytearray."""
        cdef unsigned char[::1] memory = self.kept[token][0]
        memset(&memory[0], value, memory.shape[0])

    def wait(self, timeout_us: int = 0) -> None:
        cdef int rc
        cdef long long timeout = timeout_us
        with nogil:
            rc = poller_wait(&self.poller, timeout)
        if rc < 0:
            raise OSError(-rc, os.strerror(-rc))

    def reap(self, count: int = REAPED_MAX) -> list[Done]:
        cdef Completion[REAPED_MAX] completions
        cdef uint32_t taken = poller_reap(&self.poller, completions, count)
        cdef uint32_t i
        cdef list found = []
        for i in range(taken):
            received = None
            buffer = -1
            if completions[i].has_buffer:
                received = PyBytes_FromStringAndSize(completions[i].bytes, completions[i].res)
                buffer = completions[i].buffer_id
            found.append(Done(completions[i].token, completions[i].res, bool(completions[i].more), received, buffer,
                              bool(completions[i].copied), bool(completions[i].notification)))
        return found

    def give_back(self, buffer: int) -> None:
        poller_give_back(&self.poller, buffer)


cdef enum:
    SOCKETS_MAX = 64


cdef class Books:
    """The zero-copy sends that are out, by socket; the number of the first of each is `first`."""

    cdef Zerocopy zerocopy
    cdef Unnotified[SOCKETS_MAX] sockets

    def __cinit__(self, first: int = 0):
        cdef int i
        for i in range(SOCKETS_MAX):
            self.sockets[i].next_number = first

    def __dealloc__(self):
        zerocopy_close(&self.zerocopy)

    @property
    def rows(self) -> int:
        """How many have been out at a time."""
        return self.zerocopy.count

    def sent(self, socket: int, token: int) -> int:
        """One more; its number."""
        number = self.sockets[socket].next_number
        zerocopy_sent(&self.zerocopy, &self.sockets[socket], token)
        return number

    def notified(self, socket: int, first: int, last: int, copied: bool) -> list[tuple[int, bool]]:
        """The tokens that end with this range of numbers, and whether they were copied."""
        cdef Completions done
        cdef Completion completion
        cdef list found = []
        memset(&done, 0, sizeof(done))
        zerocopy_notified(&self.zerocopy, &self.sockets[socket], first, last, copied, &done)
        while done.count:
            completions_take(&done, &completion)
            found.append((completion.token, completion.res < 0))
        completions_close(&done)
        return found

    def out(self, socket: int) -> list[int]:
        """Tokens of those that have not been notified, oldest first."""
        cdef uint32_t row = self.sockets[socket].first
        cdef list found = []
        while row:
            found.append(self.zerocopy.rows[row].token)
            row = self.zerocopy.rows[row].next
        return found
