"""What the load client itself costs: `locust -f loadtest/ --client-cost`."""

from __future__ import annotations

import hashlib
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from locust import FastHttpUser

from benchlib.payload import MIB
from benchlib.report import Table
from loadtest._targets import PORTABLE, start_own
from loadtest._users import Visitor, size_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from locust.env import Environment

    from loadtest._site import File
    from loadtest._targets import Stage

SECONDS = 1.5
FILES = ("/img/logo.svg", "/js/vendor.js", "/download/large.iso")
LARGE = 16 * MIB


class Peer(FastHttpUser):
    """Locust's own fast user with the same checks, to compare with."""

    abstract = True


def _per_core_second(once: Callable[[], object]) -> float:
    """How often `once` fits into a second of this process's CPU; run for SECONDS."""
    once()
    until = time.monotonic() + SECONDS
    cpu_s, count = time.process_time(), 0
    while time.monotonic() < until:
        once()
        count += 1
    return count / (time.process_time() - cpu_s)


def _raw(environment: Environment, stage: Stage, file: File) -> float:
    visitor = Visitor(environment)
    visitor.meet(stage)
    (target,) = stage.targets
    try:
        return _per_core_second(lambda: visitor.ask(target, "cost", file.target, visitor.whole(file)))
    finally:
        visitor.on_stop()


def _fast(environment: Environment, stage: Stage, file: File) -> float:
    Peer.host = f"http://{stage.targets[0].authority}"
    peer = Peer(environment)

    def once() -> None:
        with peer.client.get(file.target, catch_response=True) as answer:
            body = answer.content or b""
            if (len(body), hashlib.sha256(body).hexdigest()) != (file.size, file.sha256):
                answer.failure("wrong bytes")

    return _per_core_second(once)


def measure(environment: Environment, say: Callable[[str], None]) -> str:
    """The table: requests per second of one core, for users of raw sockets and for FastHttpUser, both with
    every byte hashed. Raises CannotMeasure.
    """
    lines = []
    with ExitStack() as stack:
        stage = start_own((PORTABLE,), LARGE, say, stack)
        for path in FILES:
            file = stage.tree.find(path)
            say(f"measuring the client at {size_text(file.size)}, {2 * SECONDS:.0f} s")
            rates = _raw(environment, stage, file), _fast(environment, stage, file)
            lines.append((size_text(file.size), *(f"{rate:,.0f}" for rate in rates)))
    wrong = f"\n{environment.stats.num_failures} answers were wrong" if environment.stats.num_failures else ""
    return (
        "Requests per second that one core of this machine checks (status, length, SHA-256),\n"
        "reckoned from the CPU time of the client alone, over one connection:\n\n"
        + Table("", ("body", "these users", "FastHttpUser"), lines, ()).plain()
        + wrong
    )
