"""What stops a start because of this machine: files that nobody may have where anybody could ask for them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from zchttpd.config.auth import AuthRule
from zchttpd.config.options import SettingsError
from zchttpd.config.settings import Settings
from zchttpd.config.site import Site
from zchttpd.process.checks import check_roots, check_secrets

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECRETS: dict[str, Callable[[str], dict[str, Any]]] = {
    "tls_key": lambda path: {"tls_cert": "site.pem", "tls_key": path},
    "tls_key in tls_cert": lambda path: {"tls_cert": path},
    "auth": lambda path: {"auth": (AuthRule("/private/*", (), path),)},
    "admin_token_file": lambda path: {"admin_token_file": path},
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for name in ("www", "other"):
        (tmp_path / name).mkdir()
    return Settings(root=tmp_path / "www", sites=(Site(("a",), (("root", tmp_path / "other"),)),))


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("place", ["www", "www/d", "www/.well-known", "other", "www/../www", "link"])
def test_what_anybody_could_ask_for_stops_the_start(
    settings: Settings, tmp_path: Path, secret: str, place: str
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "www")
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    path = str(tmp_path / place / "secret")
    with pytest.raises(SettingsError, match=r"is served to everybody\. Type a file outside of ") as refused:
        check_secrets(dataclasses.replace(settings, **SECRETS[secret](path)))
    assert refused.value.name == secret.partition(" ")[0]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("place", ["", "www/.git", "www/.well-known/.d"])
def test_what_nobody_can_ask_for_does_not(
    settings: Settings, tmp_path: Path, secret: str, place: str
) -> None:
    check_secrets(dataclasses.replace(settings, **SECRETS[secret](str(tmp_path / place / "secret"))))


def test_those_of_a_site_are_looked_at_too(settings: Settings, tmp_path: Path) -> None:
    options = SECRETS["auth"](str(tmp_path / "www" / "users"))
    site = Site(("b",), tuple(options.items()))
    with pytest.raises(SettingsError, match="is served to everybody"):
        check_secrets(dataclasses.replace(settings, sites=(site,)))


@pytest.mark.parametrize("secret", SECRETS)
def test_a_loop_of_links_is_nobodys_to_ask_for(settings: Settings, tmp_path: Path, secret: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    check_secrets(dataclasses.replace(settings, **SECRETS[secret](str(tmp_path / "loop"))))


def test_a_root_that_cannot_be_looked_at_is_told(settings: Settings, tmp_path: Path) -> None:
    """As one can that is on a file system which does not answer (EIO, ESTALE); this has too long a name."""
    root = tmp_path / ("a" * 256)
    with pytest.raises(SettingsError, match=r"cannot be looked at \(File name too long\)\. Type --root"):
        check_roots(dataclasses.replace(settings, root=root))
    with pytest.raises(SettingsError, match=r"^sites: \[\[site\]\] b: .* cannot be looked at"):
        check_roots(dataclasses.replace(settings, sites=(Site(("b",), (("root", root),)),)))
