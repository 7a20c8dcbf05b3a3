"""A client that asks at a fixed rate: latency from when a request was due, see paced.lua.

Prints one JSON line, the fields of `Pace`. Needs lupa, which brings LuaJIT (pip install lupa).
"""

from __future__ import annotations

import argparse
import array
import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SCRIPT = Path(__file__).with_name("lua") / "paced.lua"
DRAIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Pace:
    """What the client saw. Latencies in us, from when a request was due; `wait_*` from when it was sent.

    `asked`: requests that were due; `unanswered` of them had no answer at the end, and count as slower than
    all others; a percentile that falls among them is None. `busy_share`: how much of its core the client
    needed, the rest it spent spinning.
    """

    rate: float
    seconds: float
    asked: int
    answered: int
    unanswered: int
    bytes: int
    busy_share: float
    p50_us: float | None
    p99_us: float | None
    p999_us: float | None
    max_us: float | None
    wait_p99_us: float | None


def at_share_us(ranked: Sequence[float], share: float, total: int) -> float | None:
    """Return the nearest-rank percentile of `total` values in us; `ranked` holds the lowest of them, sorted,
    in seconds, the others being unknown. None when it falls among those, or there are none at all.
    """
    rank = math.ceil(share * total)
    return ranked[rank - 1] * 1e6 if 0 < rank <= len(ranked) else None


def summarize(found: Mapping[bytes, Any], rate: float) -> Pace:
    """Turn the table that drive() of paced.lua returns into figures."""
    latencies, waits = array.array("d", found[b"latencies"]), array.array("d", found[b"waits"])
    ranked, asked, seconds = sorted(latencies), int(found[b"asked"]), float(found[b"seconds"])
    return Pace(
        rate=rate,
        seconds=seconds,
        asked=asked,
        answered=len(ranked),
        unanswered=asked - len(ranked),
        bytes=int(found[b"bytes"]),
        busy_share=1 - found[b"rested"] / seconds if seconds else 0.0,
        p50_us=at_share_us(ranked, 0.50, asked),
        p99_us=at_share_us(ranked, 0.99, asked),
        p999_us=at_share_us(ranked, 0.999, asked),
        max_us=at_share_us(ranked, 1.0, asked),
        wait_p99_us=at_share_us(sorted(waits), 0.99, asked),
    )


def load_script() -> tuple[Any, Any]:
    """Return a Lua runtime whose strings are bytes, and what paced.lua returns. Raises ImportError."""
    from lupa.luajit21 import LuaRuntime

    lua = LuaRuntime(encoding=None, unpack_returned_tuples=True)
    return lua, lua.execute(SCRIPT.read_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("port", type=int)
    parser.add_argument("request", help="the request, as JSON text")
    parser.add_argument("length", type=int, help="bytes of one whole answer")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1000.0)
    parser.add_argument("--seconds", type=float, default=2.0)
    chosen = parser.parse_args()
    lua, script = load_script()
    request = json.loads(chosen.request).encode("ascii")
    kernel = script[b"connect"](chosen.port, chosen.connections, request, chosen.length)
    plan = {
        b"rate": chosen.rate,
        b"seconds": chosen.seconds,
        b"connections": chosen.connections,
        b"drain": DRAIN_S,
    }
    found = script[b"drive"](kernel, lua.table_from(plan))
    print(json.dumps(dataclasses.asdict(summarize(found, chosen.rate))))


if __name__ == "__main__":
    main()
