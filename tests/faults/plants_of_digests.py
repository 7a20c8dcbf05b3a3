"""Faults to plant in what makes and tells digests, each with the test that must find it."""

from __future__ import annotations

from plants import Plant

DIGESTS = "tests/unit/files/test_digests.py"
INTEGRITY = "tests/unit/handler/test_integrity.py"

PLANTS_OF_DIGESTS = (
    Plant(
        "a file that changes is hashed on",
        "files/digests.py",
        "        if not count or not found.same_as(os.fstat(fd)):\n",
        "        if not count:\n",
        DIGESTS,
    ),
    Plant(
        "bytes that were just read are hashed while somebody writes them",
        "files/digests.py",
        "        if content is not None and not is_young(found.mtime_ns):\n",
        "        if content is not None:\n",
        DIGESTS,
    ),
    Plant(
        "a young file is hashed at once",
        "files/digests.py",
        "    if is_young(found.mtime_ns) or found.may_hang:\n",
        "    if False:\n",
        DIGESTS,
    ),
    Plant(
        "a young file is hashed while somebody writes it",
        "files/digests.py",
        "        settle(fd, found.mtime_ns)\n",
        "",
        DIGESTS,
    ),
    Plant(
        "parts of an encoding have the digests of the file's",
        "files/digests.py",
        "        key = (found.version, found.encoding, offset, length)\n",
        '        key = (found.version, "", offset, length)\n',
        DIGESTS,
    ),
    Plant(
        "a log that grows is hashed again and again",
        "files/digests.py",
        "    return until_s is not None and time",
        "    return False and until_s is not None and time",
        DIGESTS,
    ),
    Plant(
        "who wants a digest gets that of another path",
        "handler/templates.py",
        "|want-[a-z-]+",
        "",
        "tests/unit/handler/test_templates.py",
    ),
    Plant(
        "who wants a digest gets what was remembered for others",
        "cache_key.pyx",
        '        return _same(name, b"want-repr-digest", 16)\n',
        "        return False\n",
        "tests/core/test_cache_key.py",
    ),
    Plant(
        "the machine answers without the digest that all are told",
        "handler/handler.py",
        "and not self._integrity.always:\n            answer",
        ":\n            answer",
        "tests/unit/handler/test_templates.py",
    ),
    Plant(
        "an answer that has no digest yet is remembered",
        "handler/handler.py",
        "                caching = Cacheable.NO_DIGEST_YET\n",
        "                pass\n",
        INTEGRITY,
    ),
    Plant(
        "a refusal of digests is not heard",
        "http/integrity.py",
        "    return weights[ALGORITHM] > 0 if",
        "    return True if",
        "tests/unit/http/test_integrity.py",
    ),
)
