"""The tables [[site]] of the file of --config."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zchttpd.config.load import read
from zchttpd.config.options import SettingsError
from zchttpd.config.settings import OPTIONS, Settings
from zchttpd.config.shown import as_toml
from zchttpd.config.site import Names, options_of_sites
from zchttpd.process import doctor
from zchttpd.process.checks import check_roots
from zchttpd.process.reload import changes
from zchttpd.process.report import sites_of

LABELS = st.sampled_from(("a", "b", "www", "example", "org"))
HOSTS = st.lists(LABELS, min_size=1, max_size=4).map(".".join)


def settings_of(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "site.toml"
    path.write_text(text)
    return read({"root": str(tmp_path), "config": str(path)}, {}).settings


def test_what_a_site_does_not_say_is_as_in_the_rest(tmp_path: Path) -> None:
    text = """
        listing = true
        header = ["* X-Test: 1"]
        [[site]]
        names = ["Example.org", "*.example.org."]
        root = "/srv/example"
        header = ["* X-Test: 2"]
        spa = true
        [[site]]
        names = "other.example"
        listing = false
    """
    settings = settings_of(tmp_path, text)
    first, second = settings.sites
    assert first.names == ("example.org", "*.example.org")
    ours = first.of(settings)
    assert (ours.root, ours.listing, ours.spa, ours.sites) == (Path("/srv/example"), True, True, ())
    assert ours.header[0].value == "2"
    assert (second.of(settings).root, second.of(settings).listing) == (tmp_path, False)
    assert not settings.spa


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("site = 5", "site is not a list of tables"),
        ("[[site]]", "[[site]] 1: names: no host names"),
        ("[[site]]\nnames = []", "[[site]] 1: names: no host names"),
        ('[[site]]\nnames = ["a b"]', "'a b' is not a host name"),
        ('[[site]]\nnames = ["a.example:80"]', "without a port"),
        ('[[site]]\nnames = ["*"]', "is not a host name"),
        ('[[site]]\nnames = ["a.*.org"]', "is not a host name"),
        ('[[site]]\nnames = ["b\u00fccher.example"]', "xn--"),
        ('[[site]]\nnames = ["a"]\nprot = 5', "[[site]] 1: 'prot' is not an option of a site"),
        ('[[site]]\nnames = ["a"]\nport = 5', "[[site]] 1: 'port' is not an option of a site"),
        ('[[site]]\nnames = ["a"]\nlsiting = true', "Did you mean listing?"),
        ('[[site]]\nnames = ["a"]\nlisting = 1', "[[site]] 1: listing: 1 is neither true nor false"),
        ('[[site]]\nnames = ["a"]\n[[site]]\nnames = ["b"]\ntype = ["x"]', "[[site]] 2: type: 'x' is not"),
        ('[[site]]\nnames = ["a"]\n[[site]]\nnames = ["A."]', "'a' is there twice"),
        ('unknown-host = "500"', "is not a choice"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, lines: str, told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings_of(tmp_path, lines)
    assert told in caught.value.problem
    assert str(tmp_path / "site.toml") in caught.value.problem
    assert "\n" not in caught.value.problem


def test_the_roots_of_sites_are_looked_at(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, f'[[site]]\nnames = ["a"]\nroot = "{tmp_path}/none"')
    with pytest.raises(SettingsError, match=r"\[\[site\]\] a: .*does not exist"):
        check_roots(settings)
    check_roots(settings_of(tmp_path, f'[[site]]\nnames = ["a"]\nroot = "{tmp_path}"'))


def test_they_are_shown_as_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(
        '[[site]]\nnames = ["a", "*.a"]\nroot = "/srv/a"\nspa = true\nlisting = false\n'
        'digest-size-max = "1M"\n'
        'header = ["* X-A: 1", "/b X-B: 2"]\nimmutable = "/assets/*"\n'
    )
    given = read({"root": "/", "config": str(path)}, {})
    path.write_text(as_toml(given, []))
    assert read({"config": str(path)}, {}).settings == given.settings
    assert list(sites_of(given.settings)) == ["site a, *.a: /srv/a/", "any other host: /"]
    assert any("*.a: /srv/a" in found.text for found in doctor.examine(given.settings))
    assert changes(read({"root": "/", "config": str(path)}, {}).settings, Settings(root=Path("/"))).endswith(
        "--config, [[site]]"
    )


def test_which_options_a_site_has() -> None:
    found = options_of_sites(OPTIONS)
    assert {"root", "links_into", "header", "type", "spa", "error_pages", "clean_urls"} <= set(found)
    assert not {"host", "memory", "unknown_host", "config", "access_log", "compress"} & set(found)


@given(st.lists(st.tuples(st.booleans(), HOSTS), max_size=6, unique=True), HOSTS)
def test_the_nearest_name_wins(names: list[tuple[bool, str]], host: str) -> None:
    found = Names([("*." if beneath else "") + name] for beneath, name in names).find(host)
    fits = [
        (not beneath, len(name), number)
        for number, (beneath, name) in enumerate(names)
        if (host.endswith("." + name) if beneath else host == name)
    ]
    assert found == (max(fits)[2] if fits else None)
