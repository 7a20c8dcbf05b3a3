"""Which cache keys ask for a plain path, as `handler/templates.py` has it: what is not plain is left to Python."""

from libc.stdint cimport uint32_t
from libc.string cimport memchr, memcmp


cdef inline bint _plain(char byte, bint first) noexcept nogil:
    return (b'a' <= byte <= b'z' or b'A' <= byte <= b'Z' or b'0' <= byte <= b'9' or byte == b'_' or byte == b'-'
            or (byte == b'.' and not first))


cdef inline bint _ends_with(const char* path, uint32_t length, const char* end, uint32_t size) noexcept nogil:
    return length >= size and memcmp(path + length - size, end, size) == 0


cdef bint plain_name(const char* path, uint32_t length, uint32_t* extension) noexcept nogil:
    """Whether a path beneath the root is plain. Those that are named like compressed siblings are not."""
    cdef uint32_t dot = 0
    cdef uint32_t i
    cdef bint first = True
    if not 0 < length <= PATH_SIZE_MAX:
        return False
    for i in range(length):
        if path[i] == b'/' and not first:
            first = True
            dot = 0
        elif _plain(path[i], first):
            first = False
            if path[i] == b'.':
                dot = i + 1
        else:
            return False
    extension[0] = length - dot if dot else 0
    return not first and not (_ends_with(path, length, b".br", 3) or _ends_with(path, length, b".zst", 4)
                              or _ends_with(path, length, b".gz", 3))


cdef bint plain_path(const char* cache_key, uint32_t length, PlainPath* found) noexcept nogil:
    """Whether the cache key is that of a GET or HEAD of a plain path, and where that is."""
    cdef const char* end
    found.get = length > 5 and memcmp(cache_key, b"GET /", 5) == 0
    found.begin = 5 if found.get else 6
    if not found.get and (length <= 6 or memcmp(cache_key, b"HEAD /", 6) != 0):
        return False
    end = <const char*>memchr(cache_key + found.begin, b' ', length - found.begin)
    if end == NULL:
        return False
    found.length = <uint32_t>(end - cache_key) - found.begin
    if length - found.begin - found.length < 8 or memcmp(end, b" HTTP/1.", 8) != 0:
        return False
    return plain_name(cache_key + found.begin, found.length, &found.extension)
