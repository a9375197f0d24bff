"""Certificates: checked when a peer starts, and turned into what gRPC wants."""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Iterable

import grpc

from .addresses import parse_host_port
from .links import TlsFiles

__all__ = ["channel_credentials", "check_files", "covers", "server_credentials"]


def check_files(files: TlsFiles) -> TlsFiles:
    """Return ``files`` with absolute paths; a ``ValueError`` names the file that is no good."""
    paths = {"certfile": files.certfile, "keyfile": files.keyfile, "ca_certfile": files.ca_certfile}
    for field, path in paths.items():
        if path is not None:
            _check_readable(field, path)
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.certfile, files.keyfile, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(
            f"certfile {files.certfile!r} and keyfile {files.keyfile!r} are not a PEM certificate "
            f"and its unencrypted PEM key: {error}"
        ) from None
    _check_ca(files.ca_certfile)
    ca_certfile = None if files.ca_certfile is None else os.path.abspath(files.ca_certfile)
    return TlsFiles(os.path.abspath(files.certfile), os.path.abspath(files.keyfile), ca_certfile)


def _check_ca(path: str | None) -> None:
    if path is None:
        return
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError as error:
        raise ValueError(f"ca_certfile {path!r} holds no PEM certificate: {error}") from None


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def _check_readable(field: str, path: str) -> None:
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise ValueError(f"{field} {path!r} cannot be read: {error.strerror}") from None


def _read(path: str | None) -> bytes | None:
    if path is None:
        return None
    with open(path, "rb") as file:
        return file.read()


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Return credentials of a peer; with a CA it demands a certificate of it from who dials."""
    return grpc.ssl_server_credentials(
        [(_read(files.keyfile), _read(files.certfile))],
        root_certificates=_read(files.ca_certfile),
        require_client_auth=files.ca_certfile is not None,
    )


def channel_credentials(files: TlsFiles) -> grpc.ChannelCredentials:
    """Return credentials to dial other peers with."""
    if files.ca_certfile is None:
        return grpc.ssl_channel_credentials(_read(ssl.get_default_verify_paths().cafile))
    return grpc.ssl_channel_credentials(
        _read(files.ca_certfile), _read(files.keyfile), _read(files.certfile)
    )


def covers(names: Iterable[bytes], address: str) -> bool:
    """Return whether a certificate with these subject names is good for the host of ``address``.

    Parameters
    ----------
    names : Iterable[bytes]
        The DNS names and IP addresses of the certificate.
    address : str
        An advertised ``host:port``.
    """
    host = parse_host_port(address, "address").host
    return any(_matches(name.decode(errors="replace"), host) for name in names)


def _matches(name: str, host: str) -> bool:
    try:
        return ipaddress.ip_address(name) == ipaddress.ip_address(host)
    except ValueError:
        pass
    if name.startswith("*."):
        return host.partition(".")[2].lower() == name[2:].lower()
    return name.lower() == host.lower()
