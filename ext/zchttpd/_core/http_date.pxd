# The Date field value, formatted once a second.

from libc.stdint cimport int64_t

cdef enum:
    STAMP_LENGTH = 29

cdef struct Stamp:
    int64_t second      # Unix time that `text` shows
    char[32] text       # IMF-fixdate, RFC 9110 section 5.6.7, not terminated

cdef void stamp_set(Stamp* stamp, int64_t second) noexcept nogil
