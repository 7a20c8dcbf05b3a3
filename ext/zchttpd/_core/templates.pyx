"""Response templates: the head of an answer with a whole file, but for its length, its tag and its date.

Python makes them (`handler/templates.py`), of answers that h11 and the stricter checks have seen. Two heads of one shape,
for two paths of which the options say the same, differ in nothing else.
"""

from libc.errno cimport ENOMEM
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from zchttpd._core.file_version cimport SECOND_NS
from zchttpd._core.http_date cimport HTTP_DATE_LENGTH, HttpDate, http_date_set
from zchttpd._core.memory cimport memory_give, memory_take, memory_take_zeroed
from zchttpd._core.plans cimport cache_key_hash

cdef enum:
    TEMPLATE_SETS = 64
    TEMPLATE_WAYS = 8
    HOLES_SIZE_MAX = 160

cdef const char* DIGITS = b"0123456789abcdef"


cdef int templates_open(Templates* templates) noexcept nogil:
    """Returns 0 or -ENOMEM."""
    templates.hand = 0
    templates.rows = <Template*>memory_take_zeroed(TEMPLATE_SETS * TEMPLATE_WAYS, sizeof(Template))
    return -ENOMEM if templates.rows == NULL else 0


cdef void templates_close(Templates* templates) noexcept nogil:
    cdef uint32_t i
    for i in range(TEMPLATE_SETS * TEMPLATE_WAYS if templates.rows != NULL else 0):
        memory_give(templates.rows[i].memory)
    memory_give(templates.rows)
    templates.rows = NULL


cdef uint64_t _hash(PlanTable* table, const Kind* kind) noexcept nogil:
    cdef uint64_t extension = cache_key_hash(table, kind.extension, kind.extension_length)
    return cache_key_hash(table, kind.shape, kind.shape_length) + 31 * (extension + 31 * kind.rules)


cdef bint _is_of(const Template* template, uint64_t hash, const Kind* kind) noexcept nogil:
    return (template.memory != NULL and template.hash == hash and template.rules == kind.rules
            and template.shape_length == kind.shape_length and template.extension_length == kind.extension_length
            and memcmp(template.memory, kind.shape, kind.shape_length) == 0
            and memcmp(template.memory + kind.shape_length, kind.extension, kind.extension_length) == 0)


cdef Template* templates_find(Templates* templates, PlanTable* table, const Kind* kind) noexcept nogil:
    """The template of a kind, or NULL."""
    cdef uint64_t hash = _hash(table, kind)
    cdef Template* row = &templates.rows[(hash % TEMPLATE_SETS) * TEMPLATE_WAYS]
    cdef uint32_t i
    for i in range(TEMPLATE_WAYS):
        if _is_of(&row[i], hash, kind):
            row[i].used = 1
            return &row[i]
    return NULL


cdef Template* templates_add(Templates* templates, PlanTable* table, const Kind* kind, const char* before,
                             uint32_t before_length, const char* behind, uint32_t behind_length) noexcept nogil:
    """A template of a kind that has none; the rest of it is the caller's to set. NULL when there is no memory, or it is too
    long."""
    cdef uint64_t hash = _hash(table, kind)
    cdef Template* first = &templates.rows[(hash % TEMPLATE_SETS) * TEMPLATE_WAYS]
    cdef Template* chosen = NULL
    cdef uint32_t i
    cdef char* memory
    if before_length + behind_length + HOLES_SIZE_MAX > HEAD_ROOM:
        return NULL
    memory = <char*>memory_take(kind.shape_length + kind.extension_length + before_length + behind_length)
    if memory == NULL:
        return NULL
    for i in range(TEMPLATE_WAYS):
        if first[i].memory == NULL:
            chosen = &first[i]
            break
    while chosen == NULL:
        templates.hand = (templates.hand + 1) % TEMPLATE_WAYS
        if first[templates.hand].used:
            first[templates.hand].used = 0
        else:
            chosen = &first[templates.hand]
    memory_give(chosen.memory)
    memset(chosen, 0, sizeof(Template))
    memcpy(memory, kind.shape, kind.shape_length)
    memcpy(memory + kind.shape_length, kind.extension, kind.extension_length)
    memcpy(memory + kind.shape_length + kind.extension_length, before, before_length)
    memcpy(memory + kind.shape_length + kind.extension_length + before_length, behind, behind_length)
    chosen.memory = memory
    chosen.hash = hash
    chosen.rules = kind.rules
    chosen.shape_length = kind.shape_length
    chosen.extension_length = kind.extension_length
    chosen.before_length = before_length
    chosen.behind_length = behind_length
    chosen.used = 1
    return chosen


cdef inline char* _text(char* at, const char* text, uint32_t length) noexcept nogil:
    memcpy(at, text, length)
    return at + length


cdef char* _number(char* at, uint64_t number, uint32_t base) noexcept nogil:
    cdef char[20] digits
    cdef uint32_t count = 0
    while number or not count:
        digits[count] = DIGITS[number % base]
        number //= base
        count += 1
    while count:
        count -= 1
        at[0] = digits[count]
        at += 1
    return at


cdef uint32_t template_fill(const Template* template, const FileVersion* version, char* end) noexcept nogil:
    """Write the head of an answer with this version of a file so that it ends at `end`, before which there are HEAD_ROOM
    bytes. Returns its length."""
    cdef const char* before = template.memory + template.shape_length + template.extension_length
    cdef char[HOLES_SIZE_MAX] holes
    cdef HttpDate date
    cdef uint32_t length
    cdef char* at = _text(holes, b"Content-Length: ", 16)
    at = _number(at, version.size, 10)
    at = _text(at, b'\r\nETag: "', 9)
    at = _number(at, <uint64_t>version.mtime_ns, 16)
    at = _text(at, b"-", 1)
    at = _number(at, version.size, 16)
    at = _text(at, b'"\r\nLast-Modified: ', 18)
    memset(&date, 0, sizeof(date))
    http_date_set(&date, version.mtime_ns // SECOND_NS)
    at = _text(at, date.text, HTTP_DATE_LENGTH)
    at = _text(at, b"\r\n", 2)
    length = <uint32_t>(at - holes)
    end -= template.before_length + length + template.behind_length
    at = _text(end, before, template.before_length)
    at = _text(at, holes, length)
    _text(at, before + template.before_length, template.behind_length)
    return template.before_length + length + template.behind_length
