"""TLS contexts, both ways: what clients are offered, and how the upstream is spoken to.

A context is made once and shared by all connections; `reload` makes new ones (SIGHUP), and keeps the old ones when the
new files are no good.
"""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import os
import secrets
import socket
import ssl
import tempfile

from pgshim.errors import ConfigurationError
from pgshim.settings import Settings

ALPN = "postgresql"

#: How long a handshake may take, and how long to wait for a peer's close_notify, in seconds.
HANDSHAKE_TIMEOUT = 30.0
SHUTDOWN_TIMEOUT = 5.0

_SELF_SIGNED_LIFETIME = datetime.timedelta(days=3650)


def handshake_timeout(deadline: float) -> float:
    """Seconds for a handshake that is to end by the loop's time of `deadline`; 0: there is none."""
    if not deadline:
        return HANDSHAKE_TIMEOUT
    # No loop takes zero.
    return min(HANDSHAKE_TIMEOUT, max(deadline - asyncio.get_running_loop().time(), 0.001))


class Contexts:
    """The contexts in use: `client_side` for clients that connect here, `upstream_side` for upstreams."""

    __slots__ = ("_settings", "_upstream_sides", "client_side")

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.client_side = client_side_context(settings)
        self._upstream_sides = _upstream_sides(settings)

    def upstream_side(self, mode: str) -> ssl.SSLContext | None:
        """How an upstream with this TLS mode is spoken to; None: without TLS."""
        return self._upstream_sides[mode]

    def reload(self) -> None:
        """Read the files again; raises ConfigurationError and changes nothing when one of them is no good."""
        client_side = self.client_side
        if self._settings.tls_cert:
            client_side = client_side_context(self._settings)
        self._upstream_sides = _upstream_sides(self._settings)
        self.client_side = client_side


def client_side_context(settings: Settings) -> ssl.SSLContext | None:
    """What clients are offered; None when there is no TLS for them."""
    if not settings.has_tls:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([ALPN])
    if settings.tls_self_signed:
        _load_self_signed(context)
    else:
        _load_chain(context, settings.tls_cert, settings.tls_key, "--tls-cert", "--tls-key")
    return context


def _upstream_sides(settings: Settings) -> dict[str, ssl.SSLContext | None]:
    modes = {settings.tls_of(address) for address in settings.upstreams}
    return {mode: upstream_side_context(settings, mode) for mode in modes}


def upstream_side_context(settings: Settings, mode: str) -> ssl.SSLContext | None:
    """How an upstream with this TLS mode is spoken to; None for `disable`."""
    if mode == "disable":
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = mode == "verify-full"
    if mode in ("verify-ca", "verify-full"):
        _load_roots(context, settings.upstream_ca)
    else:
        context.verify_mode = ssl.CERT_NONE
    if settings.upstream_cert:
        _load_chain(context, settings.upstream_cert, settings.upstream_key, "--upstream-cert", "--upstream-key")
    return context


def _load_roots(context: ssl.SSLContext, ca: str) -> None:
    if ca == "system":
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        return
    try:
        context.load_verify_locations(ca)
    except OSError as error:
        raise ConfigurationError(f"--upstream-ca {ca} cannot be used ({_reason(error)}); give a PEM file") from error


def _load_chain(context: ssl.SSLContext, cert: str, key: str, cert_option: str, key_option: str) -> None:
    for option, path in ((cert_option, cert), (key_option, key)):
        if not os.access(path, os.R_OK):
            raise ConfigurationError(f"{option} {path} cannot be read; give a PEM file that pgshim's user may read")
    try:
        # An encrypted key would make OpenSSL ask on the terminal: a password that is never right fails instead.
        context.load_cert_chain(cert, key, password="")
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{cert_option} {cert} with {key_option} {key} cannot be used ({_reason(error)});"
            " give a certificate chain and its unencrypted key, both PEM"
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not PEM").replace("_", " ").lower()
    return (getattr(error, "strerror", None) or str(error)).lower()


def _load_self_signed(context: ssl.SSLContext) -> None:
    """A certificate that lives as long as the process; OpenSSL reads files only, so the key's file is encrypted."""
    password = secrets.token_bytes(32)
    pem = _self_signed(password)
    with tempfile.TemporaryDirectory(prefix="pgshim-") as directory:
        path = os.path.join(directory, "self-signed.pem")
        with open(path, "wb") as file:
            file.write(pem)
        context.load_cert_chain(path, password=password)


def _self_signed(password: bytes) -> bytes:
    """PEM of a new key, encrypted with `password`, and of a certificate for the names of this machine."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError as error:
        raise ConfigurationError(
            "--tls-self-signed needs the package cryptography, which is not installed; pip install 'pgshim[tls]'"
        ) from error
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "pgshim self-signed")])
    names: list[x509.GeneralName] = [x509.DNSName(host) for host in sorted({"localhost", socket.gethostname()})]
    names += [x509.IPAddress(ipaddress.ip_address(host)) for host in ("127.0.0.1", "::1")]
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + _SELF_SIGNED_LIFETIME)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    encryption = serialization.BestAvailableEncryption(password)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    ) + certificate.public_bytes(serialization.Encoding.PEM)
