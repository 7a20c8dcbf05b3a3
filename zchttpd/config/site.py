"""Several sites: the tables [[site]] of the file, and which of them a host name is of."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zchttpd.config.options import Group, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from zchttpd.config.options import Option
    from zchttpd.config.settings import Settings

SITES_MAX = 1000
# What a table has beside options.
NAMES = "names"
# Options beside those of Group.SITE that a site may have of its own.
_ROOTS = ("root", "links_into")
_NOT_OF_A_SITE = ("unknown_host",)
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
_NAME = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]+\]")


@dataclass(frozen=True, slots=True)
class Site:
    """`names`: host names, in lower case, where `*.` stands for one label and more. `options`: what is other
    than in the rest of the file, by field name.
    """

    names: tuple[str, ...]
    options: tuple[tuple[str, Any], ...]

    def of(self, settings: Settings) -> Settings:
        """The settings for this site. Raises SettingsError."""
        return dataclasses.replace(settings, sites=(), **dict(self.options))


def is_name(text: str) -> bool:
    """Whether it is a host name in lower case, an IPv6 address in brackets, or `*.` and a name."""
    return _NAME.fullmatch(text) is not None


def options_of_sites(options: Mapping[str, Option]) -> dict[str, Option]:
    """Those that a site may have, by field name."""
    return {
        name: option
        for name, option in options.items()
        if name in _ROOTS or (option.group is Group.SITE and name not in _NOT_OF_A_SITE)
    }


def check_names(names: object) -> tuple[str, ...]:
    """The host names of a table. Raises ValueError with a one-line text."""
    found = [names] if isinstance(names, str) else names
    if not isinstance(found, list) or not found or not all(isinstance(name, str) for name in found):
        raise ValueError(f'{NAMES}: no host names. Type such as {NAMES} = ["example.org", "*.example.org"]')
    lower = [name.lower().removesuffix(".") for name in found]
    for name in lower:
        if not is_name(name):
            raise ValueError(
                f"{NAMES}: {name!r} is not a host name. Type such as example.org or *.example.org, without a"
                " port, and what is not ASCII as xn--..."
            )
    return tuple(lower)


def check_sites(settings: Settings) -> None:
    """Raises SettingsError for names that two sites have, and for options of one that do not go together."""
    if len(settings.sites) > SITES_MAX:
        raise SettingsError("sites", f"{len(settings.sites)} are too many. Write {SITES_MAX} at most")
    known: set[str] = set()
    for site in settings.sites:
        for name in site.names:
            if name in known:
                raise SettingsError("sites", f"{name!r} is there twice. Write each name once")
            known.add(name)
        site.of(settings)


class Names:
    """Finds the number of a site, counted from 0, by a host name."""

    def __init__(self, names: Iterable[Iterable[str]]) -> None:
        self._exact: dict[str, int] = {}
        self._beneath: dict[str, int] = {}
        for number, each in enumerate(names):
            for name in each:
                table = self._beneath if name.startswith("*.") else self._exact
                table[name.removeprefix("*.")] = number

    def find(self, host: str) -> int | None:
        """The site that has exactly this name, or else the longest `*.` that it lies beneath; or None."""
        found = self._exact.get(host)
        while found is None and self._beneath and host:
            _, _, host = host.partition(".")
            found = self._beneath.get(host)
        return found
