"""A result as JSON, in parts: what a training has added to it since the last time."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

from flwr.app import MetricRecord

from ..server_free.orders import Loss
from .results import GossipResult, TrafficTotal

__all__ = ["Recorder", "restore"]

_METRICS = (
    "train_metrics_clientapp",
    "evaluate_metrics_clientapp",
    "evaluate_metrics_serverapp",
)


@dataclass(slots=True)
class Recorder:
    """Gives what has come to a result; nothing that is in a result changes later.

    Parameters
    ----------
    counts : dict of str to int
        How many entries of each part have been given.
    """

    counts: dict[str, int] = field(default_factory=dict)

    @staticmethod
    def after(result: GossipResult) -> Recorder:
        """Return one for which everything in ``result`` has been given."""
        recorder = Recorder()
        recorder.given(result)
        return recorder

    def news(self, result: GossipResult) -> dict[str, Any]:
        """Return what is new, as JSON; after :meth:`given` it is new no longer."""
        news: dict[str, Any] = {
            "served_slots": result.served_slots,
            "served_round": result.served_round,
            "traffic": asdict(result.traffic),
            "losses": Loss.dump(result.losses[self.counts.get("losses", 0) :]),
            "failures": {
                node: reasons[self.counts.get(f"failures {node}", 0) :]
                for node, reasons in result.failures.items()
            },
            "consensus_distance": self._new("consensus_distance", result.consensus_distance),
        }
        for name in _METRICS:
            entries = self._new(name, getattr(result, name))
            news[name] = {round: dict(metrics) for round, metrics in entries.items()}
        return news

    def given(self, result: GossipResult) -> None:
        """Note that everything in ``result`` has been given."""
        parts: dict[str, Sized] = {name: getattr(result, name) for name in _METRICS}
        parts |= {"losses": result.losses, "consensus_distance": result.consensus_distance}
        parts |= {f"failures {node}": reasons for node, reasons in result.failures.items()}
        self.counts = {name: len(part) for name, part in parts.items()}

    def _new(self, name: str, entries: Mapping[int, Any]) -> dict[int, Any]:
        return dict(islice(entries.items(), self.counts.get(name, 0), None))


def restore(result: GossipResult, news: Mapping[str, Any]) -> None:
    """Add to ``result`` what :meth:`Recorder.news` gave, of which JSON has made keys texts."""
    result.served_slots = tuple(map(int, news["served_slots"]))
    result.served_round = int(news["served_round"])
    result.traffic = TrafficTotal(**news["traffic"])
    result.losses += Loss.load(news["losses"])
    for node, reasons in news["failures"].items():
        result.failures.setdefault(int(node), []).extend(reasons)
    result.consensus_distance |= {int(t): d for t, d in news["consensus_distance"].items()}
    for name in _METRICS:
        entries = {int(t): MetricRecord(values) for t, values in news[name].items()}
        getattr(result, name).update(entries)
