"""What ``flwr-gossip topology`` does: show one topology, or say which one to take."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from ..server_free.errors import PlanError
from .peer_options import parse_size

if TYPE_CHECKING:
    from ..server_free.theory.advice import Recommendation

__all__ = ["TopologyOptions", "run_topology"]

DEFAULT_GAMMA = 0.95
DEFAULT_TOP = 15
GAMMAS = (0.5, 0.9, 0.95, 0.99, 0.999)
WIDTH = 100
"""Columns where the output is no terminal: a file, or another program."""

_BYTES_A_PARAMETER = 4
_DAVIS = ("davis-southern-women", 32)
MOST_CURVES = 8


@dataclass(frozen=True, slots=True)
class TopologyOptions:
    """What the user asks for; None is what was not said.

    Parameters
    ----------
    spec : str, optional
        Show this topology; without it, give advice.
    nodes : int, optional
        Number of nodes.
    gamma, heterogeneity, max_degree
        As in :func:`flwr_gossip.server_free.theory.recommend`.
    max_bytes, model_bytes : str, optional
        Sizes such as "10MB".
    model_parameters : int, optional
        Instead of ``model_bytes``: float32 parameters.
    active : tuple of int
        The numbers of active nodes to consider; empty for the usual ones.
    losses : Path, optional
        Measured losses, JSON or CSV, to which gamma is fitted.
    top : int, optional
        How many candidates are listed.
    as_json : bool
        Print JSON.
    plot : Path, optional
        Where to write a picture.
    """

    spec: str | None = None
    nodes: int | None = None
    gamma: float | None = None
    heterogeneity: float | None = None
    max_degree: int | None = None
    max_bytes: str | None = None
    model_bytes: str | None = None
    model_parameters: int | None = None
    active: tuple[int, ...] = ()
    losses: Path | None = None
    top: int | None = None
    as_json: bool = False
    plot: Path | None = None

    def __post_init__(self) -> None:
        if self.gamma is not None and not 0 <= self.gamma <= 1 - 1e-9:
            raise PlanError(f"--gamma is {self.gamma}, allowed is 0 <= gamma < 1, at most 1-1e-9.")
        if self.nodes is not None and self.nodes < 1:
            raise PlanError(f"--nodes is {self.nodes}, allowed is 1 or more.")
        if self.top is not None and self.top < 1:
            raise PlanError(f"--top is {self.top}, allowed is 1 or more.")
        if self.model_bytes is not None and self.model_parameters is not None:
            raise PlanError("--model-bytes and --model-parameters say the same; give one of them.")
        if self.model_parameters is not None and self.model_parameters < 1:
            raise PlanError(f"--model-parameters is {self.model_parameters}, allowed is 1 or more.")
        if self.losses is not None and self.gamma is not None:
            raise PlanError("--losses fits gamma, so it goes without --gamma.")
        if self.spec is not None and self._for_advice():
            raise PlanError(
                f"{self._for_advice()[0]} is for choosing a topology; leave out {self.spec!r}, "
                "or the option."
            )

    @property
    def bytes_of_model(self) -> int | None:
        """Return the size of a model in bytes, None where it was not said."""
        if self.model_parameters is not None:
            return self.model_parameters * _BYTES_A_PARAMETER
        return None if self.model_bytes is None else parse_size(self.model_bytes, "--model-bytes")

    @property
    def bytes_allowed(self) -> int | None:
        """Return the bytes that a node may receive a round, None where it was not said."""
        return None if self.max_bytes is None else parse_size(self.max_bytes, "--max-bytes")

    def _for_advice(self) -> list[str]:
        """Return the options given that only make sense without a spec."""
        given = {
            "--heterogeneity": self.heterogeneity is not None,
            "--max-degree": self.max_degree is not None,
            "--max-bytes": self.max_bytes is not None,
            "--model-bytes": self.model_bytes is not None,
            "--model-parameters": self.model_parameters is not None,
            "--active": bool(self.active),
            "--losses": self.losses is not None,
            "--top": self.top is not None,
        }
        return [name for name, is_given in given.items() if is_given]


def run_topology(options: TopologyOptions) -> None:
    """Print what was asked for, and write the picture; errors are ``ValueError`` or ``OSError``."""
    if options.plot is not None:
        from ..server_free.pictures import check_picture

        check_picture(options.plot)  # before minutes of computing
    if options.spec is None:
        _advise(options)
    else:
        _show(options, options.spec)


def num_nodes_of(spec: str) -> int | None:
    """Return the number of nodes that the spec itself says, None where it says none."""
    if spec == _DAVIS[0]:
        return _DAVIS[1]
    sides = re.fullmatch(r"(?:torus|grid):(\d{1,9})x(\d{1,9})", spec, flags=re.ASCII)
    return None if sides is None else int(sides[1]) * int(sides[2])


def _show(options: TopologyOptions, spec: str) -> None:
    from ..server_free.topologies import from_spec
    from .topology_view import facts, print_topology

    nodes = options.nodes or num_nodes_of(spec)
    if nodes is None:
        if ":" not in spec or spec.startswith(("grid:", "torus:")):
            from_spec(spec, 4)  # a spec that is none is the first thing to say
        raise PlanError(f"say how many nodes {spec!r} has: --nodes N.")
    topology = from_spec(spec, num_nodes=nodes)
    if options.plot is not None:
        from ..server_free.pictures import save_picture
        from ..server_free.theory.plots import check_drawable, draw_topology

        check_drawable(topology)
    gammas = sorted({*GAMMAS, *([] if options.gamma is None else [options.gamma])})
    known = facts(topology, gammas)
    if options.as_json:
        print(json.dumps(known, indent=2))
    else:
        print_topology(_console(), topology, known)
    if options.plot is not None:
        gamma = DEFAULT_GAMMA if options.gamma is None else options.gamma
        save_picture(draw_topology(topology, gamma=gamma), options.plot)
        _say_written(options)


def _advise(options: TopologyOptions) -> None:
    from ..server_free.theory.advice import recommend
    from .advice_view import advice_facts, print_advice
    from .losses_file import read_losses

    if options.nodes is None:
        raise PlanError("say how many nodes there are: --nodes N.")
    measured = None if options.losses is None else read_losses(options.losses, options.nodes)
    found = recommend(
        options.nodes,
        gamma=options.gamma,
        complete_losses=None if measured is None else measured.complete,
        losses=None if measured is None else measured.topologies,
        heterogeneity=1.0 if options.heterogeneity is None else options.heterogeneity,
        max_degree=options.max_degree,
        max_bytes=options.bytes_allowed,
        model_bytes=options.bytes_of_model,
        num_active=options.active or None,
    )
    if options.as_json:
        print(json.dumps(advice_facts(found, options.top), indent=2))
    else:
        print_advice(_console(), found, options.top or DEFAULT_TOP)
    if options.plot is not None:
        _draw_advice(found, options.plot)
        _say_written(options)


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)


def _say_written(options: TopologyOptions) -> None:
    if not options.as_json:
        print(f"Picture: {options.plot}")


def _draw_advice(found: Recommendation, path: Path) -> None:
    """Draw n_W over gamma of the topologies of the first candidates, each once."""
    from ..server_free.pictures import save_picture
    from ..server_free.theory.plots import draw_curves
    from ..server_free.topologies import from_spec

    sizes = {(one.spec, one.num_active): one for one in reversed(found.candidates)}
    first = [one for one in found.candidates if sizes[one.spec, one.num_active] is one]
    curves = [
        (f"{one.spec}, {one.num_active} nodes", from_spec(one.spec, one.num_active))
        for one in first[:MOST_CURVES]
    ]
    title = f"{found.num_nodes} nodes: the topologies of the first candidates"
    save_picture(draw_curves(curves, gamma=found.gamma, title=title), path)
