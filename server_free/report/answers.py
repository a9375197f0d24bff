"""The answers at the top of a report, in words, from what the runs say and nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import median

from .comparing import better_answer
from .metric_names import is_loss, word
from .reading import Reading
from .traffic import node_seconds
from .words import count, duration, listed, number, size

__all__ = ["Answers", "answers", "ending", "lead"]

Answers = list[tuple[str, list[tuple[str, str]]]]
"""Question -> (run, sentences); of a single run, and of all together, the run is ""."""

CLOSE = 0.05
"""Nodes whose metric differs by at most this share of its mean do equally well."""
NEAR = 0.1
"""A consensus distance that ends below this share of its largest value has come down."""
_FAR_OUT = 4.0
"""A node is behind when it is so many median deviations from the median."""
_SLOW = 2.0
"""A node is slow when it takes so many times the median."""


def lead(readings: Sequence[Reading]) -> str:
    """Return one line: what was run and how it ended."""
    if len(readings) == 1:
        return f"{_what(readings[0])}: {ending(readings[0])}."
    return f"{len(readings)} runs. " + " ".join(f"{r.label}: {ending(r)}." for r in readings)


def ending(reading: Reading) -> str:
    """Return how a run ended, or where it stands."""
    config, last = reading.config, reading.run.last_round
    took = f" after {duration(reading.seconds)}" if math.isfinite(reading.seconds) else ""
    status = reading.run.end.status if reading.run.end else config.status
    if status == "finished":
        return f"finished{took}"
    if status == "failed":
        error = (reading.run.end and reading.run.end.error) or config.error or "no reason is known"
        return f"failed in round {last}{took}: {error.rstrip('.')}"
    reached = f"round {last:,} of {config.num_rounds:,}{took}"
    return f"not finished, {reached}; it still runs, or it was killed"


def _what(reading: Reading) -> str:
    config = reading.config
    over = f" over {reading.topology}" if reading.plan else ""
    part = f"{config.num_nodes:,} nodes" if config.num_nodes else "nodes"
    if config.num_slots < config.num_nodes:
        part = f"{config.num_slots:,} of {part} active in a round"
    rounds = f"{config.num_rounds:,} rounds" if config.num_rounds else "rounds"
    return f"{reading.strategy}{over}, {part}, {rounds}"


def answers(readings: Sequence[Reading], metric: str | None) -> Answers:
    """Return the four questions with what these runs say to each."""

    def each(answer: Callable[[Reading], str]) -> list[tuple[str, str]]:
        return [(r.label if len(readings) > 1 else "", answer(r)) for r in readings]

    return [
        ("Did it reach consensus?", each(lambda reading: consensus_answer(reading, metric))),
        ("Who lags?", each(lambda reading: lagging_answer(reading, metric))),
        ("What did it cost?", each(cost_answer)),
        ("Was it better than FedAvg?", [("", t) for t in better_answer(readings, metric)]),
    ]


def consensus_answer(reading: Reading, metric: str | None) -> str:
    """Return whether the models and what they can do came together."""
    if reading.is_fedavg:
        return "It has one model, that of the server."
    near, distance = _distance(reading)
    close, spread = _closeness(reading, metric)
    if near is None and close is None:
        return "Not known: no consensus distance and no metrics of the nodes were recorded."
    verdict = {
        (True, True): "Yes: the models came close to each other, and the nodes do equally well.",
        (True, False): "In part: the models came closer, but the nodes do not do equally well.",
        (False, True): "In part: the nodes do equally well, though their models lie apart.",
        (False, False): "No: the models lie apart, and the nodes do not do equally well.",
        (True, None): "The models came close to each other.",
        (False, None): "The models lie apart.",
        (None, True): "The nodes do equally well.",
        (None, False): "The nodes do not do equally well.",
    }[near, close]
    return " ".join(part for part in (verdict, distance, spread) if part)


def _distance(reading: Reading) -> tuple[bool | None, str]:
    if not reading.distances:
        return None, ""
    top_round, top = max(reading.distances, key=lambda pair: pair[1])
    last_round, last = reading.distances[-1]
    if top <= 0:
        return True, "The consensus distance is 0."
    if len(reading.distances) == 1:
        return None, f"The consensus distance after round {last_round:,} is {number(last)}."
    text = (
        f"The consensus distance is {number(last)} after round {last_round:,}, "
        f"{_percent(last / top)} of its largest value (round {top_round:,})."
    )
    return last <= NEAR * top, text


def _percent(share: float) -> str:
    return "less than 0.01 %" if share < 1e-4 else f"{number(100 * share, 2)} %"


def _closeness(reading: Reading, metric: str | None) -> tuple[bool | None, str]:
    moment = reading.last(metric) if metric else None
    if moment is None or metric is None:
        return None, ""
    mean, worst, best = moment.spread(metric)
    if not (math.isfinite(worst) and math.isfinite(best)):
        return None, ""
    gap = abs(best - worst)
    text = (
        f"Between the worst and the best node {word(metric)} goes from {number(worst)} to "
        f"{number(best)} (mean {number(mean)})."
    )
    return gap <= CLOSE * max(abs(mean), 1e-12), text


def lagging_answer(reading: Reading, metric: str | None) -> str:
    """Return which nodes do worse, are slower, or were missing."""
    found = [_worse(reading, metric), _slower(reading), _missed(reading)]
    said = [text for text in found if text]
    if not said:
        if any(m.nodes for m in reading.moments):
            worst = _worst(reading, metric)
            return f"No single node: none is far from the others, and none was missing.{worst}"
        return "Not known: no metrics of single nodes were recorded."
    return " ".join(said)


def _worst(reading: Reading, metric: str | None) -> str:
    values = _values(reading, metric)
    if not values or metric is None:
        return ""
    node = (max if is_loss(metric) else min)(values, key=lambda node: values[node])
    return f" The worst in {word(metric)} is {reading.node(node)} ({number(values[node])})."


def _values(reading: Reading, metric: str | None) -> dict[int, float]:
    """Return each node's metric at the last evaluation that has it."""
    with_nodes = [m for m in reading.moments if any(metric in v for v in m.nodes.values())]
    if metric is None or not with_nodes:
        return {}
    values = {n: v[metric] for n, v in with_nodes[-1].nodes.items() if metric in v}
    return {node: value for node, value in values.items() if math.isfinite(value)}


def _worse(reading: Reading, metric: str | None) -> str:
    values = _values(reading, metric)
    if metric is None or len(values) < 3:
        return ""
    middle = median(values.values())
    # Of few nodes one that is far out would hide itself in a standard deviation.
    deviation = median(abs(value - middle) for value in values.values())
    sign = -1.0 if is_loss(metric) else 1.0
    limit = max(_FAR_OUT * deviation, CLOSE * abs(middle))
    behind = {node: value for node, value in values.items() if sign * (middle - value) > limit}
    order = sorted(behind, key=lambda node: sign * behind[node])
    names = [f"{reading.node(node)} ({number(behind[node])})" for node in order]
    if not names:
        return ""
    return f"Behind in {word(metric)}: {listed(names)}, against a median of {number(middle)}."


def _slower(reading: Reading) -> str:
    times = node_seconds(reading)
    if len(times) < 3:
        return ""
    middle = median(times.values())
    slow = sorted((n for n in times if times[n] > _SLOW * middle), key=lambda node: -times[node])
    if not slow or middle <= 0:
        return ""
    names = [f"{reading.node(node)} ({number(times[node] / middle, 2)} times)" for node in slow]
    return f"Slower than {_SLOW:g} times the median: {listed(names)}."


def _missed(reading: Reading) -> str:
    holders: dict[int, None] = {}
    for segment in reading.run.segments:
        holders |= dict.fromkeys(segment.missing)
    holders |= dict.fromkeys(loss.holder for loss in reading.run.losses)
    names = [reading.node(node) for node in holders if node >= 0]
    total = len(reading.run.losses) + reading.run.losses_left_out
    lost = (
        f" {total:,} models did not arrive."
        if total > 1
        else " 1 model did not arrive."
        if total
        else ""
    )
    return f"Missing at some time: {listed(names)}.{lost}" if names else lost.strip()


def cost_answer(reading: Reading) -> str:
    """Return rounds, local updates, bytes and time."""
    parts = [f"{reading.run.last_round or reading.config.num_rounds:,} rounds"]
    if math.isfinite(reading.updates):
        parts.append(f"{count(reading.updates)} local updates")
    if math.isfinite(reading.seconds):
        parts.append(duration(reading.seconds) + (" simulated" if reading.is_timed else ""))
    text = ", ".join(parts) + "."
    if not math.isfinite(reading.bytes):
        return f"{text} Bytes were not recorded."
    text += f" {size(reading.bytes_between)} went between clients"
    text += f" and {size(reading.bytes_through)} through the server."
    if reading.updates and math.isfinite(reading.updates):
        text += f" That is {size(reading.bytes / reading.updates)} for each local update."
    return text
