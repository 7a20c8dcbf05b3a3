"""What only this machine can tell of the settings: whether the directory and the user are there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from zchttpd.privileges import resolve
from zchttpd.settings import SettingsError

if TYPE_CHECKING:
    from pathlib import Path


def check_root(root: Path) -> None:
    """Raises SettingsError unless `root` is a directory that can be searched."""
    try:
        if not root.is_dir():
            what = "is not a directory" if root.exists() else "does not exist"
            raise SettingsError("root", f"{str(root)!r} {what}. Type --root and a directory that exists")
        usable = os.access(root, os.X_OK)
    except PermissionError:
        usable = False
    if not usable:
        raise SettingsError(
            "root", f"{str(root)!r} may not be entered by this user. Type: chmod o+x on it and its parents"
        )


def check_user(user: str) -> None:
    """Raises SettingsError unless `user` is somebody on this machine, or empty."""
    try:
        if user:
            resolve(user)
    except ValueError as error:
        raise SettingsError("user", f"--user: {error}") from None
