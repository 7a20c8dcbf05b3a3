"""bench/sink: packets that the kernel takes, a program that drops what it sees, and what is no proof."""

from __future__ import annotations

import socket
import struct

import pytest

from bench.sink.bpf import DROP, program
from bench.sink.figures import Results, Sample, conclusions, document, table
from bench.sink.peer import ACK, CLIENT, OPTIONS, PSH, SERVER, SYN, checksum, packet

PORTS, NUMBERS = (20_001, 8080), (0xFFFFFFFE, 0x80000001)
GIB = 1 << 30


def make_sample(server: str = "zerocopy", core_s: float = 1.0, /, **changed: object) -> Sample:
    """Answers of 1 MiB, a GiB of them, sent without a copy where they should be."""
    fields: dict[str, object] = {
        "server": server, "size": 1 << 20, "files": "one", "round": 1, "answers": 1024, "bytes": GIB,
        "packets": 2, "worker_s": core_s / 2, "core_s": core_s, "others_s": 0.0,
        "zero_copied": 1024 if server == "zerocopy" else 0, "copied": 0, "unknown": 0,
        **changed,
    }  # fmt: skip
    return Sample(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("flags", "rest"),
    [(SYN, OPTIONS), (ACK, b""), (PSH | ACK, b"GET / HTTP/1.1\r\n\r\n"), (PSH | ACK, b"odd")],
)
def test_a_packet_is_right_by_its_own_checksums(flags: int, rest: bytes) -> None:
    frame = packet(PORTS, NUMBERS, flags, rest)
    header, tcp = frame[14:34], frame[34:]
    assert struct.unpack("!H", header[2:4]) == (len(header + tcp),)
    assert header[12:20] == socket.inet_aton(CLIENT) + socket.inet_aton(SERVER)
    # What includes its checksum sums up to nothing (RFC 1071).
    assert checksum(header) == 0
    assert checksum(header[12:] + struct.pack("!HH", socket.IPPROTO_TCP, len(tcp)) + tcp) == 0
    assert struct.unpack("!HHIIBB", tcp[:14]) == (*PORTS, *NUMBERS, (32 if flags & SYN else 20) << 2, flags)
    assert tcp.endswith(rest)


def test_the_program_drops_whatever_it_sees() -> None:
    """Each jump leads to its last two instructions: who gets a packet that is let through copies it."""
    code = program(7)
    parts = [struct.unpack_from("=BBhi", code, at) for at in range(0, len(code), 8)]
    jumps = [(at, offset) for at, (operation, _, offset, _) in enumerate(parts) if operation in (0x2D, 0x55)]
    assert jumps
    assert {at + 1 + offset for at, offset in jumps} == {len(parts) - 2}
    assert [parts[-2][3], parts[-1][0]] == [DROP, 0x95]
    assert 7 in [value for operation, _, _, value in parts if operation == 0x18]


def test_ratios_are_those_of_one_round() -> None:
    samples = [
        make_sample(server, core_s, round=number)
        for number, times in enumerate(((2.0, 1.0), (8.0, 2.0)), 1)
        for server, core_s in zip(("plain", "zerocopy"), times, strict=True)
    ]
    [plain, zerocopy] = table(samples).lines
    assert plain[5] == ""
    assert zerocopy[:7] == ("1M", "one", "zerocopy", "750", "1500", "0.38 [0.25 to 0.50]", "")
    results = Results({}, samples=samples)
    assert "wanted: at most 0.40x plain at 1M one: unclear, 0.38 [0.25 to 0.50]" in conclusions(results)
    assert (
        conclusions(results)[0] == "2048 of 2048 zero-copy sends were not copied by the kernel's own account"
    )


@pytest.mark.parametrize("kind", ["copied", "unknown"])
def test_a_send_that_may_have_been_copied_is_told(kind: str) -> None:
    """A handful is the kernel's way of counting."""
    assert not Results({}).clean
    results = Results({}, samples=[make_sample(**{kind: 1})])
    assert conclusions(results)[0].startswith("1024 of 1025 zero-copy sends")
    assert results.clean
    assert not Results({}, samples=[make_sample(**{kind: 11})]).clean


def test_what_disturbed_is_told() -> None:
    results = Results(
        {}, samples=[make_sample("plain", others_s=0.25)], absent={"nginx": "gone"}, cut_short="why"
    )
    assert conclusions(results)[1:] == [
        "plain at 1M one: 25% of the core's time was others'",
        "without nginx: gone",
        "INCOMPLETE: why",
    ]


@pytest.mark.parametrize("template", ["sink.txt.j2", "sink.md.j2"])
def test_documents_have_the_table_and_how_it_was_measured(template: str) -> None:
    text = document(template, Results({"cpu": "some"}, samples=[make_sample("plain")]))
    assert "1M" in text
    assert "sendfile" in text
    assert ("cpu: some" in text) is template.endswith("md.j2")
