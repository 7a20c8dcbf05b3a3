"""The documents: what they say to type can be typed, what they name exists, the options are today's."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from zchttpd import __version__, cli
from zchttpd.config.names import FEATURES
from zchttpd.config.options import flag_of, variable_of
from zchttpd.config.settings import OPTIONS
from zchttpd.telemetry import metrics, prometheus
from zchttpd.telemetry.shared_stats import SharedStats, stats_layout

if TYPE_CHECKING:
    from collections.abc import Iterator

TOP = Path(__file__).resolve().parents[2]
README = TOP / "README.md"
OPTIONS_PAGE = TOP / "docs" / "options.md"
METRICS_PAGE = TOP / "docs" / "metrics.md"
PAGES = (*sorted(TOP.glob("*.md")), *sorted((TOP / "docs").rglob("*.md")))
FILL = runpy.run_path(str(TOP / "tools" / "fill.py"))["fill"]
OPTIONS_TABLE = runpy.run_path(str(TOP / "tools" / "options_table.py"))["docs_table"]()
METRICS_TABLE = runpy.run_path(str(TOP / "tools" / "metrics_table.py"))["docs_table"]()

# Flags of other programs that the documents name outside of a command line.
FLAGS_OF_OTHERS = {"--cpus", "--network", "--read-only", "--security-opt", "--ulimit"}
LOCUSTS = {"--headless", "--help", "--host", "--master", "--master-host", "--processes", "--worker"}
TOPS = {"--interval", "--once", "--token-file"}
# Pages whose every line `make clients` types (tests/clients/played.py), and pages of which it types some.
PLAYED = {
    "docs/verified-downloads.md",
    "docs/tls.md",
    *(f"docs/recipes/{page.name}" for page in TOP.glob("docs/recipes/*")),
}
TYPED = {"README.md": {"curl"}, "docs/use.md": {"curl"}}
# Programs whose lines are held against their options below.
HELD = {"locust", "make", "pytest", "zchttpd"}
# What is typed once for a machine, and where the same is typed.
ONCE = {
    "apt-get install gcc pkg-config liburing-dev python3-dev python3-venv": "tools/need",
    "python3 -m venv venv": "Makefile",
    "venv/bin/pip install .": "Makefile",
    "venv/bin/pip install zchttpd": "tools/try_wheel.py",
    "pip install . --config-settings=setup-args=-During=disabled": "tests/package/test_make.py",
    ".venv/bin/pip install pre-commit && .venv/bin/pre-commit install": ".pre-commit-config.yaml",
    "python -m bench.zerocopy_send": "bench/zerocopy_send.py",
}
# Pages served by the demo site; written by `make serve` where they are not in the tree.
MADE = {"/assets/10MiB.bin", "/SHA256SUMS"}


def name_of(page: Path) -> str:
    return page.relative_to(TOP).as_posix()


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose_of(page: Path) -> str:
    """A page without the part that a command fills in with figures."""
    return re.sub(r"<!-- (bench|vm|fleet):begin -->.*?<!-- \1:end -->", "", text_of(page), flags=re.DOTALL)


def commands(*pages: Path) -> Iterator[list[str]]:
    """Every command line of the sh blocks of all pages, or of these, as words, without its comment."""
    for page in pages or PAGES:
        for block in re.findall(r"^```sh\n(.*?)^```", prose_of(page), re.DOTALL | re.MULTILINE):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if words:
                    yield words


def commands_of(*programs: str) -> list[list[str]]:
    return [words[1:] for words in commands() if Path(words[0]).name in programs]


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", text_of(TOP / "Makefile"), re.MULTILINE))


def test_readme_opens_with_the_two_commands() -> None:
    first = [" ".join(words) for words in list(commands(README))[:2]]
    assert first == ["make serve", "make test"]


def test_readme_can_be_read_in_three_minutes() -> None:
    assert len(prose_of(README).split()) <= 600


def test_option_table_is_made_from_the_settings() -> None:
    page = text_of(OPTIONS_PAGE)
    assert page == FILL(page, "options", OPTIONS_TABLE), "type: make docs"
    for name in OPTIONS:
        assert f"`{flag_of(name)} " in page or f"`{flag_of(name)}`" in page
        assert f"`{variable_of(name)}`" in page


def test_metrics_table_is_made_from_the_metrics() -> None:
    page = text_of(METRICS_PAGE)
    assert page == FILL(page, "metrics", METRICS_TABLE), "type: make docs"
    assert page.count("| counter |") > 10


def test_the_site_has_every_page_once() -> None:
    """Decisions are reached from their index."""
    named = re.findall(r": ([\w/-]+\.md)$", text_of(TOP / "mkdocs.yml"), re.MULTILINE)
    docs = TOP / "docs"
    found = (*docs.glob("*.md"), *docs.glob("recipes/*.md"))
    pages = {page.relative_to(docs).as_posix() for page in found}
    assert sorted(named) == sorted({*pages, "decisions/README.md"})


@pytest.mark.parametrize("words", commands_of("zchttpd"), ids=" ".join)
def test_command_lines_of_the_server_are_understood(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The doctor reads the same options, and serves nothing."""
    if words[0] == "manifest":
        # Nothing is to be written: a directory that is not there is none.
        assert (
            cli.main([words[0], *(word if word.startswith("--") else f"{word}none" for word in words[1:])])
            == 1
        )
        return
    if words[0] == "top":
        # It is told that it may not ask so often once all else has been understood.
        with pytest.raises(SystemExit):
            cli.main([*words, "--interval", "0"])
        assert "--interval: 0 is not" in capsys.readouterr().err
        return
    rest = words[1:] if words[0] == "doctor" else words
    if rest and not rest[0].startswith("-"):
        rest = ["--root", *rest]
    assert cli.main(["doctor", *rest]) != cli.EXIT_USAGE


def test_there_are_command_lines_of_the_server() -> None:
    assert len(commands_of("zchttpd")) >= 5
    assert ["doctor"] in commands_of("zchttpd")


def test_command_lines_of_the_load_test_are_understood() -> None:
    """Its own options are in the locustfile, the others are locust's."""
    ours = set(re.findall(r'(?:add|setting)\("(--[a-z-]+)"', text_of(TOP / "loadtest/locustfile.py")))
    assert len(ours) >= 8
    lines = commands_of("locust")
    assert all(words[:2] == ["-f", "loadtest/"] for words in lines)
    named = {word for words in lines for word in words if word.startswith("--")}
    assert named & ours
    assert named <= ours | LOCUSTS, f"no such options: {named - ours - LOCUSTS}"


def test_make_targets_exist() -> None:
    targets = make_targets()
    assert {"serve", "test", "help"} <= targets
    named = {word for words in commands_of("make") for word in words if "=" not in word}
    for page in PAGES:
        named |= {
            word
            for span in re.findall(r"`make ([^`]+)`", prose_of(page))
            for word in shlex.split(span)
            if "=" not in word
        }
    assert {"serve", "test", "bench"} <= named
    assert named <= targets, f"no such targets: {named - targets}"


def test_make_help_names_every_target_that_has_a_text() -> None:
    makefile = text_of(TOP / "Makefile")
    phony = re.search(r"^\.PHONY: (.*)", makefile, re.MULTILINE)
    assert phony is not None
    assert set(phony[1].split()) == make_targets()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_flags_and_variables_exist(page: Path) -> None:
    """In prose a flag stands in backquotes; one that is not ours must be known to be another program's."""
    ours = {flag_of(name) for name in OPTIONS} | TOPS
    ours |= {"--help", "--version", "--check", *cli.DOCTOR_OPTIONS}
    spans = re.findall(
        r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", prose_of(page), flags=re.DOTALL | re.MULTILINE)
    )
    flags = {flag for span in spans for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]*", span)}
    assert flags <= ours | FLAGS_OF_OTHERS, f"no such options: {flags - ours - FLAGS_OF_OTHERS}"
    variables = set(re.findall(r"\bZCHTTPD_[A-Z_]+\b", prose_of(page)))
    assert variables <= {variable_of(name) for name in OPTIONS}
    for span in spans:
        match = re.fullmatch(r"--send-mode (\w+)|--engine (\w+)", span)
        if match and match[1]:
            assert match[1] in OPTIONS["send_mode"].choices
        elif match:
            assert match[2] in OPTIONS["engine"].choices


def test_every_command_has_somebody_who_types_it() -> None:
    """A test with the program itself, or one that holds the line against what the program knows."""
    once = set()
    for page in PAGES:
        name = name_of(page)
        for words in commands(page) if name not in PLAYED else ():
            line = " ".join(words)
            if Path(words[0]).name in HELD | TYPED.get(name, set()):
                continue
            assert line in ONCE, f"{name}: nobody types: {line}"
            assert (TOP / ONCE[line]).is_file()
            once.add(line)
    assert once == set(ONCE)


def test_tests_that_are_named_in_commands_exist() -> None:
    lines = commands_of("pytest")
    paths = [word for words in lines for word in words if word.startswith("tests/")]
    assert len(paths) >= len(lines) >= 2
    assert all((TOP / path).exists() for path in paths)


def test_metrics_that_are_named_exist() -> None:
    stats = SharedStats(1)
    collector = metrics.StatsCollector(stats, lambda: [metrics.WorkerInfo(0, 0, 0.0, 0)])
    lines = prometheus.render(collector.families(), None)[1].decode().splitlines()
    known = {re.split(r"[ {]", line)[0] for line in lines if line[:1] != "#"}
    named = {word for page in PAGES for word in re.findall(r"\bzchttpd_[a-z_]+[a-z]\b(?!\.)", prose_of(page))}
    assert len(named) > 6
    assert named <= known, f"no such metrics: {named - known}"
    reasons = re.search(r"counts each: (.*?)\.\n", prose_of(TOP / "docs" / "zero-copy.md"), re.DOTALL)
    assert reasons is not None
    assert re.findall(r"`(\w+)` \(", reasons[1]) == list(stats_layout().FALLBACK_REASONS)


def test_the_docs_table_has_a_row_for_each_option() -> None:
    rows = [line for line in OPTIONS_TABLE.splitlines() if line.startswith("| `--")]
    assert len(rows) == len(OPTIONS)
    for name in OPTIONS:
        [row] = [row for row in rows if re.match(rf"\| `{flag_of(name)}[ `]", row)]
        assert variable_of(name) in row
        assert len(re.split(r"(?<!\\)\|", row)) == 6, row


def test_features_are_documented() -> None:
    page = text_of(TOP / "docs" / "decisions" / "kernel-features.md")
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == set(FEATURES)


@pytest.mark.parametrize(
    ("page", "language", "name"),
    [
        ("containers.md", "yaml", "compose.yaml"),
        ("containers.md", "yaml", "kubernetes.yaml"),
        ("deployment.md", "ini", "systemd/zchttpd.service"),
        ("deployment.md", "ini", "systemd/zchttpd.socket"),
        ("many-machines.md", "haproxy", "haproxy/haproxy.cfg"),
        ("many-machines.md", "yaml", "prometheus/prometheus.yml"),
    ],
)
def test_snippets_are_the_files_that_are_checked(page: str, language: str, name: str) -> None:
    """`make lint` and `make clients` have the files read by what they are for."""
    text = text_of(TOP / "docs" / page)
    assert f"`deploy/{name}`" in text
    assert f"\n```{language}\n{text_of(TOP / 'deploy' / name)}```\n" in text


def anchors_of(page: Path) -> set[str]:
    """What the headings of a page are called in links, as MkDocs and GitHub make it."""
    text = re.sub(r"^```.*?^```", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", prose_of(page)):
        if target.startswith("https://"):
            continue
        there = page.parent / target if target else page
        assert there.exists(), target
        assert not anchor or anchor in anchors_of(there), f"{target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_source_files_that_are_named_exist(page: Path) -> None:
    places = (TOP, TOP / "zchttpd", TOP / "ext" / "zchttpd" / "_core")
    named = set(re.findall(r"`([\w/]+\.(?:py|pyx|pxd|toml|build|md|h))`", prose_of(page)))
    missing = {name for name in named if not any((place / name).exists() for place in places)}
    assert not missing


def test_curl_asks_for_files_of_the_demo_site() -> None:
    asked = {
        re.sub(r"^http://127\.0\.0\.1:8080", "", word)
        for words in commands(*(page for page in PAGES if page.parent.name != "recipes"))
        for word in words
        if words[0] == "curl" and word.startswith("http://127.0.0.1:8080")
    }
    assert len(asked) >= 3
    assert all(path in MADE or (TOP / "www" / path.lstrip("/")).is_file() for path in asked)


def test_changelog_knows_this_version() -> None:
    assert re.search(rf"^## {re.escape(__version__)}\b", text_of(TOP / "CHANGELOG.md"), re.MULTILINE)


def test_figures_have_their_place() -> None:
    filled = FILL(text_of(README), "bench", "| a table |")
    assert "<!-- bench:begin -->\n| a table |\n<!-- bench:end -->\n" in filled
    assert prose_of(README) == re.sub(
        r"<!-- bench:begin -->.*?<!-- bench:end -->", "", filled, flags=re.DOTALL
    )


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ("", "text"),
        ("<!-- a:begin -->\n<!-- a:end -->\n", " \n"),
        ("<!-- a:end -->\n<!-- a:begin -->\n", "text"),
        ("<!-- a:begin -->\n<!-- a:begin -->\n<!-- a:end -->\n", "text"),
    ],
)
def test_nothing_is_filled_where_there_is_no_place(document: str, text: str) -> None:
    with pytest.raises(ValueError, match=r"wants one line|nothing to put"):
        FILL(document, "a", text)
