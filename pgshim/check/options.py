"""The command line's options -> `Target`; the command line itself knows nothing of URLs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pgshim.check.passwords import with_password
from pgshim.check.target import Target
from pgshim.check.url import from_address, read_url, with_tls
from pgshim.errors import ConfigurationError


def target_from(options: Mapping[str, Any], common: Mapping[str, Any]) -> Target:
    """What is to be checked: the command's own options, and where they say nothing, pgshim's (`common`).

    `is_typed` among the options: the URL does not come from the environment. Raises ConfigurationError.
    """
    url, upstream = options["url"], options["upstream"]
    if upstream and url and options["is_typed"]:
        raise ConfigurationError("a URL and --upstream exclude each other; give one of them")
    upstream = upstream or (None if url else common.get("upstream"))
    timeout = common.get("connect_timeout") or 10.0
    if upstream is not None:
        target = from_address(upstream, options["user"], options["database"], connect_timeout=timeout)
    elif url:
        for name in ("user", "database"):
            if options[name]:
                raise ConfigurationError(f"--{name} goes with --upstream; with a URL, it is in there")
        target = read_url(url, connect_timeout=timeout)
    else:
        raise ConfigurationError(
            "there is nothing to check; give a URL, as in pgshim check postgresql://USER@HOST/DATABASE"
        )
    mode, ca, certificate, key = (
        options.get(name) or common.get(name) or ""
        for name in ("upstream_tls", "upstream_ca", "upstream_cert", "upstream_key")
    )
    return with_password(with_tls(target, mode=mode, ca=ca, certificate=certificate, key=key))
