"""What a :class:`.process.PeerProcess` runs: a peer host that ends when its stdin does."""

from __future__ import annotations

import signal
import sys

from .host import PeerHost


def main() -> None:
    """Serve on loopback, print both addresses, and wait for the parent to end or to say so."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C ends the parent, and then this
    with PeerHost() as host:
        print(host.address, host.local_address, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
