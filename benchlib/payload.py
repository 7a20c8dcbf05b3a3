"""Sizes in words, and bodies that no compression or cache trick can shorten."""

from __future__ import annotations

import argparse
import hashlib
import random
import re
from dataclasses import dataclass
from string import ascii_lowercase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

KIB, MIB, GIB = 2**10, 2**20, 2**30
UNITS = {"": 1, "K": KIB, "M": MIB, "G": GIB}


def parse_size(text: str) -> int:
    """Turn "10K", "1M", "612" or "1G" into bytes (powers of 1024). Raises ArgumentTypeError saying what is
    accepted, as a type of argparse does.
    """
    match = re.fullmatch(r"(\d+)([KMG]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write for example 612, 10K, 1M or 1G")
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


def write_noise(path: Path, size: int, source: random.Random) -> str:
    """Write `size` random bytes of `source`; return their SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for offset in range(0, size, MIB):
            piece = source.randbytes(min(MIB, size - offset))
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def write_payload(root: Path, size: int, number: int = 0) -> Payload:
    """Write a file of `size` pseudo-random bytes into `root`, the same bytes in each run. `number` makes it
    one more of that size.
    """
    name = f"{size_label(size)}-{number}.bin" if number else f"{size_label(size)}.bin"
    source = random.Random(f"{size} {number}" if number else size)
    return Payload(f"/{name}", size, write_noise(root / name, size, source))


def prose(size: int, source: random.Random) -> bytes:
    """Text that compresses as text does."""
    words = ["".join(source.choices(ascii_lowercase, k=source.randint(2, 9))) for _ in range(900)]
    weights = [1 / rank for rank in range(1, 901)]
    text = " ".join(source.choices(words, weights, k=size // 3 + 1))
    return (text * 2)[:size].encode("ascii")
