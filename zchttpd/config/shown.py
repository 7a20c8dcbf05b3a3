"""Settings as a file for --config: what `zchttpd --check` prints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from zchttpd.config.load import SITE, key_of
from zchttpd.config.names import AUTO
from zchttpd.config.options import Group, format_size, parse_workers
from zchttpd.config.settings import OPTIONS, default_text
from zchttpd.config.site import NAMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zchttpd.config.load import Given
    from zchttpd.config.options import Option


def as_toml(given: Given, notes: Sequence[str]) -> str:
    """A line of TOML for each option, with where it comes from. Defaults are comments, and so are `notes`.

    Read again it gives the same settings.
    """
    lines = [f"# {note}" for note in notes]
    for group in Group:
        lines += ["", f"# {group.value}"]
        for name, option in OPTIONS.items():
            if option.group is not group or name == "config":
                continue
            line = f"{key_of(name)} = {_value(given, name)}"
            source = given.sources.get(name)
            lines.append(f"{line}  # {source}" if source else f"# {line}  # default")
    for site in given.sites:
        lines += ["", f"[[{SITE}]]", f"{NAMES} = [{', '.join(map(_quoted, site.names))}]"]
        lines += [f"{key_of(name)} = {_of_site(name, text)}" for name, text in site.texts.items()]
    return "\n".join(lines).strip()


def _of_site(name: str, text: str) -> str:
    """What `load.text_of` made a text of."""
    option = OPTIONS[name]
    if option.switch:
        return "true" if option.parse(text) else "false"
    return _typed(option, text)


def _value(given: Given, name: str) -> str:
    option, value = OPTIONS[name], getattr(given.settings, name)
    if option.switch:
        return "true" if value else "false"
    if option.unit == "bytes":
        return _quoted(format_size(value))
    if option.parse is parse_workers:
        return str(value) if value else _quoted(AUTO)
    if isinstance(value, int):
        return str(value)
    return _typed(option, given.texts.get(name, default_text(name)))


def _typed(option: Option, text: str) -> str:
    if option.many:
        texts = [each for each in text.split(option.separator) if each.strip()]
        return f"[{', '.join(map(_quoted, texts))}]"
    return _quoted(text)


def _quoted(text: str) -> str:
    """A basic string of TOML: JSON escapes what must be escaped in the same way."""
    return json.dumps(text, ensure_ascii=False)
