"""Certificates from a throw-away authority."""

from __future__ import annotations

from pathlib import Path

import trustme

from pgshim.demo.servers import TlsFiles


def issued(folder: Path, *names: str) -> TlsFiles:
    """A certificate for these names, its key, and the authority's own, as files in `folder`."""
    authority = trustme.CA()
    certificate = authority.issue_cert(*names)
    files = TlsFiles(folder / "server.crt", folder / "server.key", folder / "ca.crt")
    files.certificate.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(files.key)
    authority.cert_pem.write_to_path(files.ca)
    return files
