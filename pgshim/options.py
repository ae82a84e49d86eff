"""Options, as the command line or a caller gives them -> `Settings`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pgshim.errors import ConfigurationError
from pgshim.settings import Address, Settings, check, default_upstream_tls

#: The options that are one of a few words.
CHOICES = {
    "upstream_tls": ("disable", "prefer", "require", "verify-ca", "verify-full"),
    "upstream_mode": ("transaction", "session"),
    "pipeline": ("auto", "serial", "through"),
    "unsafe": ("refuse", "warn", "allow"),
}


def settings_from(options: Mapping[str, Any]) -> Settings:
    """The settings that parsed options give. Raises ConfigurationError for those that do not go together."""
    upstream: Address | None = options["upstream"]
    if upstream is None:
        raise ConfigurationError("--upstream is missing; say where the pooler is, as in --upstream pooler.example:6543")
    values = {name: options[name] for name in Settings.__dataclass_fields__ if name in options}
    # The same address twice, as with a bare PORT beside 127.0.0.1:PORT, is one.
    for name in ("listen", "session_listen"):
        values[name] = tuple(dict.fromkeys(address for group in options[name] for address in group))
    values["allow"] = tuple(dict.fromkeys(options["allow"]))
    values["session_upstream_tls"] = "prefer"
    for name in ("upstream", "session_upstream"):
        if options[name] is not None:
            default = default_upstream_tls(options[name], bool(options["upstream_ca"]))
            values[f"{name}_tls"] = options["upstream_tls"] or default
    settings = Settings(**values)
    check(settings)
    return settings
