"""The files that are served: sizes in words, bodies that no compression or cache trick can shorten."""

from __future__ import annotations

import hashlib
import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}
PIECE_BYTES = 2**20


def parse_size(text: str) -> int:
    """Turn "10K", "1M", "612" or "1G" into bytes (powers of 1024). Raises ValueError saying what is
    accepted.
    """
    match = re.fullmatch(r"(\d+)([KMG]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise ValueError(f"{text!r} is not a size; write for example 612, 10K, 1M or 1G")
    return int(match[1]) * UNITS[match[2].upper()]


def size_label(size: int) -> str:
    """Turn bytes into the shortest exact label: 10240 -> "10K", 612 -> "612"."""
    for unit in ("G", "M", "K"):
        if size and size % UNITS[unit] == 0:
            return f"{size // UNITS[unit]}{unit}"
    return str(size)


@dataclass(frozen=True, slots=True)
class Payload:
    """One file below the served root."""

    target: str
    size: int
    sha256: str


def write_payload(root: Path, size: int) -> Payload:
    """Write a file of `size` pseudo-random bytes into `root`, the same bytes in each run."""
    source = random.Random(size)
    digest = hashlib.sha256()
    name = f"{size_label(size)}.bin"
    with (root / name).open("wb") as file:
        for offset in range(0, size, PIECE_BYTES):
            piece = source.randbytes(min(PIECE_BYTES, size - offset))
            digest.update(piece)
            file.write(piece)
    return Payload(f"/{name}", size, digest.hexdigest())
