"""Faults to plant in TLS, each with the test that must find it."""

from __future__ import annotations

from plants import Plant

HOSTILE = "tests/wire/tls/test_hostile.py"
LISTENERS = "tests/wire/tls/test_listeners.py"
SENT = "tests/wire/tls/test_what_is_sent.py"

PLANTS_OF_TLS = (
    Plant(
        "a response that is broken off ends as if it were whole",
        "poll_driver.pyx",
        "self.tls.end(op.fd, op.flags & OP_BROKEN != 0)",
        "self.tls.end(op.fd, False)",
        SENT,
    ),
    Plant(
        "what the library says by itself may wait without end",
        "engine/tls_transport.py",
        "            if len(self._unsent) > UNSENT_MAX:\n",
        "            if False:\n",
        HOSTILE,
    ),
    Plant(
        "a handshake has all the time",
        "poll_driver.pyx",
        "        if due_ms and system_now_us() >= 1000 * due_ms:\n",
        "        if False:\n",
        HOSTILE,
    ),
    Plant(
        "the handshake is taken with the PROXY header",
        "tls.pyx",
        "            got = length - len(before)\n",
        "            got = size\n",
        LISTENERS,
    ),
    Plant(
        "only the bytes that came last are looked at for a PROXY header",
        "tls.pyx",
        "        header = before + buffer[:got]\n",
        "        header = buffer[:got]\n",
        LISTENERS,
    ),
    Plant(
        "a connection that is aborted says that all is well",
        "engine/tls_transport.py",
        '        """Say nothing more, and hear nothing."""\n        self._over = self._dead = True\n',
        '        """Say nothing more, and hear nothing."""\n        self.end()\n        self._dead = True\n',
        SENT,
    ),
)
