"""What a database URL, or libpq's environment, says of TLS: moved to the leg from pgshim to the pooler.

Each driver has words of its own: libpq's `sslmode` and its files, `ssl=` of asyncpg's dialect, of Node and of JDBC, and
Prisma's `sslaccept`, beside which `sslcert` is the server's CA.
"""

from __future__ import annotations

import os.path
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pgshim.addresses import Address
from pgshim.errors import ConfigurationError

#: What has no meaning on the leg to pgshim, or would keep a driver from connecting without TLS.
TLS_PARAMETERS = frozenset(
    {"sslmode", "ssl", "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslnegotiation", "sslaccept", "sslidentity"}
    | {"sslsni", "sslcrl", "sslcrldir", "sslcertmode", "sslcompression", "requiressl", "channel_binding"}
    | {"ssl_min_protocol_version", "ssl_max_protocol_version", "sslfactory", "sslrootcertpath"}
)

#: libpq's variables that say what a URL does not.
_ENVIRONMENT = {
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "channel_binding": "PGCHANNELBINDING",
    "sslcrl": "PGSSLCRL",
    "sslcrldir": "PGSSLCRLDIR",
    "sslcertmode": "PGSSLCERTMODE",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "requiressl": "PGREQUIRESSL",
}

#: Those that would have a driver ask for TLS where a URL says nothing.
_ASKING = ("PGSSLMODE", "PGREQUIRESSL", "PGSSLNEGOTIATION")

_VERIFYING = ("verify-ca", "verify-full")
_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
#: Beside libpq's words. `ssl=true` verifies the certificate, in Node and JDBC.
_OTHER_MODES = {
    "true": "verify-full",
    "1": "verify-full",
    "on": "verify-full",
    "yes": "verify-full",
    "no-verify": "require",
    "false": "disable",
    "0": "disable",
    "off": "disable",
    "no": "disable",
}
#: The upstream side takes TLS 1.2, and does not know whether a server has asked for a certificate.
_NOT_TO_BE_HAD = (
    ("channel_binding", "require"),
    ("sslcertmode", "require"),
    ("ssl_min_protocol_version", "TLSv1.3"),
)


@dataclass(frozen=True, slots=True)
class UpstreamTls:
    """The values of --upstream-tls, --upstream-ca, --upstream-cert, --upstream-key; empty where nothing is said."""

    mode: str = ""
    ca: str = ""
    certificate: str = ""
    key: str = ""
    #: What was asked for, and cannot be had through pgshim.
    lost: tuple[str, ...] = ()

    def options(self, upstream: Address, given: Mapping[str, Any]) -> dict[str, Any]:
        """The options for an upstream; those that are `given` say more than the URL."""
        if upstream.is_unix:
            return {}
        said_mode, said_ca = given.get("upstream_tls"), given.get("upstream_ca")
        is_verified = self.mode in _VERIFYING
        mode = said_mode or (self.mode if is_verified or not said_ca else None) or None
        files = {"upstream_ca": said_ca or (self.ca if mode in _VERIFYING else "")}
        if mode != "disable":
            files["upstream_cert"] = given.get("upstream_cert") or self.certificate
            files["upstream_key"] = given.get("upstream_key") or self.key
        return {"upstream_tls": mode, **files}


def upstream_tls(said: Mapping[str, str], environment: Mapping[str, str]) -> UpstreamTls:
    """From a URL's parameters, and where they say nothing, from libpq's variables. Raises ConfigurationError."""
    given = {name: value for name in TLS_PARAMETERS if (value := said.get(name, ""))}
    says_mode = "sslmode" in given or "ssl" in given or "sslaccept" in given
    for name, variable in _ENVIRONMENT.items():
        if environment.get(variable) and not (name == "sslmode" and says_mode):
            given.setdefault(name, environment[variable])
    _check(given)
    mode = _mode(given)
    ca, certificate, key = given.get("sslrootcert", ""), given.get("sslcert", ""), given.get("sslkey", "")
    if "sslaccept" in given:
        ca, certificate = _prisma_ca(certificate), ""
        mode = "verify-full" if given["sslaccept"] == "strict" and mode != "disable" else mode
    elif mode == "require":
        # libpq: "if a root CA file exists, the behavior of sslmode=require will be the same as that of verify-ca".
        ca = ca or (_default_ca() if _says_require(given) else "")
        mode = "verify-ca" if ca else mode
    if ca == "system" and mode != "disable":
        mode = "verify-full"
    lost = tuple(_lost(given))
    if mode == "disable":
        return UpstreamTls(mode, lost=lost)
    # Without that file, what this machine trusts.
    ca = (ca or _default_ca() or "system") if mode in _VERIFYING else ""
    # Of libpq's two weakest modes the proxy has one, and for known poolers a stronger default.
    return UpstreamTls("" if mode in ("allow", "prefer") else mode, ca, certificate, key, lost)


def says_tls(environment: Mapping[str, str]) -> bool:
    """Whether libpq's variables ask for TLS, so that a URL for pgshim has to say that there is none."""
    return any(environment.get(name) for name in _ASKING)


def _says_require(given: Mapping[str, str]) -> bool:
    """Whether `require` is meant as libpq means it: not Node's no-verify, nor an object of its own."""
    word = given.get("sslmode") or given.get("ssl", "")
    return word == "require" or not word


def _mode(given: Mapping[str, str]) -> str:
    word = given.get("sslmode") or given.get("ssl", "")
    if not word and ("sslaccept" in given or given.get("requiressl") == "1"):
        word = "require"
    mode = word if word in _MODES else _OTHER_MODES.get(word.lower(), "")
    if word.startswith("{"):
        mode = "require"  # An object of Node's: what is in it speaks of its own TLS.
    if word and not mode:
        raise ConfigurationError(f"'{word}' is no sslmode; give one of {', '.join(_MODES)}")
    if not mode and given.get("sslrootcert") == "system":
        return "verify-full"
    return mode


def _check(given: Mapping[str, str]) -> None:
    if "sslidentity" in given:
        raise ConfigurationError(
            "sslidentity is a PKCS 12 file, which pgshim does not read; take it out, and give the same certificate and"
            " key as PEM files with --upstream-cert and --upstream-key"
        )
    if "sslpassword" in given and "sslkey" in given:
        raise ConfigurationError(
            "sslpassword is of a key that is encrypted, which pgshim does not read; take both out, and give an"
            " unencrypted key with --upstream-key"
        )


def _lost(given: Mapping[str, str]) -> list[str]:
    lost = [name for name in ("sslcrl", "sslcrldir") if name in given]
    return lost + [f"{name}={value}" for name, value in _NOT_TO_BE_HAD if given.get(name) == value]


def _prisma_ca(path: str) -> str:
    """Prisma looks beside its schema, which is in `prisma/` unless somebody has moved it."""
    beside = os.path.join("prisma", path)
    return beside if path and not os.path.exists(path) and os.path.exists(beside) else path


def _default_ca() -> str:
    """Where libpq looks; empty without that file."""
    path = os.path.expanduser("~/.postgresql/root.crt")
    return path if os.path.exists(path) else ""
