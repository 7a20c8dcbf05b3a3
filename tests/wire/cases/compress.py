"""Encodings made on the fly, once they are there: CASES, over the tree of `build_compressible`."""

from __future__ import annotations

import random
import zlib
from typing import TYPE_CHECKING

from ..case import ABSENT, KEPT, Case
from ..client import request
from ..tree import FILES, KIB, MIB, noise

if TYPE_CHECKING:
    from pathlib import Path

VARY = b"Accept-Encoding"
CODINGS = ("br", "gzip", "zstd")


def text(size: int, seed: int = 0) -> bytes:
    """`size` bytes of words that shrink to about a third."""
    random_ = random.Random(seed)
    words = [random_.randbytes(random_.randint(1, 4)).hex().encode() for _ in range(3000)]
    return b" ".join(random_.choices(words, k=size // 2))[:size]


LARGE, SMALL, SIBLING, NOISE = text(2 * MIB, 1), text(8 * KIB, 2), text(16 * KIB, 3), noise(64 * KIB)
LOST = b"<!doctype html><title>lost</title>" + text(4000, 4)
BESIDE = zlib.compress(SIBLING, 1, 31)
TREE = {
    "probe.txt": FILES[b"probe.txt"],
    "large.html": LARGE,
    "small.css": SMALL,
    "sibling.js": SIBLING,
    "sibling.js.gz": BESIDE,
    "noise.txt": NOISE,
    "picture.png": SMALL,
    "tiny.txt": SMALL[:500],
    "404.html": LOST,
}
HUGE = 1 << 36
# Those that get every encoding, and are asked for until they have it.
WARMED = {"/large.html": LARGE, "/small.css": SMALL}


def build_compressible(root: Path) -> Path:
    """Write the tree; huge.txt has no bytes on the disk, and more than any memory would hold."""
    for name, content in TREE.items():
        (root / name).write_bytes(content)
    with open(root / "huge.txt", "wb") as file:
        file.truncate(HUGE)
    return root


def _whole(path: str, encoding: str, method: str = "GET") -> Case:
    return Case(
        f"{method}{path}-{encoding}",
        request(path, f"Accept-Encoding: {encoding}", method=method),
        200,
        headers={"Content-Encoding": encoding.encode(), "Vary": VARY},
        kept=KEPT,
    )


def _tagged(path: str, have: str, want: str) -> Case:
    return Case(
        f"tag-of-{have}-for-{want}-{path}",
        request(path, f"If-None-Match: @etag({path},{have})", f"Accept-Encoding: {want}"),
        304 if have == want else 200,
        headers={"Vary": VARY},
        kept=KEPT,
    )


CASES = (
    *(
        _whole(path, encoding, method)
        for path in WARMED
        for encoding in CODINGS
        for method in ("GET", "HEAD")
    ),
    *(_tagged(path, have, want) for path in WARMED for have in CODINGS for want in CODINGS),
    *(
        Case(
            f"identity-{at}",
            request("/small.css", *lines),
            200,
            body=SMALL,
            headers={"Content-Encoding": ABSENT, "Vary": VARY},
            kept=KEPT,
        )
        for at, lines in enumerate(
            [
                (),
                ("Accept-Encoding: identity",),
                ("Accept-Encoding: br;q=0, gzip;q=0, zstd;q=0",),
                ("Accept-Encoding: identity;q=1, br;q=0.9",),
            ]
        )
    ),
    Case(
        "identity-refused",
        request("/small.css", "Accept-Encoding: identity;q=0, gzip"),
        200,
        headers={"Content-Encoding": b"gzip"},
        kept=KEPT,
    ),
    Case(
        "browser",
        request("/large.html", "Accept-Encoding: gzip, deflate, br, zstd"),
        200,
        headers={"Content-Encoding": b"br"},
        kept=KEPT,
    ),
    Case(
        "match-of-identity-for-br",
        request("/small.css", "If-Match: @etag(/small.css)", "Accept-Encoding: br"),
        412,
        headers={"Vary": VARY},
        kept=KEPT,
    ),
    Case(
        "match-of-br",
        request("/small.css", "If-Match: @etag(/small.css,br)", "Accept-Encoding: br"),
        200,
        kept=KEPT,
    ),
    Case(
        "if-range-of-identity-for-br",
        request("/small.css", "Range: bytes=5-19", "If-Range: @etag(/small.css)", "Accept-Encoding: br"),
        206,
        of=SMALL,
        spans=((5, 19),),
        headers={"Content-Encoding": ABSENT, "Vary": VARY},
        kept=KEPT,
    ),
    Case(
        "range-without-tag",
        request("/small.css", f"Range: bytes={len(SMALL) - 5}-", "Accept-Encoding: br"),
        206,
        of=SMALL,
        spans=((len(SMALL) - 5, len(SMALL) - 1),),
        headers={"Content-Encoding": ABSENT, "Vary": VARY},
        kept=KEPT,
    ),
    Case(
        "range-beyond",
        request(
            "/small.css",
            f"Range: bytes={len(SMALL) - 5}-",
            "If-Range: @etag(/small.css,br)",
            "Accept-Encoding: br",
        ),
        416,
        headers={"Vary": VARY},
        kept=KEPT,
    ),
    *(
        Case(
            f"left-alone{path}",
            request(path, "Accept-Encoding: br, gzip, zstd"),
            200,
            body=body,
            headers={"Content-Encoding": ABSENT, "Vary": ABSENT},
            kept=KEPT,
        )
        for path, body in (("/picture.png", SMALL), ("/tiny.txt", SMALL[:500]))
    ),
    Case(
        "sibling",
        request("/sibling.js", "Accept-Encoding: gzip"),
        200,
        body=BESIDE,
        headers={"Content-Encoding": b"gzip", "Vary": VARY},
        kept=KEPT,
    ),
    Case("sibling-itself", request("/sibling.js.gz", "Accept-Encoding: br"), 200, body=BESIDE, kept=KEPT),
)
