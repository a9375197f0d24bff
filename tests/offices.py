"""Certificates for tests: good ones, and ones with something wrong with them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import trustme

from flwr_gossip.server_free.peers.links import TlsFiles


class Office:
    """Issues certificates into a folder; ``ca`` is the path of its own."""

    def __init__(self, folder: Path, name: str = "ours", parent: Office | None = None) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        if parent is None:
            self._ca = trustme.CA(organization_name=name)
        else:
            self._ca = parent._ca.create_child_ca()
        self.ca = str(folder / "ca.pem")
        self._ca.cert_pem.write_to_path(self.ca)

    def issue(
        self,
        *hosts: str,
        ca: str | None = None,
        ends: datetime | None = None,
        begins: datetime | None = None,
        backwards: bool = False,
    ) -> TlsFiles:
        """Write certificate chain and key for ``hosts``, and name ``ca`` beside them."""
        issued = self._ca.issue_cert(*hosts, not_after=ends, not_before=begins)
        base = self.folder / hosts[0]
        issued.private_key_pem.write_to_path(f"{base}.key")
        chain = [pem.bytes() for pem in issued.cert_chain_pems]
        Path(f"{base}.pem").write_bytes(b"".join(chain[::-1] if backwards else chain))
        return TlsFiles(f"{base}.pem", f"{base}.key", ca)
