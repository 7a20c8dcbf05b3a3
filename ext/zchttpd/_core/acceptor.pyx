"""New connections, from the listeners to `conn_accepted`; out of descriptors, an idle connection makes room."""

from libc.errno cimport EINTR, EINVAL, EMFILE, ENFILE
from libc.stdint cimport int32_t, uint8_t, uint32_t

from zchttpd._core.conn cimport conn_accepted, conn_shed
from zchttpd._core.drain cimport drain_at_once
from zchttpd._core.machine cimport machine_blank_op
from zchttpd._core.op cimport OP_ACCEPT, OP_CANCEL, OP_MULTISHOT, OP_REJECT, Op
from zchttpd._core.token cimport TOKEN_ACCEPT, TOKEN_NOBODY, token_pack, token_slot

cdef extern from "<errno.h>" nogil:
    enum:
        ECONNABORTED
        EPROTO

cdef enum:
    ACCEPT_PAUSE_MS = 100


cdef void _accept(Machine* machine, uint32_t index, uint8_t flags) noexcept nogil:
    cdef Op* op = machine_blank_op(machine)
    op.kind = OP_ACCEPT
    op.flags = flags
    op.fd = machine.listeners[index].fd
    op.token = token_pack(TOKEN_ACCEPT, index, 1)
    machine.listeners[index].accepting = 1
    machine.accepting += 1


cdef void _cancel(Machine* machine, uint32_t index) noexcept nogil:
    cdef Op* op = machine_blank_op(machine)
    op.kind = OP_CANCEL
    op.fd = machine.listeners[index].fd
    op.offset = token_pack(TOKEN_ACCEPT, index, 1)
    op.token = token_pack(TOKEN_NOBODY, 0, 1)


cdef void acceptor_arm(Machine* machine) noexcept nogil:
    """Accept wherever that is not under way, unless the worker drains."""
    cdef uint32_t i
    for i in range(machine.listener_count if not machine.draining else 0):
        if not machine.listeners[i].accepting:
            _accept(machine, i, OP_MULTISHOT if machine.accept_multishot else 0)


cdef inline bint _gone_before_accept(int32_t res) noexcept nogil:
    """Errors of accept(2) that say nothing about the next connection."""
    return res == -ECONNABORTED or res == -EPROTO or res == -EINTR


cdef void acceptor_step(Machine* machine, const Completion* completion) noexcept nogil:
    """A connection has come, or accepting has failed."""
    cdef uint32_t index = token_slot(completion.token)
    cdef Op* op
    if completion.res >= 0:
        if not conn_accepted(machine, completion.res, machine.listeners[index].proxy, completion.peer):
            op = machine_blank_op(machine)
            op.kind = OP_REJECT
            op.fd = completion.res
    elif completion.res == -EINVAL and machine.accept_multishot:
        # This kernel accepts one at a time.
        machine.accept_multishot = 0
    elif not machine.draining and not _gone_before_accept(completion.res):
        machine.stats.accept_errors += 1
        if completion.res == -EMFILE or completion.res == -ENFILE:
            conn_shed(machine)
        # Out of descriptors, or of memory: trying at once would spin.
        machine.accept_at_ms = machine.now_ms + ACCEPT_PAUSE_MS
    if not completion.more:
        machine.listeners[index].accepting = 0
        machine.accepting -= 1
        if machine.draining:
            _finish(machine, index, completion.res)
        elif not machine.accept_at_ms:
            acceptor_arm(machine)


cdef void _finish(Machine* machine, uint32_t index, int32_t res) noexcept nogil:
    """An accept of a worker that drains has ended."""
    cdef Op* op
    if not drain_at_once(machine) and (res >= 0 or not machine.listeners[index].emptying):
        # Others go on with the listener. But of those who wait for a connection the kernel wakes one: who came while that
        # one was being cancelled is known to nobody else. So take whoever is there, and wait for none.
        machine.listeners[index].emptying = 1
        _accept(machine, index, 0)
        _cancel(machine, index)
        return
    op = machine_blank_op(machine)
    op.kind = OP_REJECT
    op.fd = machine.listeners[index].fd


cdef void acceptor_expire(Machine* machine) noexcept nogil:
    """Accept again after a pause."""
    if machine.accept_at_ms and machine.now_ms >= machine.accept_at_ms:
        machine.accept_at_ms = 0
        acceptor_arm(machine)


cdef void acceptor_end(Machine* machine) noexcept nogil:
    """Accept no more, and then close the listeners. `accepting` says when the last accept has ended."""
    cdef uint32_t i
    machine.accept_at_ms = 0
    for i in range(machine.listener_count):
        if machine.listeners[i].accepting:
            _cancel(machine, i)
        else:
            _finish(machine, i, -1)
