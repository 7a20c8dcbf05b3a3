"""loadtest/: the files and requests of each workload, what is compared before measuring, a tiny run."""

from __future__ import annotations

import hashlib
import json
import os
import random
import socket
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench import __main__ as commands
from bench import rounds
from bench import run as bench_run
from bench.check import Unfit, check, judge, validator
from bench.load import Bench, client_command
from bench.options import chosen_program
from bench.peers import KINDS
from bench.results import Results, from_json, save
from bench.rounds import Progress, Run, perform, perform_all, planned_s
from bench.workloads import WORKLOADS, Request, Scale, Workload, sized, workloads, zipf_ranks
from benchlib import CannotMeasure
from benchlib.fetch import Answer, BadAnswer, fetch
from benchlib.server import Server, running, temporary_site

from .made_results import make_checked, make_sample

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

KIB = 2**10
TINY = workloads(Scale(stream_bytes=64 * KIB, small_files=200, idle=3, active=3, silent_bytes=64 * KIB))
FIRST_CORE = min(os.sched_getaffinity(0))


@contextmanager
def answering(*answers: bytes) -> Iterator[int]:
    """A server that gives one of `answers` for each connection; yields its port."""

    def serve(listener: socket.socket) -> None:
        for answer in answers:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def stub(port: int, name: str = "nginx") -> Server:
    return Server(name, KINDS[name], 0, port, 0, "", "", "", Path())


def options(words: list[str]) -> argparse.Namespace:
    """What `python -m bench run` with these words is asked for."""
    chosen = commands.make_parser().parse_args(["run", *words])
    bench_run.complete(chosen)
    return chosen


# Files and requests


@pytest.mark.parametrize("name", WORKLOADS)
def test_requests_name_files_that_are_there(name: str, tmp_path: Path) -> None:
    workload = TINY[name].made(tmp_path, f"/{name}")
    assert workload.name == name
    assert workload.requests
    for request in list(dict.fromkeys(workload.requests))[:50]:
        body = (tmp_path / request.target.removeprefix(f"/{name}/")).read_bytes()
        for coding, digest in request.bodies:
            if coding:
                body = (tmp_path / f"{request.target.removeprefix(f'/{name}/')}.{coding}").read_bytes()
            if field := dict(request.fields).get("Range"):
                first, _, last = field.removeprefix("bytes=").partition("-")
                body = body[int(first) : int(last) + 1]
            assert hashlib.sha256(body).hexdigest() == digest


def test_the_mix_is_twenty_files_and_the_text_among_them_has_siblings(tmp_path: Path) -> None:
    workload = TINY["mix"].made(tmp_path, "/mix")
    assert len(set(workload.requests)) == 20
    packed = [path for path in tmp_path.iterdir() if path.suffix == ".br"]
    assert len(packed) == 13
    assert all(path.stat().st_size < path.with_suffix("").stat().st_size / 2 for path in packed)


def test_zipf_prefers_the_first() -> None:
    drawn = zipf_ranks(1000, 20_000, random.Random(1))
    assert 0 <= min(drawn) <= max(drawn) < 1000
    counts = [drawn.count(number) for number in (0, 1, 9)]
    # 1, 1/2 and 1/10 of what the first gets.
    assert counts[0] / counts[1] == pytest.approx(2, rel=0.2)
    assert counts[0] / counts[2] == pytest.approx(10, rel=0.3)


# Comparing


def answer(head: str, body: bytes = b"") -> Answer:
    text = f"{head}\r\n\r\n".encode("ascii")
    return Answer(text, len(body), len(text) + len(body), hashlib.sha256(body).hexdigest())


def test_only_right_answers_pass() -> None:
    right = Request(
        "/a", bodies=(("", hashlib.sha256(b"plain").hexdigest()), ("br", hashlib.sha256(b"br").hexdigest()))
    )
    judge(right, answer("HTTP/1.1 200 OK", b"plain"))
    judge(right, answer("HTTP/1.1 200 OK\r\nContent-Encoding: br", b"br"))
    for head, body, words in (
        ("HTTP/1.1 404 Not Found", b"plain", "answers 404 where 200 is right"),
        ("HTTP/1.1 200 OK", b"other", "serves other bytes for /a"),
        ("HTTP/1.1 200 OK\r\nContent-Encoding: br", b"plain", "serves other bytes"),
        ("HTTP/1.1 200 OK\r\nContent-Encoding: gzip", b"plain", "which nobody asked for"),
    ):
        with pytest.raises(Unfit, match=words):
            judge(right, answer(head, body))


def test_revalidation_uses_what_the_server_gave() -> None:
    head = "HTTP/1.1 200 OK\r\nLast-Modified: then"
    assert validator(answer(head + '\r\nETag: "x"')) == (("If-None-Match", '"x"'),)
    assert validator(answer(head)) == (("If-Modified-Since", "then"),)
    with pytest.raises(Unfit, match="neither ETag nor Last-Modified"):
        validator(answer("HTTP/1.1 200 OK"))


def test_a_server_is_asked_with_its_prefix_and_its_own_tag(tmp_path: Path) -> None:
    workload = TINY["304"].made(tmp_path, "/304")
    body = next(tmp_path.iterdir()).read_bytes()
    full = b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Length: %d\r\n\r\n' % len(body) + body
    unchanged = b'HTTP/1.1 304 Not Modified\r\nETag: "e"\r\n\r\n'
    with answering(full, unchanged) as port:
        checked = check(stub(port, "granian"), workload)
    assert checked.requests == (Request("/static/304/10K.bin", (("If-None-Match", '"e"'),), 304),)
    assert checked.mean_length == checked.longest == len(unchanged)
    with answering(full, full) as port, pytest.raises(Unfit, match="answers 200 where 304 is right"):
        check(stub(port), workload)


def test_a_chunked_answer_is_compared_and_measured_on_the_wire() -> None:
    text = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n"
    )
    with answering(text) as port:
        found = fetch("127.0.0.1", port, "/")
    assert (found.body_length, found.wire_length) == (13, len(text))
    assert found.sha256 == hashlib.sha256(b"abc0123456789").hexdigest()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbody", "received 4 bytes, expected 5"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbody", "1 bytes more"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "illegal chunk header"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "no Content-Length"),
        (b"HTTP/1.1 200", "unexpectedly closed"),
    ],
)
def test_broken_answers_are_refused(text: bytes, words: str) -> None:
    with answering(text) as port, pytest.raises(BadAnswer, match=words):
        fetch("127.0.0.1", port, "/")


# Command lines


def test_clients_are_pinned_and_given_what_they_ask(tmp_path: Path) -> None:
    cores = Bench(0, (2, 3), 64, 4.0, tmp_path)
    workload = sized(KIB).made(tmp_path, "/1K")
    wrk = client_command(cores, stub(80), workload, make_checked(1000), 4.0)
    assert wrk[:5] == ["taskset", "-c", "2,3", "wrk", "-t2"]
    assert {"-c64", "4", "http://127.0.0.1:80/0"} <= set(wrk)
    stream = TINY["stream"].made(tmp_path, "/stream")
    discard = client_command(cores, stub(80), stream, make_checked(1000), 0.5)
    assert discard[:3] == ["taskset", "-c", "2,3"]
    assert discard[-2] == "discard"
    plan = {"port": 80, "length": 1000, "connections": 1, "seconds": 0.5}
    assert json.loads(discard[-1]).items() >= plan.items()
    paced = client_command(cores, stub(80), workload, make_checked(1000), 2.0, 500.0)
    assert paced[-2] == "paced"
    asked = {"request": "GET /0 HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n", "rate": 500.0}
    assert json.loads(paced[-1]).items() >= asked.items()


def test_wrk_reads_many_requests_from_a_file(tmp_path: Path) -> None:
    cores = Bench(0, (1,), 64, 4.0, tmp_path)
    workload = sized(KIB).made(tmp_path, "/1K")
    argv = client_command(cores, stub(80), workload, make_checked(10, 20), 1.0)
    written = (tmp_path / "nginx.requests").read_bytes()
    assert argv[-2:] == ["--", str(tmp_path / "nginx.requests")]
    assert [text.split()[1] for text in written.split(b"\0")] == [b"/0", b"/1"]
    assert all(text.endswith(b"\r\n\r\n") for text in written.split(b"\0"))


def test_cookies_are_never_the_same_in_two_runs(tmp_path: Path) -> None:
    cores = Bench(0, (1,), 64, 4.0, tmp_path)
    workload = TINY["cookie"].made(tmp_path, "/cookie")
    runs = [client_command(cores, stub(80), workload, make_checked(10), 1.0) for _ in range(2)]
    assert runs[0][-1] != runs[1][-1]
    assert (tmp_path / "nginx.requests").read_bytes().endswith(b"\r\nCookie: session=")


def test_options_of_the_bench() -> None:
    chosen = options([])
    assert (chosen.workloads, chosen.seconds, chosen.rounds) == (tuple(WORKLOADS), 2, None)
    quick = options(["--quick", "--rounds", "2"])
    assert (quick.seconds, quick.rounds) == (1, 2)
    assert set(quick.workloads) < set(WORKLOADS)
    with pytest.raises(SystemExit):
        options(["--resume"])
    with pytest.raises(SystemExit):
        commands.make_parser().parse_args(["sweep", "no-such-option"])
    assert commands.make_parser().parse_args(["sweep", "window-size"]).options == ["window-size"]


def test_a_missing_peer_says_what_to_type(tmp_path: Path) -> None:
    chosen = options(["--peers-python", str(tmp_path / "python")])
    with pytest.raises(CannotMeasure, match="--peers-python"):
        chosen_program("granian", chosen)


# A run


def test_progress_stretches_the_plan_as_the_machine_does() -> None:
    clock = iter((0.0, 0.0, 330.0))
    progress = Progress(600.0, clock=lambda: next(clock))
    assert progress.left() == "10:00 left"
    # 150 s of the plan took 330 s.
    progress.done_s = 150.0
    assert progress.left() == "15:00 left"


def test_the_whole_plan_is_about_half_an_hour() -> None:
    servers = len(bench_run.SERVERS.split(","))
    total = sum(planned_s(each, servers, bench_run.SECONDS, None) for each in WORKLOADS.values())
    assert 15 * 60 < total < 32 * 60


def test_a_tiny_run_measures_marks_and_leaves_nothing() -> None:
    """The portable engine, with the client that needs nothing installed, beside a peer that cannot start."""
    results = Results({}, {"connections": 4, "seconds": 1.0})
    with temporary_site() as site:
        cores = Bench(FIRST_CORE, (FIRST_CORE,), 4, 1.0, site.directory)
        kinds = [KINDS["portable"], KINDS["aiohttp"]]
        programs = {
            "portable": str(Path(sys.executable).with_name("zchttpd")),
            "aiohttp": "/bin/false",
        }
        workload = sized(64 * KIB, "discard")
        perform(Run(cores, site, kinds, programs, 2, results, Progress(1.0)), workload)
        assert [path.name for path in site.root.iterdir()] == ["nonce.txt"]
    assert [(sample.server, sample.round, sample.errors) for sample in results.samples] == [
        ("portable", 1, 0),
        ("portable", 2, 0),
    ]
    assert all(sample.requests > 0 and sample.server_cpu_s > 0 for sample in results.samples)
    assert [(each.server, each.workload) for each in results.absent] == [("aiohttp", "64K")]
    assert "did not start" in results.absent[0].reason
    assert results.workloads == {"64K": "64K, keep-alive"}
    assert results.peers[0].codings == {"64K": "identity"}


def test_a_workload_that_fails_does_not_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first cannot write its files; the second is done, and the file has both."""
    made: list[str] = []

    def stand_in(run: Run, workload: Workload) -> None:
        made.append(workload.name)
        if workload.name == "1K":
            raise OSError("no space left")
        run.results.workloads[workload.name] = workload.title

    monkeypatch.setattr(rounds, "perform", stand_in)
    path = tmp_path / "bench.json"
    results = Results({}, {"connections": 64, "seconds": 2.0}, workloads={"10K": "done before"})
    with temporary_site() as site:
        cores = Bench(0, (1,), 64, 2.0, site.directory)
        run = Run(cores, site, [], {}, None, results, Progress(1.0))
        perform_all(run, [WORKLOADS["1K"], WORKLOADS["mix"]], lambda: save(results, path))
    assert made == ["1K", "mix"]
    kept = from_json(path.read_text())
    assert set(kept.workloads) == {"mix", "10K"}
    assert kept.cut_short == "1K: no space left"
    assert [(each.workload, each.reason) for each in kept.absent] == [("1K", "no space left")]


def test_a_run_is_resumed_only_by_one_like_it(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    old = Results({}, {"connections": 64, "seconds": 2.0}, workloads={"1K": "1K, keep-alive"})
    old.samples = [make_sample("auto", workload="1K"), make_sample("auto", workload="mix")]
    save(old, path)
    chosen = options(["--resume", "--json", str(path), "--workloads", "1K,mix"])
    found = bench_run.begin(chosen, Bench(0, (1,), 64, 2.0, tmp_path))
    assert [sample.workload for sample in found.samples] == ["1K"]
    with pytest.raises(CannotMeasure, match="was measured with --seconds 2; give the same"):
        bench_run.begin(chosen, Bench(0, (1,), 64, 1.0, tmp_path))


def test_an_unfit_server_is_stopped_and_named() -> None:
    with temporary_site() as site:
        program = str(Path(sys.executable).with_name("zchttpd"))
        with running(KINDS["portable"], program, site, FIRST_CORE) as server:
            workload = sized(KIB).made(site.root, "/elsewhere")
            with pytest.raises(Unfit, match="answers 404 where 200 is right"):
                check(server, workload)
