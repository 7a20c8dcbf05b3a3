"""What a run has found, whole, as it is written to JSON and read again."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from bench.clients import Pace
from bench.idle import Taken
from bench.load import PacedSample, Sample

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = 2


@dataclass(slots=True)
class Peer:
    """What was measured: name, version, command line, configuration; response heads and Content-Encodings by
    workload.
    """

    name: str
    ours: bool
    version: str
    command: str
    config: str
    heads: dict[str, str] = field(default_factory=dict)
    codings: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Absent:
    """A server that was not measured under a workload ("" for all of them), and why."""

    server: str
    workload: str
    reason: str


@dataclass(slots=True)
class Results:
    """A whole run. `workloads`: titles of the finished ones. `cut_short` says why it ended early, if it
    did.
    """

    machine: dict[str, str]
    settings: dict[str, str | int | float]
    peers: list[Peer] = field(default_factory=list)
    workloads: dict[str, str] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    paced: list[PacedSample] = field(default_factory=list)
    takings: list[Taken] = field(default_factory=list)
    absent: list[Absent] = field(default_factory=list)
    cut_short: str = ""

    def peer(self, name: str) -> Peer | None:
        return next((peer for peer in self.peers if peer.name == name), None)

    def ours(self) -> list[str]:
        return [peer.name for peer in self.peers if peer.ours]

    def forget(self, workload: str) -> None:
        """Drop what is known of a workload that will be measured again."""
        self.workloads.pop(workload, None)
        self.samples = [sample for sample in self.samples if sample.workload != workload]
        names = (workload, "common") if workload == "rate" else (workload,)
        self.absent = [each for each in self.absent if each.workload not in names]
        if workload == "rate":
            self.paced = []
        if workload == "silent":
            self.takings = []


LISTS = {"peers": Peer, "samples": Sample, "paced": PacedSample, "takings": Taken, "absent": Absent}


def to_json(results: Results) -> str:
    """Write everything as JSON text; rows, ratios and conclusions are computed from it whenever wanted."""
    return json.dumps({"schema": SCHEMA, **asdict(results)}, indent=1) + "\n"


def from_json(text: str) -> Results:
    """Read what to_json wrote. Raises ValueError for anything else."""
    fields: dict[str, Any] = json.loads(text)
    found = fields.pop("schema", None)
    if found != SCHEMA:
        raise ValueError(f"this file has schema {found!r}, this program reads {SCHEMA}; measure again")
    for sample in fields["paced"]:
        sample["pace"] = Pace(**sample["pace"])
    return Results(
        **{**fields, **{name: [kind(**each) for each in fields[name]] for name, kind in LISTS.items()}}
    )


def save(results: Results, path: Path) -> None:
    """Replace `path` in one step, so that an interruption leaves the old file or the new one."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        draft.write_text(to_json(results))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
