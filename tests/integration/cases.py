"""Cases for the app in ``app/``: written down for its ServerApp, played, read back, checked."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from coded import reference as coded_reference
from flwr_gossip.server_free.orders import Loss
from flwr_gossip.server_free.plans import Plan
from flwr_gossip.server_free.runs import read_run
from flwr_gossip.server_free.schedules import AllActive, Teleport
from flwr_gossip.server_free.searches import Search
from flwr_gossip.server_free.topologies import from_spec
from integration.app.gossip_cases.task import PROBE, initial, local_update, to_record, to_vector
from local_flower import RunOutput, SuperLink, run_app
from reference import dense

APP = Path(__file__).parent / "app"
CLOSE = {"rtol": 1e-5, "atol": 1e-5}

Vector = NDArray[np.float64]
Missing = Collection[tuple[int, int, int]]


@dataclass(frozen=True, slots=True)
class Case:
    """One strategy, played from ``initial(size)`` for ``rounds`` rounds.

    ``serve``: whether an ``evaluate_fn`` looks at the mean model. ``config`` is the train config;
    "faults" in it are ``fault:node:round`` with spaces between them, "pause" is seconds a round.
    ``hidden``: ids of the Flower nodes that this case must not see. ``last``: an error of this
    case ends the run.
    """

    name: str
    strategy: str
    options: dict[str, Any] = field(default_factory=dict)
    rounds: int = 6
    size: int = PROBE
    serve: bool = False
    config: dict[str, Any] = field(default_factory=dict)
    timeout: float = 120.0
    hidden: tuple[int, ...] = ()
    last: bool = False

    def plan(self, num_nodes: int) -> Plan:
        """Return the plan as a user can make it: from the public names alone."""
        if self.strategy == "gossip":
            topology = from_spec(self.options["topology"], num_nodes=num_nodes)
            return Plan(topology, AllActive(num_nodes), self.rounds)
        active, seed = self.options["num_active"], self.options["seed"]
        topology = from_spec(self.options["topology"], num_nodes=active)
        return Plan(topology, Teleport(num_nodes, active, seed=seed), self.rounds)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a case gave; ``given`` and ``evaluated`` are the probes, (node, round) -> vector."""

    models: dict[str, Vector]
    given: dict[tuple[int, int], Vector]
    evaluated: dict[tuple[int, int], Vector]
    losses: list[Loss]
    failures: dict[int, list[str]]
    raw: dict[str, Any]
    folder: Path

    @property
    def arrays(self) -> Vector:
        """The final model."""
        return self.models["arrays"]

    @property
    def plan(self) -> Plan:
        """The plan with the live lists of the run."""
        return Plan.from_json(self.raw["plan"])

    @property
    def missing(self) -> set[tuple[int, int, int]]:
        """The losses as ``reference.dense`` takes them."""
        return {(loss.reader_slot, loss.round, loss.slot) for loss in self.losses}


@dataclass(frozen=True, slots=True)
class Played:
    """A run of the app: the cases that came to their end, and the errors of the others."""

    run: RunOutput
    outcomes: dict[str, Outcome]
    errors: dict[str, str]


def play(
    link: SuperLink,
    cases: Sequence[Case],
    *,
    timeout_s: float,
    federation: dict[str, Any] | None = None,
    on_line: Callable[[str], None] | None = None,
    check: bool = True,
) -> Played:
    """Play the cases in one run of the app."""
    folder = Path(tempfile.mkdtemp(prefix="cases-", dir=link.home))
    (folder / "cases.json").write_text(json.dumps([asdict(case) for case in cases]))
    config = {"folder": str(folder)}
    run = run_app(APP, link, config, federation, timeout_s=timeout_s, on_line=on_line, check=check)
    print(run.text)  # pytest shows it when a test fails
    files = {case.name: folder / f"{case.name}.json" for case in cases}
    raws = {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}
    return Played(
        run,
        {name: _outcome(folder, name, raw) for name, raw in raws.items() if "error" not in raw},
        {name: raw["error"] for name, raw in raws.items() if "error" in raw},
    )


def _outcome(folder: Path, name: str, raw: dict[str, Any]) -> Outcome:
    with np.load(folder / f"{name}.npz") as models:
        arrays = dict(models)
    return Outcome(
        models=arrays,
        given=_probes(raw["trained"]),
        evaluated=_probes(raw["evaluated"]),
        losses=[Loss(**loss) for loss in raw.get("losses", [])],
        failures={int(node): reasons for node, reasons in raw.get("failures", {}).items()},
        raw=raw,
        folder=folder / f"{name}-run",
    )


def _probes(seen: list[dict[str, Any]]) -> dict[tuple[int, int], Vector]:
    probes = {(one["node"], one["round"]): np.array(one["z"]) for one in seen}
    assert len(probes) == len(seen), "a node did a round twice"
    return probes


def check_numbers(case: Case, outcome: Outcome, plan: Plan, missing: Missing = ()) -> None:
    """Compare the final model, what each function was given, and what the server got."""
    x0 = to_vector(initial(case.size))

    def reference(x: Vector, rounds: int) -> Vector:
        return coded_reference(
            *(plan, x, local_update, rounds, missing),
            codec=case.options.get("codec", "none"),
            seed=case.options.get("seed", 0),
            tensors=lambda vector: {n: a.numpy() for n, a in to_record(vector).items()},
        )

    for (node, t), z in outcome.given.items():
        slot = plan.slot(node, t)
        assert slot is not None, f"node {node} is not active in round {t}"
        expected = reference(x0[:PROBE], t - 1)[slot]
        np.testing.assert_allclose(z, expected, err_msg=f"given {node=} {t=}", **CLOSE)
    for (node, t), z in outcome.evaluated.items():
        expected = reference(x0[:PROBE], t)[node % plan.num_slots]
        np.testing.assert_allclose(z, expected, err_msg=f"evaluated {node=} {t=}", **CLOSE)
    served = list(outcome.raw["served"])
    final = reference(x0, case.rounds)[served].mean(axis=0)
    np.testing.assert_allclose(outcome.arrays, final, err_msg="the final model", **CLOSE)


def check_folder(case: Case, outcome: Outcome, runtime: str) -> None:
    """Check that the folder of a run in which nothing failed has all of it."""
    run = read_run(outcome.folder)
    assert (run.config.status, run.config.runtime) == ("finished", runtime)
    assert run.config.flower_run is not None
    assert run.config.plan == outcome.plan
    assert [row.round for row in run.rounds] == list(range(1, case.rounds + 1))
    evaluated = {(node, row.round) for row in run.evaluations for node in row.nodes}
    assert evaluated == outcome.evaluated.keys()
    for row in run.evaluations:
        for node, own in row.nodes.items():
            assert own["z00"] == outcome.evaluated[node, row.round][0]
    fetched = sum(pair[0] for row in run.segments for pair in row.node_bytes.values())
    assert fetched == outcome.raw["traffic"]["bytes_between_clients"] > 0
    assert run.segments[-1].bytes_through_server == outcome.raw["traffic"]["bytes_through_server"]
    size = sum(array.size for array in load_file(str(run.model)).values())
    assert size == run.config.parameters == outcome.arrays.size


def check_search(case: Case, outcome: Outcome, num_nodes: int) -> None:
    """Check that every candidate has the reference's value, and that the best one's models won."""
    search = Search(num_nodes, case.options["topology"], case.options["seed"])
    x0 = to_vector(initial(case.size))
    known: dict[int, tuple[float, Vector]] = {}
    for one in search.passes(case.rounds):
        z = dense(one.plan, x0, local_update, case.rounds)
        for candidate in one.candidates:
            values = [z[candidate.slot_of(node), 0] for node in range(num_nodes)]
            own = z[candidate.slots.start : candidate.slots.stop]
            known[candidate.num_active] = (float(np.mean(values)), own.mean(axis=0))
    values = {int(k): value for k, value in outcome.raw["values"].items()}
    assert values == pytest.approx({k: value for k, (value, _) in known.items()}, rel=1e-5)
    best = min(known, key=lambda k: known[k][0])
    assert outcome.raw["num_active"] == best
    np.testing.assert_allclose(outcome.arrays, known[best][1], **CLOSE)
    assert not outcome.losses
    assert not outcome.failures


def check_whole(case: Case, outcome: Outcome, num_nodes: int) -> None:
    """Check that nothing was lost, all was done, and all numbers are those of the reference."""
    plan = case.plan(num_nodes)
    assert not outcome.failures
    assert not outcome.losses
    assert outcome.plan.to_json() == plan.to_json()
    pairs = {(node, t) for t in range(1, case.rounds + 1) for node in plan.active(t)}
    assert outcome.given.keys() == pairs
    assert list(outcome.raw["served"]) == list(range(plan.num_slots))
    check_numbers(case, outcome, plan)
