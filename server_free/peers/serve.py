"""What a :class:`.process.PeerProcess` runs: a peer host that ends when its stdin does.

Its arguments are the most bytes that its models together may have and, if they are to be kept on
disk, the folder.
"""

from __future__ import annotations

import signal
import sys

from .host import PeerHost
from .mailbox import DEFAULT_MAX_BYTES
from .store import Store

WAIT_S = 10.0

HOW_TO_RAISE = (
    "This peer holds the models of all nodes: fewer or smaller ones need less, or raise the limit "
    "with PeerProcess(max_bytes=...)"
)


def main() -> None:
    """Serve on loopback, print both addresses, and wait for the parent to end or to say so."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C ends the parent, and then this
    max_bytes = int(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_MAX_BYTES
    # The peer of a run that was killed may not have noticed yet that its parent is gone.
    store = Store(sys.argv[2], wait_s=WAIT_S) if len(sys.argv) > 2 else None
    with PeerHost(max_bytes=max_bytes, store=store) as host:
        host.mailbox.capacity.how_to_raise = HOW_TO_RAISE
        print(host.address, host.local_address, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
