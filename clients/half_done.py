"""The mod without the strategy: half of the change was made, and nothing else would say so.

Flower's own strategies train as ever with the mod in place, only through the server.
"""

from __future__ import annotations

from functools import cache
from logging import WARNING

from flwr.app import ConfigRecord, Message, MessageType
from flwr.supercore import log

from .placement import find_placement
from .records import records_of

__all__ = ["tell_of_other_strategy"]


def tell_of_other_strategy(msg: Message) -> None:
    """Log that ``msg`` comes from another strategy: once a process, in the first round.

    In a deployment each message has a process of its own, hence the round. Says nothing behind
    another mod, which may be this one.
    """
    begins = msg.metadata.message_type == MessageType.TRAIN and _round_of(msg) <= 1
    if begins and find_placement().num_mods_before == 0:
        _tell_once()


def _round_of(msg: Message) -> int:
    """Return what Flower's strategies write into the config, 1 where nothing is written."""
    if not msg.has_content():
        return 1
    rounds = (r.get("server-round", 1) for r in records_of(msg.content, ConfigRecord).values())
    return max((round for round in rounds if isinstance(round, int)), default=1)


@cache
def _tell_once() -> None:
    log(
        WARNING,
        "gossip_mod: this message is of another strategy than flwr-gossip's, so the models go "
        "through the server. To train without it write strategy = Gossip(...) in server_app.py, "
        "with from flwr_gossip.strategies import Gossip.",
    )
