"""What the nodes' replies say of each node, between two lines of the run's record."""

from __future__ import annotations

from dataclasses import dataclass, field

from flwr.app import MetricRecord, RecordDict

from ..server_free.orders import Report
from ..server_free.run_rows import Metrics

__all__ = ["PerNode"]


@dataclass(slots=True)
class PerNode:
    """Node -> what it fetched and published, how long it worked, how well its model does.

    Attributes
    ----------
    bytes : dict of int to (int, int)
        Fetched and published.
    seconds : dict of int to float
        Wall seconds in the rounds.
    metrics : dict of int to metrics
        Of the newest evaluation.
    returned : list of int
        Nodes that are back.
    """

    bytes: dict[int, tuple[int, int]] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    metrics: dict[int, Metrics] = field(default_factory=dict)
    returned: list[int] = field(default_factory=list)

    def take(self, node: int, report: Report, content: RecordDict, evaluating: bool) -> None:
        """Add what a node reports; with ``evaluating`` its reply has its metrics."""
        fetched, published = self.bytes.get(node, (0, 0))
        self.bytes[node] = fetched + report.bytes_fetched, published + report.bytes_published
        record = content.get("metrics")
        if not evaluating:
            self.seconds[node] = self.seconds.get(node, 0.0) + report.seconds
        elif isinstance(record, MetricRecord):
            self.metrics[node] = dict(record.items())

    def clear(self) -> None:
        """Begin anew."""
        for part in (self.bytes, self.seconds, self.metrics, self.returned):
            part.clear()
