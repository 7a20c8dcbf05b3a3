# Which version of each plain path was given last, by whom ever: a bounded table.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from zchttpd._core.file_version cimport FileVersion

cdef struct Given:
    uint64_t path           # keyed hash of the path, 0 when the row is free
    FileVersion version
    uint8_t plain           # with a tag and a date of its modification time
    uint8_t used            # since the clock last came by

cdef struct History:
    Given* rows             # sets of GIVEN_WAYS
    uint32_t set_count      # a power of two
    uint8_t hand            # clock hand within a set

cdef enum:
    GIVEN_WAYS = 8

cdef int history_open(History* history, uint32_t row_count) noexcept nogil
cdef void history_close(History* history) noexcept nogil
cdef Given* history_find(History* history, uint64_t path) noexcept nogil
cdef void history_give(History* history, uint64_t path, const FileVersion* version, bint plain) noexcept nogil
