"""What new paths are answered from, and which patterns of the options a path matches."""

from libc.errno cimport ENOMEM
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, memset, strlen
from posix.unistd cimport close

from zchttpd._core.history cimport history_close, history_open
from zchttpd._core.memory cimport memory_give, memory_take
from zchttpd._core.templates cimport HEAD_ROOM, templates_close, templates_open


cdef int site_open(Site* site, const SiteLimits* limits, const char* patterns, uint32_t length) noexcept nogil:
    """Without a root yet. `patterns`: `length` bytes of terminated ones, PATTERNS_MAX at most. Returns 0 or -ENOMEM, then
    nothing is held."""
    cdef uint32_t i
    memset(site, 0, sizeof(Site))
    site.open = 1
    site.root = -1
    site.limits = limits[0]
    site.patterns = <char*>memory_take(length)
    site.scratch = <char*>memory_take(HEAD_ROOM + limits.content_max)
    if (site.patterns == NULL or site.scratch == NULL or templates_open(&site.templates) < 0
            or history_open(&site.history, limits.given_max) < 0):
        site_close(site)
        return -ENOMEM
    memcpy(site.patterns, patterns, length)
    for i in range(length):
        site.pattern_count += patterns[i] == 0
    return 0


cdef void site_close(Site* site) noexcept nogil:
    if site.open and site.root >= 0:
        close(site.root)
    memory_give(site.root_path.path)
    memory_give(site.patterns)
    memory_give(site.scratch)
    templates_close(&site.templates)
    history_close(&site.history)
    memset(site, 0, sizeof(Site))


cdef int site_turn_to(Site* site, const char* path, uint32_t length, uint64_t dev, uint64_t ino) noexcept nogil:
    """Remember where the root is. Returns 0 or -ENOMEM."""
    cdef char* copy = <char*>memory_take(length + 1)
    if copy == NULL:
        return -ENOMEM
    memcpy(copy, path, length)
    copy[length] = 0
    memory_give(site.root_path.path)
    site.root_path.path = copy
    site.root_path.dev = dev
    site.root_path.ino = ino
    site.root_left = 0
    site.root_seen_us = 0
    return 0


cdef void site_trust(Site* site, uint64_t device) noexcept nogil:
    """The sizes of its files are what reading them gives. Of more than DEVICES_MAX the handler answers."""
    if not site_trusts(site, device) and site.device_count < DEVICES_MAX:
        site.devices[site.device_count] = device
        site.device_count += 1


cdef bint site_trusts(const Site* site, uint64_t device) noexcept nogil:
    cdef uint32_t i
    for i in range(site.device_count):
        if site.devices[i] == device:
            return True
    return False


cdef uint64_t site_rules(const Site* site, const char* path, uint32_t length) noexcept nogil:
    """Which patterns a path, with its first slash, matches: a bit each."""
    cdef const char* pattern = site.patterns
    cdef uint64_t rules = 0
    cdef uint32_t i
    for i in range(site.pattern_count):
        rules |= <uint64_t>site_matches(pattern, path, length) << i
        pattern += strlen(pattern) + 1
    return rules


cdef bint site_matches(const char* pattern, const char* path, uint32_t length) noexcept nogil:
    """Whether a terminated pattern of `*` and `?` matches the whole of a path, as fnmatch(3) has it."""
    cdef const char* behind_star = NULL
    cdef uint32_t star_at = 0
    cdef uint32_t at = 0
    while at < length:
        if pattern[0] == b'*':
            pattern += 1
            behind_star = pattern
            star_at = at
        elif pattern[0] != 0 and (pattern[0] == b'?' or pattern[0] == path[at]):
            pattern += 1
            at += 1
        elif behind_star != NULL:
            star_at += 1
            at = star_at
            pattern = behind_star
        else:
            return False
    while pattern[0] == b'*':
        pattern += 1
    return pattern[0] == 0
