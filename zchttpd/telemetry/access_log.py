"""The access log: one line for each response, written by a thread so that the loop waits for no disk.

Records that find no room, because the disk or the reader of a pipe is too slow, are dropped and counted.
"""

from __future__ import annotations

import errno
import ipaddress
import json
import logging
import os
import re
import stat
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from zchttpd.config.names import OFF, STDOUT
from zchttpd.config.options import StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from zchttpd.config.settings import Settings

LOGGER = logging.getLogger("zchttpd")

# What a worker keeps of records that have not been written yet; a power of two.
BUFFER_SIZE = 1 << 20
# At most so much in one write(2), and to a pipe as much as it takes whole (PIPE_BUF, pipe(7)).
WRITE_MAX = 1 << 18
PIPE_WRITE_MAX = 4096
# How long the end of a worker waits for a log that does not get rid of its lines.
CLOSE_S = 2.0
# eventfd(2)
EVENT_SIZE = 8
COMPLAINT_S_MIN = 10.0
KNOWN_MAX = 4096

_UNSAFE = re.compile(rb"[^ !#-\[\]-~]")


class AccessRecord(NamedTuple):
    """One response. `line`, `referer` and `agent` are the client's bytes, whatever they are."""

    address: str
    ended_at: int  # Unix time
    line: bytes
    status: int
    body_bytes: int
    referer: bytes
    agent: bytes
    duration_us: int
    zerocopy: bool
    request_id: bytes = b""  # empty where answers do not tell it
    user: bytes = b""  # empty where it was for everybody


# ---- lines ----


def escape(text: bytes) -> str:
    """As nginx does: control bytes, quotes, backslashes and what is not ASCII as \\xHH; nothing as -."""
    if not text:
        return "-"
    return _UNSAFE.sub(lambda found: b"\\x%02X" % found[0][0], text).decode("ascii")


class LineFormatter:
    """Formats records as lines. What clients send repeats, and is escaped once."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._known: dict[tuple[bytes, bytes, bytes], tuple[str, str]] = {}
        self._second = -1
        self._stamp = ""

    def line(self, record: AccessRecord) -> bytes:
        """One line, of printable ASCII, with its end."""
        key = (record.line, record.referer, record.agent)
        texts = self._known.get(key)
        if texts is None:
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            texts = self._known[key] = self._texts(*key)
        if record.ended_at != self._second:
            self._second = record.ended_at
            form = "%Y-%m-%dT%H:%M:%SZ" if self._kind == "json" else "%d/%b/%Y:%H:%M:%S +0000"
            self._stamp = time.strftime(form, time.gmtime(self._second))
        asked, agent = texts
        if self._kind == "json":
            # Of letters, digits and signs that mean nothing in JSON.
            named = f',"request_id":"{record.request_id.decode("ascii")}"' if record.request_id else ""
            user = f',"user":{_json(record.user)}' if record.user else ""
            return (
                f'{{"time":"{self._stamp}","address":"{record.address}"{user},{asked},"status":{record.status},'
                f'"body_bytes":{record.body_bytes},"duration_us":{record.duration_us},'
                f'"zero_copy":{"true" if record.zerocopy else "false"}{agent}{named}}}\n'
            ).encode("ascii")
        end = f" {record.duration_us}" if self._kind == "timed" else ""
        # A blank would begin the next field.
        user = escape(record.user).replace(" ", r"\x20")
        return (
            f'{record.address or "-"} - {user} [{self._stamp}] "{asked}"'
            f" {record.status} {record.body_bytes}{agent}{end}\n"
        ).encode("ascii")

    def _texts(self, line: bytes, referer: bytes, agent: bytes) -> tuple[str, str]:
        if self._kind == "json":
            return (
                f'"request":{_json(line)}',
                f',"referer":{_json(referer)},"user_agent":{_json(agent)}',
            )
        if self._kind == "common":
            return escape(line), ""
        return escape(line), f' "{escape(referer)}" "{escape(agent)}"'


def _json(text: bytes) -> str:
    """A JSON string of ASCII characters; bytes that are no UTF-8 as \\xHH in it."""
    return json.dumps(text.decode("utf-8", "backslashreplace"))


# ---- the file ----


def open_log(path: str) -> int:
    """A descriptor that appends to the log. Raises StartError."""
    if path == STDOUT:
        return os.dup(1)
    try:
        # Without waiting for somebody to read, when it is a named pipe; the writes then do wait.
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
    except OSError as error:
        why = "nobody reads the pipe" if error.errno == errno.ENXIO else error.strerror
        raise _unwritable(path, str(why)) from None
    os.set_blocking(fd, True)
    return fd


class AccessLog:
    """Takes records from `source` when `wake` says that there are some, and writes them.

    `dropped` is told how many could not be written. All but `start` and `close` may be called from anywhere.
    """

    def __init__(self, settings: Settings) -> None:
        self._path = settings.access_log
        self._lines = LineFormatter(settings.access_log_format)
        self._fd = -1
        self._reopen = False
        self._closing = False
        self._silent_until = 0.0
        self.event = os.eventfd(0, os.EFD_CLOEXEC)

    def start(self, source: Callable[[], Iterable[AccessRecord]], dropped: Callable[[int], None]) -> None:
        """Open the file and begin. A worker that cannot open it serves all the same, and counts drops."""
        self._open_again()
        self._source = source
        self._dropped = dropped
        self._thread = threading.Thread(target=self._run, name="access log", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Have the thread take and write records."""
        os.eventfd_write(self.event, 1)

    def reopen(self) -> None:
        """Go on in a new file: the old one has been renamed (logrotate(8))."""
        self._reopen = True
        self.wake()

    def close(self) -> None:
        """Write what is left, if the file or pipe takes it in time."""
        self._closing = True
        self.wake()
        self._thread.join(CLOSE_S)

    def __del__(self) -> None:
        os.close(self.event)
        if self._fd >= 0:
            os.close(self._fd)

    def _run(self) -> None:
        closing = False
        while not closing:
            # eventfd_read() would end with InterruptedError where a signal comes, and this thread with it.
            os.read(self.event, EVENT_SIZE)
            # Looked at before the records are taken, and never after: so all that came before `close` is.
            closing = self._closing
            if self._reopen:
                self._reopen = False
                self._open_again()
            self._write_all()

    def _open_again(self) -> None:
        try:
            fresh = open_log(self._path)
        except StartError as error:
            LOGGER.warning("the access log could not be opened, and goes on as before: %s", error)
            return
        old, self._fd = self._fd, fresh
        if old >= 0:
            os.close(old)

    def _write_all(self) -> None:
        most = WRITE_MAX if self._fd >= 0 and _is_file(self._fd) else PIPE_WRITE_MAX
        batch = bytearray()
        count = 0
        for record in self._source():
            line = self._lines.line(record)
            if batch and len(batch) + len(line) > most:
                self._write(batch, count)
                batch, count = bytearray(), 0
            batch += line
            count += 1
        if batch:
            self._write(batch, count)

    def _write(self, batch: bytearray, count: int) -> None:
        """Whole lines in one write(2), so that those of several workers do not mix."""
        view = memoryview(batch)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            self._dropped(count)
            now = time.monotonic()
            if now >= self._silent_until:
                self._silent_until = now + COMPLAINT_S_MIN
                LOGGER.warning("the access log cannot be written: %s", error)


def make_log(settings: Settings) -> AccessLog | None:
    """The log of a worker, or None when there is to be none."""
    return None if settings.access_log == OFF else AccessLog(settings)


def check_log(settings: Settings) -> None:
    """Raises StartError unless the log can be written."""
    if settings.access_log == OFF:
        return
    fd = open_log(settings.access_log)
    # A pipe stays open: its reader would leave when the only writer does, before the workers have come.
    if _is_file(fd):
        os.close(fd)


def check_place(settings: Settings) -> None:
    """Raises StartError unless this user may write the log, and makes none: it would be this user's."""
    path = settings.access_log
    if path in (OFF, STDOUT):
        return
    place = path if os.path.exists(path) else os.path.dirname(path) or "."
    if os.path.isdir(path):
        raise _unwritable(path, os.strerror(errno.EISDIR))
    if not os.access(place, os.W_OK):
        raise _unwritable(path, os.strerror(errno.EACCES if os.path.exists(place) else errno.ENOENT))


def _unwritable(path: str, why: str) -> StartError:
    fix = "Type a file in a directory that this user may write to, - for standard output, or off"
    return StartError(f"--access-log: {path!r} cannot be written ({why}). {fix}")


def _is_file(fd: int) -> bool:
    return stat.S_ISREG(os.fstat(fd).st_mode)


def address_of(family: int, packed: bytes) -> str:
    """The text of an IPv4 (family 4) or IPv6 (6) address in network order; empty for any other family."""
    if family == 4:
        return ".".join(map(str, packed[:4]))
    return str(ipaddress.IPv6Address(packed)) if family == 6 else ""
