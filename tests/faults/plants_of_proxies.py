"""Faults to plant in what proxies say of clients, and in sites, each with the test that must find it."""

from __future__ import annotations

from plants import Plant

PROXY = "tests/core/test_proxy.py"
FORWARDED = "tests/core/test_forwarded.py"
SITES = "tests/wire/test_sites.py"
HOSTS = "tests/unit/handler/test_sites.py"

PLANTS_OF_PROXIES = (
    Plant(
        "anybody may say who the client is",
        "proxy.pyx",
        "    if proxy != PROXY_NAMED or networks_have(&machine.proxies, peer):\n",
        "    if True:\n",
        PROXY,
    ),
    Plant(
        "a network is only compared by whole bytes",
        "networks.pyx",
        "                and (mask == 0 or not (row.address[whole] ^ peer.address[whole]) & mask)):\n",
        "                and True):\n",
        PROXY,
    ),
    Plant(
        "a header that never ends has all the time",
        "proxy.pyx",
        "    conn_set_deadline(machine, slot, machine.limits.head_ms_max)\n",
        "    conn_set_deadline(machine, slot, machine.limits.idle_ms_max)\n",
        PROXY,
    ),
    Plant(
        "a header may be longer than what is received before a head",
        "proxy.pyx",
        "    SIZE_MAX = 2048 ",
        "    SIZE_MAX = 70000 ",
        PROXY,
    ),
    Plant(
        "what is behind a header is lost",
        "proxy.pyx",
        "    recv_buffer_consume(&conn.received, size)\n",
        "    recv_buffer_consume(&conn.received, conn.received.end)\n",
        PROXY,
    ),
    Plant(
        "the address of the proxy is the one that counts",
        "conn.pyx",
        "    admission_enter(machine, slot, admitted, counted)\n",
        "    admission_enter(machine, slot, admitted, peer)\n",
        PROXY,
    ),
    Plant(
        "a wrong checksum is taken",
        "proxy.pyx",
        "    return told == <uint32_t>~remainder\n",
        "    return True\n",
        PROXY,
    ),
    Plant(
        "the entry of a path is that of every site",
        "engine/holdings.py",
        "    return entry.site, entry.segments, entry.directory\n",
        "    return 0, entry.segments, entry.directory\n",
        SITES,
    ),
    Plant(
        "the machine answers for sites from the root",
        "engine/new_paths.py",
        " or answer.entry is None or answer.entry.site:\n",
        " or answer.entry is None:\n",
        SITES,
    ),
    Plant(
        "an absolute target does not name the host",
        "handler/sites.py",
        "    found = _ABSOLUTE.match(head) or _HOST.search(head)\n",
        "    found = _HOST.search(head)\n",
        HOSTS,
    ),
    Plant(
        "what a client invents is read first",
        "forwarded.pyx",
        "nodes.rows[(nodes.count - 1 - place) % NODES_MAX]",
        "nodes.rows[place]",
        FORWARDED,
    ),
    Plant(
        "anybody may name a client in a head",
        "clients.pyx",
        "    return machine.clients != NULL and networks_have(&machine.forwarders, peer)\n",
        "    return machine.clients != NULL\n",
        FORWARDED,
    ),
    Plant(
        "a request has the client of the one before it",
        "clients.pyx",
        "    client.named = client.peer\n",
        "",
        FORWARDED,
    ),
)
