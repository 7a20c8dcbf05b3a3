"""Faults of zero copy by sockets and from mapped files, each with the test that must find it."""

from __future__ import annotations

from plants import Plant

BOOKS = "tests/driver/test_zerocopy_books.py"
POLLER = "tests/driver/test_poller_zerocopy.py"
LIVE = "tests/core/test_live_zerocopy.py"
LOOPS = "tests/wire/test_zerocopy_loops.py"

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
    # From mapped files, which others may write to.
    Plant(
        "the end of a response is read while some of it may still change",
        "stream.pyx",
        " and not _waits_for_notifications(machine, conn)):",
        "):",
        LIVE,
    ),
    Plant(
        "parts of a file that were sent before are not waited for",
        "transmit.pyx",
        "        conn.live_leases += 1\n",
        "        conn.live_leases = 1 if conn.stream.read_at > 0 else 0\n",
        LIVE,
    ),
    Plant(
        "windows are waited for like mapped files",
        "stream.pyx",
        "    return (conn.live_leases > 0 and",
        "    return (conn.leases > 0 and",
        LIVE,
    ),
    Plant(
        "a lease on a mapped file does not hold it",
        "transmit.pyx",
        "        source.refs += 1\n        conn.live_leases",
        "        conn.live_leases",
        LIVE,
    ),
    Plant(
        "pages leave the page tables while a send reads them",
        "stream.pyx",
        "        if stream.live == LIVE_COPIED:\n",
        "        if stream.live:\n",
        LIVE,
    ),
    # What shows at the receiver, when memory is overwritten as soon as its lease has ended.
    Plant(
        "a lease does not outlast the result, whatever is still to be read",
        "conn.pyx",
        "    if not completion.more:\n        transmit_end_lease(machine, lease_slot)",
        "    if True:\n        transmit_end_lease(machine, lease_slot)",
        "tests/ring/test_leases.py",
    ),
    # Sends of programs.
    Plant(
        "a lease of a program ends with the result of its send",
        "zerocopy.py",
        "        if self._whole and not self._sends:",
        "        if self._whole:",
        "tests/wire/test_zerocopy.py",
    ),
    Plant(
        "a send that took nothing makes a lease copied",
        "send_ring.pyx",
        "copied=took and ",
        "copied=",
        "tests/ring/test_send_ring.py",
    ),
    Plant(
        "a ring with sends out goes with its loop",
        "notifications.py",
        "            _HELD.add(self)\n        else:",
        "            pass\n        else:",
        LOOPS,
    ),
    Plant(
        "nobody takes what comes for a loop that was closed",
        "notifications.py",
        "            if source.orphaned:",
        "            if False:",
        LOOPS,
    ),
)
