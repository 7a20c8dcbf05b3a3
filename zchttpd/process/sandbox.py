"""What a worker may still do once it has begun: read what it serves, and write its log.

Whoever makes a worker run code of theirs finds no file but those that are served, nobody to call, and nothing
to execute. A supervisor is not confined: it reads options again and starts other versions.
"""

from __future__ import annotations

import logging
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import zchttpd
from zchttpd.config.names import OFF, STDOUT
from zchttpd.process import landlock, privileges, seccomp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from zchttpd.config.settings import Settings

LOGGER = logging.getLogger("zchttpd")

READ = landlock.READ_FILE | landlock.READ_DIR
# A log that has been renamed is made anew.
APPEND = landlock.WRITE_FILE | landlock.MAKE_REG
# Libraries that modules in C are linked with.
_LIBRARIES = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64", "/etc/ld.so.cache")


def confine_files(settings: Settings) -> list[str]:
    """Leave this thread, and all it starts, only the files that serving takes, and root's power over those;
    as well as this kernel can, less what `--without` names.

    Returns the names (`names.SANDBOX`) of what there is not. There is one thread, and no ring yet: what a
    ring is asked for is done with the rights of who made it. Raises nothing.
    """
    return [
        *_without(settings, "capabilities", privileges.shed),
        *_without(settings, "landlock", lambda: landlock.enter(rules(settings))),
    ]


def confine_calls(settings: Settings) -> list[str]:
    """Leave all threads of this process only the system calls that serving takes. As `confine_files`."""
    return _without(settings, "seccomp", seccomp.enter)


def _without(settings: Settings, name: str, confine: Callable[[], None]) -> list[str]:
    if name in settings.without:
        return [name]
    try:
        confine()
    except OSError as error:
        LOGGER.debug("without %s: %s", name, error)
        return [name]
    return []


def rules(settings: Settings) -> Iterator[tuple[str, int]]:
    """What a worker may open: paths, and what is granted beneath each."""
    for site in (settings, *(each.of(settings) for each in settings.sites)):
        for directory in (site.root, *site.links_into):
            yield str(directory), READ
    for path in _code():
        yield path, READ
    # Mounts, and what sanitizers want to know. Where its links lead to is another matter.
    yield "/proc/self", READ
    yield os.devnull, READ | landlock.WRITE_FILE
    if settings.access_log not in (OFF, STDOUT):
        yield from _log_rules(settings.access_log)


def _log_rules(path: str) -> Iterator[tuple[str, int]]:
    yield path, landlock.WRITE_FILE
    for name in {os.path.abspath(path), os.path.realpath(path)}:
        # /dev/stdout is never renamed.
        if not name.startswith(("/dev/", "/proc/")) and _is_file(name):
            yield os.path.dirname(name), APPEND


def _is_file(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def _code() -> Iterator[str]:
    """Where Python and zchttpd lie, which import on demand."""
    yield os.path.dirname(os.__file__)
    yield str(Path(zchttpd.__file__).parent)
    for path in sys.path:
        # A directory of a person may be among them.
        if os.path.basename(path) in ("site-packages", "dist-packages"):
            yield path
    yield from _LIBRARIES
