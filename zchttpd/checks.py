"""What only this machine can tell of the settings: whether the directory and the user are there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from zchttpd.options import SettingsError, nearest
from zchttpd.privileges import resolve

if TYPE_CHECKING:
    from pathlib import Path

    from zchttpd.settings import Settings


def check_root(root: Path) -> None:
    """Raises SettingsError unless `root` is a directory that can be searched."""
    try:
        if not root.is_dir():
            if root.exists():
                problem = f"is not a directory. Type --root and the one that it is in: {root.parent}"
            else:
                problem = f"does not exist. {_meant(str(root))}"
            raise SettingsError("root", f"{str(root)!r} {problem}")
        usable = os.access(root, os.X_OK)
    except PermissionError:
        usable = False
    if not usable:
        raise SettingsError(
            "root", f"{str(root)!r} may not be entered by this user. Type: chmod o+x on it and its parents"
        )


def _meant(root: str) -> str:
    """What may have been meant by a directory that does not exist."""
    if root.isdecimal():
        return f"Type --port {root} for a port, and --root and a directory that exists"
    if root.startswith("~"):
        return "Type the path that ~ stands for: only a shell knows"
    word = nearest(root, ("doctor", "help", "version"))
    if word:
        return f"Did you mean zchttpd {word if word == 'doctor' else '--' + word}?"
    return "Type --root and a directory that exists"


def check_user(user: str) -> None:
    """Raises SettingsError unless `user` is somebody on this machine, or empty."""
    try:
        if user:
            resolve(user)
    except ValueError as error:
        raise SettingsError("user", f"--user: {error}") from None


def notes(settings: Settings) -> list[str]:
    """Lines for the start report: what the directory has not."""
    root = str(settings.root).rstrip("/") + "/"
    if settings.listing or os.path.isfile(f"{root}index.html"):
        return []
    return [f"no index.html in {root}, and --listing is off: / is 404. Type --listing to list directories"]
