"""docs/security.md says what is so: its commands run, its numbers are those of the code."""

from __future__ import annotations

import re
import subprocess
from math import exp, log, sqrt
from pathlib import Path

import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from flwr_gossip.server_free import sparing
from flwr_gossip.server_free.peers import limits, network_service, tokens
from flwr_gossip.server_free.peers.certificates import check_files
from flwr_gossip.server_free.peers.host import PeerHost
from flwr_gossip.server_free.peers.links import TlsFiles

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "security.md").read_text()


def rows(title: str) -> list[list[str]]:
    """Return the cells of the table whose first column has this title, without its head."""
    lines = iter(PAGE.splitlines())
    for line in lines:
        if line.startswith(f"| {title} |"):
            next(lines)
            break
    found = []
    for line in lines:
        if not line.startswith("|"):
            return found
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def test_the_commands_make_certificates_that_a_peer_takes(tmp_path: Path) -> None:
    for block in re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL):
        subprocess.run(["sh", "-e", "-c", block], cwd=tmp_path, check=True, capture_output=True)
    files = TlsFiles(*(str(tmp_path / name) for name in ("peer.pem", "peer.key", "ca.pem")))
    for address in ("a.example.org:9400", "10.0.0.3:9400"):
        assert check_files(files, address) == files
    with PeerHost(advertise="10.0.0.3:9400", tls=files) as host:
        assert host.info.tls
    assert (tmp_path / "peer.key").stat().st_mode & 0o077 == 0


def test_the_limits_are_those_of_the_code() -> None:
    stated = dict(rows("limit"))
    assert stated["connections"].startswith(f"{limits.MAX_CONNECTIONS}, and at most half")
    assert stated["handshake, also of TLS"] == f"{limits.HANDSHAKE_MS // 1000} s"
    idle, ping = limits.IDLE_MS, limits.KEEPALIVE_MS + limits.KEEPALIVE_TIMEOUT_MS
    assert stated["a connection without a request"] == f"closed after {idle // 1000} s"
    assert stated["a connection that answers no ping"] == f"closed after {ping // 1000} s"
    at_once = f"{limits.MAX_REQUESTS}; {limits.MAX_STREAMS} on one connection"
    assert stated["requests at the same time"] == at_once
    waiting = stated["waiting for a run that is not known"]
    assert waiting.startswith(f"{network_service.MAX_STRANGERS} requests, ")
    assert f"{network_service.STRANGER_WAIT_S:.0f} s each" in waiting
    assert network_service.STRANGER_BEAT_S == 1 / 4
    assert stated["a request"] == f"{limits.MAX_REQUEST_BYTES >> 10} KiB, never compressed"
    assert stated["who reads nothing of a model"] == f"cut off after {network_service.TAKE_S:.0f} s"
    assert (stated["log"], sparing.PER_S) == (f"{sparing.LINES} lines a minute", 60.0)
    assert f"after every {tokens.REMEMBERED_NONCES:,} nonces" in PAGE


@pytest.mark.parametrize("row", rows("epsilon of a round"), ids=" ".join)
def test_what_noise_gives_over_many_rounds(row: list[str]) -> None:
    epsilon, rounds, bound, exact = map(float, row)
    delta = 1e-5
    total = rounds * epsilon**2 / (4 * log(1.25 / delta))
    assert bound == pytest.approx(total + 2 * sqrt(total * log(1 / delta)), abs=0.005)
    mu = sqrt(2 * total)

    def excess(e: float) -> float:
        tail = exp(e + norm.logcdf(-mu / 2 - e / mu))
        return float(norm.cdf(mu / 2 - e / mu)) - tail - delta

    assert exact == pytest.approx(brentq(excess, 0.0, 100.0), abs=0.005)
    assert exact < bound


def test_the_noise_is_that_of_the_formula() -> None:
    """The page states the standard deviation of Flower's mod."""
    import inspect

    from flwr.clientapp.mod import LocalDpMod

    source = "".join(inspect.getsource(LocalDpMod).split())
    assert "self.sensitivity*np.sqrt(2*np.log(1.25/self.delta))/self.epsilon" in source
    assert "sensitivity * sqrt(2 * ln(1.25 / delta)) / epsilon" in PAGE


def test_the_readme_links_it() -> None:
    assert "(docs/security.md)" in (ROOT / "README.md").read_text()
