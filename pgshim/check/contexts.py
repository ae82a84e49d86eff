"""TLS contexts for a check: as libpq makes them of sslmode, sslrootcert, sslcert, sslkey."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from pgshim.check.failures import TlsFailure
from pgshim.check.target import Tls
from pgshim.errors import ConfigurationError
from pgshim.proxy.tls import ALPN

#: Where libpq looks for files that nobody names.
_FOLDER = Path("~/.postgresql")


def default_file(name: str) -> str:
    """The path of one of libpq's default files; empty if it is not there."""
    path = (_FOLDER / name).expanduser()
    return str(path) if path.is_file() else ""


def context_for(tls: Tls) -> ssl.SSLContext:
    """How to speak to a server with this mode. Raises TlsFailure where it needs a CA, and there is none."""
    if tls.mode not in ("verify-ca", "verify-full"):
        return _context(tls)
    ca = tls.ca or default_file("root.crt")
    if not ca:
        why = "no sslrootcert is given, and there is no ~/.postgresql/root.crt"
        raise TlsFailure("there is no CA", verify_message=why)
    return verifying(tls, ca, has_name=tls.mode == "verify-full")


def check_files(tls: Tls) -> None:
    """Raises ConfigurationError for files that are no good, before anybody is spoken to."""
    verifying(tls, tls.ca or default_file("root.crt") or "system")


def verifying(tls: Tls, ca: str, *, has_name: bool = True) -> ssl.SSLContext:
    """A context that accepts only what `ca` (a PEM file, or "system") has signed; with `has_name` for this host."""
    context = _context(tls)
    context.verify_mode = ssl.CERT_REQUIRED
    context.check_hostname = has_name
    if ca == "system":
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        return context
    try:
        context.load_verify_locations(ca)
    except OSError as error:
        raise ConfigurationError(f"sslrootcert {ca} cannot be used ({_reason(error)}); give a PEM file") from error
    return context


def _context(tls: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if tls.is_direct:
        context.set_alpn_protocols([ALPN])
    certificate, key = tls.certificate or default_file("postgresql.crt"), tls.key or default_file("postgresql.key")
    if certificate and key:
        try:
            # With no password OpenSSL would ask for one on the terminal.
            context.load_cert_chain(certificate, key, password=tls.key_password)
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"sslcert {certificate} with sslkey {key} cannot be used ({_reason(error)});"
                " give a certificate chain and its key, both PEM"
            ) from error
    return context


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not PEM").replace("_", " ").lower()
    number = getattr(error, "errno", None)
    return os.strerror(number).lower() if number else str(error).lower()
