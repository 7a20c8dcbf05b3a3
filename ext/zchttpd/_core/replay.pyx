"""Replaying a plan: the Date of its image is written once a second, and the image stays as it is while it is being sent."""

from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from zchttpd._core.access_record cimport access_end
from zchttpd._core.machine cimport CONN_IMAGE_OWN, Conn, conn_at, core_settle_plan
from zchttpd._core.plans cimport Plan, plan_at
from zchttpd._core.http_date cimport STAMP_LENGTH
from zchttpd._core.token cimport NO_SLOT


cdef bint replay_begin(Core* core, uint32_t slot, uint32_t plan_slot) noexcept nogil:
    """The connection holds the plan from here on. False when there is no memory for an image with today's Date."""
    cdef Conn* conn = conn_at(core, slot)
    cdef Plan* plan = plan_at(&core.table, plan_slot)
    conn.plan = plan_slot
    conn.segment = 0
    conn.done = 0
    conn.image = plan.image
    plan.active += 1
    core.tally.requests[plan.status] += 1
    if plan.date_at >= 0 and plan.image_second != core.stamp.second:
        if plan.image_held > 0:
            # A response of an earlier second is still being sent from the image: leave that as it is.
            conn.image = <char*>malloc(plan.image_length)
            if conn.image == NULL:
                conn.image = plan.image
                plan.image_held += 1
                return False
            memcpy(conn.image, plan.image, plan.image_length)
            conn.flags |= CONN_IMAGE_OWN
        else:
            plan.image_second = core.stamp.second
        memcpy(conn.image + plan.date_at, core.stamp.text, STAMP_LENGTH)
    if not conn.flags & CONN_IMAGE_OWN:
        plan.image_held += 1
    return True


cdef void replay_end(Core* core, uint32_t slot) noexcept nogil:
    """The connection lets go of its plan, if it has one."""
    cdef Conn* conn = conn_at(core, slot)
    cdef uint32_t plan_slot = conn.plan
    cdef Plan* plan
    if plan_slot == NO_SLOT:
        return
    plan = plan_at(&core.table, plan_slot)
    access_end(&core.access, slot, plan.status, plan.head_length, core.now_us, core.stamp.second,
               conn.inbox.bytes != NULL)
    if conn.flags & CONN_IMAGE_OWN:
        free(conn.image)
        conn.flags &= ~CONN_IMAGE_OWN
    else:
        plan.image_held -= 1
    conn.image = NULL
    conn.plan = NO_SLOT
    plan.active -= 1
    core_settle_plan(core, plan_slot)
