"""Faults to plant in who may have what, where paths lead, and what is counted and named, with their tests."""

from __future__ import annotations

from plants import Plant

AUTH = "tests/unit/handler/test_auth.py"
REDIRECTS = "tests/unit/handler/test_redirects.py"
LINES = "tests/unit/config/test_redirects.py"
IDS = "tests/core/test_request_id.py"
LATENCY = "tests/core/test_latency.py"

PLANTS_OF_ACCESS = (
    Plant(
        "an answer for one user is remembered for all",
        "handler/answer.py",
        "caching=Cacheable.ONE_USER, ",
        "",
        AUTH,
    ),
    Plant(
        "shared caches may keep what is for one user",
        "handler/answer.py",
        'b"private", *private',
        "*kept",
        AUTH,
    ),
    Plant(
        "a file that is guarded is sent by another path",
        "handler/handler.py",
        "            paths += [] if answer.found_at is None else [path_of(answer.found_at)]\n",
        "",
        AUTH,
    ),
    Plant(
        "what a stranger asks for is looked at",
        "handler/handler.py",
        "if realm is None or self._auth.knows(realm, head):",
        "if True:",
        AUTH,
    ),
    Plant(
        "a template answers what is guarded",
        "handler/handler.py",
        "asked = None if self._redirects.forced or self._auth else plain(head)",
        "asked = None if self._redirects.forced else plain(head)",
        AUTH,
    ),
    Plant(
        "who is no user is told so at once",
        "handler/auth.py",
        "    hashed = realm.accounts.get(credentials.user, realm.nobody)\n",
        "    hashed = realm.accounts.get(credentials.user)\n    if hashed is None:\n        return False\n",
        AUTH,
    ),
    Plant(
        "a password is right that begins like it",
        "handler/auth.py",
        " and len(credentials.password) <= PASSWORD_SIZE_MAX",
        "",
        AUTH,
    ),
    Plant(
        "two slashes lead to another site",
        "handler/redirects.py",
        '            location = b"/" + location.lstrip(b"/")\n',
        "            pass\n",
        REDIRECTS,
    ),
    Plant(
        "a path names the site that it leads to",
        "config/redirects.py",
        "(?=[/?#]|$)",
        "",
        LINES,
    ),
    Plant(
        "a line leads away from a file",
        "handler/redirects.py",
        "            if forced and not self._lines[at].force:\n",
        "            if False:\n",
        REDIRECTS,
    ),
    Plant(
        "a rewrite is remembered as if one file decided",
        "handler/handler.py",
        "        return self._file_response(request, page, segments, page, caching=Cacheable.TWO_ENTRIES)\n",
        "        return self._file_response(request, page, segments, page)\n",
        REDIRECTS,
    ),
    Plant(
        "an id is written into a response that is under way",
        "machine.pyx",
        "        if plan.image_held > 0:\n",
        "        if plan.image_held > 0 and not own:\n",
        IDS,
    ),
    Plant(
        "an id lives on into the next request",
        "access_record.pyx",
        "    current.id_length = 0\n    current.sent = 0\n",
        "    current.sent = 0\n",
        IDS,
    ),
    Plant(
        "what is broken off counts as a response",
        "machine.pyx",
        "    elif conn.segment == plan.segment_count:\n        stats_latency",
        "    else:\n        stats_latency",
        LATENCY,
    ),
    Plant(
        "a request that came with another has begun before",
        "machine.pyx",
        "    conn.began_us = machine.now_us if conn.received.bytes != NULL else 0\n",
        "    conn.began_us = conn.began_us if conn.received.bytes != NULL else 0\n",
        LATENCY,
    ),
)
