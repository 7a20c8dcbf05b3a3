"""What is tested: servers started here, or ones that already run, and the files they serve."""

from __future__ import annotations

import hashlib
import http.client
import io
import os
import random
import re
import shutil
import sys
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from benchlib import CannotMeasure
from benchlib.payload import MIB
from benchlib.server import OURS, find_program, running, temporary_site
from loadtest._client import WrongAnswer
from loadtest._samples import Target, read_target
from loadtest._site import MANIFEST, File, Tree, from_json, spans_of, to_json, write_tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchlib.server import Server

PORTABLE = "portable"
MODES = ("zerocopy", "plain", PORTABLE)
LEARN_BYTES_MAX = 256 * MIB
LEARN_FILES_MAX = 200
LINK = re.compile(rb"""(?:src|href)\s*=\s*["']?([^"'\s>#]+)""", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Stage:
    """All that a user must know: where to ask and what must come. `own`: the servers were started here;
    `missing`: mode -> why it could not be (not told to workers).
    """

    targets: tuple[Target, ...]
    tree: Tree
    own: bool
    missing: dict[str, str] = field(default_factory=dict)

    def to_message(self) -> dict[str, Any]:
        """As plain values, for the way to locust's workers."""
        targets = [asdict(each) for each in self.targets]
        return {"targets": targets, "tree": to_json(self.tree), "own": self.own}

    @staticmethod
    def from_message(message: dict[str, Any]) -> Stage:
        targets = tuple(Target(**each) for each in message["targets"])
        return Stage(targets, from_json(message["tree"]), message["own"])


def split_host(text: str) -> tuple[str, int]:
    """http://H:P, or H:P, to (host, port). Raises CannotMeasure saying what is accepted."""
    with suppress(ValueError):
        parts = urlsplit(text if "//" in text else f"//{text}")
        if parts.hostname and parts.scheme in ("", "http") and parts.path in ("", "/"):
            return parts.hostname, parts.port or 80
    raise CannotMeasure(f"{text!r} cannot be tested; type such as http://192.0.2.1:8080 (no https, no path)")


def parse_targets(text: str) -> tuple[Target, ...]:
    """`zerocopy=H:P/H:P,plain=H:P`: names, where files are served, and after a slash the admin listener."""
    found = []
    for item in text.split(","):
        name, equals, places = item.strip().partition("=")
        serve, _, admin = places.partition("/")
        if not equals or not name or not serve or "//" in places or len(name.split()) != 1:
            raise CannotMeasure(f"--targets: {item!r} is not NAME=HOST:PORT or NAME=HOST:PORT/ADMINHOST:PORT")
        found.append(Target(name, *split_host(serve), admin))
    if len({each.mode for each in found}) != len(found):
        raise CannotMeasure(f"--targets: a name occurs twice in {text!r}")
    return tuple(found)


def own_program() -> str:
    """The zchttpd beside this Python, else the one on PATH. Raises CannotMeasure saying what to type."""
    found = shutil.which("zchttpd", path=str(Path(sys.executable).parent)) or shutil.which("zchttpd")
    if found is None:
        raise CannotMeasure(
            f"zchttpd is not installed, neither beside {sys.executable} nor on PATH; type make setup and "
            "then .venv/bin/locust -f loadtest/ (or: pip install '.[loadtest]'), or test a running server: "
            "--host"
        )
    return found


def start_own(modes: tuple[str, ...], large: int, say: Callable[[str], None], stack: ExitStack) -> Stage:
    """Generate a tree and start a server for each of `modes`, to be ended with `stack`. A mode that this
    machine refuses is left out. Raises CannotMeasure when nothing is left, or for any other trouble.
    """
    program = own_program()
    site = stack.enter_context(temporary_site())
    tree = write_tree(site.root, say, large=large)
    # A scenario may also be run on one core; only its times say less, and the report says so.
    core = min(os.sched_getaffinity(0))
    targets: list[Target] = []
    missing: dict[str, str] = {}
    for mode in modes:
        say(f"starting {mode}")
        with ExitStack() as starting:
            server = starting.enter_context(
                running(OURS[mode], find_program(OURS[mode], program), site, core)
            )
            admin = f"127.0.0.1:{server.admin_port}"
            target = Target(mode, "127.0.0.1", server.port, admin, server.pid, server.version, server.command)
            reading = read_target(target)
            if reading is None:
                raise CannotMeasure(f"{mode}: its admin listener does not answer; log:\n{server.log_tail()}")
            # Without io_uring zchttpd serves all the same, but not in the mode asked for.
            if mode != PORTABLE and not reading.count("zchttpd_enters_total"):
                missing[mode] = _refusal(server)
                say(f"{mode} is left out: {missing[mode]}")
                continue
            stack.push(starting.pop_all())
        targets.append(target)
        say(f"{mode} on {target.port}: {target.command}")
    if not targets:
        raise CannotMeasure(f"none of {', '.join(modes)} can run here; --modes portable can")
    return Stage(tuple(targets), tree, True, missing)


def _refusal(server: Server) -> str:
    """Why a server runs without io_uring, in its own words."""
    lines = [line for line in server.log_tail().splitlines() if "without io_uring" in line]
    return lines[-1] if lines else "it runs without io_uring"


def visit_running(targets: tuple[Target, ...], paths: str, say: Callable[[str], None]) -> Stage:
    """Find out what running servers serve: their manifest when the tree was generated, else what is at
    `paths` and what those pages link to. Raises CannotMeasure.
    """
    first = targets[0]
    for each in targets:
        if each.admin and read_target(each) is None:
            raise CannotMeasure(
                f"no counters at http://{each.admin}/metrics.json; start zchttpd with --admin HOST:PORT and "
                "name that HOST:PORT here, or leave it out"
            )
    try:
        answer = _fetch(first, f"/{MANIFEST}")
        if answer is not None:
            say(f"{first.authority} serves a generated tree")
            return Stage(targets, from_json(answer[1].decode("ascii")), False)
        say(f"{first.authority} serves no /{MANIFEST}: learning what is at {paths}")
        return Stage(targets, learn(first, tuple(paths.split(","))), False)
    except (OSError, WrongAnswer, ValueError, KeyError, TypeError) as error:
        raise CannotMeasure(f"{first.authority}: {error}; is a server running there?") from error


def _fetch(target: Target, path: str) -> tuple[str, bytes] | None:
    """(media type, body) of a 200, None for a 404. Raises WrongAnswer or OSError."""
    connection = http.client.HTTPConnection(target.host, target.port, timeout=30)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        if response.status == 404:
            return None
        if response.status != 200:
            raise WrongAnswer(f"{path}: status {response.status}, expected 200")
        if int(response.headers.get("Content-Length", "0")) > LEARN_BYTES_MAX:
            raise WrongAnswer(f"{path} is larger than {LEARN_BYTES_MAX // MIB} MiB; leave it out of --paths")
        return response.headers.get("Content-Type", ""), response.read()
    except http.client.HTTPException as error:
        raise WrongAnswer(f"{path}: {error!r}") from error
    finally:
        connection.close()


def learn(target: Target, paths: tuple[str, ...]) -> Tree:
    """A tree of what `target` serves now at `paths`, and of what their HTML links to on the same server."""
    files: dict[str, File] = {}
    todo = [(path, True) for path in paths]
    while todo and len(files) < LEARN_FILES_MAX:
        path, asked_for = todo.pop(0)
        if path in files:
            continue
        answer = _fetch(target, path)
        if answer is None:
            if asked_for:
                raise CannotMeasure(f"{target.authority} answers 404 to {path}; name files with --paths")
            continue
        media, body = answer
        needs: tuple[str, ...] = ()
        if media.startswith("text/html") and asked_for:
            needs = tuple(dict.fromkeys(local_links(path, body)))
            todo += [(need, False) for need in needs]
        files[path] = _learned(path, body, media, needs)
    kept = {file: tuple(need for need in file.needs if need in files) for file in files.values()}
    return Tree(tuple(replace(file, needs=needs) for file, needs in kept.items()))


def local_links(path: str, body: bytes) -> list[str]:
    """The targets on the same server that an HTML page at `path` embeds or links to and that look like
    files.
    """
    found = []
    for link in LINK.findall(body):
        joined = urljoin(path, link.decode("ascii", "replace"))
        name = joined.rpartition("/")[2]
        if joined.startswith("/") and not joined.startswith("//") and "." in name and joined.isascii():
            found.append(joined)
    return found


def _learned(path: str, body: bytes, media: str, needs: tuple[str, ...]) -> File:
    digest = hashlib.sha256(body).hexdigest()
    if media.startswith("text/html"):
        return File(path, "page", len(body), digest, needs=needs)
    spans = spans_of(io.BytesIO(body), len(body), random.Random(path))
    if not spans:
        return File(path, "image" if media.startswith("image/") else "asset", len(body), digest)
    return File(path, "video" if media.startswith("video/") else "download", len(body), digest, spans)
