"""An evaluation at one client: the mixed model of a slot, the user's evaluate function."""

from __future__ import annotations

from logging import ERROR

from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp.typing import ClientAppCallable
from flwr.supercore import log

from ..server_free.errors import GossipError
from ..server_free.orders import RECORD, Evaluation, Loss, Report
from ..server_free.peers.links import Traffic
from .dialects import Dialect, checked_reply
from .key_errors import explained
from .records import report_record, split
from .sessions import config_in, open_session, user_config

__all__ = ["run_evaluation"]


def run_evaluation(
    order: Evaluation, dialect: Dialect, msg: Message, ctxt: Context, call_next: ClientAppCallable
) -> Message:
    """Evaluate the mixed model of ``order.slot`` after ``order.round`` with the user's function.

    The reply holds a report and the user's metrics, no arrays.
    """
    config = config_in(order.round, user_config(order, msg))
    losses: list[Loss] = []
    metrics, failure = MetricRecord(), ""
    traffic, probed = Traffic(), ""
    try:
        with open_session(order, msg, ctxt) as session:
            losses, probed = session.gatherer.losses, session.probed
            model, _ = split(session.gatherer.mixed(order.slot, order.round), ())
            traffic = session.link.traffic
        msg.content = dialect.wrap(model, {}, config, evaluating=True)
        reply = checked_reply(call_next(msg, ctxt), "evaluate")
        if reply.has_error():
            return Message(reply.error, reply_to=msg)
        metrics = MetricRecord(dialect.metrics(reply.content))
    except GossipError as error:
        failure = str(error)
    except Exception as error:
        log(ERROR, "gossip_mod: the evaluate function raised", exc_info=error)
        failure = explained(error, msg.content, "evaluate_config")
    report = Report(
        node=order.node,
        losses=Loss.dump(losses),
        failure=failure,
        bytes_fetched=traffic.bytes_fetched,
        bytes_relayed=traffic.bytes_relayed,
        probed=probed,
    )
    content = RecordDict({RECORD: report_record(report), "metrics": metrics})
    return Message(content, reply_to=msg)
