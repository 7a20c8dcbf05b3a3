"""The demo site: its pages hold together, also without a network, and know no port by heart."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from zchttpd.config import settings
from zchttpd.config.options import flag_of
from zchttpd.telemetry.metrics import StatsCollector
from zchttpd.telemetry.shared_stats import SharedStats

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = Path(__file__).resolve().parents[2]
WWW = PROJECT / "www"
PAGES = sorted(WWW.glob("*.html"))
SCRIPTS = sorted(WWW.glob("js/*.js"))
VOID = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


def name_of(path: Path) -> str:
    return str(path.relative_to(WWW))


class Page(HTMLParser):
    """Every element of a page with its attributes; complains about tags that do not close in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text_of_setting: dict[str, str] = {}
        self.code: list[str] = []
        self._open: list[tuple[str, dict[str, str]]] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert not self._open, f"{path.name}: not closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {key: value or "" for key, value in attrs}
        self.elements.append((tag, attributes))
        if tag not in VOID:
            self._open.append((tag, attributes))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop()[0] == tag, f"</{tag}> at {self.getpos()} does not close the innermost element"

    def handle_data(self, data: str) -> None:
        if self._open:
            tag, attributes = self._open[-1]
            if "data-setting" in attributes:
                self.text_of_setting[attributes["data-setting"]] = data.strip()
            if tag == "code":
                self.code.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def values(self, attribute: str) -> Iterator[str]:
        return (attributes[attribute] for _, attributes in self.elements if attribute in attributes)


@pytest.fixture(params=PAGES, ids=lambda path: path.name)
def page_path(request: pytest.FixtureRequest) -> Path:
    path = request.param
    assert isinstance(path, Path)
    return path


@pytest.fixture
def page(page_path: Path) -> Page:
    return Page(page_path)


# The pages


def test_page_can_be_found_by_anyone(page: Page) -> None:
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("main")) == 1
    assert len(page.all("h1")) == 1
    assert len(page.all("title")) >= 1
    assert any(meta.get("name") == "viewport" for meta in page.all("meta"))
    assert any(meta.get("name") == "description" for meta in page.all("meta"))
    assert all("alt" in image for image in page.all("img"))


def test_headings_skip_no_level(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(levels)), levels


def test_references_within_the_page_resolve(page: Page) -> None:
    ids = list(page.values("id"))
    assert len(ids) == len(set(ids))
    named = [*page.values("for"), *" ".join(page.values("aria-labelledby")).split()]
    named += [href[1:] for href in page.values("href") if href.startswith("#")]
    assert set(named) <= set(ids)


def test_every_field_has_a_label(page: Page) -> None:
    fields = {attributes["id"] for tag in ("input", "select", "textarea") for attributes in page.all(tag)}
    assert fields <= {label["for"] for label in page.all("label")}


def test_links_lead_to_files_of_the_site(page: Page) -> None:
    manifest = json.loads((WWW / "assets" / "manifest.json").read_bytes())
    made = {WWW / "assets" / each["name"] for each in manifest["files"]}
    for attribute in ("href", "src", "poster", "srcset"):
        for value in page.values(attribute):
            if value.startswith("#"):
                continue
            assert re.match(r"[a-z]+:|/", value) is None, f"{value}: not a relative address"
            target = (WWW / value).resolve()
            assert target == WWW or target.is_file() or target in made, f"{value}: no such file"


def test_policy_forbids_what_is_not_ours(page: Page) -> None:
    metas = [meta for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    policies = [meta["content"] for meta in metas]
    assert len(policies) == 1
    directives = dict(each.strip().split(" ", 1) for each in policies[0].split(";"))
    assert directives["default-src"] == "'none'"
    assert directives["script-src"] == directives["style-src"] == directives["img-src"] == "'self'"
    # That policy blocks these, so they would silently do nothing.
    assert not page.all("style")
    assert all("src" in script for script in page.all("script"))
    keys = {key for _, attributes in page.elements for key in attributes}
    assert not [key for key in keys if key == "style" or key.startswith("on")]


def test_options_on_the_page_exist(page: Page) -> None:
    flags = {flag_of(name) for name in settings.OPTIONS} | {"--limit-rate"}
    assert set(re.findall(r"--[a-z][a-z-]+", " ".join(page.code))) <= flags


def test_default_ratings_are_the_defaults() -> None:
    shown = Page(WWW / "index.html").text_of_setting
    assert shown
    assert shown == {name: settings.default_text(name) for name in shown}


# Scripts and style


@pytest.mark.parametrize("script", SCRIPTS, ids=name_of)
def test_imports_resolve_to_exports(script: Path) -> None:
    for names, target in re.findall(r'import \{([^}]+)\} from "([^"]+)"', script.read_text(encoding="utf-8")):
        assert target.startswith("./")
        other = (script.parent / target).read_text(encoding="utf-8")
        exported = set(re.findall(r"export (?:async )?(?:function|const|class) (\w+)", other))
        assert {name.strip() for name in names.split(",")} <= exported


@pytest.mark.parametrize("page_name", ["index", "live", "compare", "downloads"])
def test_scripts_find_the_elements_they_name(page_name: str) -> None:
    page = Page(WWW / f"{page_name}.html")
    text = "".join((WWW / script["src"]).read_text(encoding="utf-8") for script in page.all("script"))
    wanted = set(re.findall(r'(?:\b(?:at|put)|getElementById)\("([\w-]+)"', text))
    assert wanted
    known = set(page.values("id")) | set(page.values("data-part"))
    assert wanted <= known


def test_nothing_comes_from_elsewhere() -> None:
    for path in [*SCRIPTS, *WWW.glob("*.css"), *WWW.glob("*.svg")]:
        text = path.read_text(encoding="utf-8")
        addresses = set(re.findall(r"https?://[\w.:$\[\]-]+", text))
        assert addresses - {"http://$"} <= {"http://www.w3.org"}, f"{path.name}: {addresses}"
        assert not re.search(r"@import|@font-face|url\((?!#)", text), path.name


@pytest.mark.parametrize("path", [*PAGES, *SCRIPTS], ids=name_of)
def test_no_port_is_written_down(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.findall(r"(?:[\w\]]:|port[ =]|-[LpP] )[0-9]{2,5}\b(?!\.)", text)


def run_script(code: str) -> object:
    """What a module prints as JSON; it may import the site's scripts by ./NAME.js and finds no page."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node to run the site's scripts with")
    done = subprocess.run(
        [node, "--input-type=module"], input=code, cwd=WWW / "js", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("page", "noted", "kept", "expected"),
    [
        ("http://127.0.0.1:8081/live.html", {"8081": "127.0.0.1:9091"}, "", ["http://127.0.0.1:9091"]),
        ("http://127.0.0.1:8082/live.html", {"8081": "127.0.0.1:9091"}, "", []),
        (
            "http://h:8081/live.html?admin=h:7",
            {"8081": "0.0.0.0:9"},
            "http://h:8",
            ["http://h:7", "http://h:9", "http://h:8"],
        ),
        ("http://[::1]:8081/live.html?admin=9:x", {}, "http://[::1]:8", ["http://[::1]:8"]),
        ("https://h/live.html", {"443": "[::]:9091"}, "", ["http://h:9091"]),
    ],
)
def test_a_page_asks_where_it_was_told_that_the_counters_are(
    page: str, noted: dict[str, str], kept: str, expected: list[str]
) -> None:
    world = f"""
        globalThis.location = new URL({json.dumps(page)});
        globalThis.localStorage = {{ getItem: () => {json.dumps(kept)} }};
        globalThis.fetch = async () => new Response({json.dumps(json.dumps(noted))});
        const {{ adminsOf }} = await import("./places.js");
        console.log(JSON.stringify(await adminsOf()));
    """
    assert run_script(world) == expected


def test_a_page_that_was_told_nothing_asks_nobody() -> None:
    world = """
        globalThis.location = new URL("http://127.0.0.1:8081/live.html");
        globalThis.fetch = async () => new Response("Not Found", { status: 404 });
        const { adminsOf, next } = await import("./places.js");
        console.log(JSON.stringify([await adminsOf(), next(location.origin), next("http://h")]));
    """
    assert run_script(world) == [[], "http://127.0.0.1:8082", "http://h:81"]


def test_metrics_that_the_page_reads_are_served() -> None:
    read = re.findall(r'"(zchttpd_\w+)"', (WWW / "js" / "reading.js").read_text(encoding="utf-8"))
    served = {family.name for family in StatsCollector(SharedStats(1), list).families()}
    assert len(read) > 10
    assert {name.removesuffix("_total") for name in read} <= served


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.2)."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, 1 to 21 (WCAG 2.2)."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_contrast_is_enough(scheme: int) -> None:
    blocks = re.findall(r":root \{([^}]*)\}", (WWW / "sheet.css").read_text(encoding="utf-8"))
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", blocks[scheme]))
    texts = [(name, paper) for name in ("ink", "quiet", "link") for paper in ("paper", "raised")]
    texts += [(name, "paper") for name in ("held", "zero", "copied", "plain")]
    texts += [("on-ink", name) for name in ("ink", "link", "held", "zero", "copied", "plain")]
    too_low = [(a, b) for a, b in texts if contrast(colours[a], colours[b]) < 4.5]
    assert not too_low
    # Neighbours in the bar differ in lightness too, for those who do not tell red from green.
    assert contrast(colours["zero-fill"], colours["copied-fill"]) > 1.2
    assert contrast(colours["zero-fill"], colours["reference-fill"]) > 1.2
    assert contrast(colours["reference-fill"], colours["copied-fill"]) > 1.2


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_listings_are_of_the_same_hand(scheme: int) -> None:
    """Their page stands alone, so it has the colours of the sheet by value."""
    sheet, listing = (
        dict(re.findall(r"--([\w-]+):\s?(#[0-9a-f]{6})", re.findall(r":root\s?\{([^}]*)\}", text)[scheme]))
        for text in (
            (WWW / "sheet.css").read_text(encoding="utf-8"),
            (PROJECT / "zchttpd" / "files" / "listing.css").read_text(encoding="utf-8"),
        )
    )
    pairs = {"fore": "ink", "back": "paper", "soft": "quiet", "line": "hairline", "over": "raised"}
    pairs["link"] = "link"
    assert {name: listing[name] for name in pairs} == {name: sheet[of] for name, of in pairs.items()}
    texts = [(name, paper) for name in ("fore", "soft", "link", "been") for paper in ("back", "over")]
    assert not [(a, b) for a, b in texts if contrast(listing[a], listing[b]) < 4.5]
