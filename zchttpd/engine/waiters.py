"""Who waits for what is being made: a job that none of them wants any more need not be made."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from zchttpd.files.singleflight import Wanted

if TYPE_CHECKING:
    from collections.abc import Callable

    from zchttpd._core.site_worker import SiteWorker
    from zchttpd.files.singleflight import Job


@dataclass(slots=True)
class _Crowd:
    """Tickets of those that wait for a job, in the order in which they came: of who is there, and of who may
    have left. `kept`: somebody comes again for it.
    """

    there: OrderedDict[int, None] = field(default_factory=OrderedDict)
    doubtful: OrderedDict[int, None] = field(default_factory=OrderedDict)
    kept: bool = False

    @property
    def wanted(self) -> Wanted:
        if self.there or self.kept:
            return Wanted.YES
        return Wanted.MAYBE if self.doubtful else Wanted.NO


class Waiters:
    """Tells jobs that heed it how much they are wanted. `again` has something called in a later turn of the
    handler.
    """

    def __init__(self, again: Callable[[Callable[[], None]], None]) -> None:
        self._again = again
        self._crowds: dict[Job, _Crowd] = {}
        self.engine: SiteWorker

    def add(self, ticket: int, job: Job, go_on: Callable[[OSError | None], None]) -> None:
        """When the job has ended, have `go_on` called with its error or None, if `ticket` still waits."""
        job.waiting.append(partial(self._on_made, ticket, go_on))
        if job.heed is None:
            return
        crowd = self._crowds.get(job)
        if crowd is None:
            crowd = self._crowds[job] = _Crowd()
            job.waiting.append(partial(self._on_ended, job))
        (crowd.doubtful if self.engine.may_have_left(ticket) else crowd.there)[ticket] = None
        _tell(job, crowd)

    def refused(self, ticket: int) -> None:
        """It has waited for too long, and is told to come again: what it wants is made to its end, or that
        would take as long then.
        """
        for job, crowd in [*self._crowds.items()]:
            if ticket in crowd.there:
                crowd.kept = True
            elif ticket in crowd.doubtful:
                del crowd.doubtful[ticket]
                _tell(job, crowd)

    def sweep(self) -> None:
        """Look who is still there. Not at all of them: one that is keeps a job wanted."""
        for job, crowd in [*self._crowds.items()]:
            for ticket in _first(crowd.there, self._is_there):
                if self.engine.awaits(ticket):
                    crowd.doubtful[ticket] = None
            _first(crowd.doubtful, self.engine.awaits)
            _tell(job, crowd)

    def _is_there(self, ticket: int) -> bool:
        return self.engine.awaits(ticket) and not self.engine.may_have_left(ticket)

    def _on_made(self, ticket: int, go_on: Callable[[OSError | None], None], error: OSError | None) -> None:
        self._again(partial(self._go_on, ticket, go_on, error))
        self.engine.call_again()

    def _go_on(self, ticket: int, go_on: Callable[[OSError | None], None], error: OSError | None) -> None:
        # Who has left must not have it begun anew.
        if self.engine.awaits(ticket):
            go_on(error)

    def _on_ended(self, job: Job, _error: OSError | None) -> None:
        del self._crowds[job]


def _tell(job: Job, crowd: _Crowd) -> None:
    job.wanted = crowd.wanted
    assert job.heed is not None
    job.heed()


def _first(tickets: OrderedDict[int, None], stays: Callable[[int], bool]) -> list[int]:
    """Take out those before the first that stays."""
    taken = []
    while tickets:
        ticket = next(iter(tickets))
        if stays(ticket):
            break
        del tickets[ticket]
        taken.append(ticket)
    return taken
