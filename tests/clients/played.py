"""Pages of the documentation, played: what a page says to type is typed, to a server of the test."""

from __future__ import annotations

import os
import re
import shlex
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from zchttpd.config.settings import OPTIONS

from ..wire.servers import command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Run, Serve

DOCS = Path(__file__).resolve().parents[2] / "docs"
# Where a server is on the pages.
URL = "http://127.0.0.1:8080"


@dataclass
class Played:
    """A page: what is typed `before` its server starts, the `options` of that, and what is typed then.

    The blocks of a page are one script, in the directory `place`; those of Python are programs. Without a
    line that starts a server the whole page is for one of the root `root/`.
    """

    name: str
    before: str = ""
    after: str = ""
    options: dict[str, object] = field(default_factory=dict)
    root: str = "root"

    def __post_init__(self) -> None:
        blocks = [
            text if language == "sh" else f"python3 - <<'END OF PROGRAM'\n{text}END OF PROGRAM\n"
            for language, text in self._blocks()
            if language in ("sh", "python")
        ]
        server = next((each for each in blocks if re.match(r"zchttpd (?!manifest|doctor)", each)), None)
        at = blocks.index(server) if server is not None else 0
        self.before = "".join(blocks[:at])
        self.after = "".join(blocks[at + (server is not None) :])
        if server is not None:
            self.root, self.options = read(server)

    def block(self, language: str) -> str:
        """The one block of that language."""
        [text] = self.blocks(language)
        return text

    def blocks(self, language: str) -> list[str]:
        """The blocks of that language, in the order of the page."""
        return [text for each, text in self._blocks() if each == language]

    def _blocks(self) -> list[tuple[str, str]]:
        text = (DOCS / self.name).read_text(encoding="utf-8")
        return re.findall(r"^```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)

    def play(self, serve: Serve, run: Run, place: Path, **environment: str) -> str:
        """Type all of it; gives what was printed once the server was there."""
        with self.playing(serve, run, place, **environment) as url:
            return shell(run, self.after.replace(URL, url), **environment)

    @contextmanager
    def playing(self, serve: Serve, run: Run, place: Path, **environment: str) -> Iterator[str]:
        """Type what comes before; gives the URL of the server."""
        shell(run, self.before, **environment)
        with serve(place / self.root, **self.options) as url:
            yield url


def read(server: str) -> tuple[str, dict[str, object]]:
    """The root and the options of a line that starts a server."""
    root = "root"
    options: dict[str, object] = {}
    words = shlex.split(server.replace("\\\n", " "), comments=True)[1:]
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            root = word
            continue
        name = word[2:].replace("-", "_")
        option = OPTIONS[name]
        if option.switch:
            options[name] = True
            continue
        value = tuple(words.pop(0) for _ in range(option.words))
        if name == "root":
            [root] = value
            continue
        known = options.get(name, ())
        assert isinstance(known, tuple)
        options[name] = (*known, value)
    return root, options


def shell(run: Run, script: str, **environment: str) -> str:
    """What a script prints. `zchttpd`, python3 and pip are those of this test."""
    environment["PATH"] = f"{Path(command()).parent}:{os.environ['PATH']}"
    return run("bash", "-euo", "pipefail", "-c", script, **environment)
