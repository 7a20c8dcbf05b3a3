"""The certificate, and what is agreed on with clients (--tls-cert, --tls-key), for all workers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zchttpd.config.options import SettingsError

if TYPE_CHECKING:
    import ssl

    from zchttpd.config.settings import Settings

# Of TLS 1.2: forward secrecy and authenticated encryption alone (RFC 9325 section 4.2). TLS 1.3 has no other.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
PROTOCOLS = ["http/1.1"]


@dataclass(frozen=True, slots=True)
class Tls:
    """What workers share. `refused`: why the kernel encrypts nothing, an errno name; empty: it does."""

    context: ssl.SSLContext
    refused: str

    @property
    def note(self) -> str:
        """A line for the start report."""
        if not self.refused:
            return "TLS: the kernel encrypts for TLS 1.3, and OpenSSL for TLS 1.2; all bodies are copied"
        return (
            f"TLS: OpenSSL encrypts, as this kernel does not ({self.refused}); all bodies are copied."
            " Fix: modprobe tls, where the kernel has that module (CONFIG_TLS)"
        )


def load(settings: Settings) -> Tls | None:
    """What clients are to meet, or None without TLS. Raises SettingsError for files that do not do.

    It is read by whoever the process is now: before --user, that is root.
    """
    if not settings.tls_cert:
        return None
    import ssl  # It is of no use to a server without TLS, and the most of its start.

    from zchttpd.engine.kernel_tls import available

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(PROTOCOLS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    # All of these will do, and the client knows what its processor does fast.
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    key = key_of(settings)
    _check_file("tls_cert", settings.tls_cert)
    _check_file("tls_key", key)
    try:
        context.load_cert_chain(settings.tls_cert, key, password=_no_password)
    except ssl.SSLError as error:
        raise SettingsError(*_explain(settings, key, error)) from None
    except ValueError:
        fix = f"Type: openssl pkey -in {key} -out PLAIN.pem, and --tls-key PLAIN.pem"
        raise SettingsError("tls_key", f"--tls-key: {key} is encrypted, and nobody is asked. {fix}") from None
    return Tls(context, available())


def key_of(settings: Settings) -> str:
    """The file with the key; empty without TLS."""
    return (settings.tls_key or settings.tls_cert) if settings.tls_cert else ""


def _no_password() -> str:
    raise ValueError


def _check_file(name: str, path: str) -> None:
    flag = "--" + name.replace("_", "-")
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise SettingsError(
            name, f"{flag}: {path} cannot be read by uid {os.geteuid()} ({why}). Type a PEM file that can"
        ) from None


def _explain(settings: Settings, key: str, error: ssl.SSLError) -> tuple[str, str]:
    """The option that is wrong, and the problem with its fix."""
    if error.reason == "KEY_VALUES_MISMATCH":
        fix = "Type the two that were made together"
        return "tls_key", f"--tls-key: {key} is not the key of the certificate in {settings.tls_cert}. {fix}"
    if error.reason in ("EE_KEY_TOO_SMALL", "CA_MD_TOO_WEAK", "CA_KEY_TOO_SMALL"):
        fix = "Ask for one with an RSA key of 2048 bits or an EC key"
        return (
            "tls_cert",
            f"--tls-cert: {settings.tls_cert} is too weak for this OpenSSL ({error.reason}). {fix}",
        )
    fix = "Type a certificate with its chain, and its key, both as PEM"
    reason = error.reason or "no PEM"
    return "tls_cert", f"--tls-cert: {settings.tls_cert} with {key} cannot be used ({reason}). {fix}"
