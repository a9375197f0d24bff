"""The command line ``flwr-gossip``."""

from __future__ import annotations

from pathlib import Path
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
    MetricsOption,
    PeerOptions,
    StoreOption,
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
    store: StoreOption = None,
    metrics: MetricsOption = None,
) -> None:
    """Serve the models of this machine's ClientApps to the peers of other machines.

    Prints one line when it is ready and runs till SIGTERM or SIGINT. ClientApps find it by the
    node-config field gossip-peer: give the SuperNode --node-config 'gossip-peer="unix:PATH"'.
    """
    options = PeerOptions(
        listen,
        advertise,
        local,
        insecure,
        ssl_certfile,
        ssl_keyfile,
        ssl_ca_certfile,
        max_memory,
        store,
        metrics,
    )
    with one_line_errors("peer"):
        run_peer(options.host())


@app.command()
def supernode(
    listen: ListenOption,
    flower_options: Annotated[
        list[str] | None,
        typer.Argument(metavar="-- [FLOWER-SUPERNODE OPTIONS]"),
    ] = None,
    advertise: AdvertiseOption = None,
    local: LocalOption = None,
    insecure: InsecureOption = False,
    ssl_certfile: CertfileOption = None,
    ssl_keyfile: KeyfileOption = None,
    ssl_ca_certfile: CaCertfileOption = None,
    max_memory: MemoryOption = "4GiB",
    store: StoreOption = None,
    metrics: MetricsOption = None,
) -> None:
    """Run a peer and a flower-supernode in one: they start together and end together.

    What follows -- goes to flower-supernode, with gossip-peer added to its --node-config. Example:

    flwr-gossip supernode --listen 10.0.0.5:9400 --insecure -- --insecure
    --superlink 10.0.0.1:8000 --node-config "partition-id=0 num-partitions=4"
    """
    options = PeerOptions(
        listen,
        advertise,
        local,
        insecure,
        ssl_certfile,
        ssl_keyfile,
        ssl_ca_certfile,
        max_memory,
        store,
        metrics,
    )
    with one_line_errors("supernode"):
        code = run_supernode(options.host(), flower_options or [])
    raise typer.Exit(code)


@app.command()
def simulate(
    app_dir: Annotated[Path, typer.Argument(metavar="APP_DIR")],
    nodes: Annotated[int, typer.Option(metavar="N", help="Number of virtual nodes.")],
    run_config: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE ...",
            help="Overrides of the app's run config as in flwr run: 'rounds=100 lr=0.1', or a TOML "
            "file; may be repeated.",
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(metavar="W", help="Clients that run at the same time, in threads.")
    ] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show warnings only.")] = False,
) -> None:
    """Run a Flower app in this process: no Ray, no sockets, thousands of virtual nodes.

    APP_DIR is the app's folder, with its pyproject.toml. The app stays unchanged: its ServerApp
    gets a Grid that calls its ClientApp directly. Node i has partition-id i and num-partitions N
    in its node-config, as in Flower's own simulation.
    """
    with one_line_errors("simulate"):
        from .simulate_command import simulate_app

        simulate_app(app_dir, nodes, run_config or [], workers, quiet)


@app.command()
def topology(
    spec: Annotated[str | None, typer.Argument(metavar="[SPEC]")] = None,
    nodes: Annotated[
        int | None, typer.Option(metavar="N", help="Number of nodes; torus:RxC says it itself.")
    ] = None,
    gamma: Annotated[
        float | None,
        typer.Option(help="How long a model remembers, 0 to below 1; 0.95 where not given."),
    ] = None,
    heterogeneity: Annotated[
        float | None,
        typer.Option(
            help="How much the nodes' data differ, zeta^2 / sigma^2: 0 is alike; 1 where not given."
        ),
    ] = None,
    max_degree: Annotated[
        int | None, typer.Option(metavar="D", help="The most neighbours of a node in a round.")
    ] = None,
    max_bytes: Annotated[
        str | None, typer.Option(metavar="SIZE", help="The most that a node receives in a round.")
    ] = None,
    model_bytes: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Size of a model, such as 4MB.")
    ] = None,
    model_parameters: Annotated[
        int | None, typer.Option(metavar="P", help="Size of a model in float32 parameters.")
    ] = None,
    active: Annotated[
        list[int] | None,
        typer.Option(
            metavar="K", help="Consider Teleportation with K active nodes; may be repeated."
        ),
    ] = None,
    losses: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help='Fit gamma to measured losses, {"complete": {"2": 0.5, "4": 0.4}, '
            '"topologies": {"ring": 0.45}}, or CSV: topology,num_nodes,loss.',
        ),
    ] = None,
    top: Annotated[
        int | None, typer.Option(metavar="M", help="How many candidates to list; 15 by default.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a picture too: .png, .svg or .pdf."),
    ] = None,
) -> None:
    """Say which topology to take, or show one.

    Without SPEC: ranks Gossip and Teleportation over the topologies for N nodes by the rounds that
    theory predicts, within the limits given. With SPEC, such as ring or torus:4x8: neighbours,
    spectral gap, effective neighbours and W of that topology.
    """
    with one_line_errors("topology"):
        from .topology_command import TopologyOptions, run_topology

        run_topology(
            TopologyOptions(
                spec=spec,
                nodes=nodes,
                gamma=gamma,
                heterogeneity=heterogeneity,
                max_degree=max_degree,
                max_bytes=max_bytes,
                model_bytes=model_bytes,
                model_parameters=model_parameters,
                active=tuple(active or ()),
                losses=losses,
                top=top,
                as_json=as_json,
                plot=plot,
            )
        )


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN [RUN ...]")],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html",
            help="The page; report.html in the run's folder, or here for several runs.",
        ),
    ] = None,
    png: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write each picture as a PNG file too; needs flwr-gossip\\[plots].",
        ),
    ] = None,
) -> None:
    """Make one HTML page of a run, or of several side by side.

    It says whether the nodes reached consensus, who lags, what it cost and which run was better
    under the same budget, with pictures and their numbers. The page needs no network. RUN is the
    folder of a run, or a JSONL file of metrics, by which FedAvg can be compared.
    """
    with one_line_errors("report"):
        from .report_command import make_report

        make_report(runs, out, png)


@app.command()
def watch(
    run: Annotated[Path | None, typer.Argument(metavar="[RUN]")] = None,
) -> None:
    """Show how a run is getting on, from its folder, until it ends.

    RUN is the folder whose place a run prints at its start; by default the newest under ./runs, or
    under FLWR_GOSSIP_RUNS where that is set.

    Rounds, active nodes, losses and accuracies, consensus distance, bytes, missing nodes and the
    time that is left; a line for each change where the output is no terminal. Ctrl-C ends the
    watching and leaves the run alone.
    """
    with one_line_errors("watch"):
        from .watch_command import watch_run

        code = watch_run(run)
    raise typer.Exit(code)


if __name__ == "__main__":
    app()
