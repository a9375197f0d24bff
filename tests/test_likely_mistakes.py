"""What a newcomer is most likely to do wrong, and the one line that says what to write instead.

Further ones: the mod in all wrong places and bad models in tests/clients/test_bad_input.py, values
of options and rosters in tests/strategies/test_bad_input.py, command lines in
tests/clients/test_cli.py and test_simulate_command.py. That the line is the last one that ``flwr
run`` shows is in tests/integration: test_examples.py, test_mistakes.py and, for peers that are not
there or that nobody reaches, test_deployment.py.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable
from flwr.server import ServerAppComponents, ServerConfig
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg

from apps import initial, play, quadratic_app
from flwr_gossip.clients import gossip_mod, half_done
from flwr_gossip.server_free.errors import GossipError
from flwr_gossip.server_free.orders import RECORD
from flwr_gossip.server_free.simulation import InProcessGrid
from flwr_gossip.strategies import Gossip, GossipResult, Teleportation
from flwr_gossip.strategies.decentralized import Decentralized

NET = torch.nn.Linear(3, 2)


def metrics(**values: Any) -> RecordDict:
    return RecordDict({"metrics": MetricRecord(values)})


def good_train(msg: Message, ctxt: Context) -> Message:
    content = metrics(loss=1.0, **{"num-examples": 3})
    content["arrays"] = msg.content["arrays"]
    return Message(content, reply_to=msg)


def good_evaluate(msg: Message, ctxt: Context) -> Message:
    return Message(metrics(loss=1.0, **{"num-examples": 3}), reply_to=msg)


def app_of(
    train: ClientAppCallable | None = good_train,
    evaluate: ClientAppCallable | None = good_evaluate,
    mods: Iterable[Any] = (gossip_mod,),
) -> ClientApp:
    app = ClientApp(mods=list(mods))
    if train is not None:
        app.train()(train)
    if evaluate is not None:
        app.evaluate()(evaluate)
    return app


def run(app: ClientApp, strategy: Decentralized | None = None, **start: Any) -> GossipResult:
    """Play two rounds on three nodes."""
    return play(strategy or Gossip("ring"), app, 3, 2, **start)


def reading(get: Callable[[Message, Context], object]) -> ClientApp:
    """Return an app whose train function reads something before it trains."""

    def train(msg: Message, ctxt: Context) -> Message:
        get(msg, ctxt)
        return good_train(msg, ctxt)

    return app_of(train)


def replying(content: Callable[[Message], object]) -> ClientApp:
    """Return an app whose train function returns this."""

    def train(msg: Message, ctxt: Context) -> Any:
        found = content(msg)
        return Message(found, reply_to=msg) if isinstance(found, RecordDict) else found

    return app_of(train)


def old_server_app() -> None:
    components = ServerAppComponents(
        strategy=Gossip("ring"),  # type: ignore[arg-type]
        config=ServerConfig(num_rounds=2),
    )
    context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={})
    with InProcessGrid(app_of(), 3) as grid:
        ServerApp(server_fn=lambda _: components)(grid, context)


class OtherVersion(InProcessGrid):
    """A ServerApp with a newer flwr-gossip than the nodes have."""

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        messages = list(messages)
        for message in messages:
            message.content.config_records[RECORD].update(protocol=99, version="9.9")
        return super().push_messages(messages)


MISTAKES: dict[str, tuple[Callable[[], object], str]] = {
    # The change of two lines, half done.
    "mod forgotten": (
        lambda: run(app_of(mods=[])),
        r"KeyError: 'arrays'\. .*made with app = ClientApp\(mods=\[gossip_mod\]\)",
    ),
    "strategy in an old ServerApp": (
        old_server_app,
        r"Gossip needs .* instead of server_fn write .*@app\.main\(\)",
    ),
    "strategy wrapped": (
        lambda: list(Gossip().configure_evaluate(1, ArrayRecord(), None, None)),  # type: ignore[arg-type]
        r"call that itself, a strategy wrapped around it cannot",
    ),
    "no train function": (
        lambda: run(app_of(train=None)),
        r"No train function registered .*write @app\.train\(\) above it",
    ),
    # Peers and versions.
    "peer not started": (
        lambda: run(app_of(), grid={"node_config": lambda i: {"gossip-peer": "memory:none"}}),
        r"partition-id 0.* cannot take part: .*gossip-peer.*started with: flwr-gossip peer",
    ),
    "another version": (
        lambda: run(app_of(), grid_type=OtherVersion),
        r"runs flwr-gossip 9\.9 \(protocol 99\), .* install the same version on both",
    ),
    # Records by other names.
    "another arrays key": (
        lambda: run(app_of(), Gossip("ring", arrayrecord_key="model")),
        r"KeyError: 'arrays' in \w+\.py, line \d+: the message has the records 'model' and "
        r"'config'\. .*arrayrecord_key='arrays'",
    ),
    "another config key": (
        lambda: run(reading(lambda msg, _: msg.content["settings"])),
        r"KeyError: 'settings' .*'arrays' and 'config'.*configrecord_key='settings'",
    ),
    "no train_config": (
        lambda: run(reading(lambda msg, _: msg.content["config"]["lr"])),
        r"KeyError: 'lr' .*the config has 'server-round'.*train_config=ConfigRecord\(\{\"lr\"",
    ),
    "no such key in the run config": (
        lambda: run(reading(lambda _, ctxt: ctxt.run_config["epochs"])),
        r"KeyError: 'epochs' .*give epochs a value in \[tool\.flwr\.app\.config\]",
    ),
    "no such key in the node config": (
        lambda: run(reading(lambda _, ctxt: ctxt.node_config["dataset"])),
        r"KeyError: 'dataset' .*start each SuperNode with --node-config 'dataset=\.\.\.'",
    ),
    "no arrays returned": (
        lambda: run(replying(lambda _: metrics(loss=1.0))),
        r"returned 0 ArrayRecords.*exactly one.*\"arrays\": ArrayRecord",
    ),
    "no message returned": (
        lambda: run(replying(lambda msg: None)),
        r"returned NoneType, allowed is a Message: return Message\(content, reply_to=msg\)",
    ),
    "another model returned": (
        lambda: run(replying(lambda _: RecordDict({"arrays": ArrayRecord([np.zeros(2)])}))),
        r"its trained model .* Every node must use the same model",
    ),
    # Arguments.
    "a state_dict": (
        lambda: run(app_of(), arrays=NET.state_dict()),
        r"initial_arrays is of type OrderedDict, .*ArrayRecord\(model\.state_dict\(\)\)",
    ),
    "a dict": (
        lambda: run(app_of(), train_config={"lr": 0.1}),
        r"train_config is of type dict, allowed is ConfigRecord\(\{\.\.\.\}\)",
    ),
    "no grid": (
        lambda: Gossip().start(initial(), initial()),  # type: ignore[arg-type]
        r"grid is of type ArrayRecord, .*strategy\.start\(grid=grid, initial_arrays=",
    ),
    "a misspelt topology": (
        lambda: Gossip("rng"),
        r"'rng' is unknown \(did you mean 'ring'\?\)",
    ),
    "another number of nodes": (
        lambda: run(app_of(), Gossip("torus:4x4")),
        r"has 16 nodes, but num_nodes is 3; rows times columns must be 3",
    ),
    "more active than nodes": (
        lambda: run(app_of(), Teleportation()),
        r"num_active is 8, .*3 nodes.*lower it, or .*'num-supernodes=8'",
    ),
    "the topology first": (
        lambda: Teleportation("ring"),  # type: ignore[arg-type]
        r"num_active is 'ring', .*the topology is the second argument",
    ),
    "fewer nodes than awaited": (
        lambda: run(app_of(), Gossip(min_available_nodes=16)),
        r"3 of the grid's 3 node\(s\) .*16 are needed.*'num-supernodes=16'.*--nodes 16",
    ),
    "an option of FedAvg": (
        lambda: Gossip(fraction_train=0.5),  # type: ignore[call-arg]
        r"'fraction_train' \(leave it out: Gossip trains all nodes",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_one_line_says_what_to_write(mistake: str) -> None:
    do, says = MISTAKES[mistake]
    with pytest.raises((GossipError, TypeError), match=says) as caught:
        do()
    assert "\n" not in str(caught.value)


# --- mistakes that stop nothing ---------------------------------------------------------------


def lines(caplog: pytest.LogCaptureFixture, says: str) -> list[str]:
    return [line for line in caplog.messages if re.search(says, line)]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="flwr")
    half_done._tell_once.cache_clear()
    return caplog


def test_the_strategy_forgotten(log: pytest.LogCaptureFixture) -> None:
    says = r"another strategy.*through the server.*write strategy = Gossip\(\.\.\.\)"
    with InProcessGrid(app_of(), 3) as grid:
        result = FedAvg(min_available_nodes=2).start(grid, initial(), num_rounds=3)
    assert result.train_metrics_clientapp
    assert len(lines(log, says)) == 1


@pytest.mark.parametrize("mods", [[gossip_mod], [gossip_mod, gossip_mod]])
def test_with_both_lines_changed_nothing_is_said(
    mods: list[Any], log: pytest.LogCaptureFixture
) -> None:
    result = run(quadratic_app(mods=mods))
    assert not result.failures
    assert not [record for record in log.records if record.levelno >= logging.WARNING]


def test_no_number_of_examples(log: pytest.LogCaptureFixture) -> None:
    def train(msg: Message, ctxt: Context) -> Message:
        records = {"arrays": msg.content["arrays"], "metrics": MetricRecord({"loss": 1.0})}
        return Message(RecordDict(records), reply_to=msg)

    result = run(app_of(train))
    assert result.train_metrics_clientapp[2] == {"loss": 1.0}
    assert len(lines(log, r"no metric 'num-examples'.*weighted_by_key")) == 1


@pytest.mark.parametrize(
    ("evaluate", "says"),
    [
        (None, r"No evaluate function registered.*@app\.evaluate\(\).*fraction_evaluate=0"),
        (lambda msg, _: Message(RecordDict(), reply_to=msg), r"no reply has metrics.*MetricRecord"),
    ],
)
def test_no_evaluate_function(
    evaluate: ClientAppCallable | None, says: str, log: pytest.LogCaptureFixture
) -> None:
    run(app_of(evaluate=evaluate), Gossip("ring", evaluate_every=2))
    assert len(lines(log, f"no node evaluated after round 2: .*{says}")) == 1


def test_a_legacy_client_without_evaluate(log: pytest.LogCaptureFixture) -> None:
    class Client(NumPyClient):
        def fit(self, parameters: Any, config: Any) -> Any:
            return parameters, 3, {}

    app = ClientApp(client_fn=lambda _: Client().to_client(), mods=[gossip_mod])
    run(app, Gossip("ring", evaluate_every=2))
    assert (
        len(lines(log, r"no node evaluated .*not implement `evaluate`.*fraction_evaluate=0")) == 1
    )
