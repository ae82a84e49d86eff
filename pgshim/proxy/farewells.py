"""The errors with which pgshim itself ends a connection that did nothing wrong."""

from __future__ import annotations

from pgshim.addresses import Address
from pgshim.errors import IdleTimeout, LoginTimeout, ShuttingDown, UpstreamLost


def login_timeout() -> LoginTimeout:
    return LoginTimeout("the login was not complete in time", hint="The limit is pgshim's --login-timeout.")


def idle_timeout() -> IdleTimeout:
    text = "terminating connection due to idle-session timeout"
    return IdleTimeout(text, hint="The limit is pgshim's --idle-timeout.")


def shutting_down() -> ShuttingDown:
    return ShuttingDown("terminating connection due to administrator command", hint="pgshim is being stopped.")


def upstream_lost(upstream: Address, *, in_login: bool) -> UpstreamLost:
    when = "during the login" if in_login else "while a session was open"
    hint = "" if in_login else " A transaction that was being committed may or may not have been."
    return UpstreamLost(f"the upstream {upstream} closed the connection {when}", hint="Connect again." + hint)
