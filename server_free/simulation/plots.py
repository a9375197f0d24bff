"""Learning curves as papers show them: against rounds, epochs, bytes and simulated seconds.

Needs matplotlib, the extra ``[plots]``, and not torch: a history on disk is enough.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from ..errors import PlanError
from ..pictures import check_picture, color_of, new_figure, save_picture
from .curves import Curve, Runs, curve_of, has_column, histories_of
from .records import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Band", "plot_histories", "plot_overview"]

Band = Literal["auto", "nodes", "seeds", "none"]
Histories = dict[str, list[list[Record]]]

_SHADED = {"nodes": "worst to best node", "seeds": "95 % interval of the seeds' mean"}
_LABELS = {
    "bytes": "bytes sent by all nodes",
    "consensus_distance": "consensus distance",
    "epoch": "epochs (of all nodes' data)",
    "seconds": "simulated seconds",
}


def plot_histories(
    runs: Mapping[str, Runs],
    x: str = "round",
    y: str = "test_accuracy",
    *,
    band: Band = "auto",
    log: bool | None = None,
    title: str = "",
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw one column of several methods' histories over another.

    Parameters
    ----------
    runs : mapping of str to run, or to a sequence of runs
        Label -> a :class:`SimulationResult`, a history, the path of a JSONL file that
        :meth:`SimulationResult.to_jsonl` wrote, or several of these: runs that differ in their
        seeds, of which the mean is drawn.
    x : str (default: "round")
        "round", "epoch", "bytes" (so far, of all nodes), "seconds" (with a network), or another
        column.
    y : str (default: "test_accuracy")
        Any column; only the rounds that have it are drawn.
    band : {"auto", "nodes", "seeds", "none"} (default: "auto")
        What is shaded: from the worst to the best node, where the history has ``y_min`` and
        ``y_max``; the 95 % confidence interval of the mean over the seeds (Student's t); or
        nothing. "auto" is "seeds" for several runs and "nodes" for one.
    log : bool, optional
        Whether y is logarithmic, with geometric means; by default for the consensus distance.
    title : str (default: "")
    path : path, optional
        Where the picture is written to, whole or not at all: .png, .pdf or .svg.

    Returns
    -------
    matplotlib.figure.Figure
        Made without pyplot, so that nothing is shown or kept.

    Raises
    ------
    PlanError
        For a column that a history does not have (it lists those that there are), what is no
        run, and files that cannot be read or written.

    Examples
    --------
    ::

        plot_histories({"Gossip": "gossip.jsonl", "Teleportation": [run_1, run_2, run_3]},
                       x="bytes", path="accuracy.png")
    """
    histories = _opened(runs, band, path)
    figure = new_figure(6.5, 4.5)
    axes = figure.subplots()
    shaded = _draw(axes, histories, x, y, band, log)
    axes.set_title(title, fontsize=11)
    _explain(axes, shaded)
    return _saved(figure, path)


def plot_overview(
    runs: Mapping[str, Runs],
    y: str = "test_accuracy",
    *,
    band: Band = "auto",
    title: str = "",
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw y against rounds, epochs, bytes and simulated seconds, in four panels.

    The panel of seconds has the runs with simulated time; where none has, it shows the consensus
    distance over the rounds instead. Parameters, result and errors as in :func:`plot_histories`.
    """
    histories = _opened(runs, band, path)
    clocked = {
        label: several for label, several in histories.items() if has_column(several, "seconds")
    }
    figure = new_figure(11.0, 7.5)
    figure.suptitle(title, fontsize=13)
    panels = figure.subplots(2, 2)
    shaded: set[str] = set()
    for axes, x in zip(panels.flat[:3], ("round", "epoch", "bytes"), strict=True):
        shaded |= _draw(axes, histories, x, y, band)
    if clocked:
        _draw(panels[1, 1], clocked, "seconds", y, band, order=list(histories))
    else:
        _draw(panels[1, 1], histories, "round", "consensus_distance", band)
    _explain(panels[0, 0], shaded)
    return _saved(figure, path)


def _opened(runs: Mapping[str, Runs], band: str, path: str | os.PathLike[str] | None) -> Histories:
    """Return the histories of all runs; ``PlanError`` for what is not allowed."""
    if not isinstance(runs, Mapping) or not runs:
        raise PlanError(
            f"runs is {type(runs).__name__}{' without entries' * (not runs)}, allowed is "
            "label -> run, as in {'Gossip': result}."
        )
    if band not in get_args(Band):
        raise PlanError(f"band is {band!r}, allowed are {', '.join(map(repr, get_args(Band)))}.")
    if path is not None:
        check_picture(Path(path))
    return {label: histories_of(label, several) for label, several in runs.items()}


def _saved(figure: Figure, path: str | os.PathLike[str] | None) -> Figure:
    if path is not None:
        save_picture(figure, Path(path))
    return figure


def _draw(
    axes: Axes,
    histories: Histories,
    x: str,
    y: str,
    band: str,
    log: bool | None = None,
    order: list[str] | None = None,
) -> set[str]:
    """Draw a curve a label and return what is shaded.

    ``order`` keeps a label's colour where some labels are left out.
    """
    logarithmic = y == "consensus_distance" if log is None else log
    if logarithmic:
        axes.set_yscale("log", nonpositive="mask")
    shaded = set()
    for label, several in histories.items():
        curve = curve_of(label, several, x, y, logarithmic)
        color = color_of((order or list(histories)).index(label))
        marker = "o" if len(curve.x) <= 25 else ""
        name = _name(label, curve)
        axes.plot(curve.x, curve.y, color=color, label=name, marker=marker, markersize=3)
        kind = ("nodes" if curve.seeds is None else "seeds") if band == "auto" else band
        edges = {"nodes": curve.nodes, "seeds": curve.seeds}.get(kind)
        if edges is not None:
            axes.fill_between(curve.x, *edges, color=color, alpha=0.18, linewidth=0)
            shaded.add(_SHADED[kind])
    axes.set(xlabel=_LABELS.get(x, x.replace("_", " ")), ylabel=_LABELS.get(y, y.replace("_", " ")))
    axes.grid(alpha=0.3)
    if x == "bytes":
        from matplotlib.ticker import EngFormatter

        axes.xaxis.set_major_formatter(EngFormatter("B"))
    return shaded


def _explain(axes: Axes, shaded: set[str]) -> None:
    title = f"shaded: {'; '.join(sorted(shaded))}" if shaded else None
    axes.legend(fontsize=8, title=title, title_fontsize=8, alignment="left")


def _name(label: str, curve: Curve) -> str:
    """Return the label, and what must be known of its runs to read the curve."""
    if not curve.num_short:
        return label
    return f"{label} ({curve.num_short} of {curve.num_runs} runs end early)"
