"""The file of --config: what it may say, who wins over it, and what is said of a wrong one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from zchttpd.config.load import load
from zchttpd.config.options import SettingsError
from zchttpd.config.rules import CacheRule, HeaderRule
from zchttpd.config.settings import OPTIONS, Settings

PAGE = Path(__file__).parents[3] / "docs" / "options.md"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "zchttpd.toml"


def read(file: Path, text: str, environment: dict[str, str] | None = None, **typed: str) -> Settings:
    file.write_text(text, encoding="utf-8")
    return load({"config": str(file), **typed}, environment or {})


def test_every_type_of_value(file: Path) -> None:
    found = read(
        file,
        """
        root = "www"            # a path
        listing = true
        spa = false
        port = 0
        workers = "auto"
        memory = "64M"
        stream-memory = 67108864
        send-mode = "plain"
        without = ["send_zc", "buffer_ring"]
        cache-control = ["*.js=max-age=60", "*.css=no-cache"]
        immutable = "/assets/*"
        header = ["/a/* X-A: 1", "* X-B: 2"]
        """,
    )
    assert found == Settings(
        root=Path("www"),
        config=str(file),
        listing=True,
        port=0,
        workers=0,
        memory=64 << 20,
        stream_memory=64 << 20,
        send_mode="plain",
        without=("send_zc", "buffer_ring"),
        cache_control=(CacheRule("*.js", "max-age=60"), CacheRule("*.css", "no-cache")),
        immutable=("/assets/*",),
        header=(HeaderRule("/a/*", "X-A", "1"), HeaderRule("*", "X-B", "2")),
    )


def test_who_wins(file: Path) -> None:
    text = 'root = "www"\nport = 1\nidle-ms-max = 2\nhead-ms-max = 3'
    environment = {"ZCHTTPD_PORT": "4", "ZCHTTPD_IDLE_MS_MAX": "5"}
    found = read(file, text, environment, port="6")
    assert (found.port, found.idle_ms_max, found.head_ms_max) == (6, 5, 3)
    assert found.stall_ms_max == Settings(root=Path()).stall_ms_max


def test_the_environment_can_name_it(file: Path) -> None:
    file.write_text('root = "www"\nport = 1')
    assert load({}, {"ZCHTTPD_CONFIG": str(file)}).port == 1
    assert load({"config": "", "root": "."}, {"ZCHTTPD_CONFIG": str(file)}).port == 8080


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("prot = 80", ["'prot' is not an option", "Did you mean port?"]),
        ("workers = 0", ["workers: '0' is not a number of workers", "Type auto"]),
        ("porrt = 80", ["'porrt' is not an option", "Did you mean port?"]),
        ("send_mode = 'plain'", ["'send_mode' is not an option", "Did you mean send-mode?"]),
        ("config = 'other.toml'", ["'config' is not an option"]),
        ("[server]\nport = 80", ["'server' is not an option"]),
        ("port = true", ["port: True is not a number", "port = 1"]),
        ("port = 1.5", ["port: 1.5 is not a number"]),
        ("port = 'http'", ["port: 'http' is not a whole number"]),
        ("port = -1", ["port: '-1' is not a whole number"]),
        ("port = 65536", ["port: 65536 is too large", "Type 65535"]),
        ("host = 1", ["host: 1 is not a text", 'host = "H"']),
        ("host = 1979-05-27", ["host: ", "is not a text"]),
        ("memory = '1X'", ["memory: '1X' is not a size"]),
        ("listing = 'on'", ["listing: 'on' is neither true nor false", "listing = true"]),
        ("listing = 1", ["listing: 1 is neither true nor false"]),
        ("send-mode = 'quick'", ["send-mode: 'quick' is not a choice"]),
        ("send-mode = 1", ["send-mode: 1 is not a text", 'send-mode = "auto"']),
        ("immutable = [1]", ["immutable: [1] is not a list of texts", 'immutable = ["PATTERN"]']),
        ('immutable = ["a\\nb"]', ["immutable: ['a\\nb'] is not a list of texts"]),
        ("without = ['gravity']", ["without: 'gravity' is not a feature"]),
        ("port = 80\nport = 81", ["is not TOML", "overwrite"]),
        ("port 80", ["is not TOML", "line 1", "port = 8080"]),
        ("a = " + "[" * 5000, ["is not TOML", "recursion", "port = 8080"]),
    ],
)
def test_a_wrong_file_gives_one_line_with_its_name_the_key_and_the_cure(
    file: Path, text: str, parts: list[str]
) -> None:
    with pytest.raises(SettingsError) as refused:
        read(file, text, root="www")
    problem = refused.value.problem
    assert problem.startswith(f"{file}: ")
    assert "\n" not in problem
    for part in parts:
        assert part in problem


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(SettingsError, match=re.escape(why)) as refused:
            load({"root": "www", "config": str(path)}, {})
        assert str(path) in refused.value.problem
    (tmp_path / "latin").write_bytes(b"host = '\xfc'")
    with pytest.raises(SettingsError, match="is not TOML"):
        load({"root": "www", "config": str(tmp_path / "latin")}, {})


@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "config"])
def test_every_option_can_be_in_it(file: Path, name: str) -> None:
    """What is wrong with a table is said of the option, so that its key was understood."""
    with pytest.raises(SettingsError, match=re.escape(f"{file}: {name.replace('_', '-')}: ")):
        read(file, f"[{name.replace('_', '-')}]")


def test_the_examples_in_the_documents(file: Path) -> None:
    examples = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(examples) == 2
    for example in examples:
        found = read(file, example)
        assert found.config == str(file)
        assert found != Settings(root=found.root, config=str(file))
