"""Faults of what one address may ask for and be sent, each with the test that must find it."""

from __future__ import annotations

from plants import Plant

RATES = "tests/core/test_rates.py"

PLANTS_OF_RATES = (
    Plant(
        "a request costs nothing",
        "rates.pyx",
        "    row.requests_ns = moved_ns\n",
        "",
        RATES,
    ),
    Plant(
        "a head counts each time it is looked up",
        "parking.pyx",
        "    conn.asked_for = 1\n",
        "",
        RATES,
    ),
    Plant(
        "a refused head that has content keeps its connection",
        "cache_key.pyx",
        "            if _frames(<const uint8_t*>key + at, name):\n",
        "            if False:\n",
        RATES,
    ),
    Plant(
        "bytes are sent that have not been paid for",
        "transmit.pyx",
        "    length = rates_clip(machine, conn, length)\n",
        "",
        RATES,
    ),
    Plant(
        "what has been paid for is sent however late",
        "rates.pyx",
        "    if conn.paid > 0 and machine.now_ms > conn.due_ms + LATE_MS:\n",
        "    if False:\n",
        RATES,
    ),
    Plant(
        "what time has brought back is given back as well",
        "rates.pyx",
        "        left_ns = min(left_ns, _cost(conn.paid, machine.limits.bytes_per_second))\n",
        "        left_ns = _cost(conn.paid, machine.limits.bytes_per_second)\n",
        RATES,
    ),
    Plant(
        "who takes nothing keeps what it has paid for",
        "conn.pyx",
        "    rates_give_back(machine, slot)\n    machine_op(machine, slot, OP_POLL",
        "    machine_op(machine, slot, OP_POLL",
        RATES,
    ),
    Plant(
        "who goes keeps what it has paid for",
        "conn.pyx",
        "    rates_give_back(machine, slot)\n    admission_leave",
        "    admission_leave",
        RATES,
    ),
    Plant(
        "a paced stream keeps its window",
        "stream.pyx",
        "            if stream.count == 1 and stream.reading == NO_SLOT:\n",
        "            if False:\n",
        RATES,
    ),
    Plant(
        "the end of a pause is taken for a stall",
        "deadlines.pyx",
        "    elif conn.state == CONN_SENDING and conn.paced:\n",
        "    elif conn.state == CONN_SENDING and False:\n",
        RATES,
    ),
)
