"""What Flower says of a failed client becomes one line: from a SuperNode, Ray and this process."""

from __future__ import annotations

import pytest
from flwr.app import Error
from flwr.common.constant import ErrorCode

from flwr_gossip.strategies.client_errors import at_first_contact, reason_of

RAY = """<class 'ray.exceptions.RayTaskError(ClientAppException)'>:<'\
ray::ClientAppActor.run() (pid=1, repr=<flwr.simulation.ClientAppActor object at 0x7f>)
    return self._registered_funcs[full_name](message, context)
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "client_app.py", line 17, in train
    model.load_state_dict(msg.content["arrays"].to_torch_state_dict())
                          ~~~~~~~~~~~^^^^^^^^^^
KeyError: 'arrays'

The above exception was the direct cause of the following exception:

ray::ClientAppActor.run() (pid=1)
  File "ray_actor.py", line 65, in run
    raise ClientAppException(str(ex)) from ex
flwr.clientapp.client_app.ClientAppException:
Exception ClientAppException occurred. Message: 'arrays''>"""


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (RAY, "KeyError: 'arrays'"),
        (RAY.replace("KeyError: 'arrays'", "torch.OutOfMemoryError"), "torch.OutOfMemoryError"),
        (RAY.replace("'arrays'\n\n", "'arrays'\nHint: its name\n\n"), "KeyError: 'arrays'"),
        ("<class 'KeyError'>:<''arrays''>", "KeyError: 'arrays'"),
        ("<class 'my.own.Error'>:<'no\n\tdisk'>", "Error: no disk"),
        ("ValueError: too few rows", "ValueError: too few rows"),
        (None, "error code 2"),
        ("", "error code 2"),
        ("x" * 1000, "x" * 400 + "..."),
    ],
)
def test_a_reason_is_one_line(reason: str | None, told: str) -> None:
    assert reason_of(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason)) == told


def test_a_client_that_cannot_be_loaded_is_not_one_without_the_mod() -> None:
    error = Error(ErrorCode.LOAD_CLIENT_APP_EXCEPTION, "An exception was raised when loading")
    told = str(at_first_contact("node 5", error))
    assert told.startswith("node 5 could not start its ClientApp: An exception was raised")
    assert "log of its SuperNode" in told and "pip install flwr-gossip" in told
    assert "mods=" not in told
