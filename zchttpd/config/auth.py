"""The files of --auth: users and hashes of passwords as `htpasswd -B` writes them, by PATTERN."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from zchttpd.config.rules import check_names_files, check_pattern

FILE_SIZE_MAX = 1 << 20
USER_SIZE_MAX = 128
# More work than 2**COST_MAX holds up everybody who logs in.
COST_MAX = 14

_BCRYPT = re.compile(rb"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}")


@dataclass(frozen=True, slots=True)
class AuthRule:
    """What matches `pattern` by its path, or by that of the request, is for these: (name, hash) of each.
    `path`: of the file that says so.
    """

    pattern: str
    accounts: tuple[tuple[bytes, bytes], ...] = field(repr=False)
    path: str

    @property
    def cost(self) -> int:
        """That of the costliest hash: the logarithm of its work."""
        return max((int(hashed[4:6]) for _, hashed in self.accounts), default=4)


def parse_auth_rules(text: str) -> tuple[AuthRule, ...]:
    """PATTERN=FILE on each line. Raises ValueError: one line with the file, its line, the cause, the fix."""
    return tuple(_parse_rule(line.strip(" \t")) for line in text.split("\n") if line.strip(" \t"))


def _parse_rule(line: str) -> AuthRule:
    pattern, equals, path = (part.strip(" \t") for part in line.partition("="))
    if not equals or not path:
        raise ValueError(f"{line!r} is not PATTERN=FILE. Type such as '/private/*=users.htpasswd'")
    check_names_files(check_pattern(pattern))
    try:
        with Path(path).open("rb") as file:
            content = file.read(FILE_SIZE_MAX + 1)
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be read ({error.strerror}). Type such as: htpasswd -cB FILE USER"
        ) from None
    if len(content) > FILE_SIZE_MAX:
        raise ValueError(f"{path}: is larger than {FILE_SIZE_MAX >> 20} MiB. Type fewer users")
    accounts: dict[bytes, bytes] = {}
    for number, account in enumerate(content.split(b"\n"), 1):
        found = account.strip()
        if not found or found.startswith(b"#"):
            continue
        try:
            user, hashed = _parse_account(found)
            if user in accounts:
                raise ValueError("names a user twice. Take one of them out")
        except ValueError as error:
            # Without the line, which nobody else is to read.
            raise ValueError(f"{path}:{number}: {error}") from None
        accounts[user] = hashed
    if not accounts:
        raise ValueError(f"{path}: has no user. Type such as: htpasswd -B FILE USER")
    return AuthRule(pattern, tuple(accounts.items()), path)


def _parse_account(line: bytes) -> tuple[bytes, bytes]:
    user, colon, hashed = line.partition(b":")
    if not colon or not 0 < len(user) <= USER_SIZE_MAX:
        raise ValueError(f"is not USER:HASH, with a name of at most {USER_SIZE_MAX} bytes. Type htpasswd -B")
    match = _BCRYPT.fullmatch(hashed)
    if match is None:
        raise ValueError("has no hash of bcrypt, and others are too weak. Type htpasswd -B FILE USER")
    if not 4 <= int(match[1]) <= COST_MAX:
        raise ValueError(
            f"has a hash of cost {int(match[1])}, not of 4 to {COST_MAX}. Type htpasswd -B -C 10"
        )
    return user, hashed
