"""What the handler tells the machine of the site, so that it can answer new paths by itself (`new_paths`)."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from zchttpd._core.cache_key cimport CACHE_KEY_SIZE_MAX, cache_key
from zchttpd._core.clients cimport clients_open
from zchttpd._core.file_version cimport FileVersion
from zchttpd._core.history cimport Given, history_find, history_give
from zchttpd._core.http_date cimport HTTP_DATE_LENGTH
from zchttpd._core.listening cimport listening_networks
from zchttpd._core.machine cimport CONN_PARKED, CONN_PEER_DONE, Conn, conn_at, machine_close_file
from zchttpd._core.plain_path cimport PlainPath, plain_name, plain_path
from zchttpd._core.plans cimport cache_key_hash, entry_at
from zchttpd._core.scheme cimport scheme_is_secure
from zchttpd._core.site cimport PATTERNS_MAX, SiteLimits, site_open, site_rules, site_trust, site_turn_to
from zchttpd._core.slab cimport slab_holds
from zchttpd._core.templates cimport Kind, Template, templates_add, templates_find


cdef FileVersion _version(facts):
    """Of (device, inode, size, mtime_ns, ctime_ns)."""
    cdef FileVersion version
    dev, ino, size, mtime_ns, ctime_ns = facts
    version.dev = dev
    version.ino = ino
    version.size = size
    version.mtime_ns = <int64_t><uint64_t>(mtime_ns & 0xFFFF_FFFF_FFFF_FFFF)
    version.ctime_ns = <int64_t><uint64_t>(ctime_ns & 0xFFFF_FFFF_FFFF_FFFF)
    return version


cdef class SiteWorker(Worker):
    """A worker that answers new paths of a known shape, and looks at entries again, by itself.

    Paths are those beneath the root, without a slash before them; versions are (device, inode, size, mtime_ns, ctime_ns) of
    stat(2).
    """

    def believe(self, forwarders, forwarded: bool) -> None:
        """Have the log name, and limits count for, the clients that requests from these networks name in Forwarded, or else
        in X-Forwarded-For; and believe what scheme they name there, or in X-Forwarded-Proto. A network is (packed address,
        bits that count). Before the first connection. Raises ValueError for too many, and MemoryError.
        """
        listening_networks(&self.machine.forwarders, forwarders)
        self.machine.forwarded = forwarded
        if (self.machine.forwarders.count and (self.machine.rates != NULL or self.machine.address_chain_count)
                and clients_open(&self.machine) < 0):
            raise MemoryError("no memory for what is known of clients")

    def tell_schemes(self, secure: bool) -> None:
        """From now on answers depend on whether a head was asked for by https: as who is believed says, or else as `secure`
        says of all connections. Before the first of them."""
        self.machine.tells_schemes = 1
        self.machine.secure = secure

    def is_secure(self, ticket: int) -> bool:
        """Whether the head of `ticket` was asked for by https."""
        cdef uint32_t slot = ticket & 0xFFFFFF
        cdef Conn* conn
        if not slab_holds(&self.machine.conns, slot, ticket >> 24):
            return self.machine.secure
        conn = conn_at(&self.machine, slot)
        return scheme_is_secure(&self.machine, slot, conn.received.bytes + conn.received.start, conn.head_length)

    def awaits(self, ticket: int) -> bool:
        """Whether the head of `ticket` still waits for an answer."""
        cdef uint32_t slot = ticket & 0xFFFFFF
        return slab_holds(&self.machine.conns, slot, ticket >> 24) and conn_at(&self.machine, slot).state == CONN_PARKED

    def may_have_left(self, ticket: int) -> bool:
        """Whether the peer of `ticket`, which is there, has closed its direction: it has left, or still waits, with no more
        to ask."""
        return conn_at(&self.machine, ticket & 0xFFFFFF).flags & CONN_PEER_DONE

    def know_site(self, limits: dict, patterns: list[bytes], siblings: bool) -> None:
        """Answer by itself from now on, as soon as the root and templates are there. `limits` has the fields of
        `SiteLimits` (site.pxd). `patterns`, of `*` and `?`: the options look at nothing of a path but its extension and
        which of these it matches. `siblings`: whether there may be compressed ones. Raises ValueError for too many
        patterns, and MemoryError.
        """
        cdef SiteLimits bounds = limits
        cdef bytes joined = b"".join([pattern + b"\0" for pattern in patterns])
        if len(patterns) > PATTERNS_MAX:
            raise ValueError("too many patterns")
        if self.machine.site.open:
            raise RuntimeError("the site is known")
        if site_open(&self.machine.site, &bounds, joined, len(joined)) < 0:
            raise MemoryError("no memory for what is known of the site")
        self.machine.site.siblings = siblings

    def turn_to(self, root: int, path: bytes, dev: int, ino: int) -> None:
        """The root, open as `root`, which it takes over anyhow, is what `path` leads to. Raises MemoryError."""
        if site_turn_to(&self.machine.site, path, len(path), dev, ino) < 0:
            machine_close_file(&self.machine, root)
            raise MemoryError("no memory for the path of the root")
        if self.machine.site.root >= 0:
            machine_close_file(&self.machine, self.machine.site.root)
        self.machine.site.root = root

    def trust(self, dev: int) -> None:
        """Files of this device are as long as fstat(2) says."""
        site_trust(&self.machine.site, dev)

    def teach(self, head: bytes, before: bytes, behind: bytes, date_at: int, keep_alive: bool, linger: bool) -> None:
        """What lies before and behind the fields Content-Length, ETag and Last-Modified of the answer to `head`, and to
        others that differ in nothing but plain paths of which the options say the same."""
        cdef char[CACHE_KEY_SIZE_MAX] key
        cdef uint32_t length = cache_key(head, len(head), key)
        cdef PlainPath path
        cdef Kind kind
        cdef Template* template
        if (not self.machine.site.open or not length or not plain_path(key, length, &path) or not path.get
                or not 0 <= date_at <= len(before) - HTTP_DATE_LENGTH):
            return
        kind.shape = key + path.begin + path.length
        kind.shape_length = length - path.begin - path.length
        kind.extension = kind.shape - path.extension
        kind.extension_length = path.extension
        kind.rules = site_rules(&self.machine.site, key + path.begin - 1, path.length + 1)
        if templates_find(&self.machine.site.templates, &self.machine.table, &kind) != NULL:
            return
        template = templates_add(&self.machine.site.templates, &self.machine.table, &kind, before, len(before), behind,
                                 len(behind))
        if template != NULL:
            template.date_at = date_at
            template.keep_alive = keep_alive
            template.linger = linger

    def watch(self, entry: int, version) -> None:
        """The entry is that of a file of this version, at the path that is asked for, with nothing beside it: look at it
        again when it is due."""
        cdef uint32_t slot = self._slot(&self.machine.table.entries, entry)
        entry_at(&self.machine.table, slot).version = _version(version)
        entry_at(&self.machine.table, slot).known = 1

    def given(self, path: bytes) -> tuple | None:
        """The version of a path that was given last, if that was with a tag and a date of its modification time."""
        cdef uint32_t extension
        cdef Given* given = NULL
        if self.machine.site.open and plain_name(path, len(path), &extension):
            given = history_find(&self.machine.site.history, cache_key_hash(&self.machine.table, path, len(path)))
        if given == NULL or not given.plain:
            return None
        return (given.version.dev, given.version.ino, given.version.size, given.version.mtime_ns, given.version.ctime_ns)

    def give(self, path: bytes, version, plain: bool) -> None:
        """The handler gives this version; `plain`: the file at the path itself, with a tag and a date of its modification
        time."""
        cdef uint32_t extension
        cdef FileVersion known = _version(version)
        if self.machine.site.open and plain_name(path, len(path), &extension):
            history_give(&self.machine.site.history, cache_key_hash(&self.machine.table, path, len(path)), &known, plain)
