"""The reads that fill snapshots, queued so that they never hold the loop up for long."""

from libc.stdint cimport int32_t, uint32_t

from zchttpd._core.machine cimport (
    machine_blank_op, machine_close_file, machine_let_go_mapping, machine_version_holds)
from zchttpd._core.mapping cimport Mapping, mapping_at, mapping_hold, mapping_seal
from zchttpd._core.op cimport OP_COLLAPSE, OP_FILL, Op
from zchttpd._core.slab cimport slab_holds
from zchttpd._core.token cimport NO_SLOT, TOKEN_FILL, token_pack
from zchttpd._core.version cimport version_match

cdef extern from "<errno.h>" nogil:
    enum:
        ESTALE

cdef enum:
    FILLS_MAX = 2               # files that are read at a time
    COLLAPSE_SIZE_MAX = 1 << 30
    FILL_SIZE = 256 * 1024      # bytes of one read: well under a millisecond of copying


cdef void fill_begin(Machine* machine, uint32_t slot) noexcept nogil:
    """Read the mapping's file, whose version has been taken, into it. The fill holds a reference until it is taken."""
    mapping_hold(&machine.mappings, slot)
    if machine.fill_first == NO_SLOT:
        machine.fill_first = slot
    else:
        mapping_at(&machine.mappings, machine.fill_last).next = slot
    machine.fill_last = slot
    _start(machine)


cdef void _start(Machine* machine) noexcept nogil:
    cdef uint32_t slot
    while machine.fills < FILLS_MAX and machine.fill_first != NO_SLOT:
        slot = machine.fill_first
        machine.fill_first = mapping_at(&machine.mappings, slot).next
        mapping_at(&machine.mappings, slot).next = NO_SLOT
        machine.fills += 1
        if mapping_at(&machine.mappings, slot).huge:
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
    op.fd = mapping.fd
    op.slot = slot
    op.token = token_pack(TOKEN_FILL, slot, machine.mappings.slab.generations[slot])
    op.address = mapping.base + mapping.filled
    op.offset = mapping.filled
    op.length = <uint32_t>min(mapping.length - mapping.filled, <size_t>FILL_SIZE)


cdef void fill_step(Machine* machine, uint32_t slot, uint32_t generation, int32_t res) noexcept nogil:
    """A read has completed with `res`: read on, or end, and let the next file begin."""
    cdef Mapping* mapping
    if not slab_holds(&machine.mappings.slab, slot, generation):
        machine.stats.stale_completions += 1
        return
    mapping = mapping_at(&machine.mappings, slot)
    if mapping.collapsing:
        # Small pages do where there are no huge ones.
        mapping.collapsing = 0
        _read(machine, slot)
        return
    if res > 0:
        mapping.filled += <size_t>res
        machine.stats.fill_bytes += <uint32_t>res
        if mapping.filled < mapping.length:
            _read(machine, slot)
            return
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
    machine.fills -= 1
    _start(machine)


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
