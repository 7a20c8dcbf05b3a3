"""Faults to plant in folders that are given as zips, each with the test that must find it."""

from __future__ import annotations

from plants import Plant

ARCHIVE = "tests/unit/files/test_archive.py"
ARCHIVES = "tests/unit/files/test_archives.py"
CHECKSUMS = "tests/unit/files/test_checksums.py"
LOOKS = "tests/unit/files/test_looks.py"
TREE = "tests/unit/files/test_tree.py"
ANSWERS = "tests/unit/handler/test_archive.py"
WAITERS = "tests/unit/engine/test_waiters.py"
MORE = "tests/core/test_more.py"

PLANTS_OF_ARCHIVES = (
    Plant(
        "other bytes of equal length and time have the same tag",
        "files/archive.py",
        "(version.size, version.mtime_ns, version.ctime_ns)",
        "(version.size, version.mtime_ns)",
        ARCHIVE,
    ),
    Plant(
        "a header is placed as if there were no descriptors",
        "files/archive.py",
        " + member.size + zip_format.descriptor_size(member)\n",
        " + member.size\n",
        ARCHIVE,
    ),
    Plant(
        "offsets beyond four gibibytes are cut",
        "files/zip_format.py",
        "    place = (start,) if start >= _FULL_32 else ()\n",
        "    place = ()\n",
        ARCHIVE,
    ),
    Plant(
        "hidden files are in it",
        "files/tree.py",
        'if name.startswith(b".") or self',
        "if self",
        ARCHIVE,
    ),
    Plant(
        "a symlink that leads up has no end",
        "files/tree.py",
        "            if place in above:\n",
        "            if False:\n",
        ARCHIVE,
    ),
    Plant(
        "what wants another password is in it",
        "handler/archive.py",
        "            return self._auth.realm_of([_path(segments, folder)]) in (None, realm)\n",
        "            return True\n",
        ANSWERS,
    ),
    Plant(
        "what is known to be outdated is given again",
        "files/archives.py",
        " and not _is_outdated(known.found):\n",
        ":\n",
        ARCHIVES,
    ),
    Plant(
        "more files are read at a time than there is room for",
        "files/checksums.py",
        "        elif not jobs.full:\n",
        "        else:\n",
        CHECKSUMS,
    ),
    Plant(
        "what nobody wants any more is hashed to its end",
        "files/checksums.py",
        "            reading.wanting.discard(who)\n",
        "            pass\n",
        CHECKSUMS,
    ),
    Plant(
        "who asks again for a checksum begins anew",
        "files/checksums.py",
        "            self._begun.put(found.version, part)\n",
        "            pass\n",
        CHECKSUMS,
    ),
    Plant(
        "folders are looked at without a rest",
        "files/archives.py",
        "            if (wait_s > 0 and self._pause(wait_s)) or look.is_set():\n",
        "            if look.is_set():\n",
        ARCHIVES,
    ),
    Plant(
        "a folder that nobody waits for any more keeps its place",
        "files/archives.py",
        "        if look is not self._under_way and look.job.wanted is Wanted.NO:\n",
        "        if False:\n",
        LOOKS,
    ),
    Plant(
        "a folder is looked at to its end when nobody waits for it",
        "files/archives.py",
        "under_way.stopped = under_way.job.wanted is Wanted.NO or (",
        "under_way.stopped = False or (",
        LOOKS,
    ),
    Plant(
        "who may have left is looked at for before others",
        "files/archives.py",
        "            key=lambda look: (look is self._under_way, look.job.wanted is not Wanted.YES),\n",
        "            key=lambda look: look is self._under_way,\n",
        LOOKS,
    ),
    Plant(
        "who may have left keeps its place when there is no room",
        "files/archives.py",
        "            if look is not self._under_way and look.job.wanted is Wanted.MAYBE:\n",
        "            if False:\n",
        LOOKS,
    ),
    Plant(
        "who has left counts as waiting",
        "engine/waiters.py",
        "        return self.engine.awaits(ticket) and not self.engine.may_have_left(ticket)\n",
        "        return True\n",
        WAITERS,
    ),
    Plant(
        "who has left has a folder looked at anew",
        "engine/waiters.py",
        "        if self.engine.awaits(ticket):\n            go_on(error)\n",
        "        go_on(error)\n",
        WAITERS,
    ),
    Plant(
        "what takes longer than anybody waits is begun for ever",
        "engine/waiters.py",
        "                crowd.kept = True\n",
        "                pass\n",
        WAITERS,
    ),
    Plant(
        "what is kept of folders has no bound",
        "files/archives.py",
        "        while self._size > KEPT_SIZE and len(self._known) > 1:\n",
        "        while False:\n",
        ARCHIVES,
    ),
    Plant(
        "sites share what is known of a folder",
        "files/archives.py",
        "        key = (self._site, segments, ",
        "        key = (0, segments, ",
        ARCHIVES,
    ),
    Plant(
        "what no path can name is in it",
        "files/tree.py",
        "                if not _fits(path) or not (",
        "                if not (",
        TREE,
    ),
    Plant(
        "a folder that is swapped under a walk gives nothing",
        "files/tree.py",
        "                if error.errno not in NOTHING:\n",
        "                if error:\n",
        TREE,
    ),
    Plant(
        "lengths beyond what clients read are given",
        "files/tree.py",
        "        if self._size > SIZE_MAX:\n",
        "        if False:\n",
        TREE,
    ),
    Plant(
        "the handler does not hear of who leaves a response of several plans",
        "machine.pyx",
        "        machine.broken_off = 1\n",
        "        pass\n",
        MORE,
    ),
    Plant(
        "the handler does not hear of who leaves while it waits",
        "conn.pyx",
        "    park_lost(machine, slot)\n    conn.state = CONN_CLOSING\n",
        "    conn.state = CONN_CLOSING\n",
        MORE,
    ),
    Plant(
        "the handler does not hear of who closes while it waits",
        "conn.pyx",
        "            conn_close(machine, slot)\n        park_lost(machine, slot)\n",
        "            conn_close(machine, slot)\n",
        MORE,
    ),
    Plant(
        "a response of several plans is over with the first",
        "conn.pyx",
        "    if unlikely(plan.more):\n",
        "    if False:\n",
        MORE,
    ),
    Plant(
        "what comes next is taken before what comes first has been sent",
        "conn.pyx",
        "    if not _waits_for_more(machine, slot, generation):\n",
        "    if not conn_wants_more(machine, slot, generation):\n",
        MORE,
    ),
    Plant(
        "a response that was broken off between two plans counts as whole",
        "machine.pyx",
        "    if plan.more:\n        machine.broken_off = 1\n    elif conn.segment == plan.segment_count:\n",
        "    if conn.segment == plan.segment_count:\n",
        MORE,
    ),
    Plant(
        "copied bytes of a member are not compared with its checksum",
        "engine/downloads.py",
        "if content is not None and not archive.checksums.check(found, content):",
        "if content is not None and not archive.checksums.check(found, content) and False:",
        "tests/unit/engine/test_downloads.py",
    ),
)
