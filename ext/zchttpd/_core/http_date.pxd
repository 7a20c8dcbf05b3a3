# The Date field value, formatted once a second.

from libc.stdint cimport int64_t

cdef enum:
    HTTP_DATE_LENGTH = 29

cdef struct HttpDate:
    int64_t second      # Unix time that `text` shows
    char[32] text       # IMF-fixdate, RFC 9110 section 5.6.7, not terminated

cdef void http_date_set(HttpDate* date, int64_t second) noexcept nogil
