"""Bounds of what is remembered without the handler's knowing: answers with parts of files, and the machine's own."""

from libc.stdint cimport uint32_t, uint64_t

from zchttpd._core.machine cimport machine_try_free_plan
from zchttpd._core.plans cimport PARTIAL_CONTENT, ROW_WAYS, Row, entry_at, plan_at, plans_drop_row
from zchttpd._core.token cimport NO_SLOT

cdef enum:
    ROWS_LOOKED_AT_MAX = 64


cdef uint64_t budget_image_bytes(const Machine* machine) noexcept nogil:
    """Held by the images of plans that can be evicted, less those that answer with parts of files and have a budget of their
    own."""
    return machine.table.image_bytes - machine.table.part_bytes - machine.table.loose_bytes


cdef uint64_t budget_snapshot_bytes(const Machine* machine) noexcept nogil:
    """Of files in memory, also of those that the handler has let go and somebody still reads."""
    cdef uint64_t window = (machine.limits.window_size + 4095) // 4096 * 4096
    return machine.stats.mapped_bytes - machine.stats.windows_open * window


cdef bint budget_part_fits(Machine* machine, uint32_t plan_slot) noexcept nogil:
    """Whether one more answer with parts of a file may be remembered. The ranges of a file are very many, and what they take
    is no part of --memory: when there is no room for another, all make room."""
    cdef uint64_t bytes = plan_at(&machine.table, plan_slot).image_length
    cdef uint32_t i
    if machine.table.part_bytes + bytes > machine.limits.part_bytes_max:
        for i in range(machine.table.set_count * ROW_WAYS):
            if (machine.table.rows[i].cache_key != NULL
                    and plan_at(&machine.table, machine.table.rows[i].plan).status == PARTIAL_CONTENT):
                machine_try_free_plan(machine, plans_drop_row(&machine.table, i))
    return bytes <= machine.limits.part_bytes_max


cdef bint _is_own(Machine* machine, Row* row) noexcept nogil:
    if row.cache_key == NULL or plan_at(&machine.table, row.plan).entry == NO_SLOT:
        return False
    return entry_at(&machine.table, plan_at(&machine.table, row.plan).entry).own


cdef bint budget_own_fits(Machine* machine, uint64_t bytes) noexcept nogil:
    """Whether the machine may remember so many bytes more by itself. Those of its own that nobody has asked for lately make
    room, as far as a few looks find them."""
    cdef uint32_t looks = 0
    cdef uint32_t at
    cdef Row* row
    while machine.table.own_bytes + bytes > machine.site.limits.own_bytes_max:
        if looks == ROWS_LOOKED_AT_MAX:
            return False
        looks += 1
        at = machine.table.own_hand
        machine.table.own_hand = (at + 1) % (machine.table.set_count * ROW_WAYS)
        row = &machine.table.rows[at]
        if not _is_own(machine, row):
            continue
        if row.used:
            row.used = 0
        else:
            machine_try_free_plan(machine, plans_drop_row(&machine.table, at))
    return True


cdef void budget_forget_own(Machine* machine) noexcept nogil:
    """No cache key leads any more to what the machine has remembered by itself."""
    cdef uint32_t i
    for i in range(machine.table.set_count * ROW_WAYS):
        if _is_own(machine, &machine.table.rows[i]):
            machine_try_free_plan(machine, plans_drop_row(&machine.table, i))
