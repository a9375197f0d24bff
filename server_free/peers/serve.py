"""What a :class:`.process.PeerProcess` runs: a peer host that ends when its stdin does.

Its argument is the most bytes that its models together may have.
"""

from __future__ import annotations

import signal
import sys

from .host import PeerHost
from .mailbox import DEFAULT_MAX_BYTES

HOW_TO_RAISE = (
    "This peer holds the models of all nodes: fewer or smaller ones need less, or raise the limit "
    "with PeerProcess(max_bytes=...)"
)


def main() -> None:
    """Serve on loopback, print both addresses, and wait for the parent to end or to say so."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C ends the parent, and then this
    max_bytes = int(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_MAX_BYTES
    with PeerHost(max_bytes=max_bytes) as host:
        host.mailbox.how_to_raise = HOW_TO_RAISE
        print(host.address, host.local_address, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
