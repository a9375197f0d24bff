"""Who is taken for dead by what others say: the dead of now, not those of earlier rounds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from threading import Event

import pytest
from flwr.app import Message

from apps import play, quadratic_app
from flwr_gossip.server_free.orders import RECORD, Loss
from flwr_gossip.server_free.reachability import Probed, Unreachable
from flwr_gossip.server_free.simulation import InProcessGrid
from flwr_gossip.strategies import Gossip, GossipResult
from flwr_gossip.strategies import training as training_module
from flwr_gossip.strategies.hearsay import Hearsay
from flwr_gossip.strategies.pairs import Pairs

SLOW, TELLER = 2, 0
OF_SLOW = Loss(4, SLOW, SLOW, TELLER, TELLER, "silent", "no sign of life", "rest of the row")


class Telling(InProcessGrid):
    """Node 0 says in the reply for the segment of rounds 5 and 6 that ``loss`` happened."""

    loss: Loss
    has_told: bool = False
    looked_again: Event

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        if self.has_told:
            self.looked_again.set()
        replies = list(super().pull_messages(message_ids))
        for reply in replies:
            record = reply.content.config_records[RECORD]
            if reply.metadata.src_node_id == 1000 + TELLER and record.get("rounds") == "5,6":
                record["losses"] = Loss.dump([self.loss])
                self.has_told = True
        return replies


def told(loss: Loss, monkeypatch: pytest.MonkeyPatch) -> GossipResult:
    """Run three segments of two rounds; node 2 takes long to reply to the last."""
    monkeypatch.setattr(training_module, "_GRACE_S", 0.0)
    looked_again = Event()
    grid_type = type("Grid", (Telling,), {"loss": loss, "looked_again": looked_again})

    def before_train(node: int, round: int) -> None:
        if (node, round) == (SLOW, 6):
            looked_again.wait(3.0)  # till the loss has been weighed, or it is given up

    app = quadratic_app(before_train=before_train)
    strategy = Gossip("alone", rounds_per_message=2, fraction_evaluate=0.0)
    return play(strategy, app, 4, 6, grid={"max_workers": 4}, grid_type=grid_type)


@pytest.mark.parametrize(
    ("loss", "dies"),
    [
        (OF_SLOW, True),
        (replace(OF_SLOW, round=3), False),  # of the segment before, told by a model read now
        (replace(OF_SLOW, kind="gone"), False),  # so ended its client of the segment before
        (replace(OF_SLOW, kind="dropped"), False),
    ],
    ids=["now", "earlier", "ended earlier", "dropped"],
)
def test_old_losses_do_not_cost_a_node_that_is_at_work(
    loss: Loss, dies: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = told(loss, monkeypatch)
    assert result.losses == [loss]
    assert result.failures == ({SLOW: ["no sign of life"]} if dies else {})


def test_how_a_client_ended_counts_for_its_own_segment() -> None:
    hearsay = Hearsay(Pairs(), first_read=4)
    hearsay.take(TELLER, [replace(OF_SLOW, kind="gone", round=5)], Probed())
    assert hearsay.dead() == {SLOW: "no sign of life"}


def test_a_pair_that_never_talked_says_nothing_of_the_holder() -> None:
    lost = Unreachable(TELLER, SLOW, "10.0.0.3:9400", "refused", "nobody listens")
    hearsay = Hearsay(Pairs())
    hearsay.take(TELLER, [OF_SLOW], Probed((), (lost,)))
    assert hearsay.dead() == {}
