"""Picture files: figures without pyplot, colours, and what is written whole or not at all.

Needs matplotlib, the extra ``[plots]``. Without pyplot nothing is shown, kept, or shared with the
caller's own figures.
"""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from .disk import FOR_ALL, write_whole
from .errors import GossipError, PlanError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FORMATS", "check_picture", "color_of", "new_figure", "save_picture"]

FORMATS = (".pdf", ".png", ".svg")

# Okabe & Ito's colours, told apart by colour-blind readers too.
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f3c8d", "#444444")


def check_picture(path: Path) -> None:
    """Raise an error in one line unless a picture can be written to ``path``."""
    if path.suffix.lower() not in FORMATS:
        raise PlanError(f"{path}: a picture's name ends in one of {', '.join(FORMATS)}.")
    if not path.parent.is_dir():
        raise PlanError(f"{path}: there is no folder {path.parent}; make it first.")
    if path.is_dir():
        raise PlanError(f"{path} is a folder; name a file.")
    if not os.access(path.parent, os.W_OK):
        raise PlanError(f"{path} cannot be written: no permission in {path.parent}.")
    _import_matplotlib()


def save_picture(figure: Figure, path: Path) -> None:
    """Write the figure to ``path``, whole or not at all; the suffix says the format."""
    check_picture(path)
    drawn = BytesIO()
    figure.savefig(drawn, format=path.suffix[1:].lower())
    try:
        write_whole(path, [drawn.getbuffer()], mode=FOR_ALL)
    except OSError as error:
        raise PlanError(f"{path} cannot be written: {error.strerror}.") from error


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of so many inches."""
    _import_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _import_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise GossipError(
            "a picture needs matplotlib, which is not installed: pip install 'flwr-gossip[plots]'"
        ) from None


def color_of(place: int) -> str:
    """Return the colour of the curve at a place, from 0; they come again after eight."""
    return _COLORS[place % len(_COLORS)]
