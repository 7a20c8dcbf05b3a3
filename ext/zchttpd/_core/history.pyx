"""Which version of each plain path was given last: what is older than that must not be given under its own time.

The handler has the whole story (`files/history.py`); this is what it and the machine tell each other. Paths are known by
keyed hashes alone: two that are alike cost an answer of the handler.
"""

from libc.errno cimport ENOMEM
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from zchttpd._core.memory cimport memory_give, memory_take_zeroed


cdef int history_open(History* history, uint32_t row_count) noexcept nogil:
    """Room for about `row_count` paths. Returns 0 or -ENOMEM."""
    memset(history, 0, sizeof(History))
    history.set_count = 1
    while history.set_count * GIVEN_WAYS < row_count:
        history.set_count *= 2
    history.rows = <Given*>memory_take_zeroed(<size_t>history.set_count * GIVEN_WAYS, sizeof(Given))
    return -ENOMEM if history.rows == NULL else 0


cdef void history_close(History* history) noexcept nogil:
    memory_give(history.rows)
    memset(history, 0, sizeof(History))


cdef Given* history_find(History* history, uint64_t path) noexcept nogil:
    """What was given of a path, by its hash; NULL when nothing is known."""
    cdef Given* row = &history.rows[(<uint32_t>path & (history.set_count - 1)) * GIVEN_WAYS]
    cdef uint32_t i
    for i in range(GIVEN_WAYS):
        if row[i].path == path | 1:
            row[i].used = 1
            return &row[i]
    return NULL


cdef void history_give(History* history, uint64_t path, const FileVersion* version, bint plain) noexcept nogil:
    """It is given now, `plain`: with a tag and a date of its modification time."""
    cdef Given* first = &history.rows[(<uint32_t>path & (history.set_count - 1)) * GIVEN_WAYS]
    cdef Given* chosen = history_find(history, path)
    cdef uint32_t i
    for i in range(GIVEN_WAYS if chosen == NULL else 0):
        if first[i].path == 0:
            chosen = &first[i]
            break
    while chosen == NULL:
        history.hand = (history.hand + 1) % GIVEN_WAYS
        if first[history.hand].used:
            first[history.hand].used = 0
        else:
            chosen = &first[history.hand]
    chosen.path = path | 1
    chosen.version = version[0]
    chosen.plain = plain
    chosen.used = 1
