"""The options that ``flwr-gossip peer`` and ``flwr-gossip supernode`` share."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import typer

from ..server_free.errors import GossipError
from ..server_free.peers.host import PeerHost
from ..server_free.peers.links import TlsFiles
from ..server_free.peers.store import Store

__all__ = [
    "AdvertiseOption",
    "CaCertfileOption",
    "CertfileOption",
    "InsecureOption",
    "KeyfileOption",
    "ListenOption",
    "LocalOption",
    "MemoryOption",
    "MetricsOption",
    "PeerOptions",
    "StoreOption",
    "one_line_errors",
    "parse_size",
]

MISUSE = 2
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}

ListenOption = Annotated[
    str,
    typer.Option(
        metavar="HOST:PORT", help="Where other peers reach this one; port 0 is any free port."
    ),
]
AdvertiseOption = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="The address others dial, where it is not the one listened on (0.0.0.0, NAT).",
    ),
]
LocalOption = Annotated[
    str | None,
    typer.Option(
        metavar="unix:PATH",
        help="Where the ClientApps of this machine reach the peer; a socket in a fresh private "
        "folder by default.",
    ),
]
InsecureOption = Annotated[
    bool, typer.Option("--insecure", help="Send models in plain text. For trusted networks only.")
]
CertfileOption = Annotated[
    str | None, typer.Option(metavar="PEM", help="Certificate chain of this peer.")
]
KeyfileOption = Annotated[
    str | None, typer.Option(metavar="PEM", help="Private key of this peer, unencrypted.")
]
CaCertfileOption = Annotated[
    str | None,
    typer.Option(
        metavar="PEM",
        help="CA of all peers: each must show a certificate of it (mutual TLS). Without it peers "
        "are checked against the system's CAs.",
    ),
]
MemoryOption = Annotated[
    str, typer.Option(metavar="SIZE", help="The most that the models held may take.")
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        metavar="DIR",
        help="Keep the models held on disk too, in a folder of this peer alone, so that they "
        "outlive it.",
    ),
]
MetricsOption = Annotated[
    str | None,
    typer.Option(
        metavar="[HOST:]PORT",
        help="Tell Prometheus what this peer does at http://HOST:PORT/metrics, in plain text to "
        "anybody who reaches it; HOST is 127.0.0.1 by default. Needs flwr-gossip\\[metrics].",
    ),
]


@dataclass(frozen=True, slots=True)
class PeerOptions:
    """What the user said about the peer."""

    listen: str
    advertise: str | None
    local: str | None
    insecure: bool
    certfile: str | None
    keyfile: str | None
    ca_certfile: str | None
    max_memory: str
    store: str | None = None
    metrics: str | None = None

    def host(self) -> PeerHost:
        """Return the host, not started; a ``ValueError`` names the option that is no good."""
        return PeerHost(
            listen=self.listen,
            advertise=self.advertise,
            local=self.local,
            tls=self._tls(),
            max_bytes=parse_size(self.max_memory, "--max-memory"),
            store=None if self.store is None else Store(self.store),
            metrics=self.metrics,
        )

    def _tls(self) -> TlsFiles | None:
        files = (self.certfile, self.keyfile, self.ca_certfile)
        if self.insecure:
            if any(files):
                raise ValueError("--insecure and certificates (--ssl-...) exclude each other")
            return None
        if self.certfile is None or self.keyfile is None:
            raise ValueError(
                "give --ssl-certfile and --ssl-keyfile, or --insecure to send models in plain text"
            )
        return TlsFiles(self.certfile, self.keyfile, self.ca_certfile)


def parse_size(text: str, field: str) -> int:
    """Return the bytes in ``text`` such as ``"4GiB"``, ``"500MB"`` or ``"1000000"``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]I?)?B?", text.strip(), re.IGNORECASE)
    size = 0
    if match is not None:
        size = int(float(match[1]) * UNITS[(match[2] or "").upper()])
    if size <= 0:
        raise ValueError(f"{field} is {text!r}, must be a size such as 4GiB, 500MB or 1000000")
    return size


@contextmanager
def one_line_errors(command: str) -> Iterator[None]:
    """End the program with one line and code 2 for what the user can put right."""
    try:
        yield
    except (GossipError, ValueError, OSError) as error:
        print(f"flwr-gossip {command}: error: {error}", file=sys.stderr)
        raise typer.Exit(MISUSE) from None
