"""Faults to plant in the compiled machine, each with the test that must find it."""

from __future__ import annotations

from typing import NamedTuple

SIM = "tests/sim/test_sim.py::test_no_seed_breaks_a_rule"


class Plant(NamedTuple):
    """Replace `old`, which stands once in `file`, by `new`; `test` must fail then. `file` lies in
    ext/zchttpd/_core/, or in zchttpd/ if it is Python.
    """

    name: str
    file: str
    old: str
    new: str
    test: str = SIM


PLANTS = (
    # Leases: who may touch the memory, and until when.
    Plant(
        "a lease ends with the result of its send",
        "conn.pyx",
        "    if not completion.more:\n        transmit_end_lease(machine, lease_slot)",
        "    transmit_end_lease(machine, lease_slot)",
    ),
    Plant(
        "a lease without a notification never ends",
        "conn.pyx",
        "    if not completion.more:\n        transmit_end_lease(machine, lease_slot)\n",
        "",
    ),
    Plant(
        "a lease that ends is taken from whoever has the slot now",
        "transmit.pyx",
        "    if slab_holds(&machine.conns, lease.conn, lease.conn_generation):\n        conn = conn_at",
        "    if True:\n        conn = conn_at",
        "tests/core/test_streams.py",
    ),
    Plant(
        "a lease holds no reference",
        "lease.pyx",
        "    mapping_hold(ledger.mappings, mapping)\n",
        "    pass\n",
        "tests/core/test_lease.py",
    ),
    Plant(
        "memory in the buffer table is unmapped at once",
        "mapping.pyx",
        "    if mapping.buffer >= 0:\n        return REST_CLEAR\n",
        "",
    ),
    Plant(
        "memory files that are closed still count",
        "mapping.pyx",
        "        mappings.memfds -= 1\n",
        "        pass\n",
        "tests/core/test_lease.py",
    ),
    Plant(
        "a lease that has ended still counts for its connection",
        "transmit.pyx",
        "        conn.leases -= 1\n",
        "        pass\n",
    ),
    Plant(
        "a failed zero-copy send counts as copied",
        "transmit.pyx",
        "    if lease.result > 0:\n        if not machine.reports_usage:\n",
        "    if True:\n        if not machine.reports_usage:\n",
        "tests/core/test_auto.py",
    ),
    Plant(
        "what a reset threw away counts as sent without a copy",
        "routes.pyx",
        "        machine.trials[conn.route].unheard -= conn.unheard\n        conn.unheard = 0\n",
        "        routes_heard_from(machine, conn)\n",
        "tests/core/test_auto.py",
    ),
    Plant(
        "what is still out says nothing against giving a route up",
        "routes.pyx",
        "(trial.delivered + trial.unheard) * 9",
        "trial.delivered * 9",
        "tests/core/test_auto.py",
    ),
    Plant(
        "auto never gives a route up",
        "routes.pyx",
        "(trial.delivered + trial.unheard) * 9",
        "(trial.delivered + trial.unheard) * 11",
        "tests/core/test_auto.py",
    ),
    Plant(
        "auto gives up every route",
        "routes.pyx",
        "        verdict = ZEROCOPY_ON\n",
        "        verdict = ZEROCOPY_GIVEN_UP\n",
        "tests/core/test_auto.py",
    ),
    Plant(
        "auto never tries a network again",
        "routes.pyx",
        " and (route == ROUTE_LOOPBACK or spared < RETRY or spared == RETRY + TRIAL)",
        "",
        "tests/core/test_auto.py",
    ),
    # The cache: nobody pushes out what others use.
    Plant(
        "answers with parts are remembered without a bound",
        "budget.pyx",
        "    if machine.table.part_bytes + bytes > machine.limits.part_bytes_max:\n",
        "    if False:\n",
        "tests/core/test_remembered.py",
    ),
    Plant(
        "what was used long ago counts like what is used now",
        "plans.pyx",
        "    entry.uses = entry.uses >> passed if passed < 32 else 0\n",
        "    pass\n",
        "tests/core/test_remembered.py",
    ),
    Plant(
        "what responses under way hold is not bounded",
        "machine.pyx",
        "machine.stats.held_bytes + length <= machine.limits.held_bytes_max",
        "True",
        "tests/core/test_held.py",
    ),
    Plant(
        "an answer that is not remembered counts as what can be evicted",
        "machine.pyx",
        "    plan_loosen(&machine.table, slot)\n",
        "",
    ),
    # Fills: nobody waits for another's disk.
    Plant(
        "a fill waits for its device before the page cache has been asked",
        "fill.pyx",
        "    op.flags = OP_NOWAIT if mapping.read_queue == AT_HAND else 0\n",
        "    op.flags = 0\n",
        "tests/core/test_fill.py",
    ),
    Plant(
        "all devices share the places of one",
        "devices.pyx",
        "        elif machine.read_queues[i].device == device:\n",
        "        else:\n",
        "tests/core/test_fill.py",
    ),
    Plant(
        "as many files of a device are read at a time as are asked for",
        "fill.pyx",
        "    while queue.filling < FILLS_MAX and queue.waiting > 0 and",
        "    while queue.waiting > 0 and",
        "tests/core/test_fill.py",
    ),
    Plant(
        "a request is told 503 however well its fill goes on",
        "conn.pyx",
        "        conn_at(machine, slot).awaits = mapping\n",
        "        pass\n",
        "tests/core/test_fill.py",
    ),
    # Bytes: one response is one version of one file, whole and in order.
    Plant(
        "a short send of a head begins anew",
        "conn.pyx",
        "plan.image) + segment.offset + conn.done",
        "plan.image) + segment.offset",
    ),
    Plant(
        "a short send of a window begins anew",
        "conn.pyx",
        "plan.mapping, segment.offset + conn.done,",
        "plan.mapping, segment.offset,",
    ),
    Plant(
        "a head is not linked to its window",
        "conn.pyx",
        "                op.flags |= OP_LINK\n",
        "",
    ),
    Plant(
        "a head is sent without MSG_MORE",
        "conn.pyx",
        "            op.flags = OP_MORE\n",
        "            op.flags = 0\n",
        "tests/core/test_machine.py",
    ),
    Plant(
        "the Date of a response under way is overwritten",
        "machine.pyx",
        "        if plan.image_held > 0:\n",
        "        if False:\n",
        "tests/core/test_machine.py",
    ),
    Plant(
        "a short read of a window begins anew",
        "stream.pyx",
        "    op.offset = stream.read_at + stream.reading_have\n",
        "    op.offset = stream.read_at\n",
        "tests/core/test_streams.py",
    ),
    Plant(
        "the version of a streamed file is not looked at",
        "stream.pyx",
        "    if (conn.state == CONN_CLOSING or res <= 0\n"
        "            or not machine_source_holds(machine, plan_at(&machine.table, conn.plan).source)):",
        "    if conn.state == CONN_CLOSING or res <= 0:",
    ),
    Plant(
        "the end of a response is sent from the mapping too",
        "stream.pyx",
        "machine.limits.window_size // TAIL_PART if not source.frozen and _is_last(machine, conn) else 0",
        "0",
        "tests/core/test_live_maps.py",
    ),
    Plant(
        "a piece is sent of a file that has changed",
        "stream.pyx",
        "most >= least and machine_source_holds(machine, source_slot)",
        "most >= least",
        "tests/core/test_live_maps.py",
    ),
    Plant(
        "a file is unmapped while a send reads it",
        "conn.pyx",
        "    _leave(machine, slot)\n    machine.stats.aborts += 1\n",
        "    _leave(machine, slot)\n    machine_let_go_plan(machine, slot)\n    machine.stats.aborts += 1\n",
        "tests/core/test_live_maps.py",
    ),
    Plant(
        "what would wait for a disk is sent from the mapping",
        "stream.pyx",
        "    most = _resident(machine, stream, source, <uint32_t>min(left - tail, <uint64_t>size))\n",
        "    most = <uint32_t>min(left - tail, <uint64_t>size)\n",
        "tests/core/test_live_maps.py",
    ),
    Plant(
        "what others may write to leaves by reference",
        "transmit.pyx",
        "reason != COPY_NO and source.frozen and",
        "reason != COPY_NO and",
    ),
    Plant(
        "a version is read while it is being written",
        "files/settling.py",
        "if not is_young(version.mtime_ns) or",
        "if True or",
        "tests/unit/files/test_settling.py",
    ),
    Plant(
        "the version of a file is not looked at after it was read",
        "fill.pyx",
        "        if not machine_version_holds(machine, &mapping.version, mapping.fd, True):\n"
        "            res = -ESTALE\n",
        "        if False:\n            res = -ESTALE\n",
    ),
    Plant(
        "a copy is not compared with what was announced",
        "version.pyx",
        "memcmp(sample, copy + _offset(version.size, number), length) != 0:\n            version.lost = 1",
        "False:\n            version.lost = 1",
        "tests/core/test_version.py",
    ),
    Plant(
        "a file whose bytes are gone is believed again",
        "machine.pyx",
        "    if not version.lost:\n        version.lost = machine_ask",
        "    if True:\n        version.lost = machine_ask",
    ),
    Plant(
        "a file that was filled from stays open",
        "fill.pyx",
        "    machine_close_file(machine, mapping.fd)\n",
        "",
    ),
    Plant(
        "a file that nobody streams from any more stays open",
        "machine.pyx",
        "        machine_close_file(machine, source.fd)\n",
        "",
    ),
    # Plans: what is remembered, and for how long.
    Plant(
        "the plan of a retired entry is replayed",
        "conn.pyx",
        "    if unlikely(plan.dead):\n",
        "    if False:\n",
    ),
    Plant(
        "a stale entry is not looked at",
        "new_paths.pxd",
        "(machine.now_ms > entry_at(&machine.table, plan.entry).check_at_ms\n",
        "(False\n",
        "tests/core/test_machine.py",
    ),
    Plant(
        "a plan goes while it is replayed",
        "machine.pyx",
        "    if plan.active > 0:\n        return\n    held = plan.mapping\n",
        "    held = plan.mapping\n",
    ),
    Plant(
        "equal hashes are equal heads",
        "plans.pyx",
        "        if (row.cache_key != NULL and row.hash == hash and row.length == length\n"
        "                and memcmp(row.cache_key, cache_key, length) == 0):",
        "        if row.cache_key != NULL and row.hash == hash:",
        "tests/core/test_plans.py",
    ),
    Plant(
        "any head is remembered at first sight",
        "plans.pyx",
        "    if cell[0] != tag and not (eager and chosen != NO_ROW):",
        "    if False:",
        "tests/core/test_plans.py",
    ),
    # Connections: each ends, none too early, none answers twice.
    Plant(
        "what follows a request is dropped when the peer has closed its direction",
        "conn.pyx",
        "    if keep and not (conn.flags & CONN_PEER_DONE and conn.received.bytes == NULL):",
        "    if keep and not conn.flags & CONN_PEER_DONE:",
    ),
    Plant(
        "a closing connection goes on receiving",
        "conn.pyx",
        "    if conn.flags & CONN_RECV_ARMED and not conn.flags & CONN_RECV_ENDING:\n"
        "        _cancel_recv(machine, slot)\n",
        "",
    ),
    Plant(
        "a slot is given back while an op is under way",
        "conn.pyx",
        "    if conn.state != CONN_CLOSING or conn.ops_open > 0:\n",
        "    if conn.state != CONN_CLOSING:\n",
    ),
    Plant(
        "a connection is closed with bytes unread",
        "conn.pyx",
        "        if result == 0:\n            conn_close(machine, slot)\n",
        "        if True:\n            conn_close(machine, slot)\n",
        "tests/core/test_machine.py",
    ),
    Plant(
        "an aborted connection is closed in order",
        "conn.pyx",
        "    conn_now(machine, slot, OP_RESET)\n",
        "",
        "tests/core/test_machine.py",
    ),
    Plant(
        "a peer that sends ahead is received without end",
        "conn.pyx",
        "    elif waiting >= most and not conn.flags & CONN_RECV_ENDING:",
        "    elif False:",
        "tests/core/test_machine.py",
    ),
    Plant(
        "a socket that refuses zero copy is asked again",
        "conn.pyx",
        "        conn.flags |= CONN_NO_ZEROCOPY\n",
        "        pass\n",
        "tests/core/test_streams.py",
    ),
    Plant(
        "a send that lacked memory is not copied",
        "conn.pyx",
        "        copy_reason = REASON_MEMORY\n",
        "        pass\n",
        "tests/core/test_streams.py",
    ),
    Plant(
        "a head that never ends has all the time",
        "deadlines.pyx",
        "            machine.stats.timeouts_head += 1\n            park_refused(machine, slot, 408)\n",
        "            conn_set_deadline(machine, slot, machine.limits.head_ms_max)\n",
        "tests/core/test_machine.py",
    ),
    Plant(
        "a peer that takes nothing is never reset",
        "deadlines.pyx",
        "    if conn.queued_last >= 0 and bytes >= conn.queued_last:",
        "    if False:",
        "tests/core/test_machine.py",
    ),
    Plant(
        "a peer that reads slowly is reset",
        "deadlines.pyx",
        "    if conn.queued_last >= 0 and bytes >= conn.queued_last:",
        "    if conn.queued_last >= 0:",
        "tests/core/test_patience.py",
    ),
    Plant(
        "the refusal of HEAD has a body",
        "parking.pyx",
        "        conn.refuse_status += REFUSED_HEAD\n",
        "        pass\n",
        "tests/core/test_machine.py",
    ),
    Plant(
        "a draining worker keeps connections alive",
        "conn.pyx",
        " and not (machine.draining and conn.received.bytes == NULL and drain_at_once(machine))",
        "",
        "tests/core/test_drain.py",
    ),
    Plant(
        "a draining worker does not say which answer is the last",
        "conn.pyx",
        "key_length == 0 or drain_ends(machine, last)",
        "key_length == 0",
        "tests/core/test_drain.py",
    ),
    Plant(
        "the answers before one that is broken off are destroyed",
        "conn.pyx",
        "    conn.broken = 1\n    queues_remove(&machine.queues, slot)\n",
        "    conn_abort(machine, slot)\n    return\n",
        "tests/core/test_streams.py",
    ),
    Plant(
        "a response is ended with a send under way",
        "conn.pyx",
        "    if conn.sends > 0 or conn.flags & CONN_POLLING:\n        return\n    if unlikely(conn.broken):",
        "    if not conn.broken and (conn.sends > 0 or conn.flags & CONN_POLLING):\n        return\n"
        "    if unlikely(conn.broken):",
        "tests/core/test_streams.py",
    ),
    Plant(
        "the end of the drain destroys answers that have left",
        "drain.pyx",
        "        if conn_at(machine, slot).state == CONN_LINGERING:\n"
        "            conn_close(machine, slot)\n        elif",
        "        if",
        "tests/core/test_drain.py",
    ),
    Plant(
        "a pipeline is served until the time to drain is over",
        "drain.pxd",
        "(last_head or machine.now_ms >= machine.drain_hurries_at_ms)",
        "last_head",
        "tests/core/test_drain.py",
    ),
    Plant(
        "a drain that is shortened has more time for pipelines",
        "drain.pyx",
        "    if not machine.draining:\n        machine.drain_hurries_at_ms",
        "    if True:\n        machine.drain_hurries_at_ms",
        "tests/core/test_drain.py",
    ),
    Plant(
        "what was under way when the way changed counts in a trial",
        "ways.pyx",
        "        trial.began_us = now_us\n",
        "",
        "tests/core/test_ways.py",
    ),
    Plant(
        "the other way is taken whatever it costs",
        "ways.pyx",
        "other if others < cost - cost / MARGIN else trial.verdict",
        "other",
        "tests/core/test_ways.py",
    ),
    Plant(
        "who asks for what has become known is the handler's all the same",
        "worker.pyx",
        "if self.machine.queues.queue[slot] != QUEUE_HEAD:",
        "if False:",
        "tests/core/test_fairness.py",
    ),
    # Windows: memory that is bounded, and that nobody waits for in vain.
    Plant(
        "the making of huge pages is taken for a read, again and again",
        "fill.pyx",
        "        mapping.collapsing = 0\n",
        "        pass\n",
        "tests/sim/test_sim.py",
    ),
    Plant(
        "a window of the reserve is kept while the socket takes nothing",
        "conn.pyx",
        "        stream_wait(machine, slot)\n",
        "        pass\n",
        "tests/core/test_streams.py",
    ),
    Plant(
        "a window that could not be made is not tried again",
        "pool.pyx",
        "            machine.pool_retry_at_ms = machine.now_ms + POOL_RETRY_MS\n",
        "",
        "tests/core/test_patience.py",
    ),
    Plant(
        "a window comes back to whoever has the slot now",
        "machine.pyx",
        "        if slab_holds(&machine.conns, mapping.holder, mapping.holder_generation):\n",
        "        if True:\n",
        "tests/core/test_streams.py",
    ),
    Plant(
        "a window that comes back wakes nobody",
        "conn.pyx",
        "    if machine.pool_news:\n        stream_wake(machine)\n",
        "    machine.pool_news = 0\n",
    ),
    # Memory that cannot be had.
    Plant(
        "nobody looks whether there is memory for a stream",
        "stream.pyx",
        "    if conn.stream == NULL:\n        return -ENOMEM\n",
        "",
    ),
    Plant(
        "a plan without memory for its image keeps its slot",
        "plans.pyx",
        "        plan.segments = NULL\n        slab_give(&table.plans, slot)\n        return NO_SLOT\n",
        "        plan.segments = NULL\n        return NO_SLOT\n",
    ),
    Plant(
        "who gets no image of its own gives back that of the plan",
        "machine.pyx",
        "                conn.image = plan.image\n                plan.image_held += 1\n",
        "                conn.image = plan.image\n",
    ),
    Plant(
        "an image of its own is not given back",
        "machine.pyx",
        "        memory_give(conn.image)\n        machine.stats.held_bytes -= plan.segments[0].length\n",
        "        machine.stats.held_bytes -= plan.segments[0].length\n",
    ),
    Plant(
        "a head that cannot be kept is forgotten",
        "conn.pyx",
        "    if recv_buffer_append(&conn.received, bytes, length, &machine.stats.held_bytes) < 0:\n"
        "        conn_abort(machine, slot)\n",
        "    recv_buffer_append(&conn.received, bytes, length, &machine.stats.held_bytes)\n",
        "tests/core/test_memory.py",
    ),
    Plant(
        "a worker without memory for its log keeps what it has",
        "access_record.pyx",
        "        access_close(access)\n        return -ENOMEM\n",
        "        access.open_records = NULL\n        return -ENOMEM\n",
        "tests/core/test_memory.py",
    ),
    Plant(
        "a connection that is reset lets its plan go with a read under way",
        "conn.pyx",
        "    conn_now(machine, slot, OP_RESET)\n",
        "    conn_now(machine, slot, OP_RESET)\n"
        "    if not conn.sends:\n        machine_let_go_plan(machine, slot)\n",
    ),
    # Admission and accepting.
    Plant(
        "a connection in use is shed",
        "admission.pyx",
        "    idle = _longer(machine, idle, _idle_beyond_grace(machine, QUEUE_IN_USE))\n",
        "    idle = _longer(machine, idle, machine.queues.first[QUEUE_IN_USE])\n",
        "tests/core/test_admission.py",
    ),
    Plant(
        "half a head is never shed",
        "admission.pyx",
        "    idle = _longer(machine, idle, _idle_beyond_grace(machine, QUEUE_HALF))\n",
        "",
        "tests/core/test_admission.py",
    ),
    Plant(
        "who is told 503 counts against the limit",
        "admission.pyx",
        "        machine.rejected += 1\n        conn_at(machine, slot).flags |= CONN_REJECTED\n",
        "        machine.admitted += 1\n",
        "tests/core/test_admission.py",
    ),
    Plant(
        "accepting spins while there are no descriptors",
        "acceptor.pyx",
        "        machine.accept_at_ms = machine.now_ms + ACCEPT_PAUSE_MS\n",
        "",
        "tests/core/test_admission.py",
    ),
    Plant(
        "accepting stops for good when there are no descriptors",
        "acceptor.pyx",
        "        machine.accept_at_ms = 0\n        acceptor_arm(machine)\n\n\ncdef void acceptor_end",
        "        machine.accept_at_ms = 0\n\n\ncdef void acceptor_end",
    ),
    # Leaves.
    Plant(
        "a slot given back keeps its generation",
        "slab.pyx",
        "    slab.generations[slot] += 1\n",
        "",
        "tests/core/test_slab.py",
    ),
    Plant(
        "a timer is late by a tick",
        "timer_wheel.pyx",
        "    cdef int64_t tick = deadline_ms // WHEEL_TICK_MS + 1\n",
        "    cdef int64_t tick = deadline_ms // WHEEL_TICK_MS + 2\n",
        "tests/core/test_timer_wheel.py",
    ),
    Plant(
        "receive buffers go back before what lies in them is served",
        "worker.pyx",
        "            for i in range(taken):\n"
        "                if token_kind(self.completions[i].token) == TOKEN_ACCEPT:\n"
        "                    accepts += 1\n",
        "            for i in range(taken):\n"
        "                if self.completions[i].has_buffer:\n"
        "                    self._give_back(self.completions[i].buffer_id)\n"
        "                    self.completions[i].has_buffer = 0\n"
        "            for i in range(taken):\n"
        "                if token_kind(self.completions[i].token) == TOKEN_ACCEPT:\n"
        "                    accepts += 1\n",
    ),
)
