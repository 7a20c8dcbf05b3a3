"""Settings as a file for --config: what `zchttpd --check` prints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from zchttpd.config.load import key_of
from zchttpd.config.names import AUTO
from zchttpd.config.options import Group, format_size, parse_workers
from zchttpd.config.settings import OPTIONS, default_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zchttpd.config.load import Given


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
    return "\n".join(lines).strip()


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
    text = given.texts.get(name, default_text(name))
    if option.many:
        texts = [each for each in text.split(option.separator) if each.strip()]
        return f"[{', '.join(map(_quoted, texts))}]"
    return _quoted(text)


def _quoted(text: str) -> str:
    """A basic string of TOML: JSON escapes what must be escaped in the same way."""
    return json.dumps(text, ensure_ascii=False)
