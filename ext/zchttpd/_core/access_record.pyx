"""Access records, from the first byte of a request to the last of its response. What they look like is Python's business.

One thread writes, one reads: each moves its own count, and publishes it only when the bytes are in their place.
"""

from libc.errno cimport ENOMEM
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy, memset

from zchttpd._core.check cimport zc_assert
from zchttpd._core.memory cimport memory_give, memory_take, memory_take_zeroed

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

cdef const char* DIGITS = b"0123456789abcdef"


cdef int access_open(AccessRecords* access, uint32_t slots, uint64_t capacity, uint64_t* dropped,
                     const uint64_t* id_keys) noexcept nogil:
    """Keep records of connections below slot `slots`, in `capacity` bytes, a power of two, or 0 where there is no log.
    `id_keys`: two random numbers, NULL where no answer tells an id. Returns 0 or -ENOMEM."""
    zc_assert(capacity & (capacity - 1) == 0)
    access.open_records = <OpenRecord*>memory_take_zeroed(slots, sizeof(OpenRecord))
    access.bytes = <char*>memory_take(capacity) if capacity else NULL
    access.open_count = slots
    access.capacity = capacity
    access.dropped = dropped
    if access.open_records == NULL or (capacity and access.bytes == NULL):
        access_close(access)
        return -ENOMEM
    if id_keys != NULL:
        access.request_ids = 1
        memcpy(access.id_state, id_keys, sizeof(access.id_state))
    return 0


cdef void access_close(AccessRecords* access) noexcept nogil:
    cdef uint32_t slot
    if access.open_records != NULL:
        for slot in range(access.open_count):
            memory_give(access.open_records[slot].text)
            memory_give(access.open_records[slot].user)
    memory_give(access.open_records)
    memory_give(access.bytes)
    memset(access, 0, sizeof(AccessRecords))


cdef void access_connected(AccessRecords* access, uint32_t slot) noexcept nogil:
    """A new connection."""
    if access.open_records == NULL:
        return
    memory_give(access.open_records[slot].text)
    memory_give(access.open_records[slot].user)
    memset(&access.open_records[slot], 0, sizeof(OpenRecord))


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


cdef void access_request_head(AccessRecords* access, uint32_t slot, const char* head, uint32_t length) noexcept nogil:
    """What the record will say of the request: its line, and the first Referer and User-Agent. The head may be broken, or
    not have come whole."""
    cdef OpenRecord* current
    cdef uint32_t at = 0
    cdef uint32_t size
    cdef const char* end
    cdef const char* line = NULL
    cdef const char* referer = NULL
    cdef const char* agent = NULL
    if access.open_records == NULL:
        return
    current = &access.open_records[slot]
    memory_give(current.text)
    current.text = NULL
    current.line_length = current.referer_length = current.agent_length = 0
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
                current.line_length = min(size, <uint32_t>LINE_MAX)
        elif referer == NULL and size >= 8 and strncasecmp(head + at, b"referer:", 8) == 0:
            current.referer_length = size - 8
            referer = _trim(head + at + 8, &current.referer_length, FIELD_MAX)
        elif agent == NULL and size >= 11 and strncasecmp(head + at, b"user-agent:", 11) == 0:
            current.agent_length = size - 11
            agent = _trim(head + at + 11, &current.agent_length, FIELD_MAX)
        elif (access.request_ids and current.id_length == 0 and size >= 13
              and strncasecmp(head + at, b"x-request-id:", 13) == 0):
            _take_request_id(current, head + at + 13, size - 13)
        if end == NULL:
            break
        at = <uint32_t>(end - head) + 1
    if access.bytes == NULL:
        current.line_length = current.referer_length = current.agent_length = 0
        return
    current.text = <char*>memory_take(current.line_length + current.referer_length + current.agent_length)
    if current.text == NULL:
        current.line_length = current.referer_length = current.agent_length = 0
        return
    _copy(current.text, line, current.line_length)
    _copy(current.text + current.line_length, referer, current.referer_length)
    _copy(current.text + current.line_length + current.referer_length, agent, current.agent_length)


cdef void _take_request_id(OpenRecord* current, const char* value, uint32_t length) noexcept nogil:
    """The client's, if it is one: letters, digits and a few signs, which mean nothing to anybody."""
    cdef uint32_t i
    value = _trim(value, &length, REQUEST_ID_MAX + 1)
    if length == 0 or length > REQUEST_ID_MAX:
        return
    for i in range(length):
        if not (b'0' <= value[i] <= b'9' or b'a' <= value[i] | 0x20 <= b'z' or value[i] == b'-' or value[i] == b'_'
                or value[i] == b'.' or value[i] == b':' or value[i] == b'+' or value[i] == b'/' or value[i] == b'='):
            return
    current.id_length = <uint8_t>length
    memcpy(current.id, value, length)


cdef void _make_request_id(AccessRecords* access, OpenRecord* current) noexcept nogil:
    """One that no other request has: a count under two random keys (SplitMix64), as 32 hexadecimal digits."""
    cdef uint64_t word
    cdef uint32_t half, i
    for half in range(2):
        access.id_state[half] += <uint64_t>0x9e3779b97f4a7c15
        word = access.id_state[half]
        word = (word ^ (word >> 30)) * <uint64_t>0xbf58476d1ce4e5b9
        word = (word ^ (word >> 27)) * <uint64_t>0x94d049bb133111eb
        word ^= word >> 31
        for i in range(16):
            current.id[16 * half + i] = DIGITS[(word >> (60 - 4 * i)) & 15]
    current.id_length = 32


cdef void access_user(AccessRecords* access, uint32_t slot, const char* user, uint8_t length) noexcept nogil:
    """The response that has begun is for this user alone, whose password was right."""
    cdef OpenRecord* current
    if access.bytes == NULL:
        return
    current = &access.open_records[slot]
    memory_give(current.user)
    current.user = <char*>memory_take(length)
    current.user_length = length if current.user != NULL else 0
    _copy(current.user, user, current.user_length)


cdef void access_put_request_id(AccessRecords* access, uint32_t slot, char* to) noexcept nogil:
    """Write the id of the request under way to its place in the head of its response, of REQUEST_ID_MAX bytes."""
    cdef OpenRecord* current = &access.open_records[slot]
    if current.id_length == 0:
        _make_request_id(access, current)
    memcpy(to, current.id, current.id_length)
    memset(to + current.id_length, b' ', REQUEST_ID_MAX - current.id_length)


cdef void _put(AccessRecords* access, uint64_t at, const void* source, uint64_t length) noexcept nogil:
    cdef uint64_t place = at & (access.capacity - 1)
    cdef uint64_t first = min(length, access.capacity - place)
    _copy(access.bytes + place, source, first)
    _copy(access.bytes, <const char*>source + first, length - first)


cdef void access_response_ended(AccessRecords* access, uint32_t slot, const Peer* client, uint16_t status,
                                uint32_t head_length, int64_t took_us, int64_t unix_second) noexcept nogil:
    """The response is over, whole or not: its record goes to the ring buffer, or is dropped. `client`: whom it names, NULL
    where there is no log. `head_length` bytes of what was sent were no body."""
    cdef OpenRecord* current
    if access.open_records == NULL:
        return
    current = &access.open_records[slot]
    if access.bytes != NULL:
        _write(access, current, client, status, head_length, took_us, unix_second)
    memory_give(current.text)
    current.text = NULL
    current.line_length = current.referer_length = current.agent_length = 0
    memory_give(current.user)
    current.user = NULL
    current.user_length = 0
    current.id_length = 0
    current.sent = 0
    current.zerocopy = 0


cdef void _write(AccessRecords* access, const OpenRecord* current, const Peer* client, uint16_t status, uint32_t head_length,
                 int64_t took_us, int64_t unix_second) noexcept nogil:
    cdef Record record
    cdef uint64_t at = access.written
    cdef uint32_t text = current.line_length + current.referer_length + current.agent_length
    memset(&record, 0, sizeof(Record))
    record.size = sizeof(Record) + text + current.id_length + current.user_length
    record.line_length = current.line_length
    record.referer_length = current.referer_length
    record.agent_length = current.agent_length
    record.id_length = current.id_length
    record.user_length = current.user_length
    record.ended_at = unix_second
    record.duration_us = <uint64_t>took_us
    record.body_bytes = current.sent - head_length if current.sent > head_length else 0
    record.status = status
    record.port = client.port
    record.family = client.family
    record.zerocopy = current.zerocopy
    memcpy(record.address, client.address, sizeof(record.address))
    if access.capacity - (at - zc_load(&access.taken)) >= record.size:
        _put(access, at, &record, sizeof(Record))
        _put(access, at + sizeof(Record), current.text, text)
        _put(access, at + sizeof(Record) + text, current.id, current.id_length)
        _put(access, at + sizeof(Record) + text + current.id_length, current.user, current.user_length)
        zc_store(&access.written, at + record.size)
    else:
        access_drop(access, 1)


cdef bint access_due(AccessRecords* access, int64_t now_ms) noexcept nogil:
    """Whether the other thread is to be told of records: now and then, not of each."""
    if access.open_records == NULL or access.written == access.announced:
        return False
    if access.due_at_ms == 0:
        access.due_at_ms = now_ms + DUE_MS
    if now_ms < access.due_at_ms and access.written - access.announced < access.capacity // DUE_PART:
        return False
    access.announced = access.written
    access.due_at_ms = 0
    return True


cdef uint64_t access_pending(AccessRecords* access) noexcept nogil:
    """Bytes of whole records that wait to be taken; for either thread."""
    return zc_load(&access.written) - zc_load(&access.taken)


cdef void access_take(AccessRecords* access, char* to, uint64_t length) noexcept nogil:
    """The oldest `length` bytes, at most as many as are pending. For the reading thread."""
    cdef uint64_t place = access.taken & (access.capacity - 1)
    cdef uint64_t first = min(length, access.capacity - place)
    _copy(to, access.bytes + place, first)
    _copy(to + first, access.bytes, length - first)
    zc_store(&access.taken, access.taken + length)


cdef void access_drop(AccessRecords* access, uint64_t count) noexcept nogil:
    """Count records that are lost; for either thread."""
    zc_add(access.dropped, count)
