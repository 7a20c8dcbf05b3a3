"""Plans and the bounded table from the cache key of a head to its plan.

A row is found by a keyed hash and believed only when all bytes of the cache key are equal. The table is set-associative:
a collision evicts, it never makes a longer search. To push another out, a key must be seen for the second time, so that
those that never come back cannot push out those that do.
"""

from libc.errno cimport ENOMEM
from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from zchttpd._core.check cimport zc_assert
from zchttpd._core.memory cimport memory_give, memory_take, memory_take_zeroed
from zchttpd._core.slab cimport slab_close, slab_give, slab_open, slab_row, slab_take
from zchttpd._core.stats cimport stats_latency_row
from zchttpd._core.token cimport NO_SLOT

cdef enum:
    DOORKEEPER_CELLS = 1 << 16


cdef int plans_open(PlanTable* table, uint32_t row_count, uint32_t entry_count, uint64_t key0, uint64_t key1,
                    Stats* stats) noexcept nogil:
    """Room for about `row_count` cache keys and `entry_count` entries. Returns 0 or -ENOMEM, then nothing is held."""
    memset(table, 0, sizeof(PlanTable))
    table.set_count = 1
    while table.set_count * ROW_WAYS < row_count:
        table.set_count *= 2
    table.key[0] = key0
    table.key[1] = key1
    table.stats = stats
    table.rows = <Row*>memory_take_zeroed(<size_t>table.set_count * ROW_WAYS, sizeof(Row))
    table.doorkeeper = <uint16_t*>memory_take_zeroed(DOORKEEPER_CELLS, sizeof(uint16_t))
    # A plan may live outside the table: answers that are not remembered, one per connection at most.
    if (table.rows == NULL or table.doorkeeper == NULL
            or slab_open(&table.entries, sizeof(Entry), entry_count) < 0
            or slab_open(&table.plans, sizeof(Plan), table.set_count * ROW_WAYS + entry_count + 65536) < 0):
        plans_close(table)
        return -ENOMEM
    return 0


cdef void plans_close(PlanTable* table) noexcept nogil:
    cdef uint32_t i
    if table.rows != NULL:
        for i in range(table.set_count * ROW_WAYS):
            memory_give(table.rows[i].cache_key)
    if table.plans.rows != NULL:
        for i in range(table.plans.fresh):
            memory_give(plan_at(table, i).image)
            memory_give(plan_at(table, i).segments)
    memory_give(table.rows)
    memory_give(table.doorkeeper)
    slab_close(&table.entries)
    slab_close(&table.plans)
    memset(table, 0, sizeof(PlanTable))


cdef Plan* plan_at(PlanTable* table, uint32_t slot) noexcept nogil:
    return <Plan*>slab_row(&table.plans, slot)


cdef Entry* entry_at(PlanTable* table, uint32_t slot) noexcept nogil:
    return <Entry*>slab_row(&table.entries, slot)


cdef void entry_age(Entry* entry, uint32_t period) noexcept nogil:
    """Forget half of its uses for each period that has passed."""
    cdef uint32_t passed = period - entry.period
    entry.uses = entry.uses >> passed if passed < 32 else 0
    entry.period = period


cdef inline uint64_t _turn(uint64_t word, int bits) noexcept nogil:
    return (word << bits) | (word >> (64 - bits))


cdef uint64_t cache_key_hash(PlanTable* table, const char* cache_key, uint32_t length) noexcept nogil:
    """SipHash-1-3 of the cache key under the table's key: nobody who lacks the key can aim at a set."""
    cdef uint64_t v0 = table.key[0] ^ <uint64_t>0x736f6d6570736575
    cdef uint64_t v1 = table.key[1] ^ <uint64_t>0x646f72616e646f6d
    cdef uint64_t v2 = table.key[0] ^ <uint64_t>0x6c7967656e657261
    cdef uint64_t v3 = table.key[1] ^ <uint64_t>0x7465646279746573
    cdef uint64_t word
    cdef uint32_t words = length // 8
    cdef uint32_t i
    cdef uint32_t rounds = words + 4
    for i in range(rounds):
        word = 0
        if i < words:
            memcpy(&word, cache_key + 8 * i, 8)
        elif i == words:
            memcpy(&word, cache_key + 8 * words, length - 8 * words)
            word |= <uint64_t>length << 56
        elif i == words + 1:
            v2 ^= 0xff
        v3 ^= word
        v0 += v1
        v1 = _turn(v1, 13) ^ v0
        v0 = _turn(v0, 32)
        v2 += v3
        v3 = _turn(v3, 16) ^ v2
        v0 += v3
        v3 = _turn(v3, 21) ^ v0
        v2 += v1
        v1 = _turn(v1, 17) ^ v2
        v2 = _turn(v2, 32)
        v0 ^= word
    return v0 ^ v1 ^ v2 ^ v3


cdef uint32_t plans_find(PlanTable* table, const char* cache_key, uint32_t length) noexcept nogil:
    """The row that holds exactly these bytes, or NO_ROW."""
    cdef uint64_t hash = cache_key_hash(table, cache_key, length)
    cdef uint32_t first = (<uint32_t>hash & (table.set_count - 1)) * ROW_WAYS
    cdef uint32_t i
    cdef Row* row
    for i in range(first, first + ROW_WAYS):
        row = &table.rows[i]
        if (row.cache_key != NULL and row.hash == hash and row.length == length
                and memcmp(row.cache_key, cache_key, length) == 0):
            row.used = 1
            return i
    return NO_ROW


cdef uint32_t plans_admit(PlanTable* table, const char* cache_key, uint32_t length, uint32_t plan,
                          bint eager, uint32_t* unrowed) noexcept nogil:
    """Remember that this cache key leads to `plan`, if it has been seen before; if `eager`, also if that pushes nothing out.

    Returns its row, or NO_ROW when it is not admitted. `unrowed` becomes the slot of the plan that lost a row to it, or
    NO_SLOT; the caller settles that plan.
    """
    cdef uint64_t hash = cache_key_hash(table, cache_key, length)
    cdef uint16_t tag = <uint16_t>(hash >> 48) | 1
    cdef uint16_t* cell = &table.doorkeeper[(hash >> 32) & (DOORKEEPER_CELLS - 1)]
    cdef uint32_t first = (<uint32_t>hash & (table.set_count - 1)) * ROW_WAYS
    cdef uint32_t chosen = NO_ROW
    cdef uint32_t i
    cdef Row* row
    unrowed[0] = NO_SLOT
    for i in range(first, first + ROW_WAYS):
        row = &table.rows[i]
        if row.cache_key == NULL:
            if chosen == NO_ROW:
                chosen = i
        elif row.hash == hash and row.length == length and memcmp(row.cache_key, cache_key, length) == 0:
            chosen = i
            break
    if cell[0] != tag and not (eager and chosen != NO_ROW):
        cell[0] = tag
        table.stats.plans_declined += 1
        return NO_ROW
    while chosen == NO_ROW:
        table.hand = (table.hand + 1) % ROW_WAYS
        if table.rows[first + table.hand].used:
            table.rows[first + table.hand].used = 0
        else:
            chosen = first + table.hand
            table.stats.plans_evicted += 1
    cdef char* copy = <char*>memory_take(length)
    if copy == NULL:
        return NO_ROW
    memcpy(copy, cache_key, length)
    if table.rows[chosen].cache_key != NULL:
        unrowed[0] = plans_drop_row(table, chosen)
    row = &table.rows[chosen]
    row.cache_key = copy
    row.hash = hash
    row.length = length
    row.plan = plan
    row.used = 1
    row.edition += 1
    if plan_at(table, plan).rows == 0 and plan_at(table, plan).status == PARTIAL_CONTENT:
        table.part_bytes += plan_at(table, plan).image_length
    plan_at(table, plan).rows += 1
    table.stats.plans_admitted += 1
    return chosen


cdef uint32_t plans_drop_row(PlanTable* table, uint32_t row_index) noexcept nogil:
    """Forget a row. Returns the slot of the plan that it led to, for the caller to settle."""
    cdef Row* row = &table.rows[row_index]
    zc_assert(row.cache_key != NULL)
    memory_give(row.cache_key)
    row.cache_key = NULL
    row.length = 0
    row.used = 0
    row.edition += 1
    plan_at(table, row.plan).rows -= 1
    if plan_at(table, row.plan).rows == 0 and plan_at(table, row.plan).status == PARTIAL_CONTENT \
            and not plan_at(table, row.plan).loose:
        table.part_bytes -= plan_at(table, row.plan).image_length
    return row.plan


cdef uint32_t entry_make(PlanTable* table, int64_t check_at_ms, int64_t now_ms) noexcept nogil:
    """An entry without plans. NO_SLOT when there is no room."""
    cdef uint32_t slot = slab_take(&table.entries)
    if slot == NO_SLOT:
        return NO_SLOT
    entry_at(table, slot).first_plan = NO_SLOT
    entry_at(table, slot).check_at_ms = check_at_ms
    entry_at(table, slot).used_at_ms = now_ms
    table.stats.entries_open += 1
    return slot


cdef uint32_t plan_make(PlanTable* table, uint32_t entry, const char* image, uint32_t image_length, int32_t date_at,
                        const Segment* segments, uint32_t segment_count) noexcept nogil:
    """A plan with copies of image and segments, kept by the handler. NO_SLOT when there is no room."""
    cdef uint32_t slot = slab_take(&table.plans)
    if slot == NO_SLOT:
        return NO_SLOT
    cdef Plan* plan = plan_at(table, slot)
    plan.image = <char*>memory_take(image_length)
    plan.segments = <Segment*>memory_take(segment_count * sizeof(Segment))
    if plan.image == NULL or plan.segments == NULL:
        memory_give(plan.image)
        memory_give(plan.segments)
        plan.image = NULL
        plan.segments = NULL
        slab_give(&table.plans, slot)
        return NO_SLOT
    memcpy(plan.image, image, image_length)
    memcpy(plan.segments, segments, segment_count * sizeof(Segment))
    plan.image_length = image_length
    plan.segment_count = segment_count
    plan.date_at = date_at
    plan.mapping = NO_SLOT
    plan.source = NO_SLOT
    plan.entry = entry
    plan.next_of_entry = NO_SLOT
    plan.previous_of_entry = NO_SLOT
    plan.kept = 1
    cdef Entry* owner
    if entry != NO_SLOT:
        owner = entry_at(table, entry)
        plan.next_of_entry = owner.first_plan
        if owner.first_plan != NO_SLOT:
            plan_at(table, owner.first_plan).previous_of_entry = slot
        owner.first_plan = slot
    table.image_bytes += image_length
    table.stats.plans_open += 1
    return slot


cdef void plan_describe(Plan* plan, uint16_t status, uint32_t head_length, bint keep_alive, bint linger,
                        uint64_t more) noexcept nogil:
    """What it answers, and what becomes of the connection. `more`: bytes of the response that other plans send after it."""
    cdef uint64_t length = more
    cdef uint32_t i
    for i in range(plan.segment_count):
        length += plan.segments[i].length
    plan.status = status
    plan.head_length = head_length
    plan.latency_row = stats_latency_row(status, length - head_length)
    plan.keep_alive = keep_alive
    plan.linger = linger
    plan.more = more > 0


cdef void plan_loosen(PlanTable* table, uint32_t slot) noexcept nogil:
    """Nothing leads to it any more but replays under way."""
    cdef Plan* plan = plan_at(table, slot)
    if plan.loose:
        return
    plan.loose = 1
    table.loose_bytes += plan.image_length
    table.stats.held_bytes += plan.image_length
    if plan.rows > 0 and plan.status == PARTIAL_CONTENT:
        table.part_bytes -= plan.image_length


cdef void plan_free_image(PlanTable* table, uint32_t slot) noexcept nogil:
    """Its image goes; nobody sends from it."""
    cdef Plan* plan = plan_at(table, slot)
    table.image_bytes -= plan.image_length
    if plan.loose:
        table.loose_bytes -= plan.image_length
        table.stats.held_bytes -= plan.image_length
    memory_give(plan.image)
    plan.image = NULL
    plan.image_length = 0


cdef void plan_unlink(PlanTable* table, uint32_t slot) noexcept nogil:
    """Take the plan out of its entry's list. An entry of the machine's own goes with it."""
    cdef Plan* plan = plan_at(table, slot)
    cdef uint32_t entry = plan.entry
    if entry == NO_SLOT:
        return
    if plan.previous_of_entry != NO_SLOT:
        plan_at(table, plan.previous_of_entry).next_of_entry = plan.next_of_entry
    else:
        entry_at(table, entry).first_plan = plan.next_of_entry
    if plan.next_of_entry != NO_SLOT:
        plan_at(table, plan.next_of_entry).previous_of_entry = plan.previous_of_entry
    plan.entry = NO_SLOT
    if entry_at(table, entry).own:
        table.own_bytes -= plan.image_length
        table.stats.entries_open -= 1
        slab_give(&table.entries, entry)


cdef void plan_free(PlanTable* table, uint32_t slot) noexcept nogil:
    """The plan's memory and slot go back. Nothing leads to it, nobody replays it, its references are returned."""
    cdef Plan* plan = plan_at(table, slot)
    zc_assert(plan.rows == 0 and plan.active == 0 and plan.image_held == 0)
    zc_assert(plan.mapping == NO_SLOT and plan.source == NO_SLOT)
    plan_unlink(table, slot)
    plan_free_image(table, slot)
    memory_give(plan.segments)
    plan.segments = NULL
    table.stats.plans_open -= 1
    slab_give(&table.plans, slot)
