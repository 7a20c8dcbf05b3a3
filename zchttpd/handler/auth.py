"""Basic authentication by path (RFC 7617): who may have what, and passwords checked beside the loop."""

from __future__ import annotations

import base64
import binascii
import errno
import hashlib
import os
import re
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from zchttpd.config.rules import matcher
from zchttpd.files.lru import Lru
from zchttpd.files.singleflight import Job, Pending, SingleFlight

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from zchttpd.config.auth import AuthRule

# Outcomes that are remembered, good and bad: a hash is made to take long.
OUTCOMES_MAX = 4096
# More than these wait for no answer and are told 503; and so many CPUs at most are at work.
JOBS_MAX = 64
THREADS = 2
CREDENTIALS_SIZE_MAX = 1024
# bcrypt looks at no more.
PASSWORD_SIZE_MAX = 72

_FIELD = re.compile(rb"\nauthorization:[ \t]*([^\r\n]*)", re.IGNORECASE)


class Credentials(NamedTuple):
    """What a request says of who it is."""

    user: bytes
    password: bytes


class Busy(OSError):
    """A password cannot be checked now: too many wait for that."""


class Realm:
    """One rule: its paths, and its users."""

    def __init__(self, number: int, rule: AuthRule) -> None:
        self.number = number
        self.matches = matcher(rule.pattern)
        self.accounts = dict(rule.accounts)
        # Who is no user takes as long: nobody can tell which names there are.
        self.nobody = b"$2b$%02d$" % rule.cost + b"." * 53

    @property
    def challenge(self) -> bytes:
        """The value of WWW-Authenticate. Each rule has a name of its own, as it may have other users."""
        return b'Basic realm="files %d", charset="UTF-8"' % self.number


class Auth:
    """Made once, of the rules in their order. `post`: see `SingleFlight`."""

    def __init__(self, rules: Iterable[AuthRule], post: Callable[[Callable[[], None]], None] | None) -> None:
        self._realms = tuple(Realm(number, rule) for number, rule in enumerate(rules, 1))
        self._jobs = SingleFlight(post, threads=THREADS, jobs_max=JOBS_MAX)
        self._outcomes: Lru[tuple[int, bytes], bool] = Lru(OUTCOMES_MAX)
        # What is remembered of a password tells nothing of it.
        self._key = os.urandom(32)

    def __bool__(self) -> bool:
        return bool(self._realms)

    def realm_of(self, paths: Sequence[str]) -> Realm | None:
        """The first whose pattern matches one of these paths; None where everybody may have it."""
        return next((each for each in self._realms if any(map(each.matches, paths))), None)

    def knows(self, realm: Realm, head: bytes) -> bool:
        """Whether a request head may be of a user of this rule, or of one before it, which the file may be
        of. Raises as `user_of` does.
        """
        return any(self.user_of(each, head) is not None for each in self._realms[realm.number - 1 :: -1])

    def user_of(self, realm: Realm, head: bytes) -> bytes | None:
        """The user that a request head names, whose password is right; else None.

        Raises Pending while that is found out, and Busy when too many wait for it.
        """
        credentials = credentials_of(head)
        if credentials is None:
            return None
        digest = hashlib.blake2b(b"\0".join(credentials), key=self._key, digest_size=32).digest()
        key = (realm.number, digest)
        outcome = self._outcomes.use(key)
        if outcome is None:
            check = partial(_is_right, realm, credentials)
            if self._jobs.threaded:
                raise Pending(self._start(key, check))
            outcome = check()
            self._outcomes.put(key, outcome)
        return credentials.user if outcome else None

    def _start(self, key: tuple[int, bytes], check: Callable[[], bool]) -> Job:
        try:
            return self._jobs.start(key, check, partial(self._outcomes.put, key))
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise Busy(errno.EUSERS, "too many passwords wait to be checked") from error
            raise Busy(error.errno, error.strerror) from error


def credentials_of(head: bytes) -> Credentials | None:
    """Those of the one Authorization in a head that has been parsed; None where there are none to check."""
    found = _FIELD.findall(head)
    if len(found) != 1 or len(found[0]) > CREDENTIALS_SIZE_MAX:
        return None
    scheme, _, encoded = found[0].strip(b" \t").partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(b" "), validate=True).partition(b":")
    except binascii.Error:
        return None
    return Credentials(user, password) if colon and b"\0" not in user + password else None


def _is_right(realm: Realm, credentials: Credentials) -> bool:
    """Whether it is the password of that user. It takes as long for any user and any password."""
    import bcrypt  # Only where there are rules.

    hashed = realm.accounts.get(credentials.user, realm.nobody)
    right = bcrypt.checkpw(credentials.password[:PASSWORD_SIZE_MAX], hashed)
    # A longer one would be taken for each that begins like it.
    return right and len(credentials.password) <= PASSWORD_SIZE_MAX and credentials.user in realm.accounts
