"""Shares of a turn: small answers leave at once, what is large by turns, in bytes that a turn has a bounded number of.

While small answers keep coming, neither large ones nor the handler get more than a quarter of the time: after a whole share
each rests for thrice as long. A pause in which nobody asks for anything small ends the rest, so that no time is lost.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from zchttpd._core.conn cimport conn_send
from zchttpd._core.machine cimport conn_at
from zchttpd._core.plans cimport Plan, SEGMENT_LITERAL, plan_at
from zchttpd._core.queues cimport QUEUE_BEGIN, QUEUE_NONE, QUEUE_SEND, queues_push, queues_remove
from zchttpd._core.stream cimport stream_pump
from zchttpd._core.token cimport NO_SLOT
from zchttpd._core.transmit cimport COPY_NO

cdef enum:
    SMALL_SIZE_MAX = 32 * 1024  # bytes of a response that waits for nobody
    OP_BYTES = 8 * 1024         # what an op costs besides its bytes, in such
    ALONE = 16                  # times the share while nobody asks for anything small
    REST = 3                    # times as long as a share took
    PAUSE_US = 100              # nobody has asked for anything small for so long: large responses go on
    HANDLER_PAUSE_US = 500      # and the handler, which holds everybody up for longer


cdef void turns_begin(Machine* machine) noexcept nogil:
    """A new turn, and a new share. What was large in the last one has been done by now, by whatever driver."""
    cdef int64_t took_us = machine.now_us - machine.turn_at_us
    if machine.turn_full:
        machine.send_at_us = machine.now_us + REST * took_us
        # Whoever wanted something small had to wait: that was no pause.
        machine.small_at_us += took_us
    machine.turn_at_us = machine.now_us
    machine.turn_bytes = 0
    machine.turn_full = 0


cdef inline bint _is_alone(const Machine* machine, int64_t pause_us) noexcept nogil:
    return machine.now_us - machine.small_at_us >= pause_us


cdef bint turns_is_small(Machine* machine, uint32_t plan_slot) noexcept nogil:
    """Whether a response that begins now waits for nobody."""
    cdef Plan* plan = plan_at(&machine.table, plan_slot)
    if plan.segment_count > 1 or plan.segments[0].kind != SEGMENT_LITERAL or plan.segments[0].length > SMALL_SIZE_MAX:
        return False
    machine.small_at_us = machine.now_us
    return True


cdef void turns_wait(Machine* machine, uint32_t slot, uint8_t queue) noexcept nogil:
    """The connection has something to send, or to read for it, when its turn comes. `queue`: QUEUE_BEGIN or QUEUE_SEND. If
    it waits for a window, that comes first."""
    if machine.queues.queue[slot] == QUEUE_NONE:
        queues_push(&machine.queues, slot, queue)


cdef bint turns_anybody(const Machine* machine) noexcept nogil:
    """Whether anybody waits for a turn to send."""
    return machine.queues.first[QUEUE_BEGIN] != NO_SLOT or machine.queues.first[QUEUE_SEND] != NO_SLOT


cdef inline uint32_t _next(Machine* machine) noexcept nogil:
    """Responses that begin and those that go on by turns: who wants little is not behind all who want much."""
    cdef uint32_t begins = machine.queues.first[QUEUE_BEGIN]
    cdef uint32_t goes_on = machine.queues.first[QUEUE_SEND]
    machine.turn_begins = not machine.turn_begins
    if begins == NO_SLOT or (goes_on != NO_SLOT and not machine.turn_begins):
        return goes_on
    return begins


cdef void turns_send(Machine* machine) noexcept nogil:
    """Let those that wait send, each once in its order, as far as the share goes."""
    cdef int64_t share = machine.limits.turn_bytes_max
    cdef uint32_t slot
    cdef uint32_t at
    if _is_alone(machine, PAUSE_US):
        share *= ALONE
    elif machine.now_us < machine.send_at_us:
        return
    while turns_anybody(machine) and machine.turn_bytes < share:
        slot = _next(machine)
        queues_remove(&machine.queues, slot)
        at = machine.op_count
        if conn_at(machine, slot).sends == 0:
            conn_send(machine, slot, COPY_NO)
        else:
            # Read ahead.
            stream_pump(machine, slot, COPY_NO)
        while at < machine.op_count:
            machine.turn_bytes += OP_BYTES + machine.ops[at].length
            at += 1
    machine.turn_full = machine.turn_bytes >= share


cdef bint turns_handler_is_due(const Machine* machine) noexcept nogil:
    return machine.now_us >= machine.handler_at_us or _is_alone(machine, HANDLER_PAUSE_US)


cdef void turns_handled(Machine* machine, int64_t took_us, int64_t share_us) noexcept nogil:
    """The handler has had so long, of a share of `share_us`."""
    machine.small_at_us += took_us
    machine.turn_at_us += took_us
    if took_us >= share_us:
        machine.handler_at_us = machine.now_us + (REST + 1) * took_us
