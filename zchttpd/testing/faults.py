"""What can go wrong with a download, as values: each changes a request or an answer, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, ClassVar, TypeAlias

if TYPE_CHECKING:
    import random

Fields: TypeAlias = "tuple[tuple[str, str], ...]"

# No file is as large.
_BEYOND = "bytes=9223372036854775807-"


class End(Enum):
    """What becomes of the connection behind an answer."""

    AS_SAID = "what its fields say"
    CLOSED = "it is closed"
    RESET = "it is reset, once all bytes have arrived"
    SILENT = "nothing comes any more, until the client has gone"


@dataclass(frozen=True)
class Request:
    """A request of the client. `number`: the how-manieth for this path it is, from 1."""

    method: str
    path: str
    fields: Fields
    number: int

    def field(self, name: str) -> str | None:
        """The value of a field, whatever its case; None where it has none."""
        return next((value for key, value in self.fields if key.lower() == name.lower()), None)

    def without(self, *names: str) -> Request:
        """The same without some fields, which are named in lower case."""
        return replace(self, fields=_without(self.fields, *names))


@dataclass(frozen=True)
class Answer:
    """What the client gets: `body` in pieces of `piece_size` bytes with `pause_s` behind each, then `end`."""

    status: int
    reason: str
    fields: Fields
    body: bytes
    end: End = End.AS_SAID
    piece_size: int = 1 << 16
    pause_s: float = 0.0

    def having(self, name: str, value: str) -> Answer:
        """The same with this field in place of any other of its name, which is in lower case."""
        return replace(self, fields=(*_without(self.fields, name), (name, value)))


class Fault:
    """Something that goes wrong with one request. Where it leaves a choice, `chance` makes it."""

    def ask(self, request: Request) -> Request:
        """What is asked for instead."""
        return request

    def answer(self, answer: Answer, chance: random.Random) -> Answer:
        """What is answered instead."""
        del chance
        return answer


@dataclass(frozen=True)
class _Broken(Fault):
    """The body ends after so many bytes, and the connection as its `end` says."""

    after: int | None = None
    end: ClassVar[End]

    def answer(self, answer: Answer, chance: random.Random) -> Answer:
        """See `Fault`."""
        return replace(answer, body=answer.body[: _place(self.after, answer, chance)], end=self.end)


class Cut(_Broken):
    """The connection closes after so many bytes of the body, of which more were announced."""

    end: ClassVar = End.CLOSED


class Reset(_Broken):
    """The connection is reset after so many bytes of the body, which the client can still read."""

    end: ClassVar = End.RESET


class Stall(_Broken):
    """After so many bytes of the body nothing comes any more, and the connection stays open."""

    end: ClassVar = End.SILENT


@dataclass(frozen=True)
class Drip(Fault):
    """The body comes in small pieces, with a pause behind each."""

    size: int = 1
    pause_s: float = 0.01

    def answer(self, answer: Answer, chance: random.Random) -> Answer:
        """See `Fault`."""
        return replace(answer, piece_size=self.size, pause_s=self.pause_s)


@dataclass(frozen=True)
class IgnoreRange(Fault):
    """Whatever part was asked for, the answer is 200 with the whole, as from servers that know no ranges."""

    def ask(self, request: Request) -> Request:
        """See `Fault`."""
        return request.without("range", "if-range")


@dataclass(frozen=True)
class Unsatisfiable(Fault):
    """Whatever part was asked for, the answer is 416: the file is shorter than that."""

    def ask(self, request: Request) -> Request:
        """See `Fault`."""
        rest = request.without("range", "if-range")
        return replace(rest, fields=(*rest.fields, ("Range", _BEYOND)))


@dataclass(frozen=True)
class WrongLength(Fault):
    """Content-Length is other than the body by so much, and the connection closes behind it."""

    by: int = 1

    def answer(self, answer: Answer, chance: random.Random) -> Answer:
        """See `Fault`."""
        length = str(max(0, len(answer.body) + self.by))
        return replace(answer.having("content-length", length), end=End.CLOSED)


@dataclass(frozen=True)
class Corrupt(Fault):
    """One byte of the body, the one `at`, is another: no digest of the whole holds any more."""

    at: int | None = None

    def answer(self, answer: Answer, chance: random.Random) -> Answer:
        """See `Fault`."""
        at = _place(self.at, answer, chance)
        if at >= len(answer.body):
            return answer
        other = bytes((answer.body[at] ^ 0xFF,))
        return replace(answer, body=answer.body[:at] + other + answer.body[at + 1 :])


@dataclass(frozen=True)
class Unavailable(Fault):
    """The answer is an error of the server, such as 503, with Retry-After if that is given, in seconds."""

    status: int = 503
    retry_after: int | None = None

    def answer(self, answer: Answer, chance: random.Random) -> Answer:
        """See `Fault`."""
        fields: Fields = (("Content-Length", "0"),)
        if self.retry_after is not None:
            fields = (*fields, ("Retry-After", str(self.retry_after)))
        return Answer(self.status, "Not now", fields, b"")


@dataclass(frozen=True)
class Replace(Fault):
    """Before this request is answered the file becomes another version: `content`, or other bytes of the same
    length. Its tag and date are other than before, and If-Range and the like mean what they do.
    """

    content: bytes | None = field(default=None, repr=False)

    def version(self, before: bytes, chance: random.Random) -> bytes:
        """The new content."""
        return chance.randbytes(len(before)) if self.content is None else self.content


# What `at_random` chooses among: a good downloader has the right bytes in the end, whichever come.
RANDOM: tuple[Fault, ...] = (Cut(), Reset(), IgnoreRange(), Unavailable(), Replace())


def _place(given: int | None, answer: Answer, chance: random.Random) -> int:
    """A place in the body: the one that was given, or any."""
    return chance.randrange(len(answer.body) or 1) if given is None else given


def _without(fields: Fields, *names: str) -> Fields:
    return tuple(each for each in fields if each[0].lower() not in names)
