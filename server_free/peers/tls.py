"""Certificates as gRPC wants them: for a peer that serves, and to dial other peers."""

from __future__ import annotations

import ssl

import grpc

from .links import TlsFiles

__all__ = ["channel_credentials", "server_credentials"]


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


def _read(path: str | None) -> bytes | None:
    if path is None:
        return None
    with open(path, "rb") as file:
        return file.read()
