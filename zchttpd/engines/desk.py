"""A request head becomes an answer: what HTTP says of it joined to what the file system has for it.

Knows no socket and no engine; every engine asks here, so that they cannot differ in what they say.
"""

from __future__ import annotations

import dataclasses
import errno
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zchttpd.files.cache import exhausted
from zchttpd.files.entry import Entry, Kind, Representation
from zchttpd.http.encoding import negotiate
from zchttpd.http.head import EncodedHead, encode_head
from zchttpd.http.judge import Refusal, Verdict, judge
from zchttpd.http.media import media_type
from zchttpd.http.plan import (
    Facts,
    Response,
    Window,
    compile_response,
    early_response,
    error_response,
    redirect_response,
    refusal_response,
)
from zchttpd.http.target import Target, hidden, parse_target

if TYPE_CHECKING:
    from zchttpd.files.cache import Cache
    from zchttpd.settings import Settings

LOGGER = logging.getLogger("zchttpd")

# Encoded heads that are remembered: about 2 KiB each.
HEADS_MAX = 1024
# Everything that decides one: status, fields, keep-alive; method and version of the request.
_HeadKey = tuple[int, tuple[tuple[bytes, bytes], ...], bool, str, bytes]

_COMPLAINT_MS_MIN = 1000
_FAILURE = "Something went wrong here."
_CURES = {
    errno.EMFILE: "Raise the limit of this process before it starts: ulimit -n 65536",
    errno.ENFILE: "Raise the limit of this machine: sysctl -w fs.file-max=1000000",
    errno.ENOMEM: "Give the server more memory, or start it with a smaller --memory",
    errno.EAGAIN: "See who holds a lease on it: cat /proc/locks",
    errno.ESTALE: "Write the file elsewhere, then rename it to its place",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer. `head` has 29 bytes of Date at `date_at`, to be overwritten when it is sent.

    `parts` are literal bytes and windows, in order; windows index `representation`, which is None where there
    are none. `entry` is what to revalidate before the answer is used again, also where there is no file; None
    where no file was asked for. `memo`: the same head gets the same answer as long as `entry` is valid.
    Without `keep_alive` the connection closes afterwards.
    """

    status: int
    head: bytes
    date_at: int
    parts: tuple[bytes | Window, ...]
    representation: Representation | None
    entry: Entry | None
    keep_alive: bool
    memo: bool


class Desk:
    """Answers heads from the entries of `cache`. Times in milliseconds of the engine's clock."""

    def __init__(self, settings: Settings, cache: Cache) -> None:
        self._cache = cache
        # One of the two ways to fill a head, the target or the fields, may take half of it.
        self._target_size_max = settings.head_size_max // 2
        self._silent_until_ms = 0
        self._heads: dict[_HeadKey, EncodedHead] = {}
        # Made now: what failed once might fail again while it is told.
        self._failure = self._refused(Refusal(500, _FAILURE))
        self._failure_of_head = self._refused(Refusal(500, _FAILURE, bodiless=True))

    def answer(self, head: bytes, now_ms: int) -> Answer:
        """Answer one request head: the bytes up to and including its empty line.

        Raises nothing: whatever goes wrong becomes a 500 and a log record.
        """
        try:
            verdict = judge(head, target_size_max=self._target_size_max)
            if isinstance(verdict, Refusal):
                return self._refused(verdict)
            early = early_response(verdict)
            return self._find(verdict, now_ms) if early is None else self._without_entry(verdict, early)
        except Exception:
            LOGGER.exception("a request could not be answered, and got 500")
            return self._failure_of_head if head.startswith(b"HEAD ") else self._failure

    def refuse(self, status: int, reason: str) -> Answer:
        """The answer to what never became a head (400, 408, 414, 431, 503); the connection closes.

        `reason` is a sentence of ours. Raises KeyError for a status that this server does not give.
        """
        return self._refused(Refusal(status, reason))

    def _find(self, verdict: Verdict, now_ms: int) -> Answer:
        target = parse_target(verdict.target)
        if isinstance(target, Refusal):
            if target.status == 404:
                return self._without_entry(verdict, error_response(404, verdict))
            return self._refused(dataclasses.replace(target, bodiless=verdict.method == "HEAD"))
        if hidden(target.segments):
            return self._without_entry(verdict, error_response(404, verdict))
        try:
            entry = self._cache.lookup(target.segments, target.directory, now_ms)
        except OSError as error:
            if exhausted(error) or error.errno == errno.ESTALE:
                return self._unavailable(verdict, error, now_ms)
            raise
        if entry.kind is Kind.FILE:
            return self._file(verdict, entry)
        return self._signed(verdict, _absent(verdict, target, entry.kind), entry=entry)

    def _unavailable(self, verdict: Verdict, error: OSError, now_ms: int) -> Answer:
        if now_ms >= self._silent_until_ms:
            self._silent_until_ms = now_ms + _COMPLAINT_MS_MIN
            LOGGER.warning("answering 503: %s. %s", error.strerror, _CURES.get(error.errno or 0, ""))
        response = error_response(503, verdict, ((b"Retry-After", b"1"),))
        # Each connection that closes gives a descriptor back.
        return self._without_entry(verdict, dataclasses.replace(response, keep_alive=False))

    def _file(self, verdict: Verdict, entry: Entry) -> Answer:
        choice = entry.representations
        encoding = negotiate(verdict.field(b"accept-encoding"), tuple(choice))
        found = choice[encoding]
        facts = Facts(
            size=found.size,
            etag=found.etag,
            last_modified_s=found.last_modified_s,
            media_type=media_type(entry.name),
            encoding=encoding,
            vary=entry.varies,
        )
        return self._signed(verdict, compile_response(verdict, facts), entry=entry, found=found)

    def _refused(self, refusal: Refusal) -> Answer:
        return self._signed(None, refusal_response(refusal))

    def _without_entry(self, verdict: Verdict, response: Response) -> Answer:
        return self._signed(verdict, dataclasses.replace(response, memo=False))

    def _signed(
        self,
        verdict: Verdict | None,
        response: Response,
        *,
        entry: Entry | None = None,
        found: Representation | None = None,
    ) -> Answer:
        encoded = self._encode(verdict, response)
        return Answer(
            status=response.status,
            head=encoded.head,
            date_at=encoded.date_at,
            parts=response.parts,
            representation=found if any(isinstance(part, Window) for part in response.parts) else None,
            entry=entry,
            keep_alive=response.keep_alive,
            memo=response.memo,
        )

    def _encode(self, verdict: Verdict | None, response: Response) -> EncodedHead:
        # Signing costs as much as judging, and requests that differ in a cookie get the same head.
        if verdict is None:
            return encode_head(None, response.status, response.headers, keep_alive=False)
        key = (response.status, response.headers, response.keep_alive, verdict.method, verdict.version)
        encoded = self._heads.get(key)
        if encoded is None:
            encoded = encode_head(verdict, response.status, response.headers, keep_alive=response.keep_alive)
            if len(self._heads) >= HEADS_MAX:
                del self._heads[next(iter(self._heads))]
            self._heads[key] = encoded
        return encoded


def _absent(verdict: Verdict, target: Target, kind: Kind) -> Response:
    if kind is Kind.REDIRECT:
        return redirect_response(verdict, target.raw_path + b"/", target.query)
    return error_response(403 if kind is Kind.FORBIDDEN else 404, verdict)
