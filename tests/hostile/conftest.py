"""The event loops and certificates of tests/proxy."""

from tests.proxy.conftest import Run, certificates, run

__all__ = ["Run", "certificates", "run"]
