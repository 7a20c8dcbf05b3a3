"""The file of `--config`: TOML whose keys are the options without their dashes in front."""

from __future__ import annotations

import os
import tomllib
from typing import TYPE_CHECKING

from zchttpd.config.options import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zchttpd.config.options import Option

_LINE = "\n"


def key_of(name: str) -> str:
    """`send_mode` -> `send-mode`."""
    return name.replace("_", "-")


def read_config(path: str, options: Mapping[str, Option]) -> dict[str, str]:
    """The texts of a file by field name, as they would be in the environment.

    Raises ValueError with a one-line text: the file, the key, the cause, the cure.
    """
    try:
        with open(path, "rb") as file:
            found = tomllib.load(file)
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise ValueError(f"{path}: cannot be read ({why}). Type --config and a file that can") from None
    except ValueError as error:
        # TOMLDecodeError tells the line; or it is not UTF-8.
        why = str(error).replace(_LINE, " ")
        raise ValueError(f"{path}: is not TOML: {why}. Type lines such as port = 8080") from None
    names = {key_of(name): name for name in options if name != "config"}
    texts: dict[str, str] = {}
    for key, value in found.items():
        if key not in names:
            close = nearest(key, names)
            cure = f"Did you mean {close}?" if close else "zchttpd --help lists the options"
            raise ValueError(f"{path}: {key!r} is not an option. {cure}")
        try:
            texts[names[key]] = _text(key, value, options[names[key]])
        except ValueError as error:
            raise ValueError(f"{path}: {key}: {error}") from None
    return texts


def _text(key: str, value: object, option: Option) -> str:
    """Raises ValueError: it has another type."""
    if option.switch:
        if isinstance(value, bool):
            return "on" if value else "off"
        raise ValueError(f"{_shown(value)} is neither true nor false. Type {key} = true or {key} = false")
    if option.many:
        values: list[object] = value if isinstance(value, list) else [value]
        texts = [each for each in values if isinstance(each, str) and each.isprintable()]
        if len(texts) == len(values):
            return option.separator.join(texts)
        raise ValueError(f'{_shown(value)} is not a list of texts. Type {key} = ["{option.metavar}"]')
    if option.numeric and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str):
        return value
    what = "a number" if option.numeric else "a text"
    raise ValueError(f"{_shown(value)} is not {what}. Type {_example(key, option)}")


def _example(key: str, option: Option) -> str:
    if option.numeric:
        return f"{key} = {max(1, option.low)}"
    return f'{key} = "{option.choices[0] if option.choices else option.metavar}"'


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
