"""What another reading of the options can change in a server that runs, and what it cannot."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from zchttpd.config.names import AUTO
from zchttpd.config.options import flag_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zchttpd.config.settings import Settings

# They decide about what the supervisor has for life: sockets, a user, a name for who sends signals. And two
# engines on one socket wait for connections in ways that do not go together.
FIXED = ("host", "port", "unix", "listen", "user", "engine", "admin", "pid_file")


def fixed_of(settings: Settings) -> dict[str, Any]:
    """What stays as it is, by field name."""
    return {name: getattr(settings, name) for name in FIXED}


def keep(settings: Settings, fixed: Mapping[str, Any]) -> tuple[Settings, list[str]]:
    """`settings` with what stays as it is in place of what was asked for, and a line for each such option."""
    # As JSON hands them over, texts that were a tuple are a list.
    fixed = {name: tuple(value) if isinstance(value, list) else value for name, value in fixed.items()}
    lines = [
        f"{flag_of(name)} stays {_shown(value)}: it cannot change to {_shown(getattr(settings, name))} while"
        " the server runs. Restart it for that"
        for name, value in fixed.items()
        if getattr(settings, name) not in (value, AUTO)
    ]
    return replace(settings, **fixed), lines


def changes(old: Settings, new: Settings) -> str:
    """The flags of the options that differ, with commas between them; or that none does, as where it is a
    certificate that is another.
    """
    names = [each.name for each in fields(old) if getattr(old, each.name) != getattr(new, each.name)]
    told = ["[[site]]" if name == "sites" else flag_of(name) for name in names]
    return ", ".join(told) or "no option has changed, and the files that they name are read again"


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        value = ", ".join(value)
    return repr(value) if isinstance(value, str) else str(value)
