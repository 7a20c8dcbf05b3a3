"""Options as arguments of Python: their types, their values, and what errors call them."""

from __future__ import annotations

from pathlib import Path

import pytest

from zchttpd.api.options import Options, in_python, read_texts, texts_of
from zchttpd.config import options as opt
from zchttpd.config.options import Option, SettingsError
from zchttpd.config.rules import CacheRule, HeaderRule
from zchttpd.config.settings import OPTIONS, Settings


def type_of(option: Option) -> str:
    """The type of what is given for an option in Python."""
    if option.switch:
        return "bool"
    if option.words > 1:
        return "tuple[str, str] | Sequence[tuple[str, str]]"
    if option.many:
        one = "StrPath" if option.metavar == "DIR" else "str"
        return f"{one} | Sequence[{one}]"
    if option.choices:
        return f"Literal{list(option.choices)}"
    if option.parse is opt.parse_workers:
        return "int | Literal['auto']"
    if option.parse is opt.parse_size:
        return "int | str"
    if option.parse is opt.parse_count:
        return "int"
    return "StrPath" if option.metavar in ("FILE", "PATH", "PATH|-|off") else "str"


def test_the_types_are_those_of_the_options() -> None:
    expected = {name: type_of(option) for name, option in OPTIONS.items() if name not in ("root", "port")}
    found = {
        name: reference.__forward_arg__.replace('"', "'")
        for name, reference in Options.__annotations__.items()
    }
    assert found == expected
    assert list(found) == list(expected)


def settings(root: Path, **options: object) -> Settings:
    return read_texts(texts_of(root, options)).settings


@pytest.mark.parametrize(
    ("option", "value", "result"),
    [
        ("spa", True, True),
        ("spa", False, False),
        ("memory", "32M", 32 << 20),
        ("memory", 1 << 20, 1 << 20),
        ("workers", "auto", 0),
        ("workers", 3, 3),
        ("compress", "gzip", ("gzip",)),
        ("compress", ["gzip", "auto"], ("gzip", "auto")),
        ("cache_control", "*.js=max-age=3", (CacheRule("*.js", "max-age=3"),)),
        ("header", ("/a*", "X-A: b"), (HeaderRule("/a*", "X-A", "b"),)),
        (
            "header",
            [("*", "X-A: b"), ("/c", "X-D: e")],
            (HeaderRule("*", "X-A", "b"), HeaderRule("/c", "X-D", "e")),
        ),
        ("access_log", Path("/tmp/log"), "/tmp/log"),
    ],
)
def test_values(tmp_path: Path, option: str, value: object, result: object) -> None:
    assert getattr(settings(tmp_path, **{option: value}), option) == result


def test_directories_may_have_colons_and_blanks(tmp_path: Path) -> None:
    places = (tmp_path / "a b", tmp_path / "c: d")
    for place in places:
        place.mkdir()
    assert settings(tmp_path, links_into=places).links_into == places


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("send_mode", "plan", "Did you mean plain?"),
        ("spa", "yes", "neither true nor false"),
        ("idle_ms_max", None, "not a number"),
        ("idle_ms_max", True, "not a number"),
        ("header", [("*", "X y")], "is not PATTERN"),
        ("compress", 3, "not a list of texts"),
        ("memory", "much", "is not a size"),
        ("config", "nowhere.toml", "cannot be read"),
    ],
)
def test_errors_name_the_option_as_python_does(
    tmp_path: Path, option: str, value: object, words: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(tmp_path, **{option: value})
    text = str(caught.value)
    assert caught.value.name == option
    assert text.startswith(f"{option}: ")
    assert words in text
    assert "--send" not in text
    assert "\n" not in text


def test_what_is_no_option_is_a_type_error(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"'sendmode'\. Did you mean send_mode\?"):
        texts_of(tmp_path, {"sendmode": "plain"})
    with pytest.raises(TypeError, match=r"'root'$"):
        texts_of(tmp_path, {"root": "elsewhere"})


def test_a_root_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^root: '.*nothing' does not exist"):
        settings(tmp_path / "nothing")


def test_the_environment_has_no_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZCHTTPD_SEND_MODE", "plain")
    assert settings(tmp_path).send_mode == "auto"


def test_flags_of_others_stay() -> None:
    assert in_python("Type --send-mode plain, or --ulimit") == "Type send_mode plain, or --ulimit"
