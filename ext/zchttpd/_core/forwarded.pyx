"""The client, and the scheme, that proxies name in a request head: X-Forwarded-For and X-Forwarded-Proto, or Forwarded
(RFC 7239).

Each proxy appends whom it was asked by. So the list is read from its end, for as long as it names proxies that are believed:
who comes first that is none of them is the client. What stands before that may be anybody's invention.
"""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memchr, memcpy, strlen

from zchttpd._core.networks cimport network_peer, networks_have

cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char* one, const char* other, size_t length)

cdef extern from "<arpa/inet.h>" nogil:
    enum:
        AF_INET
        AF_INET6
    int inet_pton(int family, const char* text, void* address)

cdef extern from "zc_field.h" nogil:
    enum:
        ZC_TOKEN
    const uint8_t* zc_field_class

cdef enum:
    NODES_MAX = 16          # the last of the list; more proxies stand in no row
    NODE_SIZE_MAX = 56      # "[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:65535"

cdef struct Text:
    const char* first
    uint32_t length

cdef struct Nodes:
    Text[NODES_MAX] rows    # a ring, whose last is that before `count`
    Text[NODES_MAX] schemes     # of Forwarded, beside them; of no length where there is none
    uint32_t count
    bint broken             # the field is not what it should be: nothing of it is believed


cdef bint forwarded_client(const char* head, uint32_t length, bint standard, const Networks* proxies,
                           Peer* client) noexcept nogil:
    """Set the client of a head that came from one of `proxies`. `standard`: of Forwarded, else of X-Forwarded-For. False
    where it names none that can be read, and `client` is left."""
    cdef Nodes nodes
    cdef bint found
    _find_nodes(head, length, standard, &nodes)
    _place(&nodes, proxies, client, &found)
    return found


cdef uint8_t forwarded_scheme(const char* head, uint32_t length, bint standard, const Networks* proxies) noexcept nogil:
    """The Scheme by which the client asked, of a head that came from one of `proxies`: what the last of them says that is
    believed. `standard`: in Forwarded, else in X-Forwarded-Proto, whose values belong to those of X-Forwarded-For from the
    end on; where it has fewer, the first counts."""
    cdef Nodes nodes, schemes
    cdef Peer client
    cdef bint found
    cdef uint32_t place
    _find_nodes(head, length, standard, &nodes)
    place = _place(&nodes, proxies, &client, &found)
    if standard:
        return _scheme(&nodes.schemes[(nodes.count - 1 - place) % NODES_MAX]) if place < nodes.count else SCHEME_UNNAMED
    _find(head, length, b"x-forwarded-proto:", False, &schemes)
    if schemes.count == 0:
        return SCHEME_UNNAMED
    place = min(place, schemes.count - 1)
    return _scheme(&schemes.rows[(schemes.count - 1 - place) % NODES_MAX])


cdef uint32_t _place(const Nodes* nodes, const Networks* proxies, Peer* client, bint* found) noexcept nogil:
    """The place, from the end, of what the last proxy wrote that is believed. `found`: whether `client` has been set."""
    cdef uint32_t known = min(nodes.count, <uint32_t>NODES_MAX)
    cdef uint32_t place = 0
    found[0] = False
    while place < known and _read_node(&nodes.rows[(nodes.count - 1 - place) % NODES_MAX], client):
        found[0] = True
        if place + 1 == known or not networks_have(proxies, client):
            break
        place += 1
    return place


cdef uint8_t _scheme(const Text* text) noexcept nogil:
    if text.length == 5 and strncasecmp(text.first, b"https", 5) == 0:
        return SCHEME_HTTPS
    return SCHEME_HTTP if text.length == 4 and strncasecmp(text.first, b"http", 4) == 0 else SCHEME_UNNAMED


cdef inline Text _trim(const char* first, const char* end) noexcept nogil:
    cdef Text text
    while first < end and (first[0] == b' ' or first[0] == b'\t'):
        first += 1
    while first < end and (end[-1] == b' ' or end[-1] == b'\t' or end[-1] == b'\r'):
        end -= 1
    text.first = first
    text.length = <uint32_t>(end - first)
    return text


cdef void _find_nodes(const char* head, uint32_t length, bint standard, Nodes* nodes) noexcept nogil:
    _find(head, length, b"forwarded:" if standard else b"x-forwarded-for:", standard, nodes)


cdef void _find(const char* head, uint32_t length, const char* name, bint standard, Nodes* nodes) noexcept nogil:
    """Each line of the field goes on with the list (RFC 9110 section 5.3). Of one that is not what it should be, none."""
    cdef uint32_t size = <uint32_t>strlen(name)
    cdef const char* at = head
    cdef const char* end
    cdef Text value
    nodes.count = 0
    nodes.broken = False
    while at != NULL:
        end = <const char*>memchr(at, b'\n', length - <uint32_t>(at - head))
        # What follows the empty line of a broken head is of another.
        if end == NULL or (at > head and end - at < 2 and (at[0] == b'\r' or at[0] == b'\n')):
            break
        if end - at > size and strncasecmp(at, name, size) == 0:
            value = _trim(at + size, end)
            if standard:
                _add_elements(&value, nodes)
            else:
                _add_items(&value, nodes)
        at = end + 1 if <uint32_t>(end + 1 - head) < length else NULL
    if nodes.broken:
        nodes.count = 0


cdef void _add(Nodes* nodes, Text text, Text scheme) noexcept nogil:
    nodes.rows[nodes.count % NODES_MAX] = text
    nodes.schemes[nodes.count % NODES_MAX] = scheme
    nodes.count += 1


cdef void _add_items(const Text* value, Nodes* nodes) noexcept nogil:
    cdef const char* at = value.first
    cdef const char* end = value.first + value.length
    cdef const char* comma
    cdef Text item, none
    none.first = NULL
    none.length = 0
    while at <= end:
        comma = <const char*>memchr(at, b',', end - at) if at < end else NULL
        if comma == NULL:
            comma = end
        item = _trim(at, comma)
        # A list may have empty places (RFC 9110 section 5.6.1.2).
        if item.length > 0:
            _add(nodes, item, none)
        at = comma + 1


cdef void _add_elements(const Text* value, Nodes* nodes) noexcept nogil:
    """Elements of pairs `name=token` or `name="text"`, with `;` between pairs and `,` between elements. One without `for`
    names nobody, and ends what can be read."""
    cdef const char* at = value.first
    cdef const char* end = value.first + value.length
    cdef const char* name
    cdef Text text, node, scheme
    cdef Text* to
    cdef bint any = False
    node.length = scheme.length = 0
    node.first = scheme.first = NULL
    while True:
        at = _skip(at, end)
        if at == end or at[0] == b',' or at[0] == b';':
            # Empty places are allowed.
            if at == end or at[0] == b',':
                if any:
                    _add(nodes, node, scheme)
                any = False
                node.length = scheme.length = 0
            if at == end:
                return
            at += 1
            continue
        name = at
        while at < end and zc_field_class[<uint8_t>at[0]] & ZC_TOKEN:
            at += 1
        if at == name or at == end or at[0] != b'=':
            nodes.broken = True
            return
        text.length = <uint32_t>(at - name)
        to = &text
        if text.length == 3 and strncasecmp(name, b"for", 3) == 0:
            to = &node
        elif text.length == 5 and strncasecmp(name, b"proto", 5) == 0:
            to = &scheme
        at = _value(at + 1, end, to)
        any = True
        if at != NULL:
            at = _skip(at, end)
        if at == NULL or (at < end and at[0] != b',' and at[0] != b';'):
            nodes.broken = True
            return


cdef inline const char* _skip(const char* at, const char* end) noexcept nogil:
    while at < end and (at[0] == b' ' or at[0] == b'\t'):
        at += 1
    return at


cdef const char* _value(const char* at, const char* end, Text* text) noexcept nogil:
    """What follows a token or a quoted text, without its quotes; NULL where there is neither. No node has a backslash."""
    cdef bint quoted = at < end and at[0] == b'"'
    text.first = at + 1 if quoted else at
    if quoted:
        at += 1
        while at < end and at[0] != b'"':
            at += 2 if at[0] == b'\\' else 1
        if at >= end:
            return NULL
    else:
        while at < end and zc_field_class[<uint8_t>at[0]] & ZC_TOKEN:
            at += 1
        if at == text.first:
            return NULL
    text.length = <uint32_t>(at - text.first)
    return at + 1 if quoted else at


cdef bint _read_node(const Text* text, Peer* client) noexcept nogil:
    """An address, in brackets or not, with a port or not."""
    cdef char[NODE_SIZE_MAX] copy
    cdef uint8_t[16] address
    cdef char* first = copy
    cdef char* port = NULL
    cdef char* colon
    cdef int32_t number = 0
    if text.length == 0 or text.length >= NODE_SIZE_MAX:
        return False
    memcpy(copy, text.first, text.length)
    copy[text.length] = 0
    if memchr(copy, 0, text.length) != NULL:
        return False
    colon = <char*>memchr(copy, b':', text.length)
    if copy[0] == b'[':
        first = <char*>memchr(copy, b']', text.length)
        if first == NULL or (first[1] != 0 and first[1] != b':'):
            return False
        port = first + 2 if first[1] == b':' else NULL
        first[0] = 0
        first = copy + 1
        if memchr(first, b':', text.length - 1) == NULL:
            return False
    elif colon != NULL and memchr(colon + 1, b':', text.length - <uint32_t>(colon + 1 - copy)) == NULL:
        colon[0] = 0
        port = colon + 1
    if port != NULL:
        number = _port(port)
    if number < 0:
        return False
    if inet_pton(AF_INET, first, address) == 1 and copy[0] != b'[':
        network_peer(client, False, address, <uint16_t>number)
        return True
    if inet_pton(AF_INET6, first, address) == 1:
        network_peer(client, True, address, <uint16_t>number)
        return True
    return False


cdef int32_t _port(const char* text) noexcept nogil:
    """The number, 0 for a name that hides it (RFC 7239 section 6.3), or -1."""
    cdef int32_t port = 0
    if text[0] == b'_':
        return 0
    if text[0] == 0:
        return -1
    while text[0] != 0:
        if not b'0' <= text[0] <= b'9' or port > 6553:
            return -1
        port = port * 10 + text[0] - <char>b'0'
        text += 1
    return port if port <= 65535 else -1
