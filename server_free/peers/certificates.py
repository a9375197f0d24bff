"""Certificates, checked when a peer starts: what is wrong is said by the option and the file.

Others would see no more than a handshake that fails.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from .addresses import parse_host_port
from .links import TlsFiles

__all__ = ["check_files", "covers"]

CERTFILE, KEYFILE, CA_CERTFILE = "--ssl-certfile", "--ssl-keyfile", "--ssl-ca-certfile"
"""The options; in Python the same are the fields of ``TlsFiles``."""
USES = {
    "serverAuth": ExtendedKeyUsageOID.SERVER_AUTH,
    "clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH,
}


def check_files(files: TlsFiles, address: str | None = None) -> TlsFiles:
    """Return ``files`` with absolute paths, if peers will accept each other with them.

    Parameters
    ----------
    files : TlsFiles
        The files as the user gave them.
    address : str | None (default: None)
        The advertised ``host:port`` that the certificate must be good for, if that is known.

    Raises
    ------
    ValueError
        Names the option and the file that is no good, and why.
    """
    chain = _certificates(CERTFILE, files.certfile)
    key = _private_key(files.keyfile)
    _check_key(files, chain, key)
    for certificate in chain:
        _check_dates(CERTFILE, files.certfile, certificate)
    _check_uses(files, chain[0])
    if files.ca_certfile is not None:
        _check_issued(files.certfile, chain, files.ca_certfile)
    if address is not None:
        _check_host(files.certfile, chain[0], address)
    absolute = None if files.ca_certfile is None else os.path.abspath(files.ca_certfile)
    return TlsFiles(os.path.abspath(files.certfile), os.path.abspath(files.keyfile), absolute)


def _read(option: str, path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise ValueError(f"{option} {path!r} cannot be read: {error.strerror}") from None


def _certificates(option: str, path: str) -> list[x509.Certificate]:
    """Return the certificates in a PEM file, at least one, in their order."""
    content = _read(option, path)
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError:
        hint = ""
        if b"PRIVATE KEY" in content:
            hint = f"; it holds a private key, which {KEYFILE} takes"
        raise ValueError(f"{option} {path!r} holds no PEM certificate{hint}") from None


def _private_key(path: str) -> PrivateKeyTypes:
    content = _read(KEYFILE, path)
    try:
        return load_pem_private_key(content, password=None)
    except TypeError:
        raise ValueError(
            f"{KEYFILE} {path!r} is encrypted, and a peer has nobody to ask for the password. "
            "Decrypt it (openssl pkey -in KEY -out PLAIN) and guard it by file permissions"
        ) from None
    except ValueError:
        hint = ""
        if b"CERTIFICATE" in content:
            hint = f"; it holds a certificate, which {CERTFILE} takes"
        raise ValueError(f"{KEYFILE} {path!r} holds no PEM private key{hint}") from None


def _check_key(files: TlsFiles, chain: Sequence[x509.Certificate], key: PrivateKeyTypes) -> None:
    own = key.public_key()
    places = [place for place, certificate in enumerate(chain) if certificate.public_key() == own]
    if not places:
        raise ValueError(
            f"{KEYFILE} {files.keyfile!r} is not the key of the certificate in {CERTFILE} "
            f"{files.certfile!r}"
        )
    if places[0] != 0:
        raise ValueError(
            f"{CERTFILE} {files.certfile!r} is in the wrong order: the peer's own certificate "
            f"must come first and is number {places[0] + 1}, then who issued it"
        )


def _check_dates(option: str, path: str, certificate: x509.Certificate) -> None:
    now = datetime.now(UTC)
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    name = certificate.subject.rfc4514_string()
    if now > ends:
        raise ValueError(f"{option} {path!r} holds an expired certificate: {name} ended {ends}")
    if now < begins:
        raise ValueError(
            f"{option} {path!r} holds a certificate that is not valid yet: {name} begins {begins} "
            f"and this machine's clock says {now:%Y-%m-%d %H:%M:%S%z}"
        )


def _check_uses(files: TlsFiles, certificate: x509.Certificate) -> None:
    """A peer answers, and under mutual TLS its clients dial with the same certificate."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        return
    needed = list(USES) if files.ca_certfile is not None else ["serverAuth"]
    for use in needed:
        if USES[use] not in extension.value:
            raise ValueError(
                f"{CERTFILE} {files.certfile!r} is not made for {use}: its extended key usage "
                f"must have {' and '.join(needed)}"
            )


def _check_issued(path: str, chain: Sequence[x509.Certificate], ca_path: str) -> None:
    """Raise unless the chain leads to a certificate of the CA file."""
    roots = _certificates(CA_CERTFILE, ca_path)
    for root in roots:
        _check_dates(CA_CERTFILE, ca_path, root)
    last: x509.Certificate | None = chain[0]
    for _ in chain:
        if last is None or last in roots or _issuer(last, roots) is not None:
            break
        last = _issuer(last, chain[1:])
    if last is None or not (last in roots or _issuer(last, roots) is not None):
        raise ValueError(
            f"{CERTFILE} {path!r} was not issued by the CA in {CA_CERTFILE} {ca_path!r} "
            f"({roots[0].subject.rfc4514_string()}): no other peer would accept it"
        )


def _issuer(
    certificate: x509.Certificate, candidates: Iterable[x509.Certificate]
) -> x509.Certificate | None:
    for candidate in candidates:
        try:
            certificate.verify_directly_issued_by(candidate)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return candidate
    return None


def _check_host(path: str, certificate: x509.Certificate, address: str) -> None:
    names = _names(certificate)
    if not covers(names, address):
        has = ", ".join(name.decode() for name in names) or "none"
        raise ValueError(
            f"{CERTFILE} {path!r} is not good for the advertised address {address}: its subject "
            f"alternative names are {has}. Issue it for that host, or advertise one of these "
            "(--advertise HOST:PORT)"
        )


def _names(certificate: x509.Certificate) -> list[bytes]:
    """Return DNS names and IP addresses as gRPC tells those of who dials."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    hosts = extension.value.get_values_for_type(x509.DNSName)
    addresses = map(str, extension.value.get_values_for_type(x509.IPAddress))
    return [name.encode() for name in (*hosts, *addresses)]


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
