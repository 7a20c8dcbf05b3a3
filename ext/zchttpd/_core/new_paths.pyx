"""New paths of a known shape, and second looks, without the handler: looks at the root, and templates.

What is odd in any way is left to the handler, which has the whole of the rules. What is remembered here is the machine's
own: a plan with an entry that nobody else has, and that goes when no cache key leads to it any more.
"""

from libc.errno cimport EMFILE, ENFILE, ENOMEM
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.string cimport memset

from zchttpd._core.budget cimport budget_image_bytes, budget_own_fits, budget_snapshot_bytes
from zchttpd._core.file_version cimport FileVersion, SECOND_NS, file_version_lived, file_version_same
from zchttpd._core.history cimport Given, history_find, history_give
from zchttpd._core.look cimport Look
from zchttpd._core.machine cimport Conn, conn_at, machine_ask, machine_has_room, machine_try_free_plan
from zchttpd._core.mapping cimport mapping_at
from zchttpd._core.op cimport OP_CHECK_ROOT, OP_LOOK
from zchttpd._core.plain_path cimport PlainPath, plain_path
from zchttpd._core.plans cimport (
    Entry, NO_ROW, Plan, Row, SEGMENT_LITERAL, Segment, cache_key_hash, entry_at, entry_make, entry_use, plan_at,
    plan_describe, plan_loosen, plan_make, plans_admit, plans_drop_row, plans_find)
from zchttpd._core.routes cimport routes_want_other_pages
from zchttpd._core.scheme cimport scheme_cache_key
from zchttpd._core.site cimport Site, site_rules, site_trusts
from zchttpd._core.slab cimport slab_give
from zchttpd._core.templates cimport HEAD_ROOM, Kind, Template, template_fill, templates_find
from zchttpd._core.token cimport NO_SLOT

cdef enum:
    # Whoever writes to a file of this second may still be at it (files/settling.py), and the clock of this batch shows
    # whole seconds.
    YOUNG_S = 2


cdef bint _root_holds(Machine* machine) noexcept nogil:
    """Whether the root is known, and where it was: looked at once a batch."""
    cdef Site* site = &machine.site
    if site.root_path.path == NULL:
        return False
    if site.root_seen_us != machine.now_us:
        site.root_seen_us = machine.now_us
        site.root_left = machine_ask(machine, OP_CHECK_ROOT, site.root, <char*>&site.root_path) < 0
    return not site.root_left


cdef int32_t _look(Machine* machine, const char* path, uint32_t length, bint read, Look* look) noexcept nogil:
    """0, or -errno as `look_at` has it."""
    memset(look, 0, sizeof(Look))
    look.path = path
    look.length = length
    look.siblings = machine.site.siblings
    if read:
        look.to = machine.site.scratch + HEAD_ROOM
        look.room = machine.site.limits.content_max
    return machine_ask(machine, OP_LOOK, machine.site.root, <char*>look)


cdef bint _is_plain(Machine* machine, const FileVersion* version, uint64_t path) noexcept nogil:
    """Whether the version is given with a tag and a date of its own time, and nothing that was given of the path before
    speaks against it (`Past` of files/history.py)."""
    cdef Given* given = history_find(&machine.site.history, path)
    if (not file_version_lived(version) or not site_trusts(&machine.site, version.dev)
            or version.mtime_ns // SECOND_NS + YOUNG_S > machine.http_date.second):
        return False
    return given == NULL or (given.plain and (
        file_version_same(&given.version, version)
        or version.mtime_ns // SECOND_NS > given.version.mtime_ns // SECOND_NS))


cdef bint new_path_is_known(Machine* machine, uint32_t slot) noexcept nogil:
    """Whether a row leads from the head that is parked to an answer by now, as somebody else has asked for the same."""
    cdef Conn* conn = conn_at(machine, slot)
    cdef const char* head = conn.received.bytes + conn.received.start
    cdef uint32_t key_length = 0 if machine.draining else scheme_cache_key(machine, slot, head, conn.head_length)
    cdef uint32_t row = plans_find(&machine.table, machine.cache_key, key_length) if key_length else <uint32_t>NO_ROW
    return row != NO_ROW and not plan_at(&machine.table, machine.table.rows[row].plan).dead


cdef bint new_path_plan(Machine* machine, uint32_t key_length, uint32_t* row, uint32_t* plan_slot) noexcept nogil:
    """A plan for the head of `machine.cache_key`, to which no row leads, and its row by now, or NO_ROW. False: it is the
    handler's."""
    cdef PlainPath path
    cdef Kind kind
    cdef Look look
    cdef Template* template
    cdef const char* name
    cdef uint64_t hash
    if not machine.site.open or not plain_path(machine.cache_key, key_length, &path) or not path.get:
        return False
    name = machine.cache_key + path.begin
    kind.shape = name + path.length
    kind.shape_length = key_length - path.begin - path.length
    kind.extension = kind.shape - path.extension
    kind.extension_length = path.extension
    kind.rules = site_rules(&machine.site, name - 1, path.length + 1)
    template = templates_find(&machine.site.templates, &machine.table, &kind)
    if template == NULL or not _root_holds(machine) or _look(machine, name, path.length, True, &look) < 0:
        return False
    hash = cache_key_hash(&machine.table, name, path.length)
    if not _is_plain(machine, &look.version, hash):
        return False
    plan_slot[0] = _plan(machine, template, &look.version)
    if plan_slot[0] == NO_SLOT:
        return False
    history_give(&machine.site.history, hash, &look.version, True)
    row[0] = _remember(machine, key_length, plan_slot[0])
    machine.stats.plan_misses += 1
    return True


cdef uint32_t _plan(Machine* machine, Template* template, const FileVersion* version) noexcept nogil:
    """A plan of the machine's own, of the bytes that the look has read. NO_SLOT when there is no room."""
    cdef char* content = machine.site.scratch + HEAD_ROOM
    cdef uint32_t head_length = template_fill(template, version, content)
    cdef uint32_t length = head_length + <uint32_t>version.size
    cdef Segment segment
    cdef uint32_t entry
    cdef uint32_t slot
    if not machine_has_room(machine, length):
        return NO_SLOT
    entry = entry_make(&machine.table, machine.now_ms + machine.site.limits.revalidate_ms, machine.now_ms)
    if entry == NO_SLOT:
        return NO_SLOT
    segment.kind = SEGMENT_LITERAL
    segment.offset = 0
    segment.length = length
    slot = plan_make(&machine.table, entry, content - head_length, length, template.date_at, &segment, 1)
    if slot == NO_SLOT:
        machine.stats.entries_open -= 1
        slab_give(&machine.table.entries, entry)
        return NO_SLOT
    entry_at(&machine.table, entry).own = 1
    entry_at(&machine.table, entry).known = 1
    entry_at(&machine.table, entry).version = version[0]
    entry_use(entry_at(&machine.table, entry), machine.now_ms)
    machine.table.own_bytes += length
    plan_describe(plan_at(&machine.table, slot), 200, head_length, template.keep_alive, template.linger, 0)
    return slot


cdef uint32_t _remember(Machine* machine, uint32_t key_length, uint32_t plan_slot) noexcept nogil:
    """Let the cache key lead to the plan, where that is worth it. Returns its row, or NO_ROW: then it is for one answer."""
    cdef uint32_t unrowed = NO_SLOT
    cdef uint32_t row = NO_ROW
    # The plan itself is among them.
    if budget_own_fits(machine, 0):
        row = plans_admit(&machine.table, machine.cache_key, key_length, plan_slot, True, &unrowed)
    if unrowed != NO_SLOT:
        machine_try_free_plan(machine, unrowed)
    plan_at(&machine.table, plan_slot).kept = 0
    if row == NO_ROW:
        plan_loosen(&machine.table, plan_slot)
    # As the handler counts, but for what it keeps itself.
    elif budget_image_bytes(machine) + budget_snapshot_bytes(machine) > machine.site.limits.memory:
        machine.crowded = 1
    return row


cdef bint _could_be_better(Machine* machine, const Plan* plan) noexcept nogil:
    """Whether the handler might keep its bytes in a better way by now."""
    return (plan.mapping != NO_SLOT
            and routes_want_other_pages(machine, mapping_at(&machine.mappings, plan.mapping)))


cdef SecondLook new_path_look(Machine* machine, uint32_t row_index) noexcept nogil:
    """Look again at what a stale row leads to."""
    cdef Row* row = &machine.table.rows[row_index]
    cdef Plan* plan = plan_at(&machine.table, row.plan)
    cdef Entry* entry = entry_at(&machine.table, plan.entry)
    cdef PlainPath path
    cdef Look look
    cdef uint64_t hash
    cdef int32_t error
    if (not machine.site.open or not entry.known or plan.source != NO_SLOT or _could_be_better(machine, plan)
            or not plain_path(row.cache_key, row.length, &path)):
        return LOOK_ASK
    if _root_holds(machine):
        error = _look(machine, row.cache_key + path.begin, path.length, False, &look)
        # Where descriptors or memory run out it is trusted for another period: better the file of a second ago than none.
        if (error == -EMFILE or error == -ENFILE or error == -ENOMEM
                or (error == 0 and file_version_same(&look.version, &entry.version))):
            entry.check_at_ms = machine.now_ms + machine.site.limits.revalidate_ms
            return LOOK_SAME
    if not entry.own:
        return LOOK_ASK
    # That it was given is not forgotten with it.
    hash = cache_key_hash(&machine.table, row.cache_key + path.begin, path.length)
    if history_find(&machine.site.history, hash) == NULL:
        history_give(&machine.site.history, hash, &entry.version, True)
    machine_try_free_plan(machine, plans_drop_row(&machine.table, row_index))
    return LOOK_GONE


cdef uint32_t new_path_stale_entry(Machine* machine, uint32_t slot) noexcept nogil:
    """The entry that a connection was parked for, or NO_SLOT when there is nothing to look at any more: somebody has looked
    meanwhile, or it has been retired."""
    cdef Conn* conn = conn_at(machine, slot)
    cdef Row* row = &machine.table.rows[conn.row]
    cdef Plan* plan
    if row.edition != conn.row_edition:
        return NO_SLOT
    plan = plan_at(&machine.table, row.plan)
    return NO_SLOT if plan.entry == NO_SLOT or not new_path_is_stale(machine, plan) else plan.entry
