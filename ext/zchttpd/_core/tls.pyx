"""TLS between the poller and Python: results and errors as system calls have them, and memory that is safe to read.

A mapped file may lose its pages at any time (SIGBUS), and the library reads memory itself. So what it is to encrypt is first
written to a scratch file in memory, by the kernel, which says EFAULT instead.
"""

from cpython.buffer cimport PyBUF_WRITE
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.errno cimport EAGAIN, ECONNRESET, errno
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from posix.unistd cimport close

import mmap
import os

from zchttpd._core.completions cimport completions_add
from zchttpd._core.op cimport Op, Peer
from zchttpd._core.proxy cimport PROXY_MORE, PROXY_WRONG, proxy_read
from zchttpd._core.system cimport system_now_us
from zchttpd._core.uio cimport iovec, pwritev

cdef extern from "<errno.h>" nogil:
    enum:
        ECANCELED

cdef extern from "<sys/socket.h>" nogil:
    enum:
        MSG_DONTWAIT
        MSG_PEEK
    ssize_t recv(int fd, void* buffer, size_t length, int flags)

cdef enum:
    SCRATCH_SIZE = 65536    # four records


cdef class TlsLayer:
    """`transport`: a `tls_transport.Transport`. `proxied`: the listeners, by descriptor, whose connections begin with a
    header of the PROXY protocol, which is in clear. Raises OSError where there is no descriptor."""

    def __cinit__(self):
        self.scratch_fd = -1

    def __init__(self, transport, proxied):
        self.transport = transport
        self.connections = {}
        self.proxied = frozenset(proxied)
        self.greetings = {}
        self.scratch_fd = os.memfd_create("tls")
        os.ftruncate(self.scratch_fd, SCRATCH_SIZE)
        self.scratch = memoryview(mmap.mmap(self.scratch_fd, SCRATCH_SIZE))

    def __dealloc__(self):
        if self.scratch_fd >= 0:
            close(self.scratch_fd)

    cdef void accepted(self, int32_t listener, int32_t fd, TlsRow* row) noexcept with gil:
        """A connection is there. Nobody hears of one that there is no memory for: its first receive says so."""
        cdef int64_t now_ms = system_now_us() // 1000
        row.state = TLS_GREETING if listener in self.proxied else TLS_SHAKING
        row.again = 0
        connection = self.transport.accepted(fd, now_ms)
        self.connections[fd] = connection
        if not self.due_ms:
            self.due_ms = connection.due_ms

    cdef ssize_t receive(self, int32_t fd, TlsRow* row, char* buffer, size_t size) noexcept with gil:
        """As recv(2) with MSG_DONTWAIT, or -errno. How the handshake stands afterwards is in `row`."""
        cdef ssize_t result
        connection = self.connections.get(fd)
        if connection is None:
            return -ECONNRESET
        try:
            if row.state == TLS_GREETING:
                return self._greet(fd, row, buffer, size)
            result = connection.receive(PyMemoryView_FromMemory(buffer, size, PyBUF_WRITE))
        except OSError as error:
            result = -_number(error)
        except MemoryError:
            result = -ECONNRESET
        row.state = connection.state
        row.again = connection.again
        return result

    cdef ssize_t _greet(self, int32_t fd, TlsRow* row, char* buffer, size_t size):
        """Receive of a PROXY header, and nothing behind it. What is none goes to who closes the connection for it."""
        cdef ssize_t got = recv(fd, buffer, size, MSG_DONTWAIT | MSG_PEEK)
        cdef bytes before = self.greetings.pop(fd, b"")
        cdef bytes header
        cdef uint32_t length
        cdef Peer client
        cdef int found
        if got <= 0:
            self.greetings[fd] = before
            return got and -errno
        header = before + buffer[:got]
        found = proxy_read(<const uint8_t*><const char*>header, <uint32_t>len(header), &client, &length)
        if found == PROXY_MORE:
            self.greetings[fd] = header
        elif found != PROXY_WRONG:
            row.state = TLS_SHAKING
            got = length - len(before)
        return recv(fd, buffer, got, MSG_DONTWAIT)

    cdef ssize_t send(self, const Op* ops, int count) noexcept with gil:
        """Send the bytes of one op, or of two that follow each other. How many have gone, or -errno if none has: -EAGAIN,
        or -EFAULT where a mapped file has no such bytes any more."""
        cdef uint64_t total = ops[0].length + (ops[1].length if count == 2 else 0)
        cdef uint64_t done = 0
        cdef ssize_t got
        connection = self.connections.get(ops[0].fd)
        if connection is None:
            return -ECONNRESET
        try:
            while done < total:
                got = connection.resume(total - done)
                if got == 0:
                    got = self._gather(ops, count, done)
                    if got < 0:
                        return done if done else got
                    connection.send(self.scratch[:got])
                    got = 0
                done += <uint64_t>got
        except OSError as error:
            return done if done else -_number(error)
        except MemoryError:
            return -ECONNRESET
        return done

    cdef ssize_t _gather(self, const Op* ops, int count, uint64_t done):
        """Copy what comes behind the first `done` bytes into the scratch memory. How many bytes, or -errno."""
        cdef iovec[2] vectors
        cdef int used = 0
        cdef int i
        cdef uint64_t skip = done
        cdef uint64_t room = SCRATCH_SIZE
        cdef ssize_t got
        for i in range(count):
            if skip < ops[i].length:
                vectors[used].iov_base = ops[i].address + skip
                vectors[used].iov_len = min(ops[i].length - skip, room)
                room -= vectors[used].iov_len
                skip = 0
                used += 1
            else:
                skip -= ops[i].length
        got = pwritev(self.scratch_fd, vectors, used, 0)
        return got if got >= 0 else -errno

    cdef void end(self, int32_t fd, bint broken) noexcept with gil:
        """Our direction is about to be shut down. `broken`: the last response has not gone whole."""
        connection = self.connections.get(fd)
        if connection is not None:
            connection.end(broken)

    cdef void reset(self, int32_t fd) noexcept with gil:
        """It will be closed by a reset: no word that all is well goes before that."""
        connection = self.connections.get(fd)
        if connection is not None:
            connection.give_up()

    cdef void closing(self, int32_t fd) noexcept with gil:
        """The descriptor is about to be closed."""
        self.greetings.pop(fd, None)
        connection = self.connections.pop(fd, None)
        if connection is not None:
            self.transport.closing(connection)

    cdef void expire(self, int64_t now_ms) noexcept with gil:
        """End the handshakes that take too long."""
        self.due_ms = self.transport.expire(now_ms)


cdef void tls_send(void* layer, Sends* pushed, Completions* done) noexcept nogil:
    """What `sends_go` does, through the library: send as much as the socket takes of what has been pushed."""
    cdef Op* ops = pushed.ops
    cdef ssize_t sent = (<TlsLayer>layer).send(ops, <int>pushed.count)
    cdef bint whole = sent >= <ssize_t>ops[0].length
    completions_add(done, ops[0].token, <int32_t>(ops[0].length if whole else sent)).copied = 1
    if pushed.count == 2:
        sent = -ECANCELED if not whole else (sent - ops[0].length or -EAGAIN)
        completions_add(done, ops[1].token, <int32_t>sent).copied = 1
    pushed.count = 0


cdef int _number(error):
    """The errno of an OSError; one of Python's own that has none means what EAGAIN says."""
    if isinstance(error, BlockingIOError):
        return EAGAIN
    return error.errno or ECONNRESET
