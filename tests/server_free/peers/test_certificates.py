"""Bad certificate files are refused at the start, by option, file and reason."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from flwr_gossip.server_free.peers.certificates import check_files, covers
from flwr_gossip.server_free.peers.host import PeerHost
from flwr_gossip.server_free.peers.links import TlsFiles
from offices import Office


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path / "ours")


def refused(files: TlsFiles, says: str) -> None:
    """Both the check and a peer raise with these words."""
    with pytest.raises(ValueError, match=says):
        check_files(files)
    with pytest.raises(ValueError, match=says):
        PeerHost(advertise="localhost:0", tls=files)


def test_good_files_are_made_absolute(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    office.issue("localhost")
    monkeypatch.chdir(office.folder)
    files = check_files(TlsFiles("localhost.pem", "localhost.key", "ca.pem"), "localhost:1")
    names = ("localhost.pem", "localhost.key", "ca.pem")
    assert files == TlsFiles(*(str(office.folder / name) for name in names))


def test_a_file_that_is_not_there(office: Office) -> None:
    good = office.issue("localhost", ca=office.ca)
    says = "cannot be read: No such file"
    refused(TlsFiles("no.pem", good.keyfile), rf"--ssl-certfile 'no\.pem' {says}")
    refused(TlsFiles(good.certfile, "no.key"), rf"--ssl-keyfile 'no\.key' {says}")
    refused(TlsFiles(good.certfile, good.keyfile, "no.ca"), rf"--ssl-ca-certfile 'no\.ca' {says}")
    folder = str(office.folder)
    refused(TlsFiles(folder, good.keyfile), "--ssl-certfile .* cannot be read: Is a directory")


def test_a_file_that_may_not_be_read(office: Office) -> None:
    good = office.issue("localhost")
    Path(good.keyfile).chmod(0)
    try:
        Path(good.keyfile).read_bytes()
    except PermissionError:
        refused(good, "--ssl-keyfile .*localhost.key' cannot be read: Permission denied")
    else:
        pytest.skip("this user may read every file")


def test_a_file_that_holds_something_else(office: Office, tmp_path: Path) -> None:
    good = office.issue("localhost", ca=office.ca)
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    refused(TlsFiles(str(junk), good.keyfile), r"--ssl-certfile '.*junk\.pem' holds no PEM cert")
    refused(TlsFiles(good.certfile, str(junk)), r"--ssl-keyfile '.*junk\.pem' holds no PEM priv")
    refused(
        TlsFiles(good.certfile, good.keyfile, str(junk)),
        r"--ssl-ca-certfile '.*junk\.pem' holds no PEM certificate",
    )


def test_files_in_the_wrong_options(office: Office) -> None:
    good = office.issue("localhost")
    swapped = TlsFiles(good.keyfile, good.certfile)
    refused(swapped, "--ssl-certfile .* it holds a private key, which --ssl-keyfile takes")
    twice = TlsFiles(good.certfile, good.certfile)
    refused(twice, "--ssl-keyfile .* it holds a certificate, which --ssl-certfile takes")


def test_the_key_of_another_certificate(office: Office) -> None:
    good, other = office.issue("localhost"), office.issue("other.example")
    says = r"--ssl-keyfile '.*other\.example\.key' is not the key of .* --ssl-certfile '.*localhost"
    refused(TlsFiles(good.certfile, other.keyfile), says)


def test_an_encrypted_key(office: Office) -> None:
    good = office.issue("localhost")
    locked = str(office.folder / "locked.key")
    subprocess.run(
        ["openssl", "pkey", "-in", good.keyfile, "-aes128", "-passout", "pass:x", "-out", locked],
        check=True,
    )
    refused(TlsFiles(good.certfile, locked), r"--ssl-keyfile '.*locked\.key' is encrypted.*openssl")


def test_a_chain_in_the_wrong_order(office: Office, tmp_path: Path) -> None:
    child = Office(tmp_path / "child", parent=office)
    good = child.issue("localhost", ca=office.ca)
    assert check_files(good, "localhost:1") == good
    backwards = child.issue("localhost", ca=office.ca, backwards=True)
    refused(backwards, r"--ssl-certfile .* wrong order: .* must come first and is number 2")


def test_certificates_out_of_their_time(office: Office) -> None:
    now = datetime.now(UTC)
    past = office.issue("localhost", ends=now - timedelta(days=1))
    refused(past, "--ssl-certfile .* holds an expired certificate: .* ended ")
    future = office.issue("localhost", begins=now + timedelta(days=1))
    refused(future, "--ssl-certfile .* is not valid yet: .* this machine's clock says")


def test_a_certificate_of_another_ca(office: Office, tmp_path: Path) -> None:
    theirs = Office(tmp_path / "theirs", "theirs")
    refused(
        office.issue("localhost", ca=theirs.ca),
        r"--ssl-certfile .* was not issued by the CA in --ssl-ca-certfile .*theirs",
    )


def test_a_certificate_for_one_use_only(tmp_path: Path) -> None:
    """With mutual TLS the same certificate answers and dials."""
    files = self_signed(tmp_path, "localhost", [ExtendedKeyUsageOID.SERVER_AUTH])
    one_sided = TlsFiles(files.certfile, files.keyfile)
    assert check_files(one_sided, "localhost:1") == one_sided
    refused(files, "--ssl-certfile .* is not made for clientAuth: .* serverAuth and clientAuth")


def test_a_certificate_for_another_host(office: Office) -> None:
    files = office.issue("a.example", "10.0.0.5")
    assert check_files(files, "10.0.0.5:1") == files
    with pytest.raises(
        ValueError, match=r"10\.0\.0\.6:1: .* are a\.example, 10\.0\.0\.5\. .*--adv"
    ):
        check_files(files, "10.0.0.6:1")
    with pytest.raises(ValueError, match="not good for the advertised address localhost:0"):
        PeerHost(advertise="localhost:0", tls=files)


def test_a_certificate_that_is_its_own_ca(tmp_path: Path) -> None:
    """Peers that all share one self-signed certificate and its key."""
    files = self_signed(tmp_path, "localhost")
    assert check_files(files, "localhost:1") == files


def self_signed(
    folder: Path, host: str, uses: list[x509.ObjectIdentifier] | None = None
) -> TlsFiles:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    ).add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    if uses is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
    certfile, keyfile = folder / "self.pem", folder / "self.key"
    certfile.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    keyfile.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    return TlsFiles(str(certfile), str(keyfile), str(certfile))


@pytest.mark.parametrize(
    ("names", "address", "good"),
    [
        ([b"a.example"], "a.example:1", True),
        ([b"A.example"], "a.EXAMPLE:1", True),
        ([b"x", b"10.0.0.5"], "10.0.0.5:1", True),
        ([b"::1"], "[0:0::1]:1", True),
        ([b"*.example"], "a.example:1", True),
        ([b"*.example"], "a.b.example:1", False),
        ([b"*.example"], "example:1", False),
        ([b"10.0.0.50"], "10.0.0.5:1", False),
        ([], "a:1", False),
        ([b"\xff"], "a:1", False),
    ],
)
def test_which_certificates_cover_an_address(names: list[bytes], address: str, good: bool) -> None:
    assert covers(names, address) is good
