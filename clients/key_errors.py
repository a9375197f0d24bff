"""A ``KeyError`` of the user's function in words: what was there, and where the rest comes from.

The most likely mistake in a train function is to read a record, or a setting, by a name that the
ServerApp does not send; Python's own ``KeyError: 'lr'`` does not say of what.
"""

from __future__ import annotations

import traceback
from pathlib import Path

from flwr.app import ConfigRecord, RecordDict

from ..server_free.errors import one_line

__all__ = ["explained"]


def explained(error: Exception, content: RecordDict, argument: str) -> str:
    """Return an exception of the user's function as one line.

    Parameters
    ----------
    error : Exception
        What it raised.
    content : RecordDict
        What it was given.
    argument : str
        The argument of ``start`` that its config comes from.
    """
    if not isinstance(error, KeyError) or not error.args:
        return one_line(error)
    where, source = _where(error)
    return f"{one_line(error)}{where}{_advice(error, content, argument, source)}"


def _where(error: KeyError) -> tuple[str, str]:
    """Return file and line of the user's code as text, and what stands in that line."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.line]
    own = [frame for frame in frames if "site-packages" not in frame.filename] or frames
    if not own:
        return "", ""
    return f" in {Path(own[-1].filename).name}, line {own[-1].lineno}", own[-1].line or ""


def _advice(error: KeyError, content: RecordDict, argument: str, source: str) -> str:
    key, asked = error.args[0], _asked(error)
    if asked is content:
        return (
            f": the message has the records {_names(content)}. Read those, or name yours in the "
            f"strategy: arrayrecord_key={key!r} for the model, configrecord_key={key!r} for the "
            "config."
        )
    if isinstance(asked, ConfigRecord) and any(asked is record for record in content.values()):
        return (
            f": the config has {_names(asked)}. Give the rest in the ServerApp: "
            f'strategy.start(..., {argument}=ConfigRecord({{"{key}": ...}})).'
        )
    if "run_config" in source:
        return f": give {key} a value in [tool.flwr.app.config] of the app's pyproject.toml."
    if "node_config" in source:
        return f": start each SuperNode with --node-config '{key}=...'."
    return ""


def _asked(error: KeyError) -> object:
    """Return the record of Flower's in which the key was looked up, None if it was none."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return None if trace is None else trace.tb_frame.f_locals.get("self")


def _names(record: RecordDict | ConfigRecord) -> str:
    return " and ".join(repr(name) for name in record) or "nothing"
