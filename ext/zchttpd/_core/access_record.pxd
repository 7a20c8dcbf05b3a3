# Access records: what a connection is at, and a ring buffer of what is over, written by the loop and read by one other
# thread without a lock. All of it is idle, and takes no memory, unless there is a log, or answers tell the request's id.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from zchttpd._core.op cimport Peer

cdef enum:
    REQUEST_ID_MAX = 64         # bytes; a shorter one is followed by blanks, which are no part of a field's value
    REQUEST_ID_AT = 45          # of its place behind the first byte of Date: CR LF and the name come between

cdef struct OpenRecord:         # one request of a connection, until its response is over
    uint8_t zerocopy            # bytes of it left by zero copy
    uint64_t sent               # bytes of the response, head and body
    char* text                  # request line, Referer, User-Agent, one behind the other
    uint32_t line_length
    uint32_t referer_length
    uint32_t agent_length
    char* user                  # whom the response is for; NULL for everybody
    uint8_t user_length
    uint8_t id_length           # 0 as long as it has none
    char[64] id

cdef struct Record:             # in the ring buffer, followed by the text
    uint32_t size               # bytes of both
    uint32_t line_length
    uint32_t referer_length
    uint32_t agent_length
    int64_t ended_at            # Unix time
    uint64_t duration_us
    uint64_t body_bytes
    uint16_t status
    uint16_t port
    uint8_t family
    uint8_t zerocopy
    uint8_t[16] address
    uint8_t id_length           # its text comes behind the others
    uint8_t user_length         # and that of the user last

cdef struct AccessRecords:
    OpenRecord* open_records    # by slot of the connection; NULL when nobody needs them
    uint32_t open_count
    uint8_t request_ids         # answers tell the id of their request
    uint64_t[2] id_state        # of those that are made here
    char* bytes                 # the ring buffer; NULL when there is no log
    uint64_t capacity           # bytes, a power of two
    uint64_t taken              # bytes read so far; the other thread's
    uint64_t written            # bytes written so far; the loop's
    uint64_t* dropped           # records for which there was no room
    uint64_t announced          # bytes of records that the other thread has been told of
    int64_t due_at_ms           # when it is to be told of more, 0 when there are none

cdef int access_open(AccessRecords* access, uint32_t slots, uint64_t capacity, uint64_t* dropped,
                     const uint64_t* id_keys) noexcept nogil
cdef void access_close(AccessRecords* access) noexcept nogil
cdef void access_connected(AccessRecords* access, uint32_t slot) noexcept nogil
cdef void access_request_head(AccessRecords* access, uint32_t slot, const char* head, uint32_t length) noexcept nogil
cdef void access_user(AccessRecords* access, uint32_t slot, const char* user, uint8_t length) noexcept nogil
cdef void access_put_request_id(AccessRecords* access, uint32_t slot, char* to) noexcept nogil
cdef void access_response_ended(AccessRecords* access, uint32_t slot, const Peer* client, uint16_t status,
                                uint32_t head_length, int64_t took_us, int64_t unix_second) noexcept nogil
cdef bint access_due(AccessRecords* access, int64_t now_ms) noexcept nogil
cdef uint64_t access_pending(AccessRecords* access) noexcept nogil
cdef void access_take(AccessRecords* access, char* to, uint64_t length) noexcept nogil
cdef void access_drop(AccessRecords* access, uint64_t count) noexcept nogil


cdef inline void access_bytes_sent(AccessRecords* access, uint32_t slot, uint32_t length, bint zerocopy) noexcept nogil:
    """Bytes of the response have left."""
    if access.open_records != NULL:
        access.open_records[slot].sent += length
        access.open_records[slot].zerocopy |= zerocopy
