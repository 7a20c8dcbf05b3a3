# What is ready to replay: plans, the entries whose freshness they depend on, and the table from cache keys to plans.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from zchttpd._core.file_version cimport FileVersion
from zchttpd._core.slab cimport Slab
from zchttpd._core.stats cimport Stats

cdef enum SegmentKind:
    SEGMENT_LITERAL = 1     # offset in the plan's image
    SEGMENT_MAPPED = 2      # offset in the plan's mapping
    SEGMENT_STREAMED = 3    # offset in the plan's source file

cdef struct Segment:
    uint64_t offset         # bytes
    uint64_t length         # bytes, > 0
    uint8_t kind            # SegmentKind

cdef struct Entry:
    int64_t check_at_ms     # valid until then (monotonic)
    int64_t used_at_ms      # last replay
    uint32_t first_plan     # list of its plans
    uint32_t uses           # replays, of which half are forgotten each period
    uint32_t period         # when some last were, in periods
    FileVersion version     # of the file at the path that its cache keys ask for, which has nothing beside it
    uint8_t known           # so the machine can look at it again; else that is not known
    uint8_t own             # the machine has made it, for one plan: it goes with that

cdef struct Plan:
    char* image             # literal bytes: the head, and small bodies behind it
    Segment* segments       # what to send, in order
    uint32_t segment_count
    uint32_t image_length   # bytes
    int32_t date_at         # offset of the Date value in the image, -1 for none
    int64_t image_second    # Unix time that the image's Date shows
    uint32_t image_held     # responses under way that send from the image: it must not change under them
    uint32_t mapping        # slot it holds a reference to, or NO_SLOT
    uint32_t source         # slot it holds a reference to, or NO_SLOT
    uint32_t entry          # slot of the entry it depends on, or NO_SLOT
    uint32_t next_of_entry
    uint32_t previous_of_entry
    uint32_t rows           # rows of the table that lead here
    uint32_t active         # connections that replay it
    uint32_t head_length    # bytes of the response head at the start of the image
    uint16_t status
    uint8_t latency_row     # where the time that it takes is counted
    uint8_t kept            # the handler still has its number
    uint8_t dead            # its entry is gone: no new replay
    uint8_t loose           # only replays under way lead to it: its image counts as theirs
    uint8_t keep_alive
    uint8_t linger          # unread request bytes may follow: read and discard before closing
    uint8_t more            # the response goes on with another plan, which the handler is asked for

cdef struct Row:
    char* cache_key         # its bytes, whole; NULL when the row is free
    uint64_t hash
    uint32_t length
    uint32_t plan           # slot
    uint32_t edition        # changes with the row's contents
    uint8_t used            # since the clock last came by

cdef struct PlanTable:
    Slab plans              # of Plan
    Slab entries            # of Entry
    Row* rows               # sets of ROW_WAYS
    uint32_t set_count      # a power of two
    uint8_t hand            # clock hand within a set
    uint16_t* doorkeeper    # tags of cache keys seen once
    uint64_t[2] key         # of the hash, random per process
    uint64_t image_bytes    # held by images
    uint64_t part_bytes     # of these, by those of plans that cache keys lead to and that answer with parts of files
    uint64_t loose_bytes    # and by those of loose plans
    uint64_t own_bytes      # and by those of the machine's own
    uint32_t own_hand       # row at which the search for one of its own that may go begins
    Stats* stats

cdef enum:
    ROW_WAYS = 8
    NO_ROW = 0xFFFFFFFF
    PARTIAL_CONTENT = 206
    USE_PERIOD_SHIFT = 16   # of milliseconds: about a minute

cdef int plans_open(PlanTable* table, uint32_t row_count, uint32_t entry_count, uint64_t key0, uint64_t key1,
                    Stats* stats) noexcept nogil
cdef void plans_close(PlanTable* table) noexcept nogil
cdef Plan* plan_at(PlanTable* table, uint32_t slot) noexcept nogil
cdef Entry* entry_at(PlanTable* table, uint32_t slot) noexcept nogil
cdef void entry_age(Entry* entry, uint32_t period) noexcept nogil
cdef uint64_t cache_key_hash(PlanTable* table, const char* cache_key, uint32_t length) noexcept nogil
cdef uint32_t plans_find(PlanTable* table, const char* cache_key, uint32_t length) noexcept nogil
cdef uint32_t plans_admit(PlanTable* table, const char* cache_key, uint32_t length, uint32_t plan,
                          bint eager, uint32_t* unrowed) noexcept nogil
cdef uint32_t plans_drop_row(PlanTable* table, uint32_t row) noexcept nogil
cdef uint32_t entry_make(PlanTable* table, int64_t check_at_ms, int64_t now_ms) noexcept nogil
cdef uint32_t plan_make(PlanTable* table, uint32_t entry, const char* image, uint32_t image_length, int32_t date_at,
                        const Segment* segments, uint32_t segment_count) noexcept nogil
cdef void plan_describe(Plan* plan, uint16_t status, uint32_t head_length, bint keep_alive, bint linger,
                        uint64_t more) noexcept nogil
cdef void plan_loosen(PlanTable* table, uint32_t slot) noexcept nogil
cdef void plan_free_image(PlanTable* table, uint32_t slot) noexcept nogil
cdef void plan_unlink(PlanTable* table, uint32_t slot) noexcept nogil
cdef void plan_free(PlanTable* table, uint32_t slot) noexcept nogil


cdef inline void entry_use(Entry* entry, int64_t now_ms) noexcept nogil:
    """A plan of it is replayed now."""
    cdef uint32_t period = <uint32_t>(now_ms >> USE_PERIOD_SHIFT)
    entry.used_at_ms = now_ms
    if entry.period != period:
        entry_age(entry, period)
    entry.uses += 1
