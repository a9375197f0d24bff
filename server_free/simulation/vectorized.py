"""Decentralized training of one torch model on all nodes at once.

All models are rows of one matrix, and a round is the dense form of the definition that all
runtimes share::

    Z = W_{t-1} H;   H[s] = train(Z[s]) on the data of node A_t[s]

for decentralized SGD (Lian et al. 2017, arXiv:1705.09056) and for Teleportation (Takezawa &
Stich, ICLR 2025, arXiv:2501.15259, Algorithm 1), whose matrix has k rows whatever n is.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import nn

from ..coding import Codec
from ..errors import PlanError, one_line
from ..plans import Plan
from ..run_display import run_display
from .batched import BatchedModel, Loss
from .evaluation import Evaluator, Metric, checked_metrics, default_metrics
from .history import SimulationResult
from .networks import Network
from .node_data import ArrayOrTensor, NodeData, checked_pair
from .optimizers import SGD, LearningRate, check_number
from .records import Record
from .run_record import RunRecord, simulated_config
from .timeline import Timeline
from .trainer import Settings, Trainer

__all__ = ["Pair", "Planner", "device_of", "simulate"]


Pair = tuple[ArrayOrTensor, ArrayOrTensor]


class Planner(Protocol):
    """What a strategy must have: ``Gossip`` and ``Teleportation`` do."""

    def plan(self, num_nodes: int, num_rounds: int) -> Plan:
        """Return the plan for ``num_nodes`` nodes and ``num_rounds`` rounds."""


def simulate(
    model: nn.Module,
    loss: Loss,
    data: NodeData | Sequence[Pair],
    strategy: Planner | Plan,
    *,
    num_rounds: int,
    learning_rate: LearningRate,
    batch_size: int = 32,
    local_steps: int = 1,
    momentum: float = 0.0,
    momentum_travels: bool = True,
    weight_decay: float = 0.0,
    seed: int = 0,
    test_data: Pair | None = None,
    metrics: Mapping[str, Metric] | None = None,
    evaluate_every: int | None = None,
    device: str | torch.device | None = None,
    chunk_nodes: int | None = None,
    progress: bool | None = None,
    folder: str | os.PathLike[str] | None = None,
    network: Network | None = None,
    peer_timeout: float = 10.0,
    replan_every: int | None = None,
) -> SimulationResult:
    """Train a model on all nodes of a decentralized network, in this process.

    Each round every active node takes ``local_steps`` steps of SGD from its slot's mixed model
    on its own data; then the slots' models are mixed along the topology. Memory and time of a
    round grow with the number of slots (k in Teleportation), not with the number of nodes.

    Parameters
    ----------
    model : torch.nn.Module
        Its state is where all slots start; it is not changed. Parameters that require a gradient
        are trained, in their own dtype (float32 or float64, one for all); other parameters and
        buffers stay. Its mode (train or eval) holds in training; evaluation is in eval mode. A
        forward that changes buffers (BatchNorm) or draws random numbers (Dropout) is refused;
        what it and the loss return must depend on their arguments alone.
    loss : callable
        ``(outputs, targets) -> scalar``, the mean over the batch.
    data : NodeData, or sequence of n pairs (inputs, targets)
        Each node's samples along the first axis, tensors or numpy arrays, at least one. Floats
        are cast to the model's dtype, whole targets to int64.
    strategy : Gossip, Teleportation, another object with ``plan``, or Plan
        Who is active and who mixes with whom.
    num_rounds : int
        Rounds T, 0 or more.
    learning_rate : float or callable
        0 or more; a callable gets the round, from 1.
    batch_size : int (default: 32)
        Samples a step, drawn without replacement inside a batch from (seed, round, step, node)
        alone. A node with no more samples than that uses all of them in every step.
    local_steps : int (default: 1)
        Steps a node takes in a round.
    momentum : float (default: 0.0)
        Heavy ball, as ``torch.optim.SGD`` defines it, in [0, 1).
    momentum_travels : bool (default: True)
        Whether the buffer belongs to the slot and is handed over with its model (it is not
        mixed). Otherwise it stays with the node, which takes memory for each node ever active;
        under Teleportation it is then stale by about n/k rounds.
    weight_decay : float (default: 0.0)
        As in ``torch.optim.SGD``: added to the gradient.
    seed : int (default: 0)
        Of the batches. The strategy has its own.
    test_data : (inputs, targets), optional
        On which every slot's mixed model and their mean are evaluated.
    metrics : mapping of str to callable, optional
        Name -> ``(outputs, targets) -> number`` on the whole test set. By default "loss" and,
        for whole targets, "accuracy".
    evaluate_every : int, optional
        Rounds between evaluations; by default about ten in a run. The last round is one.
    device : str or torch.device, optional
        By default that of the model's parameters.
    chunk_nodes : int, optional
        Slots trained at once, in multiples of 16: a matter of speed and memory; the results are
        bit for bit the same. By default chosen so that a chunk stays in cache.
    progress : bool, optional
        Whether to show the run as it goes on; by default when stderr is a terminal.
    folder : str or Path, optional
        Where the run leaves its record, as runs of all runtimes do, for ``flwr-gossip watch`` and
        ``read_run``; the name gets a number where another run is. By default nothing is written.
    network : Network, optional
        How fast the nodes compute and send, who is offline when, and what is lost on the way. The
        history then has simulated seconds, the result what each node did, and what is late, lost
        or offline is missing from the models as it would be in a deployment.
    peer_timeout : float (default: 10.0)
        Simulated seconds that others wait for a node that is offline or a transfer that broke off.
    replan_every : int, optional
        Rounds in a segment: before each the server learns who is online and plans with those.
        Without it there is one segment.

    Returns
    -------
    SimulationResult
        History, the slots' mixed models after the last round, and the plan. A training that
        diverges ends early and says so in ``diverged_at``.

    Raises
    ------
    PlanError
        A setting, the data or the plan cannot be.
    RunError
        The folder cannot be written in.
    ModelError
        The model or the loss cannot be trained this way.

    Notes
    -----
    On the CPU a run is reproducible bit for bit: the same arguments give the same history and
    models again, in this process or another, with or without a network and whatever
    ``chunk_nodes``, on one machine with the same number of threads and versions of torch and
    numpy; other machines, thread counts and versions add up in another order. On CUDA that holds
    for what is drawn, and for sums only as far as torch's kernels are deterministic.

    Where several programs share the cores, give each run one thread (``torch.set_num_threads(1)``):
    threads that wait for each other in every operation cost ten times the time there.

    Examples
    --------
    ::

        result = simulate(Net(), torch.nn.functional.cross_entropy, data,
                          Teleportation(num_active=16), num_rounds=500, learning_rate=0.1,
                          test_data=(test_inputs, test_labels))
        result.to_pandas().dropna().plot("round", "test_accuracy")
    """
    settings = Settings(
        num_rounds, batch_size, local_steps, seed, evaluate_every, chunk_nodes, momentum_travels
    )
    optimizer = SGD(learning_rate, momentum, weight_decay)
    place = device_of(model, device)
    batched = BatchedModel(model, loss, place)
    node_data = _node_data(data).placed(place, batched.layout.dtype)
    plan = _plan(strategy, node_data.num_nodes, num_rounds)
    evaluator = _evaluator(batched, test_data, metrics)
    batched.check(node_data.inputs[:2], node_data.targets[:2])
    batched.check_batches(*node_data.extremes())
    if evaluator is not None:
        evaluator.check()
    timeline = _timeline(network, plan, batched.layout.num_bytes, peer_timeout, replan_every)
    training = Trainer(plan, batched, node_data, optimizer, settings, timeline)
    history: list[Record] = []
    diverged_at = None
    config = simulated_config(plan, batched.layout)
    with (
        run_display(config, progress) as show,
        RunRecord(config, folder, show) as run,
    ):
        for round in range(1, num_rounds + 1):
            record = training.run(round)
            finite = math.isfinite(record["train_loss"]) or not record["active"]
            if finite and settings.evaluates(round):
                record |= training.evaluate(evaluator)
                finite = math.isfinite(record["consensus_distance"])
            history.append(record)
            run.take(record)
            if not finite:
                diverged_at = round
                break
        result = SimulationResult(
            history,
            batched.layout.compact(training.mixed()),
            batched.layout,
            plan if timeline is None else timeline.plan,
            diverged_at,
            batched.model,
            training.usage.nodes,
            training.slot_metrics,
        )
        run.finish(result.plan, result.mean_arrays, diverged_at)
    return result


def device_of(model: nn.Module, device: str | torch.device | None) -> torch.device:
    """Return the device, by default the model's; ``PlanError`` where torch cannot use it."""
    if device is None:
        parameters = model.parameters() if isinstance(model, nn.Module) else iter(())
        return next((parameter.device for parameter in parameters), torch.device("cpu"))
    try:
        place = torch.device(device)
        torch.zeros(1, device=place).item()
    except Exception as error:  # torch raises what it likes, an AssertionError for one
        raise PlanError(
            f"device is {str(device)!r}, which cannot be used here; allowed are 'cpu', and 'cuda' "
            f"where torch finds a GPU: {one_line(error)}"
        ) from error
    return place


def _node_data(data: NodeData | Sequence[Pair]) -> NodeData:
    return data if isinstance(data, NodeData) else NodeData.from_pairs(data)


def _plan(strategy: Planner | Plan, num_nodes: int, num_rounds: int) -> Plan:
    plan: object = None
    if isinstance(strategy, Plan):
        plan = replace(strategy, num_rounds=num_rounds)
    elif callable(getattr(strategy, "plan", None)) and not isinstance(strategy, type):
        _check_searches_not(strategy, num_nodes)
        _check_codec(strategy)
        plan = strategy.plan(num_nodes, num_rounds)
    if not isinstance(plan, Plan):
        given: object = strategy
        found = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
        raise PlanError(
            f"strategy is {found}, allowed are Gossip(...), Teleportation(...), another object "
            "whose plan(num_nodes, num_rounds) returns a Plan, or a Plan."
        )
    if plan.num_nodes != num_nodes:
        raise PlanError(f"the plan is for {plan.num_nodes} nodes, but the data are of {num_nodes}.")
    return plan


def _check_codec(strategy: Planner) -> None:
    codec = getattr(strategy, "codec", None)
    if isinstance(codec, Codec) and codec != Codec():
        raise PlanError(
            f"codec is {codec.text!r}; simulate mixes exact models only. Leave the codec out, or "
            "run the app on an InProcessGrid, where models are coded as in a deployment."
        )


def _check_searches_not(strategy: Planner, num_nodes: int) -> None:
    search = getattr(strategy, "search", None)
    if callable(search) and search(num_nodes) is not None:
        raise PlanError(
            f"strategy is a {type(strategy).__name__} that searches for the number of active "
            "nodes, which takes more than one training: call simulate_search(...) with it."
        )


def _timeline(
    network: Network | None,
    plan: Plan,
    model_bytes: int,
    peer_timeout: float,
    replan_every: int | None,
) -> Timeline | None:
    check_number("peer_timeout", peer_timeout)
    if network is None:
        if replan_every is not None:
            raise PlanError(
                f"replan_every is {replan_every!r} without a network, in which all nodes are "
                "online: give a network with an availability, or leave replan_every out."
            )
        return None
    if not isinstance(network, Network):
        raise PlanError(
            f"network is {network!r}, allowed is a Network: Network.lan(), Network.home(), "
            "read_network(path) or Network(...)."
        )
    return Timeline(network, plan, model_bytes, timeout_s=peer_timeout, replan_every=replan_every)


def _evaluator(
    model: BatchedModel, test_data: Pair | None, metrics: Mapping[str, Metric] | None
) -> Evaluator | None:
    if test_data is None:
        if metrics is not None:
            raise PlanError("metrics are given without test_data to compute them on; give both.")
        return None
    given = NodeData.from_pairs([checked_pair("test_data", test_data)])
    pair = given.placed(model.start.device, model.layout.dtype)
    chosen = default_metrics(model.loss, pair.targets) if metrics is None else metrics
    return Evaluator(model, pair.inputs, pair.targets, checked_metrics(chosen))
