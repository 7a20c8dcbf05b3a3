"""Received bytes that wait, and where a head ends in them.

The framer only finds the end of the head (RFC 9112 section 2.1: the first empty line). What the head says is h11's to
judge, and h11 must agree about where it ended.
"""

from libc.errno cimport ENOMEM
from libc.stdint cimport uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memchr, memcpy, memmove, memset


cdef int frame(Framer* framer, const char* bytes, uint32_t length, uint32_t line_max, uint32_t head_max,
               uint32_t* head_length) noexcept nogil:
    """Look for the end of the head that begins at bytes[0], going on where the last call stopped.

    Returns a Frame; with FRAME_HEAD and FRAME_BROKEN `head_length` is the number of bytes up to and with the LF that
    decided. The framer is reset unless more bytes are needed.
    """
    cdef const char* found
    cdef uint32_t at
    while framer.scanned < length:
        found = <const char*>memchr(bytes + framer.scanned, b'\n', length - framer.scanned)
        if found == NULL:
            framer.scanned = length
            break
        at = <uint32_t>(found - bytes)
        framer.scanned = at + 1
        # The bounds come first: chopped input exceeds them before its LF is there.
        if framer.lines == 0 and at + 1 > line_max:
            memset(framer, 0, sizeof(Framer))
            return FRAME_LINE_LONG
        if at + 1 > head_max:
            memset(framer, 0, sizeof(Framer))
            return FRAME_HEAD_LONG
        if at == framer.line or bytes[at - 1] != b'\r':
            head_length[0] = at + 1
            memset(framer, 0, sizeof(Framer))
            return FRAME_BROKEN
        if at == framer.line + 1:
            head_length[0] = at + 1
            memset(framer, 0, sizeof(Framer))
            return FRAME_HEAD
        framer.lines = 1
        framer.line = at + 1
    if framer.lines == 0 and length > line_max:
        memset(framer, 0, sizeof(Framer))
        return FRAME_LINE_LONG
    if length > head_max:
        memset(framer, 0, sizeof(Framer))
        return FRAME_HEAD_LONG
    return FRAME_MORE


cdef int inbox_append(Inbox* inbox, const char* bytes, uint32_t length) noexcept nogil:
    """Copy `length` bytes behind what waits. Returns 0 or -ENOMEM, then the inbox is as it was."""
    cdef uint32_t waiting = inbox.end - inbox.start
    cdef uint32_t capacity
    cdef char* grown
    if inbox.end + length > inbox.capacity:
        if inbox.start > 0:
            memmove(inbox.bytes, inbox.bytes + inbox.start, waiting)
            inbox.start = 0
            inbox.end = waiting
        if waiting + length > inbox.capacity:
            capacity = max(<uint32_t>1024, inbox.capacity)
            while capacity < waiting + length:
                capacity *= 2
            grown = <char*>realloc(inbox.bytes, capacity)
            if grown == NULL:
                return -ENOMEM
            inbox.bytes = grown
            inbox.capacity = capacity
    memcpy(inbox.bytes + inbox.end, bytes, length)
    inbox.end += length
    return 0


cdef void inbox_consume(Inbox* inbox, uint32_t length) noexcept nogil:
    """Drop the first `length` bytes; an empty inbox holds no memory, so that an idle connection costs none."""
    inbox.start += length
    if inbox.start >= inbox.end:
        inbox_free(inbox)


cdef void inbox_free(Inbox* inbox) noexcept nogil:
    free(inbox.bytes)
    memset(inbox, 0, sizeof(Inbox))
