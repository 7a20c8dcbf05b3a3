"""Received bytes that wait, and where a head ends in them.

The framer finds the end of the head (RFC 9112 section 2.1: the first empty line), and refuses at once what cannot become
a request line (`_REQUEST_LINE` of http/parse_cache.py says which): who speaks another protocol would wait for an answer
as for ever. What the head says is h11's to judge, and h11 must agree about where it ended.
"""

from libc.errno cimport ENOMEM
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy, memmove, memset

from zchttpd._core.memory cimport memory_give, memory_resize

cdef extern from "zc_field.h" nogil:
    enum:
        ZC_TOKEN
    const uint8_t* zc_field_class


cdef int frame(HeadFramer* framer, const char* bytes, uint32_t length, uint32_t line_max, uint32_t head_max,
               uint32_t* head_length) noexcept nogil:
    """Look for the end of the head that begins at bytes[0], going on where the last call stopped.

    Returns a Frame; with FRAME_HEAD `head_length` is the number of bytes up to and with the LF that decided. The framer
    is reset unless more bytes are needed. Whatever decides, it is the first byte that can: how the bytes are cut does
    not matter.
    """
    cdef int found = _frame(framer, bytes, length, line_max, head_max)
    if found == FRAME_HEAD:
        head_length[0] = framer.scanned
    if found != FRAME_MORE:
        memset(framer, 0, sizeof(HeadFramer))
    return found


cdef int _frame(HeadFramer* framer, const char* bytes, uint32_t length, uint32_t line_max,
                uint32_t head_max) noexcept nogil:
    cdef const char* found
    cdef uint32_t begun = framer.scanned
    cdef uint32_t at
    while framer.scanned < length:
        found = <const char*>memchr(bytes + framer.scanned, b'\n', length - framer.scanned)
        if found == NULL:
            framer.scanned = length
            break
        at = <uint32_t>(found - bytes)
        framer.scanned = at + 1
        if framer.lines == 0 and not _may_continue(framer, <const uint8_t*>bytes, begun, min(at + 1, line_max)):
            return FRAME_BROKEN
        # The bounds come first: chopped input exceeds them before its LF is there.
        if framer.lines == 0 and at + 1 > line_max:
            return FRAME_LINE_LONG
        if at + 1 > head_max:
            return FRAME_HEAD_LONG
        if at == framer.line or bytes[at - 1] != b'\r':
            return FRAME_BROKEN
        if at == framer.line + 1:
            return FRAME_HEAD
        framer.lines = 1
        framer.line = at + 1
    if framer.lines == 0:
        if not _may_continue(framer, <const uint8_t*>bytes, begun, min(length, line_max)):
            return FRAME_BROKEN
        if length > line_max:
            return FRAME_LINE_LONG
    return FRAME_HEAD_LONG if length > head_max else FRAME_MORE


cdef bint _may_continue(HeadFramer* framer, const uint8_t* bytes, uint32_t at, uint32_t end) noexcept nogil:
    """Whether a request line, or an empty line before it, can go on with bytes[at:end]."""
    cdef const char* version = b"HTTP/0.0\r\n"
    cdef uint8_t place = framer.place
    cdef uint8_t byte
    while at < end:
        byte = bytes[at]
        at += 1
        if place == PLACE_TARGET or place == PLACE_SPACE:
            if 0x21 <= byte <= 0x7e:
                place = PLACE_TARGET
            elif byte == b' ' and place == PLACE_TARGET:
                place = PLACE_VERSION
            else:
                return False
        elif place == PLACE_START or place == PLACE_METHOD:
            if zc_field_class[byte] & ZC_TOKEN:
                place = PLACE_METHOD
            elif byte == b' ' and place == PLACE_METHOD:
                place = PLACE_SPACE
            elif byte == b'\r' and place == PLACE_START:
                place = PLACE_EMPTY
            else:
                return False
        elif place == PLACE_EMPTY:
            if byte != b'\n':
                return False
        else:
            # A digit stands for any.
            if byte != version[place - PLACE_VERSION] and not (
                    version[place - PLACE_VERSION] == b'0' and b'0' <= byte <= b'9'):
                return False
            place += 1
    framer.place = place
    return True


cdef int recv_buffer_append(RecvBuffer* buffer, const char* bytes, uint32_t length, uint64_t* held) noexcept nogil:
    """Copy `length` bytes behind what waits. Returns 0 or -ENOMEM, then the buffer is as it was. The memory that it has is
    counted in `held`."""
    cdef uint32_t waiting = buffer.end - buffer.start
    cdef uint32_t capacity
    cdef char* grown
    if length == 0:
        return 0  # memcpy takes no NULL, not even for no bytes
    if buffer.end + length > buffer.capacity:
        if buffer.start > 0:
            memmove(buffer.bytes, buffer.bytes + buffer.start, waiting)
            buffer.start = 0
            buffer.end = waiting
        if waiting + length > buffer.capacity:
            capacity = max(<uint32_t>1024, buffer.capacity)
            while capacity < waiting + length:
                capacity *= 2
            grown = <char*>memory_resize(buffer.bytes, capacity)
            if grown == NULL:
                return -ENOMEM
            held[0] += capacity - buffer.capacity
            buffer.held = held
            buffer.bytes = grown
            buffer.capacity = capacity
    memcpy(buffer.bytes + buffer.end, bytes, length)
    buffer.end += length
    return 0


cdef void recv_buffer_consume(RecvBuffer* buffer, uint32_t length) noexcept nogil:
    """Drop the first `length` bytes; an empty buffer holds no memory, so that an idle connection costs none."""
    buffer.start += length
    if buffer.start >= buffer.end:
        recv_buffer_free(buffer)


cdef void recv_buffer_free(RecvBuffer* buffer) noexcept nogil:
    if buffer.held != NULL:
        buffer.held[0] -= buffer.capacity
    memory_give(buffer.bytes)
    memset(buffer, 0, sizeof(RecvBuffer))
