"""pgshim: a local proxy that makes a PostgreSQL transaction pooler safe for every driver.

Rooms, one direction: `pgshim.protocol` (bytes <-> messages) <- `pgshim.session` (what a virtual session makes of
them) <- `pgshim.proxy` (sockets). ARCHITECTURE.md is the map.
"""

from typing import TYPE_CHECKING, Any

from pgshim.errors import ConfigurationError, UpstreamUnreachable

if TYPE_CHECKING:
    from pgshim.options import ServeOptions
    from pgshim.proxy.listen import ListenError
    from pgshim.proxy.serve import ServedAddress, serve

__all__ = [
    "ConfigurationError", "ListenError", "ServeOptions", "ServedAddress", "UpstreamUnreachable", "__version__", "serve",
]  # fmt: skip

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """What runs in the app's own process; imported when it is asked for, so that `import pgshim` costs nothing."""
    if name == "ListenError":
        from pgshim.proxy.listen import ListenError

        return ListenError
    if name in ("ServedAddress", "serve"):
        from pgshim.proxy import serve

        return getattr(serve, name)
    if name == "ServeOptions":
        from pgshim.options import ServeOptions

        return ServeOptions
    raise AttributeError(f"module 'pgshim' has no attribute '{name}'")
