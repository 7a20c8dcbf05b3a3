"""Lines of slots, first come first served: to join and to leave takes the same time however long they are."""

from libc.errno cimport ENOMEM
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from zchttpd._core.check cimport zc_assert
from zchttpd._core.token cimport NO_SLOT


cdef int lines_open(Lines* lines, uint32_t capacity) noexcept nogil:
    """Lines for slots below `capacity`. Returns 0 or -ENOMEM, then nothing is held."""
    memset(lines, 0, sizeof(Lines))
    memset(lines.first, 0xFF, sizeof(lines.first))
    memset(lines.last, 0xFF, sizeof(lines.last))
    lines.next = <uint32_t*>calloc(capacity, sizeof(uint32_t))
    lines.previous = <uint32_t*>calloc(capacity, sizeof(uint32_t))
    lines.line = <uint8_t*>calloc(capacity, sizeof(uint8_t))
    if lines.next == NULL or lines.previous == NULL or lines.line == NULL:
        lines_close(lines)
        return -ENOMEM
    return 0


cdef void lines_close(Lines* lines) noexcept nogil:
    free(lines.next)
    free(lines.previous)
    free(lines.line)
    memset(lines, 0, sizeof(Lines))


cdef void lines_join(Lines* lines, uint32_t slot, uint8_t line) noexcept nogil:
    """Put `slot`, which is in no line, at the end of one."""
    cdef uint32_t last = lines.last[line]
    zc_assert(lines.line[slot] == LINE_NONE and line != LINE_NONE)
    lines.line[slot] = line
    lines.previous[slot] = last
    lines.next[slot] = NO_SLOT
    lines.last[line] = slot
    if last == NO_SLOT:
        lines.first[line] = slot
    else:
        lines.next[last] = slot


cdef void lines_leave(Lines* lines, uint32_t slot) noexcept nogil:
    """Take `slot` out of its line, if it is in one."""
    cdef uint8_t line = lines.line[slot]
    cdef uint32_t before
    cdef uint32_t behind
    if line == LINE_NONE:
        return
    before = lines.previous[slot]
    behind = lines.next[slot]
    if before == NO_SLOT:
        lines.first[line] = behind
    else:
        lines.next[before] = behind
    if behind == NO_SLOT:
        lines.last[line] = before
    else:
        lines.previous[behind] = before
    lines.line[slot] = LINE_NONE
