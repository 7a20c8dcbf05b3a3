"""Faults of the limits of clients whom believed proxies name, each with the test that must find it."""

from __future__ import annotations

from plants import Plant

CLIENTS = "tests/core/test_clients.py"
MODEL = "tests/core/test_clients_model.py"
BYTES = "tests/core/test_clients_bytes.py"
FORWARDED = "tests/core/test_forwarded.py"

PLANTS_OF_CLIENTS = (
    Plant(
        "all that a proxy brings is its own as far as rates go",
        "clients.pyx",
        "    rates_enter(machine, slot, whose)\n    return whose\n",
        "    return whose\n",
        BYTES,
    ),
    Plant(
        "what one client may send without paying is left to the next",
        "conn.pyx",
        "    rates_give_back(machine, slot)\n    conn.refuse_status = 0\n",
        "    conn.refuse_status = 0\n",
        BYTES,
    ),
    Plant(
        "a request of a proxy counts until its connection ends",
        "conn.pyx",
        "        addresses_leave(machine, slot)\n",
        "        pass\n",
        CLIENTS,
    ),
    Plant(
        "requests of a proxy do not count",
        "parking.pyx",
        "        addresses_enter(machine, slot, client)\n",
        "",
        MODEL,
    ),
    Plant(
        "a request that its rate refuses takes a place",
        "parking.pyx",
        "    if (addresses_have_room(machine, client)\n",
        "    addresses_enter(machine, slot, client)\n    if (addresses_have_room(machine, client)\n",
        CLIENTS,
    ),
    Plant(
        "a proxy has no more connections than others",
        "conn.pyx",
        "NULL if proxy or clients_believe(machine, peer) else peer\n",
        "NULL if proxy else peer\n",
        CLIENTS,
    ),
    Plant(
        "a proxy that another names has no more connections than others",
        "proxy.pyx",
        "    counts = found == PROXY_CLIENT and not conn.believed\n",
        "    counts = found == PROXY_CLIENT\n",
        CLIENTS,
    ),
    Plant(
        "a known head of a proxy is nobody's",
        "conn.pyx",
        "machine.rates == NULL and not conn.believed:\n",
        "machine.rates == NULL:\n",
        FORWARDED,
    ),
    Plant(
        "what a proxy asks for itself counts though it says that it is no client",
        "clients.pyx",
        "        if counts:\n            client.own = peer[0]\n",
        "        client.own = peer[0]\n",
        CLIENTS,
    ),
    Plant(
        "a head is read again when it has been looked at",
        "parking.pyx",
        "    if conn.asked_for:\n        return True\n",
        "",
        CLIENTS,
    ),
    Plant(
        "a broken head names whom the next one names",
        "forwarded.pyx",
        "        if end == NULL or (at > head and end - at < 2 and (at[0] == b'\\r' or at[0] == b'\\n')):\n",
        "        if end == NULL:\n",
        FORWARDED,
    ),
)
