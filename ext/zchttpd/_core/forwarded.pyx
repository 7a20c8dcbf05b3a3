"""The client that proxies name in a request head: X-Forwarded-For, or Forwarded (RFC 7239).

Each proxy appends whom it was asked by. So the list is read from its end, for as long as it names proxies that are believed:
who comes first that is none of them is the client. What stands before that may be anybody's invention.
"""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memchr, memcpy

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
    uint32_t count
    bint broken             # the field is not what it should be: nothing of it is believed


cdef bint forwarded_client(const char* head, uint32_t length, bint standard, const Networks* proxies,
                           Peer* client) noexcept nogil:
    """Set the client of a head that came from one of `proxies`. `standard`: of Forwarded, else of X-Forwarded-For. False
    where it names none that can be read, and `client` is left."""
    cdef Nodes nodes
    cdef uint32_t i
    cdef bint found = False
    nodes.count = 0
    nodes.broken = False
    _find(head, length, standard, &nodes)
    for i in range(min(nodes.count, <uint32_t>NODES_MAX) if not nodes.broken else 0):
        if not _read_node(&nodes.rows[(nodes.count - 1 - i) % NODES_MAX], client):
            break
        found = True
        if not networks_have(proxies, client):
            break
    return found


cdef inline Text _trim(const char* first, const char* end) noexcept nogil:
    cdef Text text
    while first < end and (first[0] == b' ' or first[0] == b'\t'):
        first += 1
    while first < end and (end[-1] == b' ' or end[-1] == b'\t' or end[-1] == b'\r'):
        end -= 1
    text.first = first
    text.length = <uint32_t>(end - first)
    return text


cdef void _find(const char* head, uint32_t length, bint standard, Nodes* nodes) noexcept nogil:
    """Each line of the field goes on with the list (RFC 9110 section 5.3)."""
    cdef const char* name = b"forwarded:" if standard else b"x-forwarded-for:"
    cdef uint32_t size = 10 if standard else 16
    cdef const char* at = head
    cdef const char* end
    cdef Text value
    while at != NULL:
        end = <const char*>memchr(at, b'\n', length - <uint32_t>(at - head))
        if end == NULL:
            return
        if end - at > size and strncasecmp(at, name, size) == 0:
            value = _trim(at + size, end)
            if standard:
                _add_elements(&value, nodes)
            else:
                _add_items(&value, nodes)
        at = end + 1 if <uint32_t>(end + 1 - head) < length else NULL


cdef void _add(Nodes* nodes, Text text) noexcept nogil:
    nodes.rows[nodes.count % NODES_MAX] = text
    nodes.count += 1


cdef void _add_items(const Text* value, Nodes* nodes) noexcept nogil:
    cdef const char* at = value.first
    cdef const char* end = value.first + value.length
    cdef const char* comma
    cdef Text item
    while at <= end:
        comma = <const char*>memchr(at, b',', end - at) if at < end else NULL
        if comma == NULL:
            comma = end
        item = _trim(at, comma)
        # A list may have empty places (RFC 9110 section 5.6.1.2).
        if item.length > 0:
            _add(nodes, item)
        at = comma + 1


cdef void _add_elements(const Text* value, Nodes* nodes) noexcept nogil:
    """Elements of pairs `name=token` or `name="text"`, with `;` between pairs and `,` between elements. One without `for`
    names nobody, and ends what can be read."""
    cdef const char* at = value.first
    cdef const char* end = value.first + value.length
    cdef const char* name
    cdef Text text, node
    cdef bint any = False
    node.length = 0
    node.first = NULL
    while True:
        at = _skip(at, end)
        if at == end or at[0] == b',' or at[0] == b';':
            # Empty places are allowed.
            if at == end or at[0] == b',':
                if any:
                    _add(nodes, node)
                any = False
                node.length = 0
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
        at = _value(at + 1, end, &node if text.length == 3 and strncasecmp(name, b"for", 3) == 0 else &text)
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
