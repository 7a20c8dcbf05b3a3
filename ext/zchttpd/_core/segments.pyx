"""Segments from Python's list of them, checked: none may reach beyond its bytes."""

from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc

from zchttpd._core.plans cimport SEGMENT_LITERAL, SEGMENT_MAPPED, SEGMENT_STREAMED, Segment

KINDS = {"literal": SEGMENT_LITERAL, "mapped": SEGMENT_MAPPED, "streamed": SEGMENT_STREAMED}


cdef Segment* segments_of(list listed, uint64_t image, uint64_t mapped, uint64_t streamed) except NULL:
    """Rows for (kind, offset, length), for the caller to free. There are so many bytes of each kind, 0 where there is no
    such source. Raises ValueError for one that lies outside, or is empty, and MemoryError."""
    cdef Segment* rows = <Segment*>malloc(len(listed) * sizeof(Segment))
    cdef uint64_t bound
    cdef Py_ssize_t i
    if rows == NULL:
        raise MemoryError
    try:
        for i in range(len(listed)):
            rows[i].kind = KINDS[listed[i][0]]
            rows[i].offset = listed[i][1]
            rows[i].length = listed[i][2]
            if rows[i].kind == SEGMENT_LITERAL:
                bound = image
            else:
                bound = mapped if rows[i].kind == SEGMENT_MAPPED else streamed
            if rows[i].length == 0 or rows[i].offset > bound or rows[i].length > bound - rows[i].offset:
                raise ValueError("a segment lies outside its bytes")
    except BaseException:
        free(rows)
        raise
    return rows
