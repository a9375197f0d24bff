"""Addresses as people write them: ``host:port``, ``[ipv6]:port`` and ``unix:/path``."""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
import tempfile
from dataclasses import dataclass

from ..errors import PeerError

__all__ = [
    "HostPort",
    "SocketFolder",
    "check_can_listen",
    "check_unix_path",
    "parse_host_port",
]

MAX_UNIX_PATH_BYTES = 107
"""Linux takes 108 bytes with the zero at the end; macOS 104."""


@dataclass(frozen=True, slots=True)
class HostPort:
    """A network address; port 0 is any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_wildcard(self) -> bool:
        """Whether it means all interfaces and so is no address to dial."""
        try:
            return ipaddress.ip_address(self.host).is_unspecified
        except ValueError:
            return False

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def parse_host_port(text: str, field: str) -> HostPort:
    """Parse ``text``; a ``ValueError`` names ``field``, the value and what is allowed."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 65536):
        raise ValueError(
            f"{field} is {text!r}, must be HOST:PORT, for example 10.0.0.5:9400 or [::1]:9400"
        )
    return HostPort(host, int(port))


def check_can_listen(address: HostPort, field: str) -> None:
    """Raise ``PeerError`` with the system's own words if nobody can listen on ``address`` now."""
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(target)
    except OSError as error:
        raise PeerError(
            f"{field} is {str(address)!r}, which cannot be listened on: {error.strerror}. Choose "
            "another port or address of this machine, or stop what listens there"
        ) from None


def check_unix_path(address: str, field: str) -> str:
    """Return the path in ``unix:PATH``; raises if it is too long or somebody listens there."""
    path = os.path.abspath(address.removeprefix("unix:").removeprefix("//"))
    if (size := len(os.fsencode(path))) > MAX_UNIX_PATH_BYTES:
        raise ValueError(
            f"{field} is {address!r}: its path has {size} bytes, a unix socket's path may have "
            f"{MAX_UNIX_PATH_BYTES}. Choose a shorter one, for example unix:/tmp/peer.sock"
        )
    if not os.path.isdir(os.path.dirname(path)):
        raise ValueError(f"{field} is {address!r}: there is no folder {os.path.dirname(path)!r}")
    if _somebody_listens(path):
        raise PeerError(f"{field} is {address!r}: another process listens there already")
    return path


def _somebody_listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except OSError:
            return False
        return True


class SocketFolder:
    """A fresh folder that only this user enters, short enough for a socket in it."""

    def __init__(self) -> None:
        self._path = tempfile.mkdtemp(prefix="flwr-gossip-")
        if len(os.fsencode(self.socket)) > MAX_UNIX_PATH_BYTES:
            shutil.rmtree(self._path)
            self._path = tempfile.mkdtemp(prefix="flwr-gossip-", dir="/tmp")

    @property
    def socket(self) -> str:
        """The path of the socket."""
        return os.path.join(self._path, "peer.sock")

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self._path, ignore_errors=True)
