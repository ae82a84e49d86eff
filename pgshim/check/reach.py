"""The first steps: addresses, TLS, login. Each returns whether there is a way on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace

from pgshim.addresses import Address
from pgshim.check import advice, certificates, network
from pgshim.check.authentication import SCRAM_PLUS
from pgshim.check.course import Course
from pgshim.check.failures import CheckFailure, PasswordNeeded, Refused, TlsFailure
from pgshim.check.identity import UNKNOWN, of_refusal
from pgshim.check.network import Attempt
from pgshim.check.report import Level
from pgshim.check.wire import Wire

ADDRESS, TLS, LOGIN = "Address", "TLS", "Login"

#: A certificate that has fewer days left is worth a warning.
_SOON, _FAR = 14, 1000


async def look_at_addresses(course: Course) -> bool:
    """Resolve every host, try every address, and go on with the first that answers."""
    report, target = course.report, course.target
    attempts: list[Attempt] = []
    for address in target.addresses:
        try:
            endpoints = await network.resolve(address, target.connect_timeout)
        except OSError as error:
            fix = advice.for_name(error, address)
            level = Level.PROBLEM if len(target.addresses) == 1 else Level.WARNING
            report.add(ADDRESS, "name", f"{address.host}: {network.reason(error)}", level=level, fix=fix)
            continue
        tried = (network.attempt(address, endpoint, target.connect_timeout) for endpoint in endpoints)
        attempts += await asyncio.gather(*tried)
    course.attempt = next((attempt for attempt in attempts if attempt.error is None), None)
    report.data["addresses"] = [_as_data(attempt, attempt is course.attempt) for attempt in attempts]
    has_failed = attempts and course.attempt is None
    for attempt in attempts:
        _add_attempt(course, attempt, Level.PROBLEM if has_failed and len(attempts) == 1 else Level.NOTE)
    if course.attempt is not None:
        return True
    if len(attempts) > 1:
        fix = advice.for_no_connection(attempts, target)
        report.add(ADDRESS, "no connection", "no address answers", level=Level.PROBLEM, fix=fix)
    elif not attempts and len(target.addresses) > 1:
        report.add(ADDRESS, "no connection", "no host has an address", level=Level.PROBLEM)
    return False


def _add_attempt(course: Course, attempt: Attempt, level: Level) -> None:
    where = attempt.where if attempt.address.is_unix else f"{attempt.where} port {attempt.address.port}"
    label = "socket" if attempt.address.is_unix else "IPv6" if attempt.is_ipv6 else "IPv4"
    of_host = f" ({attempt.address.host})" if attempt.address.host not in ("", attempt.where) else ""
    if attempt.error is None:
        used = ", used from here on" if attempt is course.attempt and len(course.report.data["addresses"]) > 1 else ""
        text = f"{where}{of_host} answered in {attempt.seconds * 1000:.1f} ms{used}"
        course.report.add(ADDRESS, label, text)
    else:
        # One address that does not answer is no harm where another one does.
        fix = advice.for_no_connection([attempt], course.target) if level is Level.PROBLEM else ""
        course.report.add(ADDRESS, label, f"{where}{of_host}: {network.reason(attempt.error)}", level=level, fix=fix)


def _as_data(attempt: Attempt, is_used: bool) -> dict[str, object]:
    return {
        "host": attempt.address.host,
        "address": attempt.where,
        "port": attempt.address.port or None,
        "family": "unix" if attempt.address.is_unix else "ipv6" if attempt.is_ipv6 else "ipv4",
        "milliseconds": round(attempt.seconds * 1000, 2) if attempt.error is None else None,
        "error": network.reason(attempt.error) if attempt.error is not None else None,
        "is_used": is_used,
    }


async def look_at_tls(course: Course) -> bool:
    """Connect, with TLS as the URL wants it; then see who would accept the certificate."""
    report, target, attempt = course.report, course.target, course.attempt
    assert attempt is not None
    data: dict[str, object] = {"mode": target.tls.mode, "is_encrypted": False}
    report.data["tls"] = data
    try:
        course.wire = await Wire.open(target, attempt)
    except CheckFailure as failure:
        await _add_tls_failure(course, failure)
        return False
    if attempt.address.is_unix:
        report.add(TLS, "", "none on a Unix socket: nothing leaves the machine", level=Level.PLAIN)
        return True
    if course.wire.tls is None:
        _add_no_tls(course)
        return True
    cipher, *_ = course.wire.tls.cipher() or ("",)
    data |= {"is_encrypted": True, "version": course.wire.tls.version(), "cipher": cipher}
    course.has_tls = True
    report.add(TLS, "encryption", f"{data['version']}, {data['cipher']}")
    await _look_at_certificate(course, course.wire.tls.getpeercert(binary_form=True) or b"")
    return True


def _add_no_tls(course: Course) -> None:
    assert course.attempt is not None
    if course.target.tls.mode == "disable":
        text, fix = "not asked for (sslmode=disable)", ""
    else:
        text, fix = "the server does not offer it", "Turn it on there, or keep the way there private."
    if course.attempt.endpoint.is_loopback:
        course.report.add(TLS, "encryption", f"none: {text}; nothing leaves the machine", level=Level.PLAIN)
        return
    text = f"none: {text}; data can be read on the way, and changed"
    fix = fix or "Say sslmode=require, better verify-full."
    course.report.add(TLS, "encryption", text, level=Level.WARNING, fix=fix)


async def _add_tls_failure(course: Course, failure: CheckFailure) -> None:
    """Why there is no connection; where it is the certificate, what it says."""
    if isinstance(failure, TlsFailure) and failure.verify_message:
        try:
            certificate = await _unverified(course)
        except CheckFailure as other:
            # Without a CA nobody has been spoken to until now: the server may have no TLS at all.
            if not isinstance(other, TlsFailure):
                text = f"does not pass: {failure.verify_message}"
                fix = "Give sslrootcert a PEM file with the CA's certificate."
                course.report.add(TLS, course.target.tls.mode, text, level=Level.PROBLEM, fix=fix)
            failure = other
        else:
            await _look_at_certificate(course, certificate, failure.verify_message)
            return
    fix = advice.for_first_words(failure, course.target)
    course.report.add(TLS, "connection", failure.text, level=Level.PROBLEM, fix=fix)


async def _unverified(course: Course) -> bytes:
    """The server's certificate (DER), whoever signed it. Raises CheckFailure."""
    assert course.attempt is not None
    target = replace(course.target, tls=replace(course.target.tls, mode="require"))
    wire = await Wire.open(target, course.attempt)
    assert wire.tls is not None
    certificate = wire.tls.getpeercert(binary_form=True)
    await wire.leave()
    return certificate or b""


async def _look_at_certificate(course: Course, der: bytes, refused: str = "") -> None:
    """What it says; `refused` is why it is not accepted as the URL wants it."""
    report, attempt = course.report, course.attempt
    assert attempt is not None
    data = report.data["tls"]
    certificate = None
    try:
        certificate = certificates.read(der)
    except ValueError as error:
        report.add(TLS, "certificate", f"cannot be read: {error}", level=Level.WARNING)
    if certificate is not None:
        data["certificate"] = {
            **asdict(certificate),
            "names": list(certificate.names),
            "not_before": certificate.not_before.isoformat(),
            "not_after": certificate.not_after.isoformat(),
        }
        names = f", for {', '.join(certificate.names)}" if certificate.names else ""
        signer = "itself" if certificate.is_self_signed else certificate.issuer
        report.add(TLS, "certificate", f"{certificate.subject}{names}; signed by {signer}", level=Level.PLAIN)
        _add_validity(course, certificate)
    course.verdicts = await certificates.verdicts(course.target, attempt)
    data["verify_full"] = [
        {"ca": one.ca, "is_accepted": one.is_accepted, "message": one.message, "is_of_the_name": one.is_of_the_name}
        for one in course.verdicts
    ]
    _add_verdict(course, attempt.address, certificate, refused)


def _add_validity(course: Course, certificate: certificates.Certificate) -> None:
    days = certificate.days_left
    period = f"{certificate.not_before:%Y-%m-%d} to {certificate.not_after:%Y-%m-%d}"
    if days < 0:
        text = f"{period}: it has expired"
        course.report.add(TLS, "valid", text, level=Level.WARNING, fix="Whoever runs the server has to renew it.")
    elif days < _SOON:
        course.report.add(TLS, "valid", f"{period}: {days} days are left", level=Level.WARNING, fix="Have it renewed.")
    else:
        left = f", {days} days are left" if days < _FAR else ""
        course.report.add(TLS, "valid", period + left, level=Level.PLAIN)


def _add_verdict(course: Course, address: Address, certificate: certificates.Certificate | None, refused: str) -> None:
    accepted = next((one for one in course.verdicts if one.is_accepted), None)
    if accepted is not None:
        if refused:
            fix = f"Say sslrootcert={accepted.ca}, with which it passes."
            course.report.add(TLS, course.target.tls.mode, f"does not pass: {refused}", level=Level.PROBLEM, fix=fix)
            return
        ca = "this machine's roots (sslrootcert=system)" if accepted.ca == "system" else accepted.ca
        course.report.add(TLS, "verify-full", f"passes, with {ca}")
        return
    of_the_name = next((one for one in course.verdicts if one.is_of_the_name), None)
    best = of_the_name or course.verdicts[0]
    tried = ", ".join("this machine's roots" if one.ca == "system" else one.ca for one in course.verdicts)
    if of_the_name is not None:
        fix = "Connect by one of the names in the certificate; verify-ca leaves the name out of it, and is weaker."
    else:
        fix = certificates.where_to_get(address.host, certificate)
    if refused:
        course.report.add(TLS, course.target.tls.mode, f"does not pass: {refused}", level=Level.PROBLEM, fix=fix)
        return
    text = f"would not pass: {best.message} (tried {tried})"
    course.report.add(TLS, "verify-full", text, level=Level.NOTE, fix=fix)


async def log_in(course: Course) -> bool:
    """Log in once: a wrong password is never tried again."""
    try:
        await _log_in(course)
    except CheckFailure as failure:
        fix = advice.for_failure(failure, course.target)
        if isinstance(failure, Refused):
            text = f'refused: "{failure.message}" (SQLSTATE {failure.sqlstate or "missing"})'
            identity = of_refusal(course.target, failure.message)
            if identity.kind != UNKNOWN:
                course.report.data["pooler"] = {"kind": identity.kind, "version": identity.version or None}
        else:
            text = failure.text
        authentication = course.wire.authentication if course.wire is not None else None
        course.report.data["login"] = {
            "is_successful": False,
            "method": authentication.method if authentication and authentication.has_answered else None,
            "sqlstate": failure.sqlstate if isinstance(failure, Refused) else None,
            "message": failure.message if isinstance(failure, Refused) else failure.text,
        }
        course.report.add(LOGIN, "login", text, level=Level.PROBLEM, fix=fix)
        return False
    return True


async def _log_in(course: Course) -> None:
    assert course.wire is not None
    assert course.attempt is not None
    try:
        await course.wire.login(course.target)
    except PasswordNeeded:
        await course.wire.leave()
        if course.ask is None:
            raise
        course.target = course.ask(course.target)
        course.wire = await course.connect()
    except Refused as refused:
        await course.wire.leave()
        if not course.target.startup or "startup parameter" not in refused.message:
            raise
        names = " and ".join(name for name, _ in course.target.startup)
        course.report.add(
            LOGIN,
            "startup parameters",
            f'with {names} of the URL it is refused: "{refused.message}"',
            level=Level.WARNING,
            fix="pgshim takes such parameters itself; without it, leave them out, or have the pooler ignore them.",
        )
        course.evidence.errors.append(refused.message)
        course.target = replace(course.target, startup=())
        course.wire = await course.connect()
    _add_login(course, course.wire)


def _add_login(course: Course, wire: Wire) -> None:
    authentication = wire.authentication
    assert authentication is not None
    source = f", password from {course.target.password_source}" if course.target.password_source else ""
    if authentication.method == "trust":
        source = ", no password was asked for"
    text = f"as {course.target.user}{source}, in {wire.login_seconds * 1000:.1f} ms"
    course.report.add(LOGIN, authentication.method, text)
    if SCRAM_PLUS in authentication.mechanisms:
        text = "SCRAM-SHA-256-PLUS is offered; through pgshim, as through poolers, it cannot be had"
        course.report.add(LOGIN, "channel binding", text, level=Level.PLAIN)
    if authentication.method == "md5":
        fix = "Have the password set anew with password_encryption = scram-sha-256."
        course.report.add(LOGIN, "method", "MD5 passwords are weak, and on their way out", level=Level.NOTE, fix=fix)
    course.report.data["login"] = {
        "is_successful": True,
        "method": authentication.method,
        "mechanisms": list(authentication.mechanisms),
        "password_source": course.target.password_source or None,
        "milliseconds": round(wire.login_seconds * 1000, 2),
    }


STEPS: tuple[tuple[str, Callable[[Course], Awaitable[bool]]], ...] = (
    (ADDRESS, look_at_addresses),
    (TLS, look_at_tls),
    (LOGIN, log_in),
)
