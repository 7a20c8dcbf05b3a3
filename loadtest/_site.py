"""The files that users ask for: a generated site, large downloads, a video to seek in, and what each byte
should be.
"""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from benchlib.payload import KIB, MIB, prose, write_noise

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MANIFEST = "loadtest-tree.json"
PREFIX_BYTES = 64 * KIB
SPANS = 32
SEEK_SIZE_MIN = MIB
TELL_BYTES_MIN = 64 * MIB
PAGES = 6
Role = Literal["page", "asset", "image", "video", "download"]

SHARED_ASSETS = (
    ("css/base.css", 14 * KIB), ("css/layout.css", 38 * KIB),
    ("js/app.js", 96 * KIB), ("js/vendor.js", 280 * KIB),
    ("img/logo.svg", 3 * KIB), ("font/text.woff2", 46 * KIB),
)  # fmt: skip
IMAGE_SIZES = (9 * KIB, 24 * KIB, 61 * KIB, 140 * KIB, 420 * KIB)
VIDEO_BYTES = 24 * MIB


@dataclass(frozen=True, slots=True)
class Span:
    """A Range request and what it must bring. `spec`: the field's value; `first`, `length` in bytes."""

    spec: str
    first: int
    length: int
    sha256: str


@dataclass(frozen=True, slots=True)
class File:
    """One file: its target, its size in bytes, its SHA-256, spans for seeking, and what a page needs beside
    it.
    """

    target: str
    role: Role
    size: int
    sha256: str
    spans: tuple[Span, ...] = ()
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tree:
    """All files that users may ask for; `missing` is a target that must be answered by 404, "" for none."""

    files: tuple[File, ...]
    missing: str = ""

    def of(self, *roles: Role) -> tuple[File, ...]:
        return tuple(file for file in self.files if file.role in roles)

    def find(self, target: str) -> File:
        return next(file for file in self.files if file.target == target)

    def seekable(self) -> tuple[File, ...]:
        """Files with spans, videos before anything else."""
        return self.of("video") or tuple(file for file in self.files if file.spans)

    def total_bytes(self) -> int:
        return sum(file.size for file in self.files)


def to_json(tree: Tree) -> str:
    return json.dumps(asdict(tree), separators=(",", ":"))


def from_json(text: str) -> Tree:
    """Raises ValueError, KeyError or TypeError when `text` is no manifest."""
    found: dict[str, Any] = json.loads(text)
    for entry in found["files"]:
        entry.update(spans=tuple(Span(**span) for span in entry["spans"]), needs=tuple(entry["needs"]))
    return Tree(tuple(File(**entry) for entry in found["files"]), found["missing"])


def choose_spans(size: int, source: random.Random) -> list[tuple[str, int, int]]:
    """(spec, first byte, length) of SPANS range requests: a start, an open end, a suffix, and seeks
    anywhere.
    """
    tail = min(size, 256 * KIB)
    found = [
        (f"bytes=0-{min(size, PREFIX_BYTES) - 1}", 0, min(size, PREFIX_BYTES)),
        (f"bytes={size - tail}-", size - tail, tail),
        (f"bytes=-{min(size, 500)}", size - min(size, 500), min(size, 500)),
    ]
    while len(found) < SPANS:
        first = source.randrange(size)
        length = min(size - first, source.choice((4 * KIB, 64 * KIB, 256 * KIB, MIB)))
        found.append((f"bytes={first}-{first + length - 1}", first, length))
    return found


def spans_of(file: BinaryIO, size: int, source: random.Random) -> tuple[Span, ...]:
    """The spans of an open file; none below SEEK_SIZE_MIN."""
    spans = []
    for spec, first, length in choose_spans(size, source) if size >= SEEK_SIZE_MIN else ():
        file.seek(first)
        spans.append(Span(spec, first, length, hashlib.sha256(file.read(length)).hexdigest()))
    return tuple(spans)


def _page(title: str, needs: tuple[str, ...], size: int, source: random.Random) -> bytes:
    links = [f'<link rel="stylesheet" href="{need}">' for need in needs if need.endswith(".css")]
    links += [f'<script src="{need}" defer></script>' for need in needs if need.endswith(".js")]
    images = [f'<img src="{need}" alt="">' for need in needs if "/img/" in need]
    head = f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
    body = head + "\n".join(links) + "\n</head><body>\n" + "\n".join(images) + "\n<p>"
    tail = b"</p></body></html>\n"
    return body.encode("ascii") + prose(max(0, size - len(body) - len(tail)), source) + tail


class _Writer:
    def __init__(self, root: Path, seed: int, say: Callable[[str], None]) -> None:
        self.root, self.seed, self.say = root, seed, say
        self.files: list[File] = []

    def source(self, name: str) -> random.Random:
        """Randomness that depends on the seed and the file alone, so that a tree is the same everywhere."""
        return random.Random(f"{self.seed} {name}")

    def place(self, name: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def text(self, name: str, role: Role, body: bytes, needs: tuple[str, ...] = ()) -> None:
        self.place(name).write_bytes(body)
        self.files.append(File(f"/{name}", role, len(body), hashlib.sha256(body).hexdigest(), needs=needs))

    def noise(self, name: str, role: Role, size: int) -> None:
        if size >= TELL_BYTES_MIN:
            self.say(f"writing {name}, {size / MIB:,.0f} MiB")
        path, source = self.place(name), self.source(name)
        digest = write_noise(path, size, source)
        with path.open("rb") as file:
            self.files.append(File(f"/{name}", role, size, digest, spans_of(file, size, source)))


def write_tree(root: Path, say: Callable[[str], None], *, large: int = 64 * MIB, seed: int = 1) -> Tree:
    """Write the site below `root` and its manifest; the same `large` (bytes) and `seed` give the same bytes.
    `say` is told of the progress.
    """
    say("writing the generated site")
    writer = _Writer(root, seed, say)
    for name, size in SHARED_ASSETS:
        if name.endswith((".css", ".js", ".svg")):
            writer.text(name, "asset", prose(size, writer.source(name)))
        else:
            writer.noise(name, "asset", size)
    shared = tuple(f"/{name}" for name, _ in SHARED_ASSETS)
    for number in range(PAGES):
        images = []
        for place, size in enumerate(IMAGE_SIZES[: 2 + number % 4]):
            images.append(f"img/page{number}-{place}.webp")
            writer.noise(images[-1], "image", size + 517 * number)
        name = "index.html" if number == 0 else f"article/{number}.html"
        needs = (*shared, *(f"/{image}" for image in images))
        source = writer.source(name)
        writer.text(name, "page", _page(f"Page {number}", needs, (4 + 6 * number) * KIB, source), needs)
    writer.noise("video/talk.mp4", "video", min(VIDEO_BYTES, 2 * large))
    for size, name in ((large // 16, "small"), (large // 4, "middle"), (large, "large")):
        writer.noise(f"download/{name}.iso", "download", size)
    tree = Tree(tuple(writer.files), "/favicon.ico")
    (root / MANIFEST).write_text(to_json(tree), encoding="ascii")
    say(f"{len(tree.files)} files, {tree.total_bytes() / MIB:,.0f} MiB")
    return tree
