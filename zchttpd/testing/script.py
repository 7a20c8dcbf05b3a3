"""Which faults befall which request: by path and number alone, so that each run of a test has the same."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zchttpd.testing.faults import Fault, Request

# One request, some, or all.
Numbers: TypeAlias = "int | Collection[int] | None"


@dataclass(frozen=True)
class Rule:
    """These faults befall the requests of these `numbers` for a path that matches `pattern`."""

    pattern: str
    faults: tuple[Fault, ...]
    numbers: Numbers = None

    def faults_of(self, request: Request) -> Sequence[Fault]:
        """Those that befall a request."""
        return self.faults if _matches(self.pattern, self.numbers, request) else ()


@dataclass(frozen=True)
class RandomRule:
    """Of the first `most` requests for each such path one in `1 / rate` has one of these faults, as the seed
    has it.
    """

    pattern: str
    faults: tuple[Fault, ...]
    seed: int
    rate: float
    most: int

    def faults_of(self, request: Request) -> Sequence[Fault]:
        """Those that befall a request."""
        if not _matches(self.pattern, range(1, self.most + 1), request):
            return ()
        chance = chance_of(self.seed, request)
        return (chance.choice(self.faults),) if chance.random() < self.rate else ()


def chance_of(seed: int, request: Request) -> random.Random:
    """What chooses for a request, and never for another: who comes first does not matter."""
    return random.Random(f"{seed} {request.path} {request.number}")


def _matches(pattern: str, numbers: Numbers, request: Request) -> bool:
    if not fnmatchcase(request.path.partition("?")[0], "/" + pattern.removeprefix("/")):
        return False
    if isinstance(numbers, Collection):
        return request.number in numbers
    return numbers is None or request.number == numbers
