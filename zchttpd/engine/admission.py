"""Which large files are worth a snapshot: those asked for more often than what they would push out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zchttpd._core.stats import ADMISSIONS
from zchttpd.engine.frequency_sketch import FrequencySketch
from zchttpd.engine.limits import ASKED_MIN

if TYPE_CHECKING:
    from zchttpd.engine.bodies import Bodies, Body, Holding
    from zchttpd.engine.holdings import Holdings
    from zchttpd.files.version import Representation

# What a file would push out is looked at no further.
VICTIMS_MAX = 256


class Admission:
    """Counts how often the whole of a file was asked for that is not cached. The engine counts the others."""

    def __init__(self, bodies: Bodies, holdings: Holdings, results: memoryview) -> None:
        """`results`: counters, as ADMISSIONS."""
        self._bodies = bodies
        self._holdings = holdings
        self._asked = FrequencySketch()
        self._results = results

    def wants(self, representation: Representation, now_ms: int) -> bool:
        """The whole of what lives is asked for. Whether a snapshot of it is to be begun."""
        return self._is_wanted(representation, self._asked.add(representation.segments, now_ms))

    def wants_for_parts(self, body: Body, now_ms: int) -> bool:
        """The same for what is asked for in parts: it counts when as many bytes as it has have been sent.

        So a snapshot never costs more than that.
        """
        representation = body.representation
        wholes = (self._bodies.engine.part_bytes(body.number) - body.counted) // representation.size
        body.counted += wholes * representation.size
        asked = 0
        for _ in range(min(wholes, ASKED_MIN)):
            asked = self._asked.add(representation.segments, now_ms)
        return self._is_wanted(representation, asked)

    def _is_wanted(self, representation: Representation, asked: int) -> bool:
        if asked < ASKED_MIN:
            result = "seldom"
        elif not self._bodies.may_snapshot(representation):
            result = "no_room"
        elif not self._is_worth(asked, self._bodies.missing(representation.size)):
            result = "outweighed"
        else:
            result = "admitted"
        self._results[ADMISSIONS.index(result)] += 1
        return result == "admitted"

    def _is_worth(self, asked: int, missing: int) -> bool:
        """Whether what was `asked` for so often is worth those that `missing` bytes would push out."""
        engine = self._bodies.engine
        looked = 0

        def enough(holding: Holding) -> bool:
            nonlocal asked, missing, looked
            weight = sum(self._bodies.weight(body) for body in holding.bodies)
            if weight:
                missing -= weight
                asked -= engine.uses(holding.number)
            looked += 1
            return missing <= 0 or asked <= 0 or looked == VICTIMS_MAX

        if missing > 0:
            self._holdings.unused(engine.used_at_ms, enough)
        return missing <= 0 < asked
