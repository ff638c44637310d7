"""Certificates for one test, as files: an authority, a server at 127.0.0.1, and clients."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)


@dataclass
class Authority:
    """Signs certificates and writes them as PEM into its folder."""

    folder: Path
    _authority: trustme.CA = field(default_factory=trustme.CA)

    def __post_init__(self) -> None:
        self.ca = self.folder / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self.ca))

    def issue(self, name: str, password: bytes = b"") -> tuple[Path, Path]:
        """Files of a certificate and its key."""
        leaf = self._authority.issue_cert(f"{name}.example")
        cert, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        leaf.cert_chain_pems[0].write_to_path(str(cert))
        pem = leaf.private_key_pem.bytes()
        if password:
            how = BestAvailableEncryption(password)
            pem = load_pem_private_key(pem, None).private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, how
            )
        key.write_bytes(pem)
        return cert, key

    def server_context(self) -> ssl.SSLContext:
        """A server that wants to see a certificate of this authority."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._authority.issue_cert("127.0.0.1").configure_cert(context)
        self._authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        return context
