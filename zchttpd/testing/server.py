"""A server for tests of downloaders, whose answers go wrong where the test says so."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote

from zchttpd.api.serve import serve
from zchttpd.testing.faults import RANDOM, Answer, Fault, Fields, Replace, Request
from zchttpd.testing.proxy import Proxy, fetch
from zchttpd.testing.script import RandomRule, Rule, chance_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self, Unpack

    from zchttpd.api.options import Options, StrPath
    from zchttpd.testing.script import Numbers

# A directory, or what is in it: contents by path.
Files: TypeAlias = "StrPath | Mapping[str, bytes | str]"

_NOT_OURS = "a directory that was given is not written to. Give a dict of contents by path instead"


@dataclass(frozen=True)
class Exchange:
    """A request, what went wrong with it, and the status of its answer."""

    request: Request
    faults: tuple[Fault, ...]
    status: int


class StaticServer:
    """Serves `files` from when it is made until it is closed; a `with` statement closes it.

    A directory is served as it is, and never written to. `seed` decides what faults leave open, such as
    where a cut is. `options`: as `zchttpd.serve` has them.
    """

    def __init__(self, files: Files, *, seed: int = 0, **options: Unpack[Options]) -> None:
        self.requests: list[Exchange] = []
        self._seed = seed
        self._rules: list[Rule | RandomRule] = []
        self._counts: dict[str, int] = {}
        self._lock = threading.Lock()
        self._ours = not isinstance(files, str | os.PathLike)
        if isinstance(files, str | os.PathLike):
            self._root = Path(files)
        else:
            self._root = Path(tempfile.mkdtemp(prefix="zchttpd-"))
            for path, content in files.items():
                self.replace(path, content)
        # What is replaced is seen with the next request.
        options.setdefault("revalidate_ms", 0)
        self._server = serve(self._root, in_process=True, **options).__enter__()
        self._upstream = int(self._server.url.rpartition(":")[2])
        self._proxy = Proxy(self._answer)

    @property
    def url(self) -> str:
        """Where the files are, without a slash at the end."""
        return f"http://127.0.0.1:{self._proxy.port}"

    def read(self, path: str) -> bytes:
        """The content of a file as it is now."""
        return (self._root / path.lstrip("/")).read_bytes()

    def fault(self, path: str, *faults: Fault, nth: Numbers = 1) -> None:
        """Have these faults befall the `nth` request for a path, from 1, or several, or with None each.

        `path` may be a glob; requests for each path that it matches are counted apart. Raises ValueError for
        Replace where a directory is served.
        """
        self._check(faults)
        self._rules.append(Rule(path, faults, nth))

    def at_random(self, path: str = "*", *faults: Fault, rate: float = 0.5, most: int = 5) -> None:
        """Have one of these faults, or of RANDOM, befall some of the first `most` requests for each such
        path, at this rate; which it is the seed says. Raises ValueError as `fault` does.
        """
        chosen = faults or tuple(each for each in RANDOM if self._ours or not isinstance(each, Replace))
        self._check(chosen)
        self._rules.append(RandomRule(path, chosen, self._seed, rate, most))

    def replace(self, path: str, content: bytes | str) -> None:
        """Make another version of a file, or another file, by renaming it into place. Raises ValueError where
        a directory is served.
        """
        if not self._ours:
            raise ValueError(_NOT_OURS)
        place = self._root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = place.with_name(f".{place.name}.new")
        fresh.write_bytes(content.encode() if isinstance(content, str) else content)
        fresh.rename(place)

    def close(self) -> None:
        """Close every connection, and remove what was made."""
        self._proxy.close()
        self._server.__exit__()
        if self._ours:
            shutil.rmtree(self._root)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self, method: str, path: str, fields: Fields) -> Answer:
        with self._lock:
            number = self._counts[path] = self._counts.get(path, 0) + 1
        request = Request(method, path, fields, number)
        faults = tuple(fault for rule in self._rules for fault in rule.faults_of(request))
        chance = chance_of(self._seed, request)
        asked = request
        for fault in faults:
            if isinstance(fault, Replace):
                name = unquote(path.partition("?")[0])
                self.replace(name, fault.version(self.read(name), chance))
            asked = fault.ask(asked)
        answer = fetch("127.0.0.1", self._upstream, asked)
        for fault in faults:
            answer = fault.answer(answer, chance)
        self.requests.append(Exchange(request, faults, answer.status))
        return answer

    def _check(self, faults: Sequence[Fault]) -> None:
        if not self._ours and any(isinstance(fault, Replace) for fault in faults):
            raise ValueError(_NOT_OURS)
