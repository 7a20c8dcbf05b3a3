"""What servers are asked: files to write below the root, and requests with the answers that are right."""

from __future__ import annotations

import hashlib
import itertools
import random
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from benchlib import CannotMeasure
from benchlib.payload import GIB, KIB, MIB, prose, size_label, write_payload

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchlib.fetch import Fields

DISCARD_SIZE_MIN = MIB
ACCEPT_BROTLI = ("Accept-Encoding", "br;q=1, gzip;q=0.8")
CLOSE = ("Connection", "close")
SEEKS, SEEK_BYTES, SEEK_FILE_BYTES = 256, 64 * KIB, 16 * MIB
SMALL_BYTES, FOLDERS, DRAWS = 4 * KIB, 100, 2**17
# (name, bytes, worth compressing): what a page of a site loads.
SITE = (
    ("index.html", 14, True), ("article.html", 38, True), ("base.css", 9, True), ("layout.css", 46, True),
    ("theme.css", 21, True), ("app.js", 96, True), ("vendor.js", 280, True), ("search.js", 33, True),
    ("chart.js", 150, True), ("data.json", 64, True), ("strings.json", 12, True), ("logo.svg", 3, True),
    ("icons.svg", 28, True), ("text.woff2", 46, False), ("bold.woff2", 44, False), ("hero.webp", 120, False),
    ("photo.webp", 72, False), ("thumb-1.webp", 9, False), ("thumb-2.webp", 8, False),
    ("favicon.ico", 5, False),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Request:
    """One request: `target` below the root, its fields, and what is right: the status, and the SHA-256 of
    the body by Content-Encoding ("" for none); a body that is not named is not compared.
    """

    target: str
    fields: Fields = ()
    status: int = 200
    bodies: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Workload:
    """One thing to measure. `about` says what it is, `title` heads its table.

    `write` writes its files into a folder that is removed afterwards, gets the target of that folder, and
    returns the `requests`, which are asked in turn, over and over.
    `client`: "wrk", "discard" (drops the bytes in the kernel, one request only), "paced" (a fixed rate) or
    "silent" (reads nothing). `rounds`: how often it is measured unless the run says otherwise. `files_s`:
    about how long writing the files takes. `connections`: None for what the run says. `idle`: connections
    beside them that do nothing. `receive_buffer`: SO_RCVBUF of silent clients. `revalidate`: ask with the
    validator that the server itself gave. `cookie`: another one in each request.
    """

    name: str
    about: str
    title: str
    write: Callable[[Path, str], tuple[Request, ...]] = field(repr=False)
    client: str = "wrk"
    rounds: int = 2
    files_s: float = 0.2
    connections: int | None = None
    idle: int = 0
    receive_buffer: int = 0
    revalidate: bool = False
    cookie: bool = False
    requests: tuple[Request, ...] = ()

    def made(self, folder: Path, target: str) -> Workload:
        """This workload with its files written and its requests known."""
        return replace(self, requests=self.write(folder, target))


@dataclass(frozen=True, slots=True)
class Scale:
    """How large the large things are."""

    stream_bytes: int = GIB
    small_files: int = 100_000
    idle: int = 10_000
    active: int = 10_000
    silent_bytes: int = 10 * MIB
    silent_clients: int = 100
    receive_buffer: int = 64 * KIB


def sized(size: int, client: str = "") -> Workload:
    """One file of `size` bytes, over and over."""
    label = size_label(size)
    chosen = client or ("discard" if size >= DISCARD_SIZE_MIN else "wrk")
    about, title = f"one file of {label}, over and over", f"{label}, keep-alive"
    return Workload(label, about, title, _one_file(size), chosen, rounds=2 if size == MIB else 3)


def _one_file(size: int, *fields: tuple[str, str]) -> Callable[[Path, str], tuple[Request, ...]]:
    def write(folder: Path, target: str) -> tuple[Request, ...]:
        payload = write_payload(folder, size)
        return (Request(f"{target}{payload.target}", fields, bodies=(("", payload.sha256),)),)

    return write


def _mix(folder: Path, target: str) -> tuple[Request, ...]:
    try:
        import brotli
    except ImportError as error:
        raise CannotMeasure("the .br files need the package brotli; type: pip install brotli") from error
    requests = []
    for name, size, compresses in SITE:
        source = random.Random(name)
        body = prose(size * KIB, source) if compresses else source.randbytes(size * KIB)
        (folder / name).write_bytes(body)
        bodies = [("", hashlib.sha256(body).hexdigest())]
        if compresses:
            packed = brotli.compress(body, quality=9)
            (folder / f"{name}.br").write_bytes(packed)
            bodies.append(("br", hashlib.sha256(packed).hexdigest()))
        requests.append(Request(f"{target}/{name}", (ACCEPT_BROTLI,), bodies=tuple(bodies)))
    return tuple(requests)


def _seeks(folder: Path, target: str) -> tuple[Request, ...]:
    payload = write_payload(folder, SEEK_FILE_BYTES)
    source, requests = random.Random(SEEK_FILE_BYTES), []
    with (folder / payload.target.lstrip("/")).open("rb") as file:
        for _ in range(SEEKS):
            # Seven digits at both ends, so that all heads are of one length.
            first = source.randrange(10**6, 10**7 - SEEK_BYTES)
            file.seek(first)
            digest = hashlib.sha256(file.read(SEEK_BYTES)).hexdigest()
            spec = ("Range", f"bytes={first}-{first + SEEK_BYTES - 1}")
            requests.append(Request(f"{target}{payload.target}", (spec,), 206, (("", digest),)))
    return tuple(requests)


def zipf_ranks(files: int, draws: int, source: random.Random) -> list[int]:
    """Return `draws` file numbers below `files`, number n as often as 1 / (n + 1)."""
    totals = list(itertools.accumulate(1 / rank for rank in range(1, files + 1)))
    return source.choices(range(files), cum_weights=totals, k=draws)


def _zipf(files: int, folder: Path, target: str) -> tuple[Request, ...]:
    body, names = random.Random(SMALL_BYTES).randbytes(SMALL_BYTES - 8), []
    for number in range(FOLDERS):
        (folder / f"{number:02}").mkdir()
    for number in range(files):
        name = f"{number % FOLDERS:02}/{number:06}.bin"
        (folder / name).write_bytes(b"%08d" % number + body)
        names.append(name)
    drawn = zipf_ranks(files, min(DRAWS, 2 * files), random.Random(files))
    kinds = {
        number: Request(
            f"{target}/{names[number]}", bodies=(("", hashlib.sha256(b"%08d" % number + body).hexdigest()),)
        )
        for number in set(drawn)
    }
    return tuple(kinds[number] for number in drawn)


def workloads(scale: Scale) -> dict[str, Workload]:
    """All workloads by name."""
    site = "twenty files of a site with .br siblings, Accept-Encoding: br;q=1, gzip;q=0.8"
    fresh, cookie = "1K, a new connection for each request", "1K, another cookie in each request"
    stream, silent = size_label(scale.stream_bytes), size_label(scale.silent_bytes)
    found = (
        *(sized(size) for size in (KIB, 10 * KIB, 100 * KIB, MIB, 10 * MIB)),
        Workload(
            *("stream", "one file of 1G on one connection", f"{stream}, one connection"),
            *(_one_file(scale.stream_bytes), "discard"),
            connections=1,
            files_s=4.0,
        ),
        Workload("mix", site, "twenty site files, br accepted", _mix, rounds=3),
        Workload(
            *("304", "revalidations of a file of 10K, by ETag or else by date", "304 storm"),
            _one_file(10 * KIB),
            revalidate=True,
        ),
        Workload("range", "seeks of 64K in a file of 16M", "64K seeks in a file of 16M", _seeks),
        Workload("connect", fresh, fresh, _one_file(KIB, CLOSE)),
        Workload("cookie", cookie, cookie, _one_file(KIB), cookie=True),
        Workload(
            *("idle", "1K over the active connections, beside 10 000 idle ones"),
            f"1K, {scale.idle} idle connections beside the active ones",
            _one_file(KIB),
            idle=scale.idle,
        ),
        Workload(
            *("active", "1K over 10 000 connections that all ask"),
            f"1K, {scale.active} active connections",
            _one_file(KIB),
            connections=scale.active,
        ),
        Workload(
            *("zipf", "100 000 files of 4K, drawn by Zipf's law", f"{scale.small_files} files of 4K, Zipf"),
            partial(_zipf, scale.small_files),
            files_s=10.0,
        ),
        Workload(
            *("rate", "10K at a fixed rate: latencies", "10K at a fixed rate"), _one_file(10 * KIB), "paced"
        ),
        Workload(
            *("silent", "10M to clients that never read: memory per connection"),
            f"{silent}, clients that never read",
            *(_one_file(scale.silent_bytes), "silent"),
            rounds=1,
            connections=scale.silent_clients,
            receive_buffer=scale.receive_buffer,
        ),
    )
    return {workload.name: workload for workload in found}


WORKLOADS = workloads(Scale())
QUICK = workloads(Scale(256 * MIB, 10_000, idle=2_000, active=2_000))
