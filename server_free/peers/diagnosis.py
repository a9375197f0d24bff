"""Why an address cannot be connected to, in words: name, route, port, TLS and certificates."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress

from .addresses import HostPort, parse_host_port
from .certificates import check_files
from .links import TlsFiles

__all__ = ["diagnose"]

_HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""What a gRPC client says first, with empty settings: any gRPC server has an answer."""

_UNKNOWN_CA = {2, 18, 19, 20, 21}  # X509_V_ERR_...: issuer not found, self-signed, unverifiable
_EXPIRED, _NOT_YET, _HOST_NAME, _IP_ADDRESS = 10, 9, 62, 64


def diagnose(address: str, tls: TlsFiles | None, timeout_s: float) -> tuple[str, str]:
    """Try the steps of a connection one by one; return kind and reason of the first that fails.

    Parameters
    ----------
    address : str
        ``host:port`` of the peer.
    tls : TlsFiles | None
        What this side dials with.
    timeout_s : float
        For each step that waits for the network.

    Returns
    -------
    tuple[str, str]
        A kind of :class:`..reachability.Unreachable`; ``"failed"`` when all steps succeed.
    """
    place = parse_host_port(address, "address")
    try:
        socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        said = getattr(error, "strerror", None) or str(error)
        return "no-such-name", f"the name {place.host!r} does not resolve: {said}"
    try:
        with _connected(place, timeout_s) as connection:
            return _talk(connection, place, tls)
    except ConnectionRefusedError:
        return "refused", f"nobody listens on port {place.port} of {place.host}"
    except TimeoutError:
        return "timed-out", (
            f"no connection within {timeout_s:g} s: a firewall drops it, or the address is wrong"
        )
    except OSError as error:
        return "no-route", f"{place.host} cannot be reached: {error.strerror or error}"


def _connected(place: HostPort, timeout_s: float) -> socket.socket:
    connection = socket.create_connection((place.host, place.port), timeout=timeout_s)
    connection.settimeout(timeout_s)
    return connection


def _talk(connection: socket.socket, place: HostPort, tls: TlsFiles | None) -> tuple[str, str]:
    if tls is None:
        return _talk_plainly(connection)
    try:
        return _talk_securely(connection, place, _client_context(tls))
    except ssl.SSLCertVerificationError as error:
        ours = tls.ca_certfile or "no CA of the system"
        return "certificate", _judged(error, place.host, ours)
    except ssl.SSLError as error:
        if "WRONG_VERSION_NUMBER" in (error.reason or ""):
            return "plain-text", "it speaks plain text (--insecure) and this peer TLS"
        return "certificate", f"the TLS handshake failed: {error.reason or error}"
    except ConnectionError:
        return "certificate", _own_certificate(tls)


def _talk_plainly(connection: socket.socket) -> tuple[str, str]:
    """Tell a peer that wants TLS, which hangs up on plain text, by greeting it in TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with suppress(OSError), context.wrap_socket(connection):
        return "plain-text", "it speaks TLS and this peer does not (--insecure)"
    return "failed", "it accepts connections"


def _talk_securely(
    connection: socket.socket, place: HostPort, context: ssl.SSLContext
) -> tuple[str, str]:
    with context.wrap_socket(connection, server_hostname=place.host) as secure:
        secure.sendall(_HTTP2)
        # In TLS 1.3 the other side judges our certificate after the handshake. gRPC hangs up then.
        if not secure.recv(1):
            raise ConnectionResetError
    return "failed", "it accepts connections and certificates"


def _client_context(tls: TlsFiles) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca_certfile)
    context.set_alpn_protocols(["h2"])
    if tls.ca_certfile is not None:
        context.load_cert_chain(tls.certfile, tls.keyfile)
    return context


def _judged(error: ssl.SSLCertVerificationError, host: str, ca: str) -> str:
    code = error.verify_code
    if code in _UNKNOWN_CA:
        return f"unknown CA: {ca} did not sign its certificate"
    if code in (_HOST_NAME, _IP_ADDRESS):
        return f"wrong host name: its certificate is not for {host}"
    if code == _EXPIRED:
        return "expired: its certificate has expired by the clock of this machine"
    if code == _NOT_YET:
        return "not valid yet: its certificate begins later by the clock of this machine"
    return f"its certificate is not accepted: {error.verify_message}"


def _own_certificate(tls: TlsFiles) -> str:
    """Return why the other side, which has hung up, may not like what this side shows."""
    if tls.ca_certfile is None:
        return (
            "it demands a client certificate and this peer shows none: give --ssl-ca-certfile "
            "here too"
        )
    try:
        check_files(tls)
    except ValueError as error:
        return f"it hangs up: {error}"
    return "it hangs up: it does not accept this peer's certificate; has it another CA?"
