"""Faults to plant in redirects by scheme and host, each with the test that must find it."""

from __future__ import annotations

from plants import Plant

SCHEME = "tests/core/test_scheme.py"
REDIRECTS = "tests/unit/handler/test_redirects.py"
LINES = "tests/unit/config/test_redirects.py"
SITES = "tests/unit/handler/test_sites.py"
ARCHIVE = "tests/unit/handler/test_archive.py"
WIRE = "tests/wire/test_redirects.py"

PLANTS_OF_REDIRECTS = (
    Plant(
        "anybody may say by which scheme it asks",
        "scheme.pyx",
        "machine.tells_schemes and networks_have(&machine.forwarders, peer)\n",
        "machine.tells_schemes\n",
        SCHEME,
    ),
    Plant(
        "what is remembered for https is sent to http",
        "scheme.pyx",
        "    if secure == machine.secure:\n",
        "    if True:\n",
        SCHEME,
    ),
    Plant(
        "the last value of a scheme counts, whoever wrote it",
        "forwarded.pyx",
        "    place = min(place, schemes.count - 1)\n",
        "    place = 0\n",
        SCHEME,
    ),
    Plant(
        "who says nothing of the scheme has that of the element before",
        "forwarded.pyx",
        "                any = False\n                node.length = scheme.length = 0\n",
        "                any = False\n                node.length = 0\n",
        SCHEME,
    ),
    Plant(
        "a key is longer than there is room for",
        "scheme.pyx",
        " or key_length - 2 + size > CACHE_KEY_SIZE_MAX:\n",
        ":\n",
        SCHEME,
    ),
    Plant(
        "a connection with TLS is http",
        "engine/serve.py",
        "worker.tell_schemes(bool(settings.tls_cert))",
        "worker.tell_schemes(False)",
        "tests/wire/tls/test_redirects.py",
    ),
    Plant(
        "the handler is not told the scheme",
        "engine/loader.py",
        "secure=self.engine.is_secure(ticket)",
        "secure=False",
        WIRE,
    ),
    Plant(
        "the sites of a table are not told the scheme",
        "handler/sites.py",
        "self._handlers[number].answer(head, now_ms, secure=secure)",
        "self._handlers[number].answer(head, now_ms)",
        SITES,
    ),
    Plant(
        "a host that is no name is told in Location",
        "handler/redirects.py",
        "    if len(host) > HOST_SIZE_MAX or host.startswith(ANY) or not is_name(host):\n",
        "    if not host:\n",
        REDIRECTS,
    ),
    Plant(
        "a host may stand for others, as lines have it",
        "handler/redirects.py",
        " or host.startswith(ANY)",
        "",
        REDIRECTS,
    ),
    Plant(
        "a line of one host is of all",
        "handler/redirects.py",
        "            if self._lines[at].source.site not in sites:\n",
        "            if False:\n",
        REDIRECTS,
    ),
    Plant(
        "a segment of the path becomes the host",
        "config/redirects.py",
        "    elif _names_host(words[1]):\n",
        "    elif False:\n",
        LINES,
    ),
    Plant(
        "a password is asked for in clear",
        "handler/handler.py",
        "            if isinstance(led, Moved) and led.by_site:\n",
        "            if False:\n",
        REDIRECTS,
    ),
    Plant(
        "the zip for one host is that for all",
        "files/archives.py",
        "        key = (self._site, segments, depends_on, *self._root.identity)\n",
        "        key = (self._site, segments, (), *self._root.identity)\n",
        ARCHIVE,
    ),
)
