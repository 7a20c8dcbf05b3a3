"""Pages of the documentation, played: what a page says to type is typed, to a server of the test."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from zchttpd.config.settings import OPTIONS

from ..wire.servers import command

if TYPE_CHECKING:
    from .conftest import Run, Serve

DOCS = Path(__file__).resolve().parents[2] / "docs"
# Where a server is on the pages.
URL = "http://127.0.0.1:8080"


@dataclass
class Played:
    """A page: what is typed `before` its server starts, the `options` of that, and what is typed then.

    The blocks of a page are one script, in the directory `place`. Without a line that starts a server the
    whole page is for one of the root `root/`.
    """

    name: str
    before: str = ""
    after: str = ""
    options: dict[str, object] = field(default_factory=dict)
    root: str = "root"

    def __post_init__(self) -> None:
        text = (DOCS / self.name).read_text(encoding="utf-8")
        blocks = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        server = next((each for each in blocks if re.match(r"zchttpd (?!manifest|doctor)", each)), None)
        at = blocks.index(server) if server is not None else 0
        self.before = "".join(blocks[:at])
        self.after = "".join(blocks[at + (server is not None) :])
        if server is not None:
            self._read(server)

    def _read(self, server: str) -> None:
        words = shlex.split(server.replace("\\\n", " "), comments=True)[1:]
        while words:
            word = words.pop(0)
            if not word.startswith("--"):
                self.root = word
                continue
            name = word[2:].replace("-", "_")
            option = OPTIONS[name]
            if option.switch:
                self.options[name] = True
                continue
            value = tuple(words.pop(0) for _ in range(option.words))
            known = self.options.get(name, ())
            assert isinstance(known, tuple)
            self.options[name] = (*known, value)

    def play(self, serve: Serve, run: Run, place: Path, **environment: str) -> str:
        """Type all of it; gives what was printed once the server was there."""
        environment["PATH"] = f"{Path(command()).parent}:{os.environ['PATH']}"
        run("bash", "-euo", "pipefail", "-c", self.before or "true", **environment)
        with serve(place / self.root, **self.options) as url:
            script = self.after.replace(URL, url)
            return run("bash", "-euo", "pipefail", "-c", script, **environment)
