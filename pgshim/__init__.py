"""pgshim: a local proxy that makes a PostgreSQL transaction pooler safe for every driver.

Rooms, one direction: `pgshim.protocol` (bytes <-> messages) <- `pgshim.session` (what a virtual session makes of
them) <- `pgshim.proxy` (sockets). ARCHITECTURE.md is the map.
"""

__version__ = "0.1.0"
