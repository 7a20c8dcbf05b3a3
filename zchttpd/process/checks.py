"""Checks of settings against this machine: the directories and the user exist and can be used."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from zchttpd.config.names import OFF
from zchttpd.config.options import SettingsError, nearest
from zchttpd.engine import tls
from zchttpd.engine.tls import key_of
from zchttpd.http.target import hidden
from zchttpd.process.privileges import resolve
from zchttpd.telemetry.access_log import check_place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zchttpd.config.settings import Settings

_ERROR_PAGES = ("404.html", "403.html", "50x.html")


def check_roots(settings: Settings) -> None:
    """Raises SettingsError unless all that is to be served can be, of every site."""
    check_root(settings.root)
    check_links_into(settings.links_into)
    for site in settings.sites:
        ours = site.of(settings)
        try:
            check_root(ours.root)
            check_links_into(ours.links_into)
        except SettingsError as error:
            raise SettingsError("sites", f"[[site]] {site.names[0]}: {error.problem}") from None


def check_root(root: Path) -> None:
    """Raises SettingsError unless `root` is a directory that can be searched."""
    above = f"Type --root and the one that it is in: {root.parent}"
    _check_directory("root", root, above, _meant(str(root)))


def check_links_into(directories: Sequence[Path]) -> None:
    """Raises SettingsError unless all of them are directories that can be searched."""
    fix = "Type --links-into and a directory that exists"
    for each in directories:
        _check_directory("links_into", each, fix, fix)


def _check_directory(name: str, path: Path, for_file: str, for_nothing: str) -> None:
    """`for_file` and `for_nothing`: what to type instead of a path that leads to a file, or to nothing."""
    shown = repr(str(path))
    try:
        if not path.is_dir():
            problem = f"is not a directory. {for_file}" if path.exists() else f"does not exist. {for_nothing}"
            raise SettingsError(name, f"{shown} {problem}")
        usable = os.access(path, os.X_OK)
    except PermissionError:
        usable = False
    except OSError as error:
        # Such as a file system whose server has gone.
        raise SettingsError(name, f"{shown} cannot be looked at ({error.strerror}). {for_nothing}") from None
    if not usable:
        fix = "Type: chmod o+x on it and its parents"
        raise SettingsError(name, f"{shown} may not be entered by this user. {fix}")


def _meant(root: str) -> str:
    """A hint at what was meant by a directory that does not exist."""
    if root.isdecimal():
        return f"Type --port {root} for a port, and --root and a directory that exists"
    if root.startswith("~"):
        return "Type the path that ~ stands for: only a shell knows"
    word = nearest(root, ("doctor", "help", "version"))
    if word:
        return f"Did you mean zchttpd {word if word == 'doctor' else '--' + word}?"
    return "Type --root and a directory that exists"


def check_secrets(settings: Settings) -> None:
    """Raises SettingsError where the key of --tls-cert, a file of --auth or the token of --admin would be
    served.
    """
    served = (settings, *(site.of(settings) for site in settings.sites))
    secrets = [("tls_key", key_of(settings)), ("admin_token_file", settings.admin_token_file)]
    secrets += [("auth", rule.path) for each in served for rule in each.auth]
    for name, secret in secrets:
        for each in served if secret else ():
            if _within(Path(secret), each.root):
                fix = f"Type a file outside of {each.root}"
                raise SettingsError(name, f"{secret} is served to everybody. {fix}")


def check_files(settings: Settings) -> None:
    """Raises SettingsError or StartError unless this user can open what a start does besides; makes none."""
    tls.load(settings)
    check_place(settings)
    if settings.admin and settings.admin_token_file:
        # What it imports is of no use to a server without.
        from zchttpd.telemetry.admin_access import read_token

        read_token(settings.admin_token_file)


def check_user(user: str) -> None:
    """Raises SettingsError unless `user` is somebody on this machine, or empty."""
    try:
        if user:
            resolve(user)
    except ValueError as error:
        raise SettingsError("user", f"--user: {error}") from None


def notes(settings: Settings) -> list[str]:
    """Lines for the start report: a missing index or error page, a log that everybody can read."""
    root = str(settings.root).rstrip("/") + "/"
    lines = []
    if not os.path.isfile(f"{root}index.html"):
        if settings.spa:
            lines.append(f"no index.html in {root} yet: until then --spa answers 404")
        elif not settings.listing:
            lines.append(
                f"no index.html in {root}, and --listing is off: / is 404. Type --listing to list directories"
            )
    if settings.error_pages and not any(os.path.isfile(root + name) for name in _ERROR_PAGES):
        lines.append(f"none of {', '.join(_ERROR_PAGES)} in {root} yet: so far --error-pages changes nothing")
    lines += _open_key(settings)
    log = settings.access_log
    if log not in (OFF, "-") and _within(Path(log), settings.root):
        lines.append(f"everybody can read {log}. Type --access-log and a file outside of {root}")
    return lines


def _open_key(settings: Settings) -> list[str]:
    key = key_of(settings)
    try:
        is_open = bool(key) and os.stat(key).st_mode & stat.S_IROTH
    except OSError:
        # Its directory is not for --user to enter.
        is_open = False
    return [f"everybody on this machine can read the key in {key}. Type: chmod o-r {key}"] if is_open else []


def _within(path: Path, root: Path) -> bool:
    """Whether a request can name `path`."""
    try:
        inside = path.resolve().relative_to(root.resolve())
    except (OSError, ValueError, RuntimeError):
        # What is a loop of links raises the last in Python before 3.13.
        return False
    return not hidden(tuple(map(os.fsencode, inside.parts)))
