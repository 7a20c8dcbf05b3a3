"""What hostile or odd requests must get, by the rows of a checklist: attacks on other servers, and the
sections of RFC 9110 and 9112 that they break. `test_checklist.py` proves that each is sent by a case; where
one request is not enough, a row names tests.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """`sent`: bytes that a case must contain, for each input of the row; `may`: the statuses that such a case
    may allow, () for any. `tests`: other tests of this row, as `path::name`.
    """

    name: str
    sent: tuple[bytes, ...] = ()
    may: tuple[int, ...] = ()
    tests: tuple[str, ...] = ()


def _get(*targets: bytes) -> tuple[bytes, ...]:
    return tuple(b"GET " + target + b" HTTP/1.1\r\n" for target in targets)


def _fields(*lines: bytes) -> tuple[bytes, ...]:
    return tuple(b"\r\n" + line + b"\r\n" for line in lines)


_ROOT = "tests/unit/files/test_root.py::"
_CONNECTIONS = "tests/wire/test_connections.py::"
_COMPRESS = "tests/wire/test_compress.py::"
_CHANGES = "tests/wire/test_files_change.py::"

PATHS = (
    Row(
        "dot-segments-above-the-root",
        _get(
            b"/../secret",
            b"/a/../../secret",
            b"/%2e%2e/secret",
            b"/.%2e/",
            b"/%2E%2e%2Fsecret",
            b"/..%2fsecret",
            b"/..;/secret",
        ),
        (400, 404),
    ),
    Row("dot-segments-inside", _get(b"/a/../hello.txt", b"/a/./b.txt", b"/sub/deep/.."), (200,)),
    Row(
        "decoded-once",
        _get(b"/%252e%252e/secret", b"/%c0%ae%c0%ae/secret", b"/%ef%bc%8e%ef%bc%8e/secret"),
        (404,),
    ),
    Row(
        "bad-triplets",
        _get(b"/foo%", b"/foo%1", b"/foo%zz", b"/%uff0e", b"/%%32%65%%32%65/"),
        (400,),
    ),
    Row("encoded-slash", _get(b"/a%2fb.txt", b"/a%2Fb.txt", b"/.well-known%2fsecurity.txt"), (404,)),
    Row("nul", (*_get(b"/file%00.html", b"/%00", b"/hello.txt%00"), b"GET /hello.txt\x00 "), (400,)),
    Row("backslash", _get(b"/..\\secret", b"/%5c..%5csecret", b"/\\evil.com/x"), (404,)),
    Row(
        "redirect-to-another-host",
        _get(b"//evil.com/%2e%2e", b"///evil", b"//evil.com/dir", b"/\\evil.com", b"/%5cevil.com"),
    ),
    Row("redirect-keeps-the-query", _get(b"/sub?x=1&y=2", b"/sub?x=%0d%0aSet-Cookie:%20a=b"), (301, 308)),
    Row("sibling-prefix", _get(b"/../www-private/x.txt", b"/a/../../www-private/x.txt"), (400, 404)),
    Row(
        "symlink-out",
        _get(b"/out.txt", b"/out-dir/", b"/out-dir/secret.txt", b"/a/out.txt", b"/idx-out/", b"/passwd"),
        (403, 404),
        (
            "tests/wire/test_site.py::test_no_page_leads_out",
            "tests/unit/files/test_entry_cache.py::test_a_sibling_is_opened_under_the_same_policy",
        ),
    ),
    Row("symlink-out-sidecar", (b"GET /side-link.js HTTP/1.1",), (200,)),
    Row(
        "swapped-between-check-and-open",
        tests=(
            _ROOT + "test_a_component_swapped_while_it_is_opened",
            _ROOT + "test_walks_where_the_kernel_refuses_openat2",
            "tests/unit/files/test_entry_cache.py::test_a_replaced_file_is_not_opened",
        ),
    ),
    Row("symlink-to-dotfile", _get(b"/dotlink.txt", b"/dotdirlink/config"), (404,)),
    Row("configmap", _get(b"/cm/app.conf"), (200,), (_ROOT + "test_a_config_map_works_and_swaps",)),
    Row("no-regular-file", _get(b"/pipe", b"/socket", b"/device", b"/proc/status"), (403, 404)),
    Row(
        "dotfiles",
        _get(
            b"/.env",
            b"/.git/config",
            b"/sub/.htpasswd",
            b"/.well-known/.env",
            b"/.well-known-x/y",
            b"/.env/.",
            b"/.env/",
            b"/%2eenv",
            b"/.htaccess",
        ),
        (404,),
    ),
    Row("dotfile-behind-two-slashes", _get(b"//.env"), (301, 404)),
    Row("well-known", _get(b"/.well-known/security.txt"), (200,)),
    Row("no-path-info", _get(b"/hello.txt/", b"/hello.txt/extra"), (404,)),
    Row("long-component", _get(b"/" + b"n" * 300, b"/" + b"/".join([b"d" * 100] * 41)), (404,)),
    Row("long-path", (b"GET /" + b"a" * 1_000_000,), (414,)),
    Row("link-loop", _get(b"/loop", b"/loop/x"), (403, 404)),
    Row("unreadable", _get(b"/unreadable.txt", b"/closed/file.txt"), (403, 404)),
    Row(
        "odd-times",
        _get(
            b"/mtime-zero.txt",
            b"/mtime-one.txt",
            b"/mtime-before.txt",
            b"/mtime-far.txt",
            b"/mtime-future.txt",
        ),
        (200,),
        ("tests/unit/files/test_entry_cache.py::test_last_modified_is_never_in_the_future",),
    ),
)

_LINE = (
    b"GET  /",
    b" HTTP/1.1 x\r\n",
    b"GET\t/",
    b"GET\x0c/",
    b"GET\r/",
    b" HTTP/1.10\r\n",
    b" HTTP/01.1\r\n",
)
_BAD_LENGTHS = (b"+5", b"-0", b"0x5", b"5 5", b"1e1", b"18446744073709551616", b"")
_BAD_CODINGS = (b"xchunked", b"chunked, chunked", b"identity", b"\x0bchunked")
_BAD_SIZES = (b"0x5", b"+5", b"-1", b"5 ", b"1_0", b"00000000000000005", b"5;", b"5;" + b"x" * 65536)

FRAMING = (
    Row(
        "host",
        (
            *_fields(b"Host: a\r\nHost: b", b"Host: a, b", b"Host: u@h", b"Host: h/p", b"Host: a b"),
            b"GET /hello.txt HTTP/1.1\r\n\r\n",
            b"GET http://wire.test/hello.txt HTTP/1.1\r\nHost: \r\n",
        ),
        (400,),
    ),
    Row("absolute-form-wins", _get(b"http://other.test/hello.txt"), (200,)),
    Row("host-in-1.0", (b"GET /hello.txt HTTP/1.0\r\n\r\n",), (200,)),
    Row("request-line", _LINE, (400,)),
    Row("lower-case-method", (b"get /hello.txt HTTP/1.1",), (400, 405, 501)),
    Row("other-major", (b" HTTP/2.0\r\nHost", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), (400, 505)),
    Row("other-minor", (b" HTTP/1.2\r\n",), (200,)),
    Row("unknown-method", (b"BREW /", b"GETT /"), (405, 501)),
    Row("leading-empty-line", (b"\r\nGET /hello.txt",), (200,)),
    Row("endless-empty-lines", (b"\r\n" * 40_000,), (400, 431)),
    Row("bare-lf", (b"HTTP/1.1\nHost", b"wire.test\n\r\n", b"wire.test\nA: b"), (400,)),
    Row("bare-cr", (b"HTTP/1.1\rHost", b"A: b\rc", b"\r\nHost: wire.test\r\r\n"), (400,)),
    Row(
        "field-lines",
        (
            *_fields(
                b"A: b\r\n c", b"A: b\r\n\tc", b"A : b", b": b", b"A(b: c", b"\xc3\xa4: c", b"A: b\x00c"
            ),
            b" HTTP/1.1\r\n A: b",
        ),
        (400,),
    ),
    Row(
        "length-and-coding",
        (
            b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            b"Content-Length: 5\r\nContent-Length: 6\r\n",
        ),
        (400,),
    ),
    Row("lengths", tuple(b"\r\nContent-Length: " + value + b"\r\n\r\n" for value in _BAD_LENGTHS), (400,)),
    Row("codings", tuple(b"\r\nTransfer-Encoding: " + value + b"\r\n" for value in _BAD_CODINGS), (400,)),
    Row("unknown-coding", _fields(b"Transfer-Encoding: gzip, chunked"), (400, 501)),
    Row("coding-in-1.0", (b"HTTP/1.0\r\nHost: wire.test\r\nTransfer-Encoding: chunked\r\n",), (400,)),
    Row("equal-lengths", (b"Content-Length: 5\r\nContent-Length: 5\r\n",), (200, 400)),
    Row(
        "chunk-sizes",
        tuple(b"chunked\r\n\r\n" + size + b"\r\nhello\r\n0\r\n\r\n" for size in _BAD_SIZES),
        (400, 405),
    ),
    Row("chunk-ends", (b"\r\n\r\n5\nhello\n0\n\n", b"\r\n\r\n5\r\nhello0\r\n\r\n"), (400, 405)),
    Row(
        "body-of-get",
        (b"GET /hello.txt HTTP/1.1\r\nHost: wire.test\r\nContent-Length: 5\r\n\r\nhello",),
        (200, 400),
    ),
    Row(
        "body-of-head",
        (b"HEAD /hello.txt HTTP/1.1\r\nHost: wire.test\r\nContent-Length: 5\r\n\r\nhello",),
        (200, 400),
    ),
    Row(
        "body-of-post",
        (b"POST /hello.txt HTTP/1.1\r\nHost: wire.test\r\nContent-Length: 5\r\n\r\nhello",),
        (405,),
    ),
    Row(
        "body-in-chunks",
        (b"HEAD /hello.txt HTTP/1.1\r\nHost: wire.test\r\nTransfer-Encoding: chunked\r\n",),
        (400,),
    ),
    Row("body-with-trailers", (b"\r\n0\r\nA: b\r\n\r\n",), (400, 405)),
    Row("body-is-a-request", (b"\r\n\r\nGET /a/b.txt HTTP/1.1\r\n",), (200, 400, 405)),
    Row("expect", _fields(b"Expect: 100-continue", b"Expect: 100-Continue"), (200, 400, 405, 417)),
    Row("unknown-expect", _fields(b"Expect: 200-ok"), (417,)),
    Row("options-asterisk", (b"OPTIONS * HTTP/1.1",), (200, 204)),
    Row("asterisk-of-get", (b"GET * HTTP/1.1",), (400,)),
    Row("connect-and-trace", (b"CONNECT wire.test:443 ", b"TRACE / HTTP/1.1"), (400, 405, 501)),
    Row(
        "upgrade",
        _fields(b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__", b"Upgrade: websocket"),
        (200,),
    ),
    Row("many-fields", (b"\r\nA100: b\r\n",), (431,)),
    Row("long-field", (b"\r\nA: " + b"b" * 65536,), (431,)),
    Row("long-target", (b"GET /" + b"a" * 12_000,), (414,)),
    Row(
        "slow-heads-and-bodies",
        (b"POST /hello.txt HTTP/1.1\r\nHost: wire.test\r\nContent-Length: 1000000\r\n\r\n",),
        (405, 413),
        (
            _CONNECTIONS + "test_a_slow_head_is_answered_408",
            _CONNECTIONS + "test_a_dripping_head_does_not_gain_time",
        ),
    ),
    Row(
        "idle-and-slow-readers",
        tests=(
            _CONNECTIONS + "test_an_idle_connection_ends",
            _CONNECTIONS + "test_a_client_that_never_reads_is_dropped",
            _CONNECTIONS + "test_a_slow_reader_is_not_a_stalled_one",
            _CONNECTIONS + "test_more_connections_than_allowed",
            "tests/unit/files/test_entry_cache.py::test_out_of_descriptors",
        ),
    ),
    Row("half-close", tests=(_CONNECTIONS + "test_half_close_still_gets_the_whole_response",)),
    Row(
        "pipelines",
        tests=(
            _CONNECTIONS + "test_sixteen_pipelined_in_one_write",
            _CONNECTIONS + "test_good_then_garbage",
            _CONNECTIONS + "test_head_then_get",
        ),
    ),
    Row(
        "reset-and-truncation",
        tests=(
            _CONNECTIONS + "test_killed_clients_leave_nothing_behind",
            _CHANGES + "test_changed_in_place_during_a_slow_download",
        ),
    ),
    Row("proxy-protocol", (b"PROXY TCP4 192.0.2.1 ", b"\r\n\r\n\x00\r\nQUIT\n"), (400,)),
)

_RANGES = (
    b"bytes=9-5",
    b"bytes=abc",
    b"bytes=1",
    b"bytes=0x1-2",
    b"items=0-1",
    b"bytes=-9223372036854775808-",
)
_WEIGHTS = (
    b"br;q=0",
    b"*;q=0, identity",
    b"gzip;q=0.5, br;q=0.4",
    b"",
    b"br;q=abc",
    b"identity;q=0",
    b"x-gzip",
)

SEMANTICS = (
    Row("ranges-a-thousand", (b"Range: bytes=" + b",".join([b"0-"] * 1000),), (200, 206)),
    Row(
        "ranges-a-hundred",
        (b"Range: bytes=0-0,2-2,4-4,", b"Range: bytes=60000-60000,59400-59400,"),
        (200, 206),
    ),
    Row("ranges-overlapping", (b"Range: bytes=0-5000,100-5100,",), (200, 206)),
    Row("ranges-invalid", tuple(b"Range: " + value + b"\r\n" for value in _RANGES), (200,)),
    Row(
        "ranges-unsatisfiable", _fields(b"Range: bytes=-0", b"Range: bytes=18446744073709551615-"), (416, 200)
    ),
    Row(
        "ranges-huge",
        _fields(b"Range: bytes=0-18446744073709551615", b"Range: bytes=-18446744073709551615"),
        (206,),
    ),
    Row("ranges-of-nothing", (b"/empty.txt HTTP/1.1\r\nHost: wire.test\r\nRange: bytes=0-",), (200, 416)),
    Row("range-of-head", (b"HEAD /64k.bin HTTP/1.1\r\nHost: wire.test\r\nRange: bytes=0-1",), (200,)),
    Row("range-of-post", (b"POST /64k.bin HTTP/1.1\r\nHost: wire.test\r\nRange: bytes=0-1",), (405,)),
    Row("two-range-fields", (b"Range: bytes=0-1\r\nRange: bytes=5-6",), (200,)),
    Row(
        "if-range",
        (b"If-Range: W/@etag(", b'If-Range: "other"', b"If-Range: Tue, 14 Nov 2023 22:13:21 GMT"),
        (200,),
    ),
    Row("if-range-of-the-day", (b"If-Range: Tue, 14 Nov 2023 22:13:20 GMT",), (206,)),
    Row("two-preconditions", (b"If-None-Match: @etag(/hello.txt)\r\nIf-Modified-Since: ",), (304,)),
    Row("match-first", (b'If-Match: "other"\r\nIf-None-Match: @etag(/hello.txt)',), (412,)),
    Row(
        "preconditions-of-nothing", (b"GET /nothing HTTP/1.1\r\nHost: wire.test\r\nIf-None-Match: *",), (404,)
    ),
    Row(
        "preconditions-of-post", (b"POST /hello.txt HTTP/1.1\r\nHost: wire.test\r\nIf-None-Match: *",), (405,)
    ),
    Row("not-modified", (b"If-None-Match: @etag(/app.js,br)\r\nAccept-Encoding: br",), (304,)),
    Row("tag-of-each-encoding", (b"If-None-Match: @etag(/app.js)\r\nAccept-Encoding: br",), (200,)),
    Row("vary-on-206", (b"/app.js HTTP/1.1\r\nHost: wire.test\r\nRange: bytes=5-19",), (206,)),
    Row("vary-on-412-and-416", (b'If-Match: "vary"', b"Range: bytes=999999-\r\nAccept-Encoding"), (412, 416)),
    Row("accept-encoding", tuple(b"Accept-Encoding: " + value + b"\r\n" for value in _WEIGHTS), (200,)),
    Row(
        "names-in-a-listing",
        tests=(
            "tests/wire/test_site.py::test_hostile_names_are_listed_and_lead_to_their_files",
            "tests/unit/files/test_listing.py::test_hostile_names",
        ),
    ),
    Row("echo", _get(b"/ZEBRA-93<script>alert(1)", b"/ZEBRA-93%3Cscript%3E"), (400, 404)),
    Row("echo-of-host", (b"Host: zebra-93.test",), (404,)),
    Row(
        "control-bytes-in-a-log",
        (
            *_get(b"/%0aZEBRA", b"/%1b[31mZEBRA", b"/%22ZEBRA%5c"),
            *_fields(b'User-Agent: "ZEBRA\\', b"Referer: \xff\xfeZEBRA"),
        ),
        (200, 404),
    ),
    Row("redirect-and-host", (b"GET /sub HTTP/1.1\r\nHost: evil.test",), (301, 308)),
    Row("forwarded-for", _fields(b"X-Forwarded-For: 192.0.2.1"), (200,)),
    Row(
        "authorization",
        _fields(b"Authorization: Basic Og==", b"Authorization: Basic", b"Authorization: Basic \xff\xfe"),
        (200,),
    ),
    Row("long-authorization", (b"Authorization: Basic " + b"A" * 65536,), (431,)),
    Row("no-inode-in-a-tag", _get(b"/twin-b.txt"), (304,)),
    Row("ten-gigabytes", (b"HEAD /sparse.txt HTTP/1.1", b"GET /sparse.txt HTTP/1.1"), (200, 206)),
    Row(
        "compression-of-much",
        tests=(
            _COMPRESS + "test_what_is_too_large_is_never_read",
            _COMPRESS + "test_many_at_once_are_one_compression",
            _COMPRESS + "test_everything_is_served_while_the_threads_are_busy",
        ),
    ),
)

ROWS = (*PATHS, *FRAMING, *SEMANTICS)
