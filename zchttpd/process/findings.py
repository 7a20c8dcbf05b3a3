"""What the doctor finds, as text and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import Enum

from zchttpd import __version__


class State(Enum):
    """How one finding stands; everything but OK comes with a fix."""

    OK = "ok"
    LOW = "low"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report. `fix` is empty when the state is OK."""

    subject: str
    state: State
    text: str
    fix: str = ""


def well(findings: list[Finding]) -> bool:
    """Whether nothing could be better."""
    return all(finding.state is State.OK for finding in findings)


def as_text(findings: list[Finding]) -> str:
    """A line for each finding, and each fix below its cause."""
    width = max(len(finding.subject) for finding in findings)
    lines: list[str] = []
    for finding in findings:
        lines.append(f"{finding.subject:<{width}}  {finding.state.value:<7}  {finding.text}")
        if finding.fix:
            lines.append(f"{'':<{width}}  {'':<7}  fix: {finding.fix}")
    short = [finding for finding in findings if finding.state is not State.OK]
    lines += ["", f"{len(short)} of {len(findings)} could be better." if short else "All is well."]
    return "\n".join(lines)


def as_json(findings: list[Finding], **more: object) -> str:
    """An object with `findings` in their order, and `more` beside them."""
    told = [{**asdict(finding), "state": finding.state.value} for finding in findings]
    return json.dumps({"version": __version__, "well": well(findings), **more, "findings": told}, indent=2)
