"""What a run found, as plain values: the load client's statistics by mode, the servers' side, the client's
cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from loadtest._readings import Side, Slice
    from loadtest._targets import Target

# Above this share of a core the load client itself decides how fast things are.
SATURATED = 0.9


@dataclass(frozen=True, slots=True)
class Scene:
    """One kind of request to one server. Times in ms, of the whole answer."""

    mode: str
    name: str
    requests: int
    failures: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    bytes: int


@dataclass(frozen=True, slots=True)
class ClientCost:
    """What the load client used: CPU seconds of all its processes, and of the busiest one per wall second."""

    cpu_s: float
    processes: int
    busiest_share: float

    @property
    def saturated(self) -> bool:
        return self.busiest_share > SATURATED


@dataclass(frozen=True, slots=True)
class Moment:
    """The load at `at_s` since the start: users, and answers and failures per second of all modes."""

    at_s: float
    users: int
    requests_per_s: float
    failures_per_s: float


@dataclass(frozen=True, slots=True)
class Results:
    """One run. `ratios`: mode -> CPU per response against plain, part by part; `sides` only of servers that
    could be read; `missing`: mode -> why it could not run.
    """

    started: str
    seconds: float
    users: int
    shape: str
    command: str
    machine: Mapping[str, str]
    own: bool
    targets: tuple[Target, ...]
    files: int
    file_bytes: int
    scenes: tuple[Scene, ...]
    errors: tuple[tuple[str, str, int], ...]
    sides: tuple[Side, ...]
    slices: Mapping[str, tuple[Slice, ...]]
    ratios: Mapping[str, tuple[float, ...]]
    moments: tuple[Moment, ...]
    client: ClientCost
    missing: Mapping[str, str]

    @property
    def modes(self) -> tuple[str, ...]:
        return tuple(target.mode for target in self.targets)

    def side(self, mode: str) -> Side | None:
        return next((side for side in self.sides if side.mode == mode), None)

    def scene(self, mode: str, name: str) -> Scene | None:
        return next((each for each in self.scenes if (each.mode, each.name) == (mode, name)), None)

    def scene_names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(scene.name for scene in self.scenes))

    @property
    def requests(self) -> int:
        return sum(scene.requests for scene in self.scenes)

    @property
    def failures(self) -> int:
        return sum(scene.failures for scene in self.scenes)

    @property
    def body_bytes(self) -> int:
        return sum(scene.bytes for scene in self.scenes)


def scenes_of(entries: Iterable[Any], modes: tuple[str, ...]) -> tuple[Scene, ...]:
    """Locust's statistics entries, whose names are `MODE scene`, in the order of scene, then of `modes`.

    An entry of another name is none of ours and left out.
    """
    found = []
    for entry in entries:
        mode, _, name = entry.name.partition(" ")
        if mode in modes and name:
            p50, p95, p99 = (float(entry.get_response_time_percentile(share)) for share in (0.5, 0.95, 0.99))
            counts = entry.num_requests, entry.num_failures
            found.append(Scene(mode, name, *counts, p50, p95, p99, entry.total_content_length))
    return tuple(sorted(found, key=lambda scene: (scene.name, modes.index(scene.mode))))
