"""What `zchttpd --check` prints is a file that means the same."""

from __future__ import annotations

import shlex
import tomllib
from typing import TYPE_CHECKING

import pytest

from zchttpd.config.load import read
from zchttpd.config.settings import OPTIONS, default_text
from zchttpd.config.shown import as_toml

if TYPE_CHECKING:
    from pathlib import Path

OTHER = {
    "workers": "3",
    "port": "81",
    "host": "::1",
    "access_log": "-",
    "stream_memory": "3G",
    "window_size": "8K",
}
OTHER |= {"compress": "gzip", "recv_buffers": "8", "compress_memory": "1G", "without": "send_zc,buffer_ring"}
OTHER |= {"windows_per_connection": "2", "compress_threads": "2"}


def text_for(name: str, root: Path) -> str:
    """A text that is not the default."""
    option = OPTIONS[name]
    if name == "auth":
        (root / "users").write_text(f"ann:$2b$04${'a' * 53}\n")
        return f"/private/*={root / 'users'}"
    if name == "redirects":
        (root / "_redirects").write_text("/old /new 301\n")
        return str(root / "_redirects")
    if name in ("root", "links_into"):
        return str(root)
    if name in OTHER:
        return OTHER[name]
    if option.switch:
        return "on"
    if option.choices:
        return next(each for each in option.choices if each != default_text(name))
    if option.numeric:
        return str(max(option.low, 1) + 4096)
    return " ".join(shlex.split(option.example))


@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "config"])
def test_each_option_reads_back(tmp_path: Path, name: str) -> None:
    given = read({"root": "/", name: text_for(name, tmp_path)}, {})
    text = as_toml(given, ["a note"])
    assert set(tomllib.loads(text)) == {"root", name.replace("_", "-")}
    path = tmp_path / "site.toml"
    path.write_text(text)
    again = read({"config": str(path)}, {})
    assert again.settings == type(given.settings)(
        **{each: getattr(given.settings, each) for each in OPTIONS if each != "config"}, config=str(path)
    )
    assert text.startswith("# a note\n")


def test_defaults_are_there_to_be_read_and_say_nothing(tmp_path: Path) -> None:
    text = as_toml(read({"root": str(tmp_path)}, {}), [])
    assert tomllib.loads(text) == {"root": str(tmp_path)}
    commented = {line[2:].partition(" = ")[0] for line in text.splitlines() if line.endswith("# default")}
    assert commented == {name.replace("_", "-") for name in OPTIONS} - {"root", "config"}
