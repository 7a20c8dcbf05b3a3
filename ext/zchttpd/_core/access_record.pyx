"""Access records, from the first byte of a request to the last of its response. What they look like is Python's business.

One thread writes, one reads: each moves its own count, and publishes it only when the bytes are in their place.
"""

from libc.errno cimport ENOMEM
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memchr, memcpy, memset

from zchttpd._core.check cimport zc_assert

cdef extern from "zc_compat.h" nogil:
    uint64_t zc_load(const uint64_t* cell)
    void zc_store(uint64_t* cell, uint64_t value)
    void zc_add(uint64_t* cell, uint64_t value)

cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char* one, const char* other, size_t length)

cdef enum:
    LINE_MAX = 2048     # bytes of a request line that are kept
    FIELD_MAX = 1024    # and of Referer and User-Agent
    DUE_MS = 100        # records are worth a system call when they are so old
    DUE_PART = 4        # or when this part of the buffer is new


cdef int access_open(Access* access, uint32_t visits, uint64_t capacity, uint64_t* dropped) noexcept nogil:
    """Keep records of connections in slots below `visits`, in `capacity` bytes, a power of two. Returns 0 or -ENOMEM."""
    zc_assert(capacity & (capacity - 1) == 0)
    access.visits = <Visit*>calloc(visits, sizeof(Visit))
    access.bytes = <char*>malloc(capacity)
    access.visit_count = visits
    access.capacity = capacity
    access.dropped = dropped
    if access.visits == NULL or access.bytes == NULL:
        access_close(access)
        return -ENOMEM
    return 0


cdef void access_close(Access* access) noexcept nogil:
    cdef uint32_t slot
    if access.visits != NULL:
        for slot in range(access.visit_count):
            free(access.visits[slot].text)
    free(access.visits)
    free(access.bytes)
    memset(access, 0, sizeof(Access))


cdef void access_came(Access* access, uint32_t slot, const Peer* peer) noexcept nogil:
    """A new connection. `peer` may be NULL."""
    if access.visits == NULL:
        return
    free(access.visits[slot].text)
    memset(&access.visits[slot], 0, sizeof(Visit))
    if peer != NULL:
        access.visits[slot].peer = peer[0]


cdef inline void _copy(char* to, const void* source, uint64_t length) noexcept nogil:
    # memcpy takes no NULL, not even for nothing (C11 section 7.24.1).
    if length > 0:
        memcpy(to, source, length)


cdef const char* _trim(const char* first, uint32_t* length, uint32_t most) noexcept nogil:
    """Without the blanks around it, and at most so much."""
    while length[0] > 0 and (first[0] == b' ' or first[0] == b'\t'):
        first += 1
        length[0] -= 1
    while length[0] > 0 and (first[length[0] - 1] == b' ' or first[length[0] - 1] == b'\t' or first[length[0] - 1] == b'\r'):
        length[0] -= 1
    length[0] = min(length[0], most)
    return first


cdef void access_note(Access* access, uint32_t slot, const char* head, uint32_t length) noexcept nogil:
    """What the record will say of the request: its line, and the first Referer and User-Agent. The head may be broken, or
    not have come whole."""
    cdef Visit* visit
    cdef uint32_t at = 0
    cdef uint32_t size
    cdef const char* end
    cdef const char* line = NULL
    cdef const char* referer = NULL
    cdef const char* agent = NULL
    if access.visits == NULL:
        return
    visit = &access.visits[slot]
    free(visit.text)
    visit.line_length = visit.referer_length = visit.agent_length = 0
    while at < length:
        end = <const char*>memchr(head + at, b'\n', length - at)
        size = <uint32_t>(end - head) - at if end != NULL else length - at
        if size > 0 and head[at + size - 1] == b'\r':
            size -= 1
        if size == 0 and line != NULL:
            break
        if line == NULL:
            if size > 0:
                line = head + at
                visit.line_length = min(size, <uint32_t>LINE_MAX)
        elif referer == NULL and size >= 8 and strncasecmp(head + at, b"referer:", 8) == 0:
            visit.referer_length = size - 8
            referer = _trim(head + at + 8, &visit.referer_length, FIELD_MAX)
        elif agent == NULL and size >= 11 and strncasecmp(head + at, b"user-agent:", 11) == 0:
            visit.agent_length = size - 11
            agent = _trim(head + at + 11, &visit.agent_length, FIELD_MAX)
        if end == NULL:
            break
        at = <uint32_t>(end - head) + 1
    visit.text = <char*>malloc(visit.line_length + visit.referer_length + visit.agent_length)
    if visit.text == NULL:
        visit.line_length = visit.referer_length = visit.agent_length = 0
        return
    _copy(visit.text, line, visit.line_length)
    _copy(visit.text + visit.line_length, referer, visit.referer_length)
    _copy(visit.text + visit.line_length + visit.referer_length, agent, visit.agent_length)


cdef void _put(Access* access, uint64_t at, const void* source, uint64_t length) noexcept nogil:
    cdef uint64_t place = at & (access.capacity - 1)
    cdef uint64_t first = min(length, access.capacity - place)
    _copy(access.bytes + place, source, first)
    _copy(access.bytes, <const char*>source + first, length - first)


cdef void access_end(Access* access, uint32_t slot, uint16_t status, uint32_t head_length, int64_t now_us,
                     int64_t unix_second, bint more) noexcept nogil:
    """The response is over, whole or not: its record goes to the ring buffer, or is dropped. `head_length` bytes of what
    was sent were no body. With `more` another request has come already."""
    cdef Visit* visit
    cdef Record record
    cdef uint64_t at
    cdef uint32_t text
    if access.visits == NULL:
        return
    visit = &access.visits[slot]
    text = visit.line_length + visit.referer_length + visit.agent_length
    memset(&record, 0, sizeof(Record))
    record.size = sizeof(Record) + text
    record.line_length = visit.line_length
    record.referer_length = visit.referer_length
    record.agent_length = visit.agent_length
    record.ended_at = unix_second
    record.duration_us = <uint64_t>(now_us - visit.began_us) if visit.began_us else 0
    record.body_bytes = visit.sent - head_length if visit.sent > head_length else 0
    record.status = status
    record.port = visit.peer.port
    record.family = visit.peer.family
    record.zerocopy = visit.zerocopy
    memcpy(record.address, visit.peer.address, sizeof(record.address))
    at = access.written
    if access.capacity - (at - zc_load(&access.taken)) >= record.size:
        _put(access, at, &record, sizeof(Record))
        _put(access, at + sizeof(Record), visit.text, text)
        zc_store(&access.written, at + record.size)
    else:
        access_drop(access, 1)
    free(visit.text)
    visit.text = NULL
    visit.line_length = visit.referer_length = visit.agent_length = 0
    visit.sent = 0
    visit.zerocopy = 0
    visit.began_us = now_us if more else 0


cdef bint access_due(Access* access, int64_t now_ms) noexcept nogil:
    """Whether the other thread is to be told of records: now and then, not of each."""
    if access.visits == NULL or access.written == access.told:
        return False
    if access.due_at_ms == 0:
        access.due_at_ms = now_ms + DUE_MS
    if now_ms < access.due_at_ms and access.written - access.told < access.capacity // DUE_PART:
        return False
    access.told = access.written
    access.due_at_ms = 0
    return True


cdef uint64_t access_pending(Access* access) noexcept nogil:
    """Bytes of whole records that wait to be taken; for either thread."""
    return zc_load(&access.written) - zc_load(&access.taken)


cdef void access_take(Access* access, char* to, uint64_t length) noexcept nogil:
    """The oldest `length` bytes, at most as many as are pending. For the reading thread."""
    cdef uint64_t place = access.taken & (access.capacity - 1)
    cdef uint64_t first = min(length, access.capacity - place)
    _copy(to, access.bytes + place, first)
    _copy(to + first, access.bytes, length - first)
    zc_store(&access.taken, access.taken + length)


cdef void access_drop(Access* access, uint64_t count) noexcept nogil:
    """Count records that are lost; for either thread."""
    zc_add(access.dropped, count)
