"""The PROXY protocol (haproxy.org, doc/proxy-protocol.txt), of connections that begin with it.

Version 1 is a line, version 2 is binary. Of what version 2 may add, the checksum is verified and the rest is passed over.
The first byte that cannot be of a header ends the connection: who was to send one and does not may be anybody.
"""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memchr, memcmp, memcpy

from zchttpd._core.addresses cimport addresses_enter, addresses_have_room
from zchttpd._core.admission cimport admission_enqueue, admission_may_reject, admission_turn_away
from zchttpd._core.clients cimport clients_connected
from zchttpd._core.conn cimport conn_close, conn_set_deadline
from zchttpd._core.machine cimport CONN_GREETING, CONN_READING, Conn, PROXY_NAMED, PROXY_NONE, conn_at
from zchttpd._core.networks cimport network_peer, networks_have
from zchttpd._core.parking cimport park_refused
from zchttpd._core.queues cimport queues_remove
from zchttpd._core.recv_buffer cimport recv_buffer_consume
from zchttpd._core.scheme cimport scheme_connected
from zchttpd._core.token cimport NO_SLOT

cdef extern from "<arpa/inet.h>" nogil:
    enum:
        AF_INET
        AF_INET6
    int inet_pton(int family, const char* text, void* address)

cdef enum:
    LINE_SIZE_MAX = 107     # bytes of version 1, with its CRLF
    BINARY_SIZE_MIN = 16    # of version 2, before addresses
    SIZE_MAX = 2048         # of version 2 in all: a bound of ours, what is received before a head may be that long
    TYPE_CRC32C = 0x03
    CRC32C = 0x82F63B78     # its polynomial, bits reversed (RFC 9260, appendix A)

cdef const char* SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


cdef int proxy_read(const uint8_t* bytes, uint32_t length, Peer* client, uint32_t* size) noexcept nogil:
    """Read the header at the beginning of `length` bytes. With PROXY_CLIENT `client` is set, and with that and PROXY_OWN
    `size`, in bytes. How the bytes are cut does not matter."""
    if memcmp(bytes, b"PROXY ", min(length, <uint32_t>6)) == 0:
        return _read_line(bytes, length, client, size)
    if memcmp(bytes, SIGNATURE, min(length, <uint32_t>12)) == 0:
        return _read_binary(bytes, length, client, size)
    return PROXY_WRONG


# ---- version 1 ----

cdef int _read_line(const uint8_t* bytes, uint32_t length, Peer* client, uint32_t* size) noexcept nogil:
    cdef char[LINE_SIZE_MAX] line
    cdef const uint8_t* end = <const uint8_t*>memchr(bytes, b'\n', min(length, <uint32_t>LINE_SIZE_MAX))
    if end == NULL:
        return PROXY_MORE if length < LINE_SIZE_MAX else PROXY_WRONG
    size[0] = <uint32_t>(end - bytes) + 1
    if size[0] < 8 or bytes[size[0] - 2] != b'\r':
        return PROXY_WRONG
    memcpy(line, bytes, size[0] - 2)
    line[size[0] - 2] = 0
    # Behind UNKNOWN there may be anything.
    if size[0] >= 15 and memcmp(line, b"PROXY UNKNOWN", 13) == 0 and (line[13] == 0 or line[13] == b' '):
        return PROXY_OWN
    if size[0] < 12 or memchr(line, 0, size[0] - 2) != NULL:
        return PROXY_WRONG
    if memcmp(line, b"PROXY TCP4 ", 11) == 0:
        return _read_texts(line + 11, AF_INET, client)
    if memcmp(line, b"PROXY TCP6 ", 11) == 0:
        return _read_texts(line + 11, AF_INET6, client)
    return PROXY_WRONG


cdef int _read_texts(char* at, int family, Peer* client) noexcept nogil:
    """Source, destination, and their ports, with single blanks between them, up to the end of the text."""
    cdef (char*)[4] texts
    cdef uint8_t[16] source
    cdef uint8_t[16] destination
    cdef int32_t port
    cdef int i
    for i in range(4):
        texts[i] = at
        while at[0] != 0 and at[0] != b' ':
            at += 1
        if (at[0] == 0) != (i == 3):
            return PROXY_WRONG
        at[0] = 0
        at += 1
    port = _port(texts[2])
    if (inet_pton(family, texts[0], source) != 1 or inet_pton(family, texts[1], destination) != 1
            or port < 0 or _port(texts[3]) < 0):
        return PROXY_WRONG
    network_peer(client, family == AF_INET6, source, <uint16_t>port)
    return PROXY_CLIENT


cdef int32_t _port(const char* text) noexcept nogil:
    """The number, or -1 for what is none up to 65535 as one writes it."""
    cdef int32_t port = 0
    if text[0] == 0 or (text[0] == b'0' and text[1] != 0):
        return -1
    while text[0] != 0:
        if not b'0' <= text[0] <= b'9':
            return -1
        port = port * 10 + text[0] - <char>b'0'
        if port > 65535:
            return -1
        text += 1
    return port


# ---- version 2 ----

cdef inline uint32_t _number(const uint8_t* bytes) noexcept nogil:
    return <uint32_t>bytes[0] << 8 | bytes[1]


cdef int _read_binary(const uint8_t* bytes, uint32_t length, Peer* client, uint32_t* size) noexcept nogil:
    cdef uint8_t family, command
    cdef uint32_t addresses
    # Each byte is judged as soon as it is there.
    if length > 12 and bytes[12] != 0x20 and bytes[12] != 0x21:
        return PROXY_WRONG
    if length > 13 and (bytes[13] >> 4 > 3 or bytes[13] & 15 > 2):
        return PROXY_WRONG
    if length < BINARY_SIZE_MIN:
        return PROXY_MORE
    size[0] = BINARY_SIZE_MIN + _number(bytes + 14)
    command = bytes[12] & 15
    family = bytes[13] >> 4
    addresses = 12 if family == 1 else 36 if family == 2 else 216 if family == 3 else 0
    if size[0] > SIZE_MAX or (command == 1 and size[0] < BINARY_SIZE_MIN + addresses):
        return PROXY_WRONG
    if length < size[0]:
        return PROXY_MORE
    if command == 0:
        return PROXY_OWN
    if not _is_sound(bytes, BINARY_SIZE_MIN + addresses, size[0]):
        return PROXY_WRONG
    # What comes by TCP is told by its address, what comes any other way by nothing.
    if bytes[13] == 0x11:
        network_peer(client, False, bytes + 16, <uint16_t>_number(bytes + 24))
    elif bytes[13] == 0x21:
        network_peer(client, True, bytes + 16, <uint16_t>_number(bytes + 48))
    else:
        return PROXY_OWN
    return PROXY_CLIENT


cdef bint _is_sound(const uint8_t* bytes, uint32_t at, uint32_t size) noexcept nogil:
    """Whether what is added fills the header to its end, and the checksum is right where there is one."""
    cdef uint32_t length
    while at < size:
        if size - at < 3:
            return False
        length = _number(bytes + at + 1)
        if length > size - at - 3 or (bytes[at] == TYPE_CRC32C and (length != 4 or not _sum_holds(bytes, at + 3, size))):
            return False
        at += 3 + length
    return True


cdef bint _sum_holds(const uint8_t* bytes, uint32_t place, uint32_t size) noexcept nogil:
    """Whether the four bytes at `place` are the checksum of the header with zeros in their place (CRC32c)."""
    cdef uint32_t remainder = 0xFFFFFFFF
    cdef uint32_t i, told
    for i in range(size):
        if i < place or i >= place + 4:
            remainder ^= bytes[i]
        for _ in range(8):
            remainder = remainder >> 1 ^ (<uint32_t>CRC32C if remainder & 1 else 0)
    told = _number(bytes + place) << 16 | _number(bytes + place + 2)
    return told == <uint32_t>~remainder


# ---- connections ----

cdef bint proxy_trusts(Machine* machine, uint8_t proxy, const Peer* peer) noexcept nogil:
    """Whether who connects to a listener may do so. If not, that is counted. `peer` may be NULL."""
    if proxy != PROXY_NAMED or networks_have(&machine.proxies, peer):
        return True
    machine.stats.refused_proxy_peer += 1
    return False


cdef void proxy_begin(Machine* machine, uint32_t slot, uint8_t proxy) noexcept nogil:
    """A new connection may have to begin with a header: it has as long for that as for a head."""
    if proxy == PROXY_NONE:
        return
    conn_at(machine, slot).state = CONN_GREETING
    conn_at(machine, slot).head_began_ms = machine.now_ms
    conn_set_deadline(machine, slot, machine.limits.head_ms_max)


cdef void proxy_step(Machine* machine, uint32_t slot) noexcept nogil:
    """More of the header, or what follows it, has come. Once it is whole the connection reads heads."""
    cdef Conn* conn = conn_at(machine, slot)
    cdef uint32_t evicted, size = 0
    cdef bint counts
    cdef Peer client
    cdef int found = proxy_read(<const uint8_t*>conn.received.bytes + conn.received.start,
                                conn.received.end - conn.received.start, &client, &size)
    if found == PROXY_MORE:
        return
    if found == PROXY_WRONG:
        machine.stats.refused_proxy_header += 1
        conn_close(machine, slot)
        return
    recv_buffer_consume(&conn.received, size)
    conn.state = CONN_READING
    conn.head_began_ms = 0
    conn_set_deadline(machine, slot, machine.limits.idle_ms_max)
    queues_remove(&machine.queues, slot)
    # The header is no part of a request: its time begins with what follows.
    conn.began_us = machine.now_us if conn.received.bytes != NULL else 0
    if found == PROXY_CLIENT:
        clients_connected(machine, slot, &client, True)
        scheme_connected(machine, slot, &client)
    # Who is a proxy itself has as many connections as it takes.
    counts = found == PROXY_CLIENT and not conn.believed
    if counts and not addresses_have_room(machine, &client):
        if not admission_may_reject(machine, &evicted):
            conn_close(machine, slot)
            return
        if evicted != NO_SLOT:
            conn_close(machine, evicted)
        admission_turn_away(machine, slot)
        park_refused(machine, slot, 503)
        return
    if counts:
        addresses_enter(machine, slot, &client)
    if conn.received.bytes == NULL:
        admission_enqueue(machine, slot)
