"""The style of the source, as a test: what may be imported, how long things may get, what never appears.

The limits are ratchets. What was too long when the limit came is listed with its length and may not grow;
what has become short enough must leave the list.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

TOP = Path(__file__).resolve().parents[2]
OURS = ("zchttpd", "ext", "tests", "bench", "benchlib", "loadtest", "tools", "www", "docs", ".ci")
CORE = TOP / "ext" / "zchttpd" / "_core"

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70

LONG_FILES = {
    # Tables.
    "tests/faults/plants.py": 640,
    "zchttpd/config/settings.py": 440,
    "ext/zchttpd/_core/conn.pyx": 770,
    "ext/zchttpd/_core/testing.pyx": 690,
    "ext/zchttpd/_core/worker.pyx": 690,
    "tests/unit/files/test_entry_cache.py": 568,
    "tests/unit/handler/test_handler.py": 595,
    "tests/unit/process/test_supervisor.py": 498,
}
LONG_FUNCTIONS = {}

# Written without itself in it, so that this file passes its own test.
UNFINISHED = re.compile(r"\b(?:T[O]DO|F[I]XME|X[X]X|H[A]CK)\b")
# Words that were given up, with the one to use instead, by the folder that is to be without them. Each is a
# pattern of whole words, whatever their case.
GIVEN_UP_IN_PYTHON = {
    r"(?:score)?board": "shared stats",
    r"couriers?": "bridge",
    r"cures?": "fix",
    r"desks?": "handler",
    r"gists?": "cache key",
    r"house rules": "stricter checks",
    r"judg(?:es?|ed|ing|ements?)": "parse_request, check",
    r"memo": "cacheable",
    r"precedents?": "parse cache",
    r"rungs?|ladder": "feature",
    r"shelf": "listing cache",
    r"sightings?": "PathState",
    r"standins?": "FallbackPage",
    r"tall(?:y|ies)": "stats",
    r"unready": "Pending",
    r"visit(?:s|ors?)?": "access record, client",
}
GIVEN_UP = {
    **dict.fromkeys(
        ("zchttpd", "docs", "www", "tests/unit", "tests/wire", "tests/fuzz", "tests/ring"), GIVEN_UP_IN_PYTHON
    ),
    "ext": {
        r"core|core_\w+": "machine",
        r"desk": "handler",
        r"doors?": "test hook, testing",
        r"flow|flow_\w+": "stream",
        r"frugal": "from_reserve",
        r"gists?|gist_\w+": "cache key",
        r"inbox|inbox_\w+": "recv_buffer",
        r"line_(?:none|window|new|once|in_use|refused)|lines_(?:join|leave)": "queue",
        r"memo": "cacheable",
        r"replay_(?:begin|end)": "machine_hold_plan, machine_let_go_plan",
        r"room_\w+|turned_away|stand_by": "admission, rejected, enqueue",
        r"rungs?|rung_\w+|ladder": "feature",
        r"stamp|stamp_\w+": "http_date",
        r"tally|tally_\w+": "stats",
        r"visits?": "access record",
        r"wheel_(?:file|drop)": "timer_wheel_set, timer_wheel_cancel",
    },
}
# Where somebody's checkout or home is; not `/proc/root/` and the like, which are in tests of hostile paths.
PLACE = re.compile(r"(?<![\w.])/(?:home|work|Users|root)/\w")

# The machine, its parts, and what they stand on: nothing of Python between a completion and an op.
NOGIL = (
    "acceptor",
    "access_record",
    "admission",
    "budget",
    "cache_key",
    "clients",
    "completions",
    "conn",
    "deadlines",
    "devices",
    "drain",
    "fill",
    "forwarded",
    "history",
    "http_date",
    "lease",
    "look",
    "machine",
    "mapping",
    "memory",
    "networks",
    "new_paths",
    "plain_path",
    "plans",
    "poller",
    "pool",
    "proxy",
    "queues",
    "readers",
    "recv_buffer",
    "scheme",
    "sends",
    "site",
    "slab",
    "stream",
    "templates",
    "timer_wheel",
    "version",
)
DIRECTIVES = (
    "language_level=3",
    "cdivision=True",
    "boundscheck=False",
    "wraparound=False",
    "initializedcheck=False",
)


def sources(*suffixes: str) -> list[Path]:
    """Files of ours with one of these suffixes, and the ones at the top."""
    # In a work tree of git `.git` is a file.
    found = [path for path in TOP.iterdir() if path.is_file() and path.name != ".git"]
    for part in OURS:
        found += [
            path for path in (TOP / part).rglob("*") if path.is_file() and "__pycache__" not in path.parts
        ]
    return sorted(path for path in found if path.suffix in suffixes)


def name_of(path: Path) -> str:
    return path.relative_to(TOP).as_posix()


PYTHON = sources(".py")
CYTHON = sources(".pyx", ".pxd")
TEXT = sources(".py", ".pyx", ".pxd", ".h", ".build", ".options", ".toml", ".md", ".html", ".css", ".js", "")


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def found_in(paths: list[Path], pattern: re.Pattern[str]) -> list[str]:
    """`file:line: text` of every line that has the pattern."""
    return [
        f"{name_of(path)}:{number}: {line.strip()}"
        for path in paths
        for number, line in enumerate(lines_of(path), 1)
        if pattern.search(line)
    ]


def python_functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name and length in lines of each function, nested ones within their outer one too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


def cython_functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name and length of each function with a body: to the last line that is indented deeper."""
    lines = lines_of(path)
    for at, line in enumerate(lines):
        match = re.match(r"( *)(?:cdef|cpdef|def)\s(?!class\b)[^=]*?(\w+)\(", line)
        if match is None:
            continue
        end = header = at
        while not lines[header].rstrip().endswith(":") and header + 1 < len(lines) and header - at < 8:
            header += 1
        if not lines[header].rstrip().endswith(":"):
            continue
        for below in range(header + 1, len(lines)):
            if lines[below].strip():
                if len(lines[below]) - len(lines[below].lstrip()) <= len(match[1]):
                    break
                end = below
        yield match[2], end - at + 1


def test_there_is_something_to_look_at() -> None:
    """Guards the others: a moved tree must not make them pass."""
    assert len(PYTHON) > 40
    assert len(CYTHON) > 25
    assert {"README.md", "Makefile", "pyproject.toml"} <= {name_of(path) for path in TEXT}
    assert {path.stem for path in CYTHON if path.suffix == ".pyx"} >= {*NOGIL, "ring", "worker"}
    assert dict(cython_functions(CORE / "conn.pyx"))["conn_step"] > 20
    assert dict(cython_functions(CORE / "slab.pxd"))["slab_holds"] == 3


def test_files_are_short() -> None:
    lengths = {name_of(path): len(lines_of(path)) for path in (*PYTHON, *CYTHON)}
    too_long = {
        name: length for name, length in lengths.items() if length > LONG_FILES.get(name, FILE_LINES_MAX)
    }
    assert not too_long, f"split these, the limit is {FILE_LINES_MAX} or what LONG_FILES says: {too_long}"
    done = [name for name in LONG_FILES if lengths.get(name, 0) <= FILE_LINES_MAX]
    assert not done, f"short enough now, or gone; take them out of LONG_FILES: {done}"


def test_functions_are_short() -> None:
    lengths: dict[str, int] = {}
    for paths, functions in ((PYTHON, python_functions), (CYTHON, cython_functions)):
        for path in paths:
            for function, length in functions(path):
                key = f"{name_of(path)} {function}"
                lengths[key] = max(length, lengths.get(key, 0))
    too_long = {
        name: length
        for name, length in lengths.items()
        if length > LONG_FUNCTIONS.get(name, FUNCTION_LINES_MAX)
    }
    assert not too_long, (
        f"split these, the limit is {FUNCTION_LINES_MAX} or what LONG_FUNCTIONS says: {too_long}"
    )
    done = [name for name in LONG_FUNCTIONS if lengths.get(name, 0) <= FUNCTION_LINES_MAX]
    assert not done, f"short enough now, or gone; take them out of LONG_FUNCTIONS: {done}"


def test_nothing_is_left_unfinished() -> None:
    assert not found_in(TEXT, UNFINISHED)


@pytest.mark.parametrize("folder", sorted(GIVEN_UP))
def test_words_that_were_given_up_stay_out(folder: str) -> None:
    """One word for one thing, and the field's where it has one."""
    paths = [path for path in TEXT if name_of(path).startswith(f"{folder}/")]
    assert paths
    found = {
        f"{word}: say {instead}": places
        for word, instead in GIVEN_UP[folder].items()
        if (places := found_in(paths, re.compile(rf"\b(?:{word})\b", re.IGNORECASE)))
    }
    assert not found


def test_no_path_of_one_machine() -> None:
    assert not found_in(TEXT, PLACE)


def test_no_assert_in_compiled_code() -> None:
    """In a noexcept nogil function it would print and go on; zc_assert stops."""
    assert not found_in(CYTHON, re.compile(r"^\s*assert\b"))


def test_only_the_ring_knows_liburing() -> None:
    users = {
        path.stem
        for path in CYTHON
        if found_in([path], re.compile(r"\b(?:c?import)\s.*\buring\b|_core\.uring\b"))
    }
    assert users - {"uring"} == {"ring", "ring_setup", "send_ring", "testing_ring"}
    headers = {path.name for path in sources(".h") if found_in([path], re.compile(r"#include.*liburing"))}
    assert headers == {"zc_uring.h"}


def test_only_engines_import_what_is_compiled() -> None:
    """import-linter does not see compiled modules. Others ask for theirs when they need them."""
    ours = [path for path in PYTHON if name_of(path).startswith("zchttpd/")]
    users = {
        path.parent.name
        for path in ours
        if found_in([path], re.compile(r"^\s*(?:from|import) zchttpd\._core"))
    }
    assert users == {"engine"}


@pytest.mark.parametrize(
    "module",
    [
        "acceptor",
        "access_record",
        "admission",
        "clients",
        "conn",
        "deadlines",
        "devices",
        "drain",
        "fill",
        "machine",
        "pool",
        "queues",
        "routes",
        "ways",
        "stream",
    ],
)
def test_the_machine_knows_no_ring_and_no_python(module: str) -> None:
    paths = [CORE / f"{module}.pyx", CORE / f"{module}.pxd"]
    assert not found_in(
        paths, re.compile(r"_core\.(?:ring\w*|worker|uring|uring_driver|testing)\b|_core cimport .*\bring\b")
    )
    assert not found_in(
        paths, re.compile(r"\bcpython\b|^\s*(?:import|from\s+\S+\s+import)\s|\bwith gil\b|^\s*(?:cp)?def\s")
    )
    # Time is set by whoever drives it, and so are system calls made; memory is the one exception.
    assert not found_in(paths, re.compile(r"\bclock_gettime\b|posix\.time|sys/socket\.h"))


def test_functions_of_the_machine_hold_no_gil() -> None:
    for module in NOGIL:
        missing = [
            line
            for path in (CORE / f"{module}.pyx", CORE / f"{module}.pxd")
            for line in _headers(path)
            if not re.search(r"noexcept nogil:?$", line)
        ]
        assert not missing, f"{module}: not noexcept nogil: {missing}"


def _headers(path: Path) -> Iterator[str]:
    """The head of each cdef function, joined to one line."""
    for match in re.finditer(
        r"^cdef (?!extern|enum|struct|class)[^\n=]*?\w+\((?:[^()]|\([^()]*\))*\)[^\n]*$",
        path.read_text(encoding="utf-8"),
        re.MULTILINE,
    ):
        yield " ".join(match[0].split())


@pytest.mark.slow
def test_no_line_of_the_machine_calls_python(tmp_path: Path) -> None:
    """Of all modules at once: what they share is then read once."""
    shutil.copytree(TOP / "ext", tmp_path / "ext")
    core = tmp_path / "ext" / CORE.relative_to(TOP / "ext")
    directives = [word for directive in DIRECTIVES for word in ("-X", directive)]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "cython", "-a", *directives),
            "-I",
            "../..",
            *(f"{each}.pyx" for each in NOGIL),
        ],
        cwd=core,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"cython is needed here (pip install cython): {done.stderr}"
    yellow = [line for module in NOGIL for line in _calls_of_python(core, module)]
    assert not yellow, f"these call Python:\n{chr(10).join(yellow)}"


def _calls_of_python(core: Path, module: str) -> list[str]:
    """The score that `cython -a` gives a line counts its calls into Python. The first line stands for making
    the module.
    """
    page = (core / f"{module}.html").read_text(encoding="utf-8")
    scores = {
        int(number): int(score)
        for score, number in re.findall(
            r'<pre class="cython line score-(\d+)"[^>]*>[^<]*<span class="">(\d+)</span>', page
        )
    }
    lines = lines_of(CORE / f"{module}.pyx")
    unscored = set(range(1, len(lines) + 1)) ^ set(scores)
    assert not unscored, f"cython -a looks different now, read it anew; lines without a score: {unscored}"
    assert scores.pop(1) > 0
    return [
        f"{module}.pyx:{number}: {lines[number - 1].strip()}" for number, score in scores.items() if score
    ]
