"""The reads that fill snapshots, queued so that they never hold the loop up for long.

First a snapshot is filled from the page cache, for which no disk is waited. What that does not have waits for its device: a
few files of each are read at a time, so that one that is slow, or hangs, holds up nobody but those who want its files.
"""

from libc.errno cimport EAGAIN, EOPNOTSUPP
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from zchttpd._core.devices cimport (
    AT_HAND, devices_begin, devices_end, devices_free, devices_got_on, devices_queue)
from zchttpd._core.machine cimport (
    ReadQueue, machine_blank_op, machine_close_file, machine_let_go_mapping, machine_version_holds)
from zchttpd._core.mapping cimport Mapping, mapping_at, mapping_hold, mapping_seal
from zchttpd._core.op cimport OP_ASIDE, OP_COLLAPSE, OP_FILL, OP_NOWAIT, Op
from zchttpd._core.slab cimport slab_holds
from zchttpd._core.token cimport NO_SLOT, TOKEN_FILL, token_pack
from zchttpd._core.version cimport version_match

cdef extern from "<errno.h>" nogil:
    enum:
        ESTALE

cdef enum:
    FILLS_MAX = 2               # files of a queue that are read at a time
    COLLAPSE_SIZE_MAX = 1 << 30
    FILL_SIZE = 256 * 1024      # bytes of one read: well under a millisecond of copying


cdef void fill_begin(Machine* machine, uint32_t slot, uint64_t device) noexcept nogil:
    """Read the mapping's file, whose version has been taken, into it. The fill holds a reference until it is taken."""
    mapping_hold(&machine.mappings, slot)
    mapping_at(&machine.mappings, slot).device = device
    mapping_at(&machine.mappings, slot).progress_at_ms = machine.now_ms
    if mapping_at(&machine.mappings, slot).version.aside:
        _push(machine, slot, devices_queue(machine, device))
    else:
        _push(machine, slot, AT_HAND)


cdef void _push(Machine* machine, uint32_t slot, uint32_t number) noexcept nogil:
    """Let it be filled in a queue, when its turn comes."""
    cdef ReadQueue* queue = &machine.read_queues[number]
    mapping_at(&machine.mappings, slot).read_queue = number
    mapping_at(&machine.mappings, slot).next = NO_SLOT
    if queue.waiting == 0:
        queue.first = slot
    else:
        mapping_at(&machine.mappings, queue.last).next = slot
    queue.last = slot
    queue.waiting += 1
    fill_start(machine, number)


cdef void fill_start(Machine* machine, uint32_t number) noexcept nogil:
    """Let those that wait in a queue begin, as far as there are turns."""
    cdef ReadQueue* queue = &machine.read_queues[number]
    cdef uint32_t slot
    while queue.filling < FILLS_MAX and queue.waiting > 0 and devices_free(machine, number):
        slot = queue.first
        queue.first = mapping_at(&machine.mappings, slot).next
        queue.waiting -= 1
        queue.filling += 1
        devices_begin(machine, number)
        mapping_at(&machine.mappings, slot).next = NO_SLOT
        mapping_at(&machine.mappings, slot).progress_at_ms = machine.now_ms
        if mapping_at(&machine.mappings, slot).huge and number == AT_HAND:
            _collapse(machine, slot)
        else:
            _read(machine, slot)


cdef void _collapse(Machine* machine, uint32_t slot) noexcept nogil:
    """Have its huge pages made while it is empty: nothing is to be copied then, and no page fault is left to be had."""
    cdef Mapping* mapping = mapping_at(&machine.mappings, slot)
    cdef Op* op = machine_blank_op(machine)
    op.kind = OP_COLLAPSE
    op.slot = slot
    op.token = token_pack(TOKEN_FILL, slot, machine.mappings.slab.generations[slot])
    op.address = mapping.base
    op.length = <uint32_t>min(mapping.huge, <size_t>COLLAPSE_SIZE_MAX)
    mapping.collapsing = 1


cdef void _read(Machine* machine, uint32_t slot) noexcept nogil:
    cdef Mapping* mapping = mapping_at(&machine.mappings, slot)
    cdef Op* op = machine_blank_op(machine)
    op.kind = OP_FILL
    op.flags = OP_NOWAIT if mapping.read_queue == AT_HAND else 0
    if mapping.version.aside:
        op.flags = OP_ASIDE
    op.fd = mapping.fd
    op.slot = slot
    op.token = token_pack(TOKEN_FILL, slot, machine.mappings.slab.generations[slot])
    op.address = mapping.base + mapping.filled
    op.offset = mapping.filled
    op.length = <uint32_t>min(mapping.length - mapping.filled, <size_t>FILL_SIZE)
    mapping.reading = 1


cdef void fill_step(Machine* machine, uint32_t slot, uint32_t generation, int32_t res) noexcept nogil:
    """A read has completed with `res`: read on, or wait for the device, or end, and let the next file begin."""
    cdef Mapping* mapping
    cdef uint32_t number
    if not slab_holds(&machine.mappings.slab, slot, generation):
        machine.stats.stale_completions += 1
        return
    mapping = mapping_at(&machine.mappings, slot)
    if mapping.collapsing:
        # Small pages do where there are no huge ones.
        mapping.collapsing = 0
        _read(machine, slot)
        return
    number = mapping.read_queue
    mapping.reading = 0
    if res > 0:
        mapping.filled += <size_t>res
        machine.stats.fill_bytes += <uint32_t>res
        mapping.progress_at_ms = machine.now_ms
        devices_got_on(machine, number)
        if mapping.filled < mapping.length:
            _read(machine, slot)
            return
    machine.read_queues[number].filling -= 1
    devices_end(machine, number)
    if number == AT_HAND and (res == -EAGAIN or res == -EOPNOTSUPP):
        _push(machine, slot, devices_queue(machine, mapping.device))
    else:
        _end(machine, slot, res)


cdef void _end(Machine* machine, uint32_t slot, int32_t res) noexcept nogil:
    """Its last read has completed with `res`."""
    cdef Mapping* mapping = mapping_at(&machine.mappings, slot)
    if res > 0:
        version_match(&mapping.version, mapping.base)
        if not machine_version_holds(machine, &mapping.version, mapping.fd, True):
            res = -ESTALE
        else:
            mapping_seal(&machine.mappings, slot)
    elif res == 0:
        res = -ESTALE
    machine_close_file(machine, mapping.fd)
    # From here on the field carries how it ended: -1 well, else -errno - 1.
    mapping.fd = -1 if res > 0 else res - 1
    mapping.next = machine.filled_first
    machine.filled_first = slot


cdef int64_t fill_progress_ms(Machine* machine, uint32_t slot) noexcept nogil:
    """When bytes last came for a fill; while it waits for its turn, for those that it waits for."""
    cdef Mapping* mapping = mapping_at(&machine.mappings, slot)
    if mapping.reading:
        return mapping.progress_at_ms
    return max(mapping.progress_at_ms, machine.read_queues[mapping.read_queue].progress_at_ms)


cdef uint32_t fill_take_ended(Machine* machine, int32_t* error) noexcept nogil:
    """The next mapping whose fill has ended, or NO_SLOT. `error`: 0 or the errno. The fill's reference goes: without an
    owner the mapping goes too."""
    cdef uint32_t slot = machine.filled_first
    cdef Mapping* mapping
    if slot == NO_SLOT:
        return NO_SLOT
    mapping = mapping_at(&machine.mappings, slot)
    machine.filled_first = mapping.next
    mapping.next = NO_SLOT
    error[0] = -(mapping.fd + 1)
    mapping.fd = -1
    machine_let_go_mapping(machine, slot)
    return slot
