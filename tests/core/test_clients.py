"""What one address may ask for, of clients whom proxies name in heads: each request is of its own."""

from __future__ import annotations

import pytest

from zchttpd.engine.access_records import unpack_records

from .fronted import FRONT, ONE, OTHER, OTHER_FRONT, PROXIES, REFUSED, RESET, Fronted, asking
from .gate import PLAIN
from .proxying import LOCAL, binary, line

STRANGER = bytes([192, 0, 2, 99])


# ---- requests by rate ----


def test_each_client_has_a_bucket_whichever_connection_brings_it() -> None:
    gate = Fronted(requests_per_second=1, requests_burst=2)
    front, other = gate.come(FRONT), gate.come(OTHER_FRONT)
    assert [gate.asked(front, asking(ONE)) for _ in range(3)] == [0, 0, REFUSED]
    assert gate.asked(other, asking(ONE)) == REFUSED
    assert [gate.asked(front, asking(OTHER)) for _ in range(3)] == [0, 0, REFUSED]
    assert [gate.asked(front) for _ in range(3)] == [0, 0, REFUSED], "who names nobody is itself the client"
    assert gate.asked(other, asking("unknown")) == 0
    assert gate.asked(gate.come(bytes([192, 0, 2, 7]))) == REFUSED, "who comes without a proxy is the same"
    gate.wait(1001)
    assert gate.asked(other, asking(ONE)) == 0


def test_what_was_sent_ahead_is_of_many_clients() -> None:
    gate = Fronted(requests_per_second=1, requests_burst=1)
    recv = gate.come(FRONT)
    gate.hear(recv, b"".join(asking(client) for client in (ONE, OTHER, ONE, "", OTHER, "192.0.2.8")))
    seen = []
    while work := gate.take_work():
        for kind, ticket, subject in work:
            status = subject if kind == "refuse" else 0
            assert isinstance(status, int)
            seen.append(status)
            gate.end(ticket, status)
        gate.wait(0)
    assert seen == [0, 0, REFUSED, 0, REFUSED, 0]


def test_a_known_head_is_each_client_s_own() -> None:
    """The field is no part of the key."""
    gate = Fronted(requests_per_second=1, requests_burst=1)
    recv = gate.come(FRONT)
    gate.hear(recv, asking(ONE))
    [(_, ticket, _)] = gate.take_work()
    gate.machine.answer(ticket, gate.small(), True)
    gate.serve()
    gate.hear(recv, asking(OTHER))
    gate.serve()
    assert gate.take_work() == [], "it is remembered"
    assert gate.machine.gauge("plan_hits") == 1
    assert gate.asked(recv, asking(OTHER)) == REFUSED


@pytest.mark.parametrize("proxies", [[], PROXIES])
def test_nobody_else_is_believed(proxies: list[tuple[bytes, int]]) -> None:
    gate = Fronted(proxies, requests_per_second=1, requests_burst=2, connections_per_address=1)
    stranger = gate.come(STRANGER)
    assert [gate.asked(stranger, asking(client)) for client in (ONE, OTHER, "")] == [0, 0, REFUSED]
    assert gate.asked(gate.come(b""), asking(ONE)) == 0
    assert gate.asked(gate.come(bytes([192, 0, 2, 7]))) == 0, "whom they name is none the worse for it"


def test_without_a_list_a_front_is_one_address() -> None:
    gate = Fronted([], requests_per_second=1, requests_burst=1)
    front = gate.come(FRONT)
    assert [gate.asked(front, asking(client)) for client in (ONE, OTHER)] == [0, REFUSED]


def test_who_comes_by_a_unix_socket_may_be_believed() -> None:
    gate = Fronted([(b"", 0)], requests_per_second=1, requests_burst=1, connections_per_address=1)
    local = gate.come(b"")
    assert [gate.asked(local, asking(client)) for client in (ONE, ONE, OTHER)] == [0, REFUSED, 0]
    assert [gate.asked(local) for _ in range(3)] == [0] * 3, "by itself it has no address, and no limit"
    front = gate.come(FRONT)
    assert [gate.asked(front, asking(OTHER)) for _ in range(2)] == [0, REFUSED]


def test_whom_a_proxy_protocol_names_may_be_a_proxy() -> None:
    gate = Fronted(requests_per_second=1, requests_burst=1, connections_per_address=1, proxy="any")  # type: ignore[arg-type]
    recvs = [gate.come(b"") for _ in range(3)]
    for recv in recvs[:2]:
        gate.hear(recv, line("10.0.0.7"))
    assert [gate.asked(recv, asking(ONE)) for recv in recvs[:2]] == [0, REFUSED]
    gate.hear(recvs[2], line("192.0.2.99"))
    assert [gate.asked(recvs[2], asking(client)) for client in (OTHER, "192.0.2.8")] == [0, REFUSED]
    assert gate.asked(recvs[0], asking(OTHER)) == 0


def test_a_front_that_says_it_is_itself_names_clients_all_the_same() -> None:
    """A connection of its own (LOCAL) has no limit of an address; its requests for others do."""
    gate = Fronted(requests_per_second=1, requests_burst=1, connections_per_address=1, proxy="any")  # type: ignore[arg-type]
    recv = gate.come(FRONT)
    gate.hear(recv, binary(command=LOCAL))
    assert [gate.asked(recv) for _ in range(3)] == [0] * 3
    assert [gate.asked(recv, asking(client)) for client in (ONE, ONE, OTHER)] == [0, REFUSED, 0]


# ---- requests at a time ----


def test_a_front_has_as_many_connections_as_it_takes() -> None:
    gate = Fronted(connections_per_address=2)
    fronts = [gate.come(FRONT) for _ in range(20)]
    assert [gate.asked(recv, asking(ONE)) for recv in fronts] == [0] * 20, "one behind the other"
    assert gate.addresses() == gate.machine.gauge("refused_address") == 0


def test_a_client_has_so_many_requests_at_a_time() -> None:
    gate = Fronted(connections_per_address=2)
    fronts = [gate.come(FRONT) for _ in range(5)]
    _, first, _ = gate.begin(fronts[0], ONE)
    assert gate.begin(fronts[1], ONE)[2] == 0
    assert gate.begin(fronts[2], ONE)[2] == REFUSED
    assert gate.begin(fronts[2], OTHER)[2] == 0, "the connection goes on, and another is not concerned"
    assert gate.machine.gauge("refused_address") == 1
    gate.end(first)
    assert gate.begin(fronts[3], ONE)[2] == 0
    assert gate.begin(fronts[0], ONE)[2] == REFUSED
    # Connections of its own are of the same address.
    gate.come(bytes([192, 0, 2, 7]))
    assert [(kind, status) for kind, _, status in gate.take_work()] == [("refuse", 503)]


def test_who_names_nobody_has_the_limit_itself() -> None:
    gate = Fronted(connections_per_address=1)
    fronts = [gate.come(FRONT) for _ in range(3)]
    assert [gate.begin(recv)[2] for recv in fronts] == [0, REFUSED, REFUSED]


def test_a_refusal_takes_no_place_and_no_token() -> None:
    gate = Fronted(connections_per_address=1, requests_per_second=1, requests_burst=2)
    fronts = [gate.come(FRONT) for _ in range(3)]
    _, ticket, _ = gate.begin(fronts[0], ONE)
    assert [gate.begin(fronts[1], ONE)[2] for _ in range(3)] == [REFUSED] * 3
    gate.end(ticket)
    _, ticket, status = gate.begin(fronts[1], ONE)
    assert status == 0, "what was refused for the one limit does not count for the other"
    gate.end(ticket)
    gate.hear(fronts[2], asking(ONE))
    [(kind, ticket, _)] = gate.take_work()
    assert (kind, gate.addresses()) == ("refuse", 0)
    assert gate.machine.gauge("refused_rate") == 1


def test_a_head_that_waits_for_its_entry_counts_once() -> None:
    gate = Fronted(connections_per_address=1)
    recv = gate.come(FRONT)
    entry = gate.machine.entry(0)
    gate.hear(recv, asking(ONE))
    [(_, ticket, _)] = gate.take_work()
    gate.machine.answer(ticket, gate.small(entry=entry), True)
    gate.serve()
    gate.hear(recv, asking(ONE))
    [(kind, ticket, _)] = gate.take_work()
    assert (kind, gate.addresses()) == ("stale", 1)
    gate.machine.refresh(entry, gate.now_ms + 1000)
    gate.machine.retry(ticket)
    gate.serve()
    assert gate.addresses() == gate.machine.gauge("refused_address") == 0


@pytest.mark.parametrize(
    "head",
    [
        PLAIN.replace(b"Accept: */*", b"Content-Length: 5"),
        PLAIN.replace(b"1.1", b"1.0"),
        PLAIN.replace(b"GET", b"POST"),
    ],
)
def test_only_what_is_plain_keeps_its_connection(head: bytes) -> None:
    gate = Fronted(connections_per_address=1)
    gate.begin(gate.come(FRONT), ONE)
    assert gate.asked(gate.come(FRONT), asking(ONE, head)) == 429


@pytest.mark.parametrize("by_socket", [False, True])
@pytest.mark.parametrize("way", ["reset", "close", "stall", "drain", "lease"])
def test_a_place_comes_back_in_every_way(way: str, by_socket: bool) -> None:
    gate = Fronted(connections_per_address=1, send_mode="zerocopy", zerocopy_by_socket=by_socket)  # type: ignore[arg-type]
    recv = gate.come(FRONT)
    if way == "lease":
        # Its bytes are the kernel's until later, and the socket may have to stay for them.
        mapping = gate.mapping(bytes(2000), not by_socket)
        plan = gate.plan([("literal", 0, 39), ("mapped", 0, 2000)], mapping=mapping)
        _, ticket, _ = gate.begin(recv, ONE)
        gate.machine.answer(ticket, plan, False)
        sends = [op for op in gate.ops() if op.kind in ("send", "send_zc")]
        for op in sends:
            gate.step(op.token, op.length, op.kind == "send_zc")
        assert [op.kind for op in sends] == ["send", "send_zc"]
        assert gate.addresses() == 0, "all has left"
        gate.begin(recv, OTHER)
        assert gate.addresses() == 1
        gate.go(recv)
        gate.step(sends[1].token, 0, False, True)
    else:
        gate.deaf = {recv.fd}
        _, ticket, _ = gate.begin(recv, ONE)
        assert gate.addresses() == 1
        gate.end(ticket)
        assert gate.addresses() == 1, "nothing has left"
        if way == "drain":
            gate.machine.drain()
            gate.deaf.clear()
            gate.step(gate.polls.pop(recv.fd), 4)
            gate.serve()
        elif way == "stall":
            for _ in range(8):
                gate.wait(60_000)
        else:
            gate.go(recv, RESET if way == "reset" else 0)
            if way == "close":
                # A peer that has closed its direction may still be reading.
                assert gate.addresses() == 1
                gate.step(recv.token, RESET)
    assert gate.addresses() == 0


# ---- and the log ----


def test_the_log_and_the_limits_name_the_same() -> None:
    gate = Fronted(requests_per_second=1, requests_burst=1, access_bytes=1 << 16)
    recv = gate.come(FRONT)
    for client in (ONE, ONE, "", OTHER, ""):
        gate.asked(recv, asking(client))
    gate.hear(recv, asking(ONE).replace(b"\r\nHost", b"\nHost"))
    [(_, ticket, status)] = gate.take_work()
    assert status == 400
    gate.end(ticket, 400)
    records = list(unpack_records(gate.machine.take_records()))
    assert [(record.address, record.status) for record in records] == [
        (ONE, 200),
        (ONE, 429),
        ("10.0.0.1", 200),
        (OTHER, 200),
        ("10.0.0.1", 429),
        (ONE, 400),
    ]
