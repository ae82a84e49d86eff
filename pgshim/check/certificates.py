"""What the server's certificate says, and who would accept it: found out by shaking hands again, with each CA."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace

from cryptography import x509

from pgshim.check.contexts import default_file, verifying
from pgshim.check.failures import CheckFailure, TlsFailure
from pgshim.check.network import Attempt
from pgshim.check.target import SUPABASE_DIRECT, SUPABASE_POOLER, Target
from pgshim.check.wire import Wire
from pgshim.settings import is_under

_SUPABASE = "download it: Supabase, Database settings, SSL configuration (prod-ca-2021.crt)"
_RDS = "download it: https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem"


@dataclass(frozen=True, slots=True)
class Certificate:
    """The names in a certificate as text; times in UTC."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    not_before: datetime.datetime
    not_after: datetime.datetime
    is_self_signed: bool

    @property
    def days_left(self) -> int:
        """Whole days until it expires; negative when it has."""
        return (self.not_after - datetime.datetime.now(datetime.UTC)).days


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a CA's certificates accept the server's; `message` is OpenSSL's reason where they do not."""

    ca: str
    message: str = ""
    #: Of the host name alone: the signature is accepted.
    is_of_the_name: bool = False

    @property
    def is_accepted(self) -> bool:
        return not self.message


def read(certificate: bytes) -> Certificate:
    """A certificate (DER) in words. Raises ValueError."""
    parsed = x509.load_der_x509_certificate(certificate)
    try:
        extension = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = tuple(str(name.value) for name in extension)
    except x509.ExtensionNotFound:
        names = ()
    return Certificate(
        subject=_common_name(parsed.subject),
        issuer=_common_name(parsed.issuer),
        names=names,
        not_before=parsed.not_valid_before_utc,
        not_after=parsed.not_valid_after_utc,
        is_self_signed=parsed.subject == parsed.issuer,
    )


def _common_name(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(found[0].value) if found else name.rfc4514_string() or "(no name)"


async def verdicts(target: Target, attempt: Attempt) -> list[Verdict]:
    """What verify-full would say: with the CA that is named (or libpq's default file), and with this machine's roots.

    Each is a connection that ends after the handshake. Raises ConfigurationError for a CA file that is no good.
    """
    cas = [ca for ca in (target.tls.ca or default_file("root.crt"),) if ca and ca != "system"] + ["system"]
    return [await _verdict(target, attempt, ca) for ca in cas]


async def _verdict(target: Target, attempt: Attempt, ca: str) -> Verdict:
    message = await _try(target, attempt, ca, has_name=True)
    if message and not await _try(target, attempt, ca, has_name=False):
        return Verdict(ca, message, is_of_the_name=True)
    return Verdict(ca, message)


async def _try(target: Target, attempt: Attempt, ca: str, *, has_name: bool) -> str:
    """Empty if the handshake succeeds, else why it does not."""
    must = replace(target, tls=replace(target.tls, mode="require"))
    try:
        wire = await Wire.open(must, attempt, verifying(target.tls, ca, has_name=has_name))
    except TlsFailure as failure:
        return failure.verify_message or failure.text
    except CheckFailure as failure:
        return failure.text
    await wire.leave()
    return ""


def where_to_get(host: str, certificate: Certificate | None) -> str:
    """What to do for verify-full where no CA at hand accepts the certificate."""
    if is_under(host, SUPABASE_POOLER + SUPABASE_DIRECT):
        source = _SUPABASE
    elif is_under(host, (".rds.amazonaws.com",)):
        source = _RDS
    elif certificate is not None and certificate.is_self_signed:
        return "It has signed itself: get a copy from whoever runs the server, for sslrootcert and --upstream-ca."
    else:
        source = "ask whoever runs the server for it"
    issuer = f"'{certificate.issuer}'" if certificate is not None else "that signed it"
    return f"Missing is the CA certificate {issuer}, a PEM file for sslrootcert and --upstream-ca: {source}."
