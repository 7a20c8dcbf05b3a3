"""What an option is: its place in the help, how its text is read, and its bounds."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

AUTO = "auto"
_ON = ("on", "yes", "true", "1")
_OFF = ("off", "no", "false", "0", "")


class Group(Enum):
    """Headings of the help text and of the documentation, in their order."""

    SERVE = "What to serve"
    SITE = "For sites"
    COMPRESSION = "Compression"
    WHERE = "Where"
    SENDS = "How it sends"
    MEMORY = "Memory"
    LIMITS = "Limits"
    OBSERVABILITY = "Observability"
    DIAGNOSIS = "Diagnosis"


def parse_size(text: str) -> int:
    """Bytes from `4096`, `64K`, `16M` or `1G` (powers of 1024; `KiB`, `kb` and the like are understood).

    Raises ValueError with a one-line text.
    """
    match = re.fullmatch(r"([0-9]+)\s*(?:([kmg])(?:i?b)?|b)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise ValueError(f"{text!r} is not a size. Type bytes, or a number with K, M or G, such as 64K")
    scale = {"": 1, "k": KIB, "m": MIB, "g": GIB}[(match[2] or "").lower()]
    return int(match[1]) * scale


def format_size(size: int) -> str:
    """The shortest text that `parse_size` reads back as `size`."""
    for letter, scale in (("G", GIB), ("M", MIB), ("K", KIB)):
        if size and size % scale == 0:
            return f"{size // scale}{letter}"
    return str(size)


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """A sentence, after a space: the one of `words` that may have been meant, or all of them."""
    close = difflib.get_close_matches(word, list(words), n=1)
    return f" Did you mean {close[0]}?" if close else f" Type one of: {', '.join(words)}"


def parse_count(text: str) -> int:
    """A whole number, 0 or more. Raises ValueError with a one-line text."""
    if not re.fullmatch(r"[0-9]{1,18}", text.strip()):
        raise ValueError(f"{text!r} is not a whole number. Type digits alone")
    return int(text)


def parse_workers(text: str) -> int:
    """A number of workers; `auto` is 0, which stands for one on each usable CPU."""
    return 0 if text.strip().lower() == AUTO else parse_count(text)


def parse_names(text: str) -> tuple[str, ...]:
    """Names with commas between them; none of them twice."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def parse_switch(text: str) -> bool:
    """True for on, yes, true or 1; False for off, no, false or 0. Raises ValueError with a one-line text."""
    word = text.strip().lower()
    if word not in (*_ON, *_OFF):
        raise ValueError(f"{text!r} is neither on nor off. Type on or off")
    return word in _ON


def parse_user(text: str) -> str:
    """`NAME` or `NAME:GROUP`; empty for nobody else. Raises ValueError with a one-line text."""
    name, colon, group = text.strip().partition(":")
    if text and (not name or (colon and not group)):
        raise ValueError(f"{text!r} is not NAME or NAME:GROUP. Type such as www-data or www-data:web")
    return text.strip()


def parse_root(text: str) -> Path:
    """The directory; an empty text is refused, because it would mean the current directory."""
    if not text:
        raise ValueError("is empty. Type the directory to serve, such as --root www/")
    return Path(text)


def split_address(text: str) -> tuple[str, int]:
    """(host, port) of `127.0.0.1:9100`, `[::1]:9100` or `:9100`, which is on this machine only.

    Raises ValueError with a one-line text.
    """
    host, colon, port = text.strip().rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError(f"{text!r} is not an address. Type HOST:PORT, such as 127.0.0.1:9100 or [::1]:9100")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError(f"{text!r} is ambiguous. Type brackets around an IPv6 address, such as [::1]:9100")
    return host.strip("[]") or "127.0.0.1", int(port)


def usable_cpus() -> int:
    """CPUs that this process may use: its affinity, bounded by the quota of its control group (cpu.max)."""
    cpus = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return cpus if quota == "max" else max(1, min(cpus, int(quota) // int(period)))
    except (OSError, ValueError):
        return cpus


@dataclass(frozen=True, slots=True)
class Option:
    """How one field of `Settings` is explained, read and checked. `low` and `high` are inclusive.

    `switch`: it takes no text on the command line. `many`: it may be typed again, and its texts are joined by
    `separator`, as they are in the environment. `words`: how many words of `metavar` are typed for one text.
    """

    group: Group
    help: str
    parse: Callable[[str], Any] = str.strip
    metavar: str = ""
    unit: str = ""
    choices: tuple[str, ...] = ()
    low: int = 0
    high: int = 2**62
    many: bool = False
    separator: str = ","
    words: int = 1
    switch: bool = False

    @property
    def numeric(self) -> bool:
        """Whether a number can be its value."""
        return self.parse in (parse_count, parse_size, parse_workers)
