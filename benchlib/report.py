"""Tables for a terminal and for Markdown, and pages from templates."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tabulate
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchlib import plots

if TYPE_CHECKING:
    from collections.abc import Sequence

# A column is as wide as its widest cell, the heading among them.
tabulate.MIN_PADDING = 0
TOP = Path(__file__).resolve().parents[1]
TEMPLATES = Environment(
    loader=FileSystemLoader([TOP / part / "templates" for part in ("benchlib", "bench", "loadtest")]),
    autoescape=lambda name: name is not None and ".html" in name,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.globals["palette"] = plots.PALETTE
TEMPLATES.filters["svg"] = plots.svg
TEMPLATES.filters["count"] = "{:,.0f}".format


@dataclass(frozen=True, slots=True)
class Table:
    """Headings and lines of cells; the columns numbered in `left` are words, the others figures."""

    title: str
    headings: tuple[str, ...]
    lines: Sequence[tuple[str, ...]]
    left: tuple[int, ...]

    def _text(self, form: str) -> str:
        sides = ["left" if column in self.left else "right" for column in range(len(self.headings))]
        text: str = tabulate.tabulate(
            self.lines,
            self.headings,
            form,
            disable_numparse=True,
            preserve_whitespace=True,
            colalign=sides if self.lines else None,
        )
        return text

    def plain(self) -> str:
        """For a terminal."""
        lines = self._text("plain").splitlines()
        return "\n".join(line.rstrip() for line in lines)

    def markdown(self) -> str:
        """Without padding: a figure that gets wider changes one line of a document."""
        headings, rule, *lines = self._text("pipe").splitlines()
        return re.sub("  +", " ", "\n".join([headings, re.sub("-+", "---", rule), *lines]))


def minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


TEMPLATES.filters["minutes"] = minutes


def render(template: str, **values: object) -> str:
    """Fill in a template of benchlib/, bench/ or loadtest/."""
    return TEMPLATES.get_template(template).render(values)


def paragraphs(template: str, **values: object) -> list[str]:
    """The paragraphs of a text, each on one line."""
    return [" ".join(text.split()) for text in render(template, **values).split("\n\n") if text.strip()]
