"""What one worker may have: descriptors, locked memory, attempts and plans for each file."""

from __future__ import annotations

import contextlib
import resource
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zchttpd.config.settings import Settings

# What a ring locks, of the memory that a user may lock, and as much for that of the worker that follows.
RINGS_LOCKED = 1 << 20
# Where that would leave little, this part of a worker's share is for files.
LOCKED_PART = 4
# Descriptors of a worker beside those of its connections.
SPARE_FDS = 512
# A streamed file keeps its descriptor for as long as it is known: at most so many, and at most this part of
# the limit.
STREAMED_MAX = 192
STREAMED_PART = 8
# Archives that are being sent at a time: at most so many, and at most the same part.
DOWNLOADS_MAX = 64
# File versions in memory.
MAPPINGS_MAX = 12_000
# The same where each is a memory file: so many where the limit of descriptors allows, and never less than a
# part of it.
MEMORY_FILES_MAX = 8192
MEMORY_FILES_PART = 8
# Both ends of the pipes that they go through.
PIPE_FDS = 40
# Descriptors for the loop, the listeners, the log, and the files that are being opened.
FDS_SPARE = 48
# Connections above the limit that are told 503: at most so many, and at most this part of what there is for
# connections.
REFUSALS_MAX = 256
REFUSALS_PART = 4
# A file that would take more of the memory than this part of it is
# not cached whole.
CACHED_PART = 4
# The whole of a smaller file is read in less time than it takes to do otherwise. A larger one is sent from
# where it is, until the whole of it has been asked for so often within a while.
LIVE_SIZE_MIN = 256 * 1024
ASKED_MIN = 2
# Answers with parts of files that are remembered take so much beside the memory, as its part.
PARTS_PART = 16
# What the machine remembers by itself, of small files, may take so much of the memory, as its part.
OWN_PART = 2
# So do requests and responses under way, in what nobody else uses: at least so many bytes. Beyond that who
# wants more than a little is told 503.
HELD_PART = 4
HELD_MIN = 2 << 20
# Files that were evicted and are still being sent may take so much beside it before new ones are streamed.
EVICTED_PART = 2
# What a connection takes that speaks TLS, in the memory of the library: 18 KiB were measured.
TLS_CONNECTION_SIZE = 20 * 1024
# A file may change faster than it can be read: after so many attempts the request is told 503.
ATTEMPTS_MAX = 3
# Plans of one entry that are found again by their head, and the statuses of those; ranges and the like are
# not among them.
PLANS_PER_ENTRY = 64
REUSED = frozenset((200, 301, 304, 403, 404))


def fds_max() -> int:
    """Descriptors that this worker may have (RLIMIT_NOFILE, getrlimit(2))."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if limit == resource.RLIM_INFINITY else limit


def streamed_max() -> int:
    """Descriptors for files that stream."""
    return max(1, min(STREAMED_MAX, fds_max() // STREAMED_PART))


def downloads_max() -> int:
    """Archives that are being sent: each has one file open."""
    return max(1, min(DOWNLOADS_MAX, fds_max() // STREAMED_PART))


def memory_files_max(settings: Settings) -> int:
    """Memory files that this worker may have, after raising the limit of descriptors as far as that helps."""
    needed = files_needed(settings)
    raise_limits(needed + MEMORY_FILES_MAX)
    return min(MEMORY_FILES_MAX, max(fds_max() - needed, fds_max() // MEMORY_FILES_PART))


def connections_max(settings: Settings, files: int) -> tuple[int, int]:
    """Connections that are served, and those above them that are told 503.

    Both together leave `files` descriptors for what they ask for.
    """
    left = max(2, fds_max() - files - FDS_SPARE)
    refusals = max(1, min(REFUSALS_MAX, left // REFUSALS_PART))
    return min(settings.connections_max, left - refusals), refusals


def raise_limits(files: int, memory: int = 0) -> None:
    """Raise the soft limits, as anyone may: of open files to `files`, of locked memory to the hard limit.

    The hard limit of locked memory is raised first, to `memory` bytes, where this user may.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = files if hard == resource.RLIM_INFINITY else min(files, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    _, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if hard != resource.RLIM_INFINITY and hard < memory:
        # Where that is not permitted, what there is will be reported.
        with contextlib.suppress(PermissionError, ValueError):
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (memory, memory))
            return
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))


def parts_max(settings: Settings) -> int:
    """Bytes of answers with parts of files that one worker remembers."""
    return settings.memory // PARTS_PART


def own_max(settings: Settings) -> int:
    """Bytes of answers that the machine remembers by itself, in one worker."""
    return settings.memory // OWN_PART


def held_max(settings: Settings) -> int:
    """Bytes that requests and responses under way may hold in one worker."""
    return max(HELD_MIN, settings.memory // HELD_PART)


def evicted_max(settings: Settings) -> int:
    """Bytes of files that were evicted and are still being sent, in one worker."""
    return settings.memory // EVICTED_PART


def memory_needed(settings: Settings) -> int:
    """Bytes that all workers together want to register (the limit is one for all processes of a user)."""
    return settings.worker_count * (settings.memory + settings.stream_memory)


def registered_max(settings: Settings, lockable: int) -> int:
    """Bytes that one worker may register, of `lockable` that all processes of its user may lock. Less than
    its share: without room for a ring there would be no next worker.
    """
    share = lockable // settings.worker_count
    return max(share - RINGS_LOCKED, share // LOCKED_PART)


def memory_locked(settings: Settings) -> int:
    """Bytes that are locked at most: what was evicted counts for as long as somebody reads it."""
    return 2 * memory_needed(settings)


def files_needed(settings: Settings) -> int:
    """Descriptors that one worker may need."""
    return settings.connections_max + SPARE_FDS + len(settings.sites)
