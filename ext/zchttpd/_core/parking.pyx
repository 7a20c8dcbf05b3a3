"""Who waits for the handler: with a head to answer, more of a response, an entry to look at, or to be refused."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcmp

from zchttpd._core.access_record cimport access_request_head
from zchttpd._core.addresses cimport addresses_enter, addresses_have_room
from zchttpd._core.cache_key cimport cache_key, cache_key_stands_alone
from zchttpd._core.clients cimport clients_read
from zchttpd._core.conn cimport conn_set_deadline
from zchttpd._core.machine cimport CONN_PARKED, Conn, NO_LIMIT, REFUSED_HEAD, REFUSED_KEEPS, conn_at
from zchttpd._core.op cimport Peer
from zchttpd._core.queues cimport QUEUE_HEAD, QUEUE_LOOK, QUEUE_NONE, queues_push, queues_remove
from zchttpd._core.rates cimport rates_may_ask
from zchttpd._core.recv_buffer cimport recv_buffer_consume, recv_buffer_free
from zchttpd._core.token cimport NO_SLOT


cdef void park(Machine* machine, uint32_t slot, uint8_t queue) noexcept nogil:
    """From here on it waits for the handler."""
    queues_remove(&machine.queues, slot)
    queues_push(&machine.queues, slot, queue)
    conn_at(machine, slot).state = CONN_PARKED
    conn_at(machine, slot).awaits = NO_SLOT
    conn_set_deadline(machine, slot, machine.limits.stall_ms_max)


cdef void park_head(Machine* machine, uint32_t slot, uint32_t head_length) noexcept nogil:
    """With the head at the start of what it has received."""
    conn_at(machine, slot).head_length = head_length
    machine.stats.plan_misses += 1
    park(machine, slot, QUEUE_HEAD)


cdef void park_lost(Machine* machine, uint32_t slot) noexcept nogil:
    """Its peer has left, or may have: the handler is told, if it has the head."""
    machine.broken_off |= conn_at(machine, slot).state == CONN_PARKED and machine.queues.queue[slot] == QUEUE_NONE


cdef void park_for_more(Machine* machine, uint32_t slot) noexcept nogil:
    """Its plan has been sent, and the handler has more. It goes on to send as far as time counts: what does not come within
    stall_ms_max, twice, breaks it off."""
    queues_remove(&machine.queues, slot)
    queues_push(&machine.queues, slot, QUEUE_HEAD)


cdef void park_refused(Machine* machine, uint32_t slot, uint32_t status) noexcept nogil:
    """Answer with an error that needs no handler, then close."""
    cdef Conn* conn = conn_at(machine, slot)
    conn.refuse_status = <uint16_t>status
    # RFC 9110 section 9.3.2: no content in answer to HEAD.
    if conn.received.end - conn.received.start >= 5 and memcmp(conn.received.bytes + conn.received.start, b"HEAD ", 5) == 0:
        conn.refuse_status += REFUSED_HEAD
    if conn.received.bytes != NULL:
        if conn.believed and not conn.asked_for:
            clients_read(machine, slot, conn.received.bytes + conn.received.start, conn.received.end - conn.received.start)
        access_request_head(&machine.access, slot, conn.received.bytes + conn.received.start,
                            conn.received.end - conn.received.start)
    # What has arrived is not to be read as a request.
    recv_buffer_free(&conn.received)
    conn.head_length = 0
    park(machine, slot, QUEUE_LOOK)


cdef bint park_may_ask(Machine* machine, uint32_t slot, uint32_t head_length) noexcept nogil:
    """Whether the head at the start of what has been received may be answered, as far as its client goes: what a proxy
    brings for an address at a time, and the rate of that. Else it is refused; the connection goes on where it is clear that
    nothing but the head belongs to it."""
    cdef Conn* conn = conn_at(machine, slot)
    cdef const char* head = conn.received.bytes + conn.received.start
    cdef const Peer* client = NULL
    if conn.asked_for:
        return True
    conn.asked_for = 1
    if conn.believed:
        client = clients_read(machine, slot, head, head_length)
    if (addresses_have_room(machine, client)
            and (machine.limits.requests_per_second == NO_LIMIT or rates_may_ask(machine, slot))):
        addresses_enter(machine, slot, client)
        return True
    if machine.draining or not cache_key_stands_alone(machine.cache_key, cache_key(head, head_length, machine.cache_key)):
        park_refused(machine, slot, 429)
        return False
    conn.refuse_status = 429 + REFUSED_KEEPS + (REFUSED_HEAD if head[0] == b"H" else 0)
    access_request_head(&machine.access, slot, head, head_length)
    recv_buffer_consume(&conn.received, head_length)
    park(machine, slot, QUEUE_LOOK)
    return False
