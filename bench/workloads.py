"""What servers are asked: files to write below the root, and requests with the answers that are right."""

from __future__ import annotations

import hashlib
import itertools
import random
from dataclasses import dataclass, field
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
    """One thing to measure. `requests` are asked in turn, over and over.

    `client`: "wrk", "discard" (drops the bytes in the kernel, one request only), "paced" (a fixed rate) or
    "silent" (reads nothing). `connections`: None for what the run says. `idle`: connections beside them that
    do nothing. `receive_buffer`: SO_RCVBUF of silent clients. `revalidate`: ask with the validator that the
    server itself gave. `cookie`: another one in each request.
    """

    name: str
    title: str
    client: str
    requests: tuple[Request, ...]
    connections: int | None = None
    idle: int = 0
    receive_buffer: int = 0
    revalidate: bool = False
    cookie: bool = False


@dataclass(frozen=True, slots=True)
class Scale:
    """How large the large things are."""

    stream_bytes: int = GIB
    small_files: int = 100_000
    idle: int = 10_000
    silent_bytes: int = 10 * MIB
    silent_clients: int = 100
    receive_buffer: int = 64 * KIB


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a workload comes about: `make` writes its files into a folder that is removed afterwards, and gets
    the target of that folder. `rounds`: how often it is measured unless the run says otherwise. `files_s`:
    about how long writing the files takes.
    """

    name: str
    title: str
    make: Callable[[Path, str, Scale], Workload] = field(repr=False)
    rounds: int = 2
    files_s: float = 0.2


def sized(size: int, client: str = "") -> Recipe:
    """One file of `size` bytes, over and over."""
    label = size_label(size)
    chosen = client or ("discard" if size >= DISCARD_SIZE_MIN else "wrk")

    def make(folder: Path, target: str, scale: Scale) -> Workload:
        return Workload(label, f"{label}, keep-alive", chosen, (_file(folder, target, size),))

    return Recipe(label, f"one file of {label}, over and over", make, rounds=2 if size == MIB else 3)


def _file(folder: Path, target: str, size: int, fields: Fields = ()) -> Request:
    payload = write_payload(folder, size)
    return Request(f"{target}{payload.target}", fields, bodies=(("", payload.sha256),))


def _stream(folder: Path, target: str, scale: Scale) -> Workload:
    request = _file(folder, target, scale.stream_bytes)
    title = f"{size_label(scale.stream_bytes)}, one connection"
    return Workload("stream", title, "discard", (request,), connections=1)


def _mix(folder: Path, target: str, scale: Scale) -> Workload:
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
    return Workload("mix", "twenty site files, br accepted", "wrk", tuple(requests))


def _revalidation(folder: Path, target: str, scale: Scale) -> Workload:
    request = _file(folder, target, 10 * KIB)
    return Workload("304", "304 storm", "wrk", (request,), revalidate=True)


def _seeks(folder: Path, target: str, scale: Scale) -> Workload:
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
    return Workload("range", "64K seeks in a file of 16M", "wrk", tuple(requests))


def _fresh(folder: Path, target: str, scale: Scale) -> Workload:
    request = _file(folder, target, KIB, (CLOSE,))
    return Workload("connect", "1K, a new connection for each request", "wrk", (request,))


def _cookie(folder: Path, target: str, scale: Scale) -> Workload:
    request = _file(folder, target, KIB)
    return Workload("cookie", "1K, another cookie in each request", "wrk", (request,), cookie=True)


def _idle(folder: Path, target: str, scale: Scale) -> Workload:
    request = _file(folder, target, KIB)
    title = f"1K, {scale.idle} idle connections beside the active ones"
    return Workload("idle", title, "wrk", (request,), idle=scale.idle)


def zipf_ranks(files: int, draws: int, source: random.Random) -> list[int]:
    """Return `draws` file numbers below `files`, number n as often as 1 / (n + 1)."""
    totals = list(itertools.accumulate(1 / rank for rank in range(1, files + 1)))
    return source.choices(range(files), cum_weights=totals, k=draws)


def _zipf(folder: Path, target: str, scale: Scale) -> Workload:
    body, names = random.Random(SMALL_BYTES).randbytes(SMALL_BYTES - 8), []
    for number in range(FOLDERS):
        (folder / f"{number:02}").mkdir()
    for number in range(scale.small_files):
        name = f"{number % FOLDERS:02}/{number:06}.bin"
        (folder / name).write_bytes(b"%08d" % number + body)
        names.append(name)
    drawn = zipf_ranks(scale.small_files, min(DRAWS, 2 * scale.small_files), random.Random(scale.small_files))
    kinds = {
        number: Request(
            f"{target}/{names[number]}", bodies=(("", hashlib.sha256(b"%08d" % number + body).hexdigest()),)
        )
        for number in set(drawn)
    }
    title = f"{scale.small_files} files of 4K, Zipf"
    return Workload("zipf", title, "wrk", tuple(kinds[number] for number in drawn))


def _rate(folder: Path, target: str, scale: Scale) -> Workload:
    return Workload("rate", "10K at a fixed rate", "paced", (_file(folder, target, 10 * KIB),))


def _silent(folder: Path, target: str, scale: Scale) -> Workload:
    request = _file(folder, target, scale.silent_bytes)
    title = f"{size_label(scale.silent_bytes)}, clients that never read"
    clients, buffer = scale.silent_clients, scale.receive_buffer
    return Workload("silent", title, "silent", (request,), clients, receive_buffer=buffer)


RECIPES = {
    recipe.name: recipe
    for recipe in (
        *(sized(size) for size in (KIB, 10 * KIB, 100 * KIB, MIB, 10 * MIB)),
        Recipe("stream", "one file of 1G on one connection", _stream, files_s=4.0),
        Recipe(
            "mix",
            "twenty files of a site with .br siblings, Accept-Encoding: br;q=1, gzip;q=0.8",
            _mix,
            rounds=3,
        ),
        Recipe("304", "revalidations of a file of 10K, by ETag or else by date", _revalidation),
        Recipe("range", "seeks of 64K in a file of 16M", _seeks),
        Recipe("connect", "1K, a new connection for each request", _fresh),
        Recipe("cookie", "1K, another cookie in each request", _cookie),
        Recipe("idle", "1K over the active connections, beside 10 000 idle ones", _idle),
        Recipe("zipf", "100 000 files of 4K, drawn by Zipf's law", _zipf, files_s=10.0),
        Recipe("rate", "10K at a fixed rate: latencies", _rate),
        Recipe("silent", "10M to clients that never read: memory per connection", _silent, rounds=1),
    )
}
QUICK = Scale(256 * MIB, 10_000, 2_000)
