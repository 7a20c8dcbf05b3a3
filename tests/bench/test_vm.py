"""bench/vm: what the guest prints, what follows from it, and what must not pass as proof."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import math
import socket
import threading
from functools import partial
from pathlib import Path

import pytest

from bench.__main__ import make_parser
from bench.vm.agent import COPIERS, hits
from bench.vm.command import TESTS
from bench.vm.figures import (
    COST,
    HEADINGS,
    Results,
    Sample,
    added,
    crossings,
    crossover,
    document,
    goals,
    plot_of,
    proven,
    rows_of,
    table,
    to_json,
    usage,
)
from bench.vm.loss import judged
from bench.vm.machine import COPYING, GATHERING, newest_kernel
from bench.vm.measure import Downloader, how_many, in_turn
from bench.vm.modes import MODES, chosen_modes, write_plan
from benchlib import CannotMeasure
from benchlib.fetch import BadAnswer
from benchlib.payload import Payload
from benchlib.spread import spread

NO_COPIES = dict.fromkeys(COPIERS, 0)


def make_sample(mode: str = "zerocopy", size: int = 65536, number: int = 1, /, **changed: object) -> Sample:
    """Ten responses that took a tenth of a second each of everything, all of them sent without a copy."""
    fields: dict[str, object] = {
        "mode": mode, "size": size, "round": number, "responses": 10, "bytes": 10 * size,
        "worker_s": 1.0, "guest_s": 1.0, "emulator_s": 1.0, "zero_copied": 10 if mode == "zerocopy" else 0,
        "copied": 0, "unknown": 0, "copies": NO_COPIES, "fallbacks": 0,
        "leases": [(0.001, 10), (math.inf, 10)],
        **changed,
    }  # fmt: skip
    return Sample(**fields)  # type: ignore[arg-type]


def make_results(samples: list[Sample], **changed: object) -> Results:
    fields: dict[str, object] = {
        "machine": {"kernel": "Linux"},
        "guest": {
            "kernel": "6.1",
            "copy_by": ["rep_good"],
            "cards": [{"driver": "virtio_net", "address": "10.0.2.15", "gathers": True, "segments": False}],
        },
        "settings": {"rounds": 1},
        "samples": samples,
        "controls": [
            {
                "route": "loopback",
                "zero_copied": 0,
                "copied": 16,
                "unknown": 0,
                "copies": {"skb_copy_ubufs": 48},
            }
        ],
        "routes": {"loopback": {"splice": 16}, "card": {"zerocopy": 16}},
        "paths": {"zcguest2": {"outcome": "zero_copied", "status": 0}},
        "absent": {"portable-zerocopy": "not with this engine"},
        "endings": {"zerocopy": {"status": 0, "log": ""}},
        "cut_short": "",
        **changed,
    }
    return Results(**fields)  # type: ignore[arg-type]


# What the guest's kernel prints


def test_hits_of_our_probe_only() -> None:
    lines = ["  other                    7               0"]
    lines += [f"  zchttpd_{copier}    {number}    2" for number, copier in enumerate(COPIERS, 40)]
    assert list(hits("\n".join(lines)).items()) == [(copier, n) for n, copier in enumerate(COPIERS, 42)]


def test_a_missing_probe_is_not_zero_hits() -> None:
    with pytest.raises(ValueError, match=f"kprobe_profile does not have {COPIERS[1]}"):
        hits("".join(f"  zchttpd_{copier}  7  0\n" for copier in COPIERS if copier != COPIERS[1]))


def test_the_newest_kernel_is_not_the_last_in_the_alphabet() -> None:
    names = ["vmlinuz-6.1.0-9-amd64", "vmlinuz-6.1.0-56-amd64", "config-7.0.0-1-amd64"]
    assert newest_kernel(names) == "6.1.0-56-amd64"
    with pytest.raises(CannotMeasure, match="apt-get install linux-image-amd64"):
        newest_kernel(["config-7.0.0-1-amd64"])


def test_what_is_to_run_in_the_guest_is_there() -> None:
    top = Path(__file__).parents[2]
    assert [path for path in TESTS if not (top / path).exists()] == []


def test_only_the_copying_card_has_its_offloads_off() -> None:
    assert "csum=off" in COPYING.options
    assert "csum=off" not in GATHERING.options
    assert COPYING.hardware != GATHERING.hardware


# What the server counts


def test_usage_is_the_growth_of_each_kind() -> None:
    name = 'zchttpd_zerocopy_notifications_total{{usage="{}"}}'.format
    fallback = 'zchttpd_zerocopy_fallbacks_total{reason="small"}'
    before = {name("zero_copied"): 5.0, name("copied"): 1.0}
    after = {name("zero_copied"): 9.0, name("copied"): 1.0, name("unknown"): 2.0, fallback: 3.0}
    assert usage(before, after) == {"zero_copied": 4, "copied": 0, "unknown": 2, "fallbacks": 3}


def test_leases_of_several_samples_are_added_bucket_by_bucket() -> None:
    samples = [make_sample(leases=[(0.001, 5), (0.01, 9), (math.inf, 10)], copies={"a": 1}) for _ in range(2)]
    copies, leases = added(samples)
    assert leases == [(0.001, 10), (0.01, 18), (math.inf, 20)]
    assert copies == {"a": 2}


# What follows


def test_ratios_are_taken_per_byte_within_a_round() -> None:
    samples = [
        make_sample("plain", 4096, 1, emulator_s=2.0),
        make_sample("zerocopy", 4096, 1, emulator_s=1.0),
        make_sample("plain", 4096, 2, emulator_s=1.0),
        make_sample("zerocopy", 4096, 2, emulator_s=4.0, bytes=20 * 4096),
        make_sample("zerocopy", 4096, 3, emulator_s=9.0),
        make_sample("plain", 8192, 1, emulator_s=100.0),
    ]
    (row,) = (row for row in rows_of(samples) if (row.workload, row.server) == ("4K", "zerocopy"))
    assert row.ratio("emulator_per_gib") == spread([0.5, 2.0])


@pytest.mark.parametrize(
    ("costs", "words"),
    [
        ({4096: 1.5, 8192: 0.9, 16384: 0.5}, "from 8K on (not in every round at 4K)"),
        ({4096: 0.9, 8192: 1.1, 16384: 0.5}, "from 16K on (not in every round at 8K)"),
        ({4096: 0.9, 8192: 0.5}, "from 4K on, the smallest"),
        ({4096: 1.1, 8192: 1.0}, "does not clearly pay at 8K"),
        ({}, "needs zerocopy and plain"),
    ],
)
def test_the_crossover_lies_above_every_size_that_does_not_pay(costs: dict[int, float], words: str) -> None:
    samples = [make_sample("plain", size, 1) for size in costs]
    samples += [make_sample("zerocopy", size, 1, emulator_s=cost) for size, cost in costs.items()]
    assert words in crossover(samples)


def test_one_dear_round_is_no_clear_gain() -> None:
    samples = [make_sample("plain", 8192, number) for number in (1, 2, 3)]
    samples += [make_sample("zerocopy", 8192, number, emulator_s=0.4) for number in (1, 2)]
    assert "pays from 8K on" in crossover(samples)
    assert "does not clearly pay" in crossover([*samples, make_sample("zerocopy", 8192, 3, emulator_s=1.1)])


def priced(costs: dict[int, float], number: int = 1) -> list[Sample]:
    """zerocopy at these costs by size, beside plain at 1."""
    samples = [make_sample("plain", size, number) for size in costs]
    return samples + [make_sample("zerocopy", size, number, emulator_s=cost) for size, cost in costs.items()]


def test_crossings_lie_between_sizes() -> None:
    """Half way of the ratio is half way of the logarithm."""
    samples = priced({4096: 1.2, 16384: 0.8}, 1) + priced({4096: 1.1, 16384: 0.9}, 2)
    assert crossings(samples) == pytest.approx([8192, 8192])
    assert crossings(priced({4096: 0.9, 8192: 0.8})) == [0.0]
    assert crossings(priced({4096: 0.9, 8192: 1.0})) == [math.inf]
    assert crossings(priced({4096: 0.9, 8192: 1.1, 16384: 1.1, 32768: 0.9})) == pytest.approx([23170.475])


def test_crossover_tells_its_uncertainty() -> None:
    samples = priced({4096: 1.2, 16384: 0.8}, 1) + priced({4096: 2.0, 16384: 0.99}, 2)
    assert "by interpolation from 11.9K on, in single rounds from 8K to 15.8K" in crossover(samples)


def test_the_plot_has_a_band_where_it_begins_to_pay() -> None:
    samples = priced({4096: 1.2, 16384: 0.8}, 1) + priced({4096: 1.5, 16384: 0.5}, 2)
    samples += [make_sample("streamed-plain", size) for size in (4096, 16384)]
    plot = plot_of(samples)
    assert {curve.name for curve in plot.curves} == {"zerocopy"}
    first, second = plot.curves[0].points
    assert first == pytest.approx((4096, 1.2, 1.35, 1.5))
    assert second == pytest.approx((16384, 0.5, 0.65, 0.8))
    assert plot.band == pytest.approx((8192, 8192))
    assert plot_of(priced({4096: 1.2, 16384: 1.1})).band is None


@pytest.mark.parametrize(
    ("costs", "state"), [((0.3, 0.4), "met"), ((0.3, 0.41), "unclear"), ((0.5, 0.6), "missed")]
)
def test_goals_are_told_as_they_are(costs: tuple[float, float], state: str) -> None:
    samples = [
        each for number, cost in enumerate(costs) for each in priced({2**18: cost, 2**17: 9.0}, number)
    ]
    (line,) = goals(partial(rows_of, samples), COST)
    assert line.startswith(f"wanted: at most 0.40x plain at 256K: {state}, ")


def test_a_lease_that_ends_too_early_is_wrong() -> None:
    name = 'zchttpd_lease_seconds_bucket{{le="{}"}}'.format
    before = {name("0.025"): 7.0, name("0.05"): 7.0, name("+Inf"): 7.0}
    late = {name("0.025"): 7.0, name("0.05"): 7.0, name("+Inf"): 12.0}
    early = {**late, name("0.05"): 8.0}
    assert judged("zerocopy", "delay", before, late, 0.05).wrong == ""
    assert judged("zerocopy", "delay", before, late, 0.05).leases == 5
    assert judged("zerocopy", "delay", before, early, 0.05).wrong == "1 leases ended within 50 ms"
    assert judged("zerocopy", "delay", before, before, 0.05).wrong == "no lease at all"


def test_proof() -> None:
    samples = [make_sample(), make_sample("plain", copies={**NO_COPIES, COPIERS[0]: 7})]
    assert proven(samples).startswith("sent without a copy: 10 of 10")


def test_what_is_called_copied_where_nothing_copied_is_the_kernels_way_of_counting() -> None:
    assert proven([make_sample(copied=1)]).startswith("sent without a copy: 10 of 11")


@pytest.mark.parametrize(
    "changed",
    [
        {"zero_copied": 0},
        {"copied": 2},
        {"unknown": 1},
        *({"copies": {**NO_COPIES, copier: 1}} for copier in COPIERS),
        {"copies": {}},
        {"mode": "auto"},
    ],
)
def test_anything_else_is_no_proof(changed: dict[str, object]) -> None:
    sample = dataclasses.replace(make_sample(), **changed)  # type: ignore[arg-type]
    assert proven([sample]).startswith("NOT PROVEN")


# Reports


def test_every_row_has_every_column() -> None:
    samples = [make_sample("plain", 16384), make_sample("auto", 4096)]
    samples.append(make_sample("zerocopy", 16384, emulator_s=0.25))
    lines = table(samples).lines
    assert {len(line) for line in lines} == {len(HEADINGS)}
    assert [line[:2] for line in lines] == [("4K", "auto"), ("16K", "zerocopy"), ("16K", "plain")]
    assert "0.25 [0.25 to 0.25]" in lines[1]
    assert "1 ms" in lines[1]


def test_reports_tell_proof_controls_and_bad_endings() -> None:
    results = make_results(
        [make_sample(), make_sample("plain")],
        endings={"auto": {"status": None, "log": "stuck"}},
        cut_short="time is up",
    )
    for text in (document("vm.txt.j2", results), document("vm.md.j2", results)):
        assert "10 of 10" in text
        assert "control, loopback: 0 not copied, 16 copied, 0 unknown; 48 calls" in text
        assert "auto ended with status None" in text
        assert "auto, over the card, in one process: 16 sends by zerocopy" in text
        assert "zchttpd doctor --path, over zcguest2: zero_copied, exit status 0" in text
        assert "without portable-zerocopy: not with this engine" in text
        assert "INCOMPLETE: time is up" in text
    assert json.loads(to_json(results))["verdict"].startswith("sent without a copy")


def test_a_run_without_samples_still_reports() -> None:
    results = make_results([], cut_short="the guest hung up")
    assert "NOT PROVEN" in document("vm.txt.j2", results)
    assert "INCOMPLETE: the guest hung up" in document("vm.md.j2", results)


# Downloads


@pytest.mark.parametrize(
    ("size", "count"), [(1024, 300), (2**20, 24), (16 * 2**20, 1), (0, 300), (7 * 2**20, 3)]
)
def test_how_many_responses(size: int, count: int) -> None:
    assert how_many(size, 24) == count


def test_every_mode_is_first_in_its_turn() -> None:
    modes = ("zerocopy", "plain", "auto")
    orders = [in_turn(modes, number) for number in range(1, 4)]
    assert {order[0] for order in orders} == set(modes)
    assert {frozenset(order) for order in orders} == {frozenset(modes)}


# What is started


def test_every_mode_has_ports_and_a_directory_of_its_own(tmp_path: Path) -> None:
    write_plan(tmp_path, tmp_path / "root", "/bin/zchttpd", tuple(MODES.values()))
    plan = json.loads((tmp_path / "plan.json").read_text())["servers"]
    assert list(plan) == list(MODES)
    ports = [port for each in plan.values() for port in (each["port"], each["admin"]) if port]
    assert len(set(ports)) == len(ports) == 2 * len(plan) - 1
    assert len({each["run"] for each in plan.values()}) == len(plan)
    assert plan["nginx"]["admin"] == 0
    assert f"listen 0.0.0.0:{plan['nginx']['port']}" in (tmp_path / "nginx.conf").read_text()
    assert plan["portable-zerocopy"]["argv"][-4:-2] == ["--send-mode", "zerocopy"]


def test_modes_are_chosen_by_name_and_plain_is_one() -> None:
    assert [mode.name for mode in chosen_modes("nginx,plain")] == ["plain", "nginx"]
    for text in ("zerocopy", "plain,apache"):
        with pytest.raises(argparse.ArgumentTypeError):
            chosen_modes(text)


def test_sizes_are_read_as_everywhere() -> None:
    assert make_parser().parse_args(["vm", "--sizes", "4K,1M"]).sizes == (4096, 2**20)


BODY = bytes(range(256)) * 16
HEAD = f"HTTP/1.1 200 OK\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()


def answer(listener: socket.socket, responses: list[bytes]) -> None:
    connection, _ = listener.accept()
    with connection:
        for response in responses:
            request = b""
            while not request.endswith(b"\r\n\r\n"):
                request += connection.recv(4096)
            connection.sendall(response)


def download(*responses: bytes) -> None:
    payload = Payload("/body", len(BODY), hashlib.sha256(BODY).hexdigest())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=answer, args=(listener, list(responses)))
        server.start()
        down = Downloader("127.0.0.1", listener.getsockname()[1], 1)
        try:
            down.download(payload, len(responses))
        finally:
            down.close()
            server.join()


def test_a_download_is_checked_and_the_connection_used_again() -> None:
    download(HEAD + BODY, HEAD + BODY)


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (HEAD + BODY[:-1] + b"!", "other bytes"),
        (HEAD + BODY[:-1], "received 4095 bytes, expected 4096"),
        (HEAD + BODY + b"!", "1 bytes more"),
        (HEAD.replace(b"200 OK", b"404 Not Found") + BODY, "404"),
        (HEAD.replace(b"Length: 4", b"Length: 5") + BODY, "received 4096 bytes, expected 5096"),
        (HEAD[:-2], "unexpectedly closed"),
    ],
)
def test_a_wrong_answer_is_told(response: bytes, words: str) -> None:
    with pytest.raises((CannotMeasure, BadAnswer), match=words):
        download(response)
