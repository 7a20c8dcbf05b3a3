# What new paths are answered from: the root, the templates, what was given, and how the options tell paths apart.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from zchttpd._core.history cimport History
from zchttpd._core.look cimport RootPath
from zchttpd._core.templates cimport Templates

cdef enum:
    PATTERNS_MAX = 64
    DEVICES_MAX = 8

cdef struct SiteLimits:
    uint64_t memory         # bytes that files in memory may take, these among them
    uint64_t own_bytes_max  # of what the machine remembers by itself
    uint32_t content_max    # bytes of a file; of a larger one the handler answers
    uint32_t revalidate_ms
    uint32_t given_max      # paths of which it is known what was given

cdef struct Site:
    SiteLimits limits
    uint8_t open            # else the handler answers all
    uint8_t siblings        # whether there may be compressed siblings
    int32_t root            # descriptor, owned
    RootPath root_path
    int64_t root_seen_us    # batch in which that was last looked at
    uint8_t root_left       # it leads elsewhere: until the handler has turned to that
    uint64_t[8] devices     # file systems that tell how long their files are
    uint32_t device_count
    char* patterns          # terminated, one behind the other
    uint32_t pattern_count
    char* scratch           # HEAD_ROOM bytes, then content_max
    Templates templates
    History history

cdef int site_open(Site* site, const SiteLimits* limits, const char* patterns, uint32_t length) noexcept nogil
cdef void site_close(Site* site) noexcept nogil
cdef int site_turn_to(Site* site, const char* path, uint32_t length, uint64_t dev, uint64_t ino) noexcept nogil
cdef void site_trust(Site* site, uint64_t device) noexcept nogil
cdef bint site_trusts(const Site* site, uint64_t device) noexcept nogil
cdef uint64_t site_rules(const Site* site, const char* path, uint32_t length) noexcept nogil
cdef bint site_matches(const char* pattern, const char* path, uint32_t length) noexcept nogil
