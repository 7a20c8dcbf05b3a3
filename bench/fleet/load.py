"""Clients that ask for one file after the other and count each answer that is not what it must be."""

from __future__ import annotations

import hashlib
import http.client
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from bench.fleet.servers import FRONT
from benchlib import CannotMeasure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchlib.payload import Payload

# More than HAProxy needs for all its tries.
TIMEOUT_S = 120.0
MOVES_S_MAX = 120.0


@dataclass
class Load:
    """`failures`: of each what was asked, and what came instead; `longest_s`: that anybody has waited."""

    draws: Sequence[Payload]
    answers: int = 0
    failures: list[str] = field(default_factory=list)
    longest_s: float = 0.0
    ended: threading.Event = field(default_factory=threading.Event)
    _moved: threading.Condition = field(default_factory=threading.Condition)

    def client(self, first: int, step: int) -> None:
        """Ask for its share of the draws, in order, on one connection."""
        connection = http.client.HTTPConnection(FRONT, 80, timeout=TIMEOUT_S)
        for payload in islice(self.draws, first, None, step):
            if self.ended.is_set():
                break
            began = time.monotonic()
            wrong = self._ask(connection, payload)
            took_s = time.monotonic() - began
            with self._moved:
                self.longest_s = max(self.longest_s, took_s)
                self.answers += not wrong
                if wrong:
                    self.failures.append(f"{payload.target}: {wrong}")
                self._moved.notify_all()
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection, payload: Payload) -> str:
        try:
            connection.request("GET", payload.target)
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return repr(error)
        if answer.status != 200:
            return f"status {answer.status}"
        return "" if hashlib.sha256(body).hexdigest() == payload.sha256 else "another body"

    def wait_for_more(self, count: int) -> None:
        """Until so many more have been answered, rightly or not. Raises CannotMeasure."""
        with self._moved:
            goal = self.answers + len(self.failures) + count
            if not self._moved.wait_for(lambda: self.answers + len(self.failures) >= goal, MOVES_S_MAX):
                raise CannotMeasure(f"no {count} answers within {MOVES_S_MAX:.0f} s")


@contextmanager
def loaded(draws: Sequence[Payload], clients: int) -> Iterator[Load]:
    """`clients` ask at the same time, until all is drawn, or the block has been left."""
    load = Load(draws)
    threads = [threading.Thread(target=load.client, args=(each, clients)) for each in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield load
    except BaseException:
        load.ended.set()
        raise
    finally:
        for thread in threads:
            thread.join()
