"""Faults of zero copy by sockets (MSG_ZEROCOPY), each with the test that must find it."""

from __future__ import annotations

from plants import Plant

BOOKS = "tests/driver/test_zerocopy_books.py"
POLLER = "tests/driver/test_poller_zerocopy.py"

PLANTS_OF_ZEROCOPY = (
    Plant(
        "a range of notifications ends its first send alone",
        "zerocopy.pyx",
        "rows[row].number - first > last - first:",
        "rows[row].number != first:",
    ),
    Plant(
        "numbers of sends do not start again",
        "zerocopy.pyx",
        "rows[row].number - first > last - first:",
        "rows[row].number < first or zerocopy.rows[row].number > last:",
        BOOKS,
    ),
    Plant(
        "a send that failed is counted",
        "zerocopy.pyx",
        "    if sent < 0:\n        return -errno\n    zerocopy_sent",
        "    if sent < 0:\n        socket.next_number += 1\n        return -errno\n    zerocopy_sent",
        POLLER,
    ),
    Plant(
        "a socket of which sends are out is closed at once",
        "poller.pyx",
        "        if _at(poller, op.fd).unnotified.first:\n            zerocopy_end",
        "        if False:\n            zerocopy_end",
        POLLER,
    ),
    Plant(
        "a socket that cannot be closed yet is not reset",
        "zerocopy.pyx",
        "option.l_onoff and option.l_linger == 0:",
        "False:",
        POLLER,
    ),
    Plant(
        "hang-ups wake a poller that waits for notifications",
        "poller.pyx",
        "<uint32_t>(EPOLLERR | EPOLLET) if",
        "<uint32_t>EPOLLERR if",
        POLLER,
    ),
    Plant(
        "a connection that is closing never counts",
        "admission.pyx",
        "    conn.stays = machine.zerocopy_by_socket and conn.leases > 0\n",
        "    conn.stays = False\n",
        "tests/core/test_admission.py",
    ),
    Plant(
        "a connection that has been closed counts for ever",
        "conn.pyx",
        "    admission_closed(machine, slot)\n",
        "",
        "tests/core/test_admission.py",
    ),
)
