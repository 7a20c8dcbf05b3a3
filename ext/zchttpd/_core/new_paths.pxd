# Answers that take no handler: new paths of a known shape, and second looks.

from libc.stdint cimport uint32_t

from zchttpd._core.machine cimport Machine, machine_source_holds
from zchttpd._core.plans cimport Plan, entry_at
from zchttpd._core.token cimport NO_SLOT

cdef enum SecondLook:
    LOOK_SAME = 0       # it is what it was
    LOOK_GONE = 1       # it is not, and was the machine's own: its row has been dropped
    LOOK_ASK = 2        # the handler must look

cdef bint new_path_is_known(Machine* machine, uint32_t slot) noexcept nogil
cdef bint new_path_plan(Machine* machine, uint32_t key_length, uint32_t* row, uint32_t* plan_slot) noexcept nogil
cdef SecondLook new_path_look(Machine* machine, uint32_t row_index) noexcept nogil
cdef uint32_t new_path_stale_entry(Machine* machine, uint32_t slot) noexcept nogil


cdef inline bint new_path_is_stale(Machine* machine, const Plan* plan) noexcept nogil:
    return (machine.now_ms > entry_at(&machine.table, plan.entry).check_at_ms
            or plan.source != NO_SLOT and not machine_source_holds(machine, plan.source))
