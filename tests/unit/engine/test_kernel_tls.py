"""What the kernel is told of a handshake, against the worked example of RFC 8448 section 3."""

from __future__ import annotations

import struct

import pytest

from zchttpd.engine.kernel_tls import TLS_1_3_VERSION, count_records, crypto_info, expand_label

# "{server} derive write traffic keys for application data"
SECRET = bytes.fromhex("a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643")
KEY = bytes.fromhex("9f02283b6c9c07efc26bb9f2ac92e356")
IV = bytes.fromhex("cf782b88dd83549aadf1e984")


def test_keys_of_the_worked_example() -> None:
    assert expand_label(SECRET, b"key", 16, "sha256") == KEY
    assert expand_label(SECRET, b"iv", 12, "sha256") == IV


def test_the_structure_of_a_cipher() -> None:
    # struct tls12_crypto_info_aes_gcm_128: version, cipher, iv[8], key[16], salt[4], rec_seq[8].
    told = crypto_info("TLS_AES_128_GCM_SHA256", SECRET, 2)
    fixed = struct.pack("=HH", TLS_1_3_VERSION, 51)
    assert told == fixed + IV[4:] + KEY + IV[:4] + bytes(7) + b"\2"


@pytest.mark.parametrize(
    ("cipher", "size"),
    [
        ("TLS_AES_128_GCM_SHA256", 40),
        ("TLS_AES_256_GCM_SHA384", 56),
        ("TLS_CHACHA20_POLY1305_SHA256", 56),
    ],
)
def test_structures_have_the_sizes_of_the_header(cipher: str, size: int) -> None:
    assert len(crypto_info(cipher, SECRET, 0)) == size


def test_a_cipher_that_no_kernel_has() -> None:
    with pytest.raises(KeyError):
        crypto_info("TLS_AES_128_CCM_SHA256", SECRET, 0)


def test_records_are_counted() -> None:
    ticket = b"\x17\x03\x03\x00\x03abc"
    assert [count_records(ticket * count) for count in (0, 1, 2)] == [0, 1, 2]
