"""Faults of who has his turn when, each with the test that must find it."""

from __future__ import annotations

from plants import Plant

FAIRNESS = "tests/core/test_fairness.py"
RENEWAL = "tests/wire/test_renewal.py"

DEVICES = "tests/core/test_devices.py"

PLANTS_IN_TURNS = (
    Plant(
        "as many windows are read from a device as are asked for",
        "devices.pyx",
        "    return machine.read_queues[number].reading < machine.device_reads_max\n",
        "    return True\n",
        DEVICES,
    ),
    Plant(
        "a turn at a device is kept for ever",
        "stream.pyx",
        "        devices_end(machine, stream.turn)\n",
        "",
        DEVICES,
    ),
    Plant(
        "who waits for a turn at a device keeps a window",
        "stream.pyx",
        "    machine_let_go_mapping(machine, window)\n    _wait_for_turn(machine, slot)\n",
        "    _wait_for_turn(machine, slot)\n",
        DEVICES,
    ),
    Plant(
        "nobody is told that a turn at a device is free",
        "devices.pyx",
        "            stream_pump(machine, slot, COPY_NO)\n",
        "",
        DEVICES,
    ),
    Plant(
        "the handler is given all there is",
        "worker.pyx",
        "        return self.handled <= HANDLER_ITEMS and self._spent_us() < TURN_US\n",
        "        return True\n",
        FAIRNESS,
    ),
    Plant(
        "the handler's time has no end",
        "worker.pyx",
        "        return self.handled <= HANDLER_ITEMS and self._spent_us() < TURN_US\n",
        "        return self.handled <= HANDLER_ITEMS\n",
    ),
    Plant(
        "looks leave no time for heads",
        "worker.pyx",
        "(self._may_go_on() or not heads)",
        "self._may_go_on()",
        FAIRNESS,
    ),
    Plant(
        "a stale entry waits behind heads",
        "conn.pyx",
        "                park(machine, slot, QUEUE_LOOK)\n",
        "                park(machine, slot, QUEUE_LOOK + 1)\n",
        FAIRNESS,
    ),
    Plant(
        "the next turn waits though heads are left",
        "worker.pyx",
        "        if self._wants_handler() or turns_anybody(&self.machine):\n            return 0\n",
        "",
        FAIRNESS,
    ),
    Plant(
        "every request looks at the same entry again",
        "new_paths.pyx",
        " if plan.entry == NO_SLOT or not new_path_is_stale(machine, plan) else plan.entry\n",
        " if plan.entry == NO_SLOT else plan.entry\n",
        FAIRNESS,
    ),
    Plant(
        "who is parked behind another is forgotten",
        "parking.pyx",
        "    queues_push(&machine.queues, slot, queue)\n",
        "    if machine.queues.first[queue] == NO_SLOT:\n        queues_push(&machine.queues, slot, queue)\n",
    ),
    Plant(
        "a failing request takes the next one with it",
        "worker.pyx",
        "            if not self.handled:\n",
        "            if self.handled:\n",
        FAIRNESS,
    ),
    Plant(
        "who comes waits for all that do without waiting",
        "poller.pyx",
        "    if poller.done.count >= count:\n",
        "    if False:\n",
        "tests/driver/test_poller.py",
    ),
    Plant(
        "large responses have no share of a turn",
        "turns.pyx",
        "    while turns_anybody(machine) and machine.turn_bytes < share:\n",
        "    while turns_anybody(machine):\n",
        "tests/core/test_turns.py",
    ),
    Plant(
        "who waits for a turn to send is forgotten",
        "turns.pyx",
        "    if machine.queues.queue[slot] == QUEUE_NONE:\n",
        "    if machine.queues.queue[slot] == QUEUE_NONE and machine.queues.first[queue] == NO_SLOT:\n",
    ),
    Plant(
        "the handler never rests",
        "turns.pyx",
        "    return machine.now_us >= machine.handler_at_us or _is_alone(machine, HANDLER_PAUSE_US)\n",
        "    return True\n",
        FAIRNESS,
    ),
    Plant(
        "who closes keeps the place of its address",
        "admission.pyx",
        "        addresses_leave(machine, slot)\n",
        "        pass\n",
    ),
    Plant(
        "every address of a network has a limit of its own",
        "addresses.pyx",
        "4 if peer.family == 4 else 8)\n",
        "4 if peer.family == 4 else 8)\n    address[0] += <uint64_t>peer.address[15] << 8\n",
        "tests/core/test_addresses.py",
    ),
    Plant(
        "who shares a queue stays the first in it",
        "engine/uring.py",
        "if shared else set()",
        "if False else set()",
        RENEWAL,
    ),
    Plant(
        "a queue that the receive buffers have filled is not submitted",
        "ring_setup.pyx",
        "    sqe = ring_sqe(ring)\n    lib.io_uring_prep_nop(sqe)\n",
        "    sqe = lib.io_uring_get_sqe(&ring.uring)\n    lib.io_uring_prep_nop(sqe)\n",
        "tests/ring/test_probe.py",
    ),
    Plant(
        "nobody waits for what a ring had locked",
        "engine/uring.py",
        "if error.errno != errno.ENOMEM or",
        "if True or",
        "tests/unit/engine/test_uring.py",
    ),
    Plant(
        "files take all the memory that may be locked",
        "uring_driver.pyx",
        "            if self.machine.stats.registered_bytes + mapping.capacity > self.registered_max:\n",
        "            if False:\n",
        RENEWAL,
    ),
)
