"""The command line ``flwr-gossip``."""

from __future__ import annotations

from typing import Annotated

import typer

from .peer_options import (
    AdvertiseOption,
    CaCertfileOption,
    CertfileOption,
    InsecureOption,
    KeyfileOption,
    ListenOption,
    LocalOption,
    MemoryOption,
    PeerOptions,
    one_line_errors,
)
from .supernode import run_peer, run_supernode

__all__ = ["app"]

app = typer.Typer(
    name="flwr-gossip",
    help="Decentralized training for Flower.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def main() -> None:
    """Decentralized training for Flower: weights go from client to client."""


@app.command()
def peer(
    listen: ListenOption,
    advertise: AdvertiseOption = None,
    local: LocalOption = None,
    insecure: InsecureOption = False,
    ssl_certfile: CertfileOption = None,
    ssl_keyfile: KeyfileOption = None,
    ssl_ca_certfile: CaCertfileOption = None,
    max_memory: MemoryOption = "4GiB",
) -> None:
    """Serve the models of this machine's ClientApps to the peers of other machines.

    Prints one line when it is ready and runs till SIGTERM or SIGINT. ClientApps find it by the
    node-config field gossip-peer: give the SuperNode --node-config 'gossip-peer="unix:PATH"'.
    """
    options = PeerOptions(
        listen, advertise, local, insecure, ssl_certfile, ssl_keyfile, ssl_ca_certfile, max_memory
    )
    with one_line_errors("peer"):
        run_peer(options.host())


@app.command()
def supernode(
    listen: ListenOption,
    flower_options: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="-- [FLOWER-SUPERNODE OPTIONS]",
            help="What follows -- goes to flower-supernode, with gossip-peer added to its "
            "--node-config.",
        ),
    ] = None,
    advertise: AdvertiseOption = None,
    local: LocalOption = None,
    insecure: InsecureOption = False,
    ssl_certfile: CertfileOption = None,
    ssl_keyfile: KeyfileOption = None,
    ssl_ca_certfile: CaCertfileOption = None,
    max_memory: MemoryOption = "4GiB",
) -> None:
    """Run a peer and a flower-supernode in one: they start together and end together.

    Example:

    flwr-gossip supernode --listen 10.0.0.5:9400 --insecure -- --insecure
    --superlink 10.0.0.1:9092 --node-config "partition-id=0 num-partitions=4"
    """
    options = PeerOptions(
        listen, advertise, local, insecure, ssl_certfile, ssl_keyfile, ssl_ca_certfile, max_memory
    )
    with one_line_errors("supernode"):
        code = run_supernode(options.host(), flower_options or [])
    raise typer.Exit(code)


if __name__ == "__main__":
    app()
