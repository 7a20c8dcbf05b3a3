# Connections that stand in line: a slot is in one line at most, joins at the end, and may leave from anywhere.

from libc.stdint cimport uint8_t, uint32_t

cdef enum:              # a line
    LINE_NONE = 0
    LINE_WINDOW = 1     # waits for a window of the pool
    LINE_NEW = 2        # waits for its first request
    LINE_ONCE = 3       # waits for a request, and has had one answer
    LINE_IN_USE = 4     # waits for a request, and has had several
    LINE_REFUSED = 5    # turned away, and told so
    LINE_COUNT = 6

cdef struct Lines:
    uint32_t* next      # by slot
    uint32_t* previous
    uint8_t* line       # that the slot is in
    uint32_t[6] first   # by line; NO_SLOT when nobody is in it
    uint32_t[6] last

cdef int lines_open(Lines* lines, uint32_t capacity) noexcept nogil
cdef void lines_close(Lines* lines) noexcept nogil
cdef void lines_join(Lines* lines, uint32_t slot, uint8_t line) noexcept nogil
cdef void lines_leave(Lines* lines, uint32_t slot) noexcept nogil
