"""The cache key of a head: its request line and the fields that somebody reads, byte for byte.

The twin of the one in `zchttpd.http`, which says why this is sound. A cookie that is new with every request, or what a proxy
adds, does not make a new head of it.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memchr, memcmp, memcpy

cdef extern from "zc_field.h" nogil:
    enum:
        ZC_VALUE
        ZC_TOKEN
    const uint8_t* zc_field_class

cdef enum:
    LINES_MAX = 102     # the request line, FIELDS_MAX of http/request.py fields, the empty line


cdef uint32_t cache_key(const char* head, uint32_t length, char* out) noexcept nogil:
    """Write the cache key of a framed head to `out`, which has room for CACHE_KEY_SIZE_MAX bytes.

    Returns its length, or 0 for a head that is not to be remembered: too many fields, or too long a key.
    """
    cdef uint32_t at = 0
    cdef uint32_t kept = 0
    cdef uint32_t lines = 0
    cdef uint32_t size
    cdef const char* found
    while at < length:
        found = <const char*>memchr(head + at, b'\n', length - at)
        size = length - at if found == NULL else <uint32_t>(found - (head + at)) + 1
        lines += 1
        if lines == 1 or not _unread(<const uint8_t*>head + at, size):
            if kept + size > CACHE_KEY_SIZE_MAX:
                return 0
            memcpy(out + kept, head + at, size)
            kept += size
        at += size
    return kept if lines <= LINES_MAX else 0


cdef bint cache_key_stands_alone(const char* key, uint32_t length) noexcept nogil:
    """Whether a cache key is that of a plain GET or HEAD of HTTP/1.1 that has no content, and says nothing of its
    connection: what follows it is the next request, whatever it is answered. `length` 0 is of none."""
    cdef uint32_t at = 0
    cdef uint32_t size, name
    while at < length:
        # Each line of a key ends with a line feed.
        size = <uint32_t>(<const char*>memchr(key + at, b'\n', length - at) - (key + at)) + 1
        if at == 0:
            if not (size > 15 and (memcmp(key, b"GET ", 4) == 0 or memcmp(key, b"HEAD ", 5) == 0)
                    and memcmp(key + size - 11, b" HTTP/1.1\r\n", 11) == 0):
                return False
        elif size > 2:
            name = 0
            while name < size and zc_field_class[<uint8_t>key[at + name]] & ZC_TOKEN:
                name += 1
            if key[at + name] != b':' or key[at + size - 2] != b'\r' or not _read(<const uint8_t*>key + at, name):
                return False
            if _frames(<const uint8_t*>key + at, name):
                return False
        at += size
    return length > 0


cdef bint _frames(const uint8_t* name, uint32_t length) noexcept nogil:
    """Whether the field says what follows the head, or what becomes of the connection."""
    return (length == 10 and _same(name, b"connection", 10) or length == 14 and _same(name, b"content-length", 14)
            or length == 17 and _same(name, b"transfer-encoding", 17) or length == 6 and _same(name, b"expect", 6)
            or length == 7 and _same(name, b"upgrade", 7))


cdef bint _unread(const uint8_t* line, uint32_t size) noexcept nogil:
    """Whether this is a valid field line of a name that nobody reads. What is not valid stays, to be refused."""
    cdef uint32_t name = 0
    cdef uint32_t i
    cdef uint8_t common = ZC_VALUE
    while name < size and zc_field_class[line[name]] & ZC_TOKEN:
        name += 1
    if name == 0 or size < name + 3 or line[name] != b':' or line[size - 2] != b'\r' or line[size - 1] != b'\n':
        return False
    for i in range(name + 1, size - 2):
        common &= zc_field_class[line[i]]
    return common & ZC_VALUE and not _read(line, name)


cdef bint _read(const uint8_t* name, uint32_t length) noexcept nogil:
    """Whether Python reads the field (READ_FIELDS of http/request.py)."""
    if length == 4:
        return _same(name, b"host", 4)
    if length == 5:
        return _same(name, b"range", 5)
    if length == 6:
        return _same(name, b"accept", 6) or _same(name, b"expect", 6)
    if length == 7:
        return _same(name, b"upgrade", 7)
    if length == 8:
        return _same(name, b"if-match", 8) or _same(name, b"if-range", 8)
    if length == 10:
        return _same(name, b"connection", 10)
    if length == 13:
        return _same(name, b"if-none-match", 13)
    if length == 14:
        return _same(name, b"content-length", 14) or _same(name, b"sec-fetch-mode", 14)
    if length == 15:
        return _same(name, b"accept-encoding", 15)
    if length == 16:
        return _same(name, b"want-repr-digest", 16)
    if length == 17:
        return _same(name, b"if-modified-since", 17) or _same(name, b"transfer-encoding", 17)
    return length == 19 and (_same(name, b"if-unmodified-since", 19) or _same(name, b"want-content-digest", 19))


cdef inline bint _same(const uint8_t* name, const char* lower, uint32_t length) noexcept nogil:
    """Whether a token is this name, whatever its case. No other byte of a token becomes a letter or "-" by the bit."""
    cdef uint32_t i
    for i in range(length):
        if name[i] | 0x20 != lower[i]:
            return False
    return True
