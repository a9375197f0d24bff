"""``flwr-gossip report``: runs as one HTML page, and as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

__all__ = ["make_report"]


def make_report(runs: Sequence[Path], out: Path | None, png: Path | None) -> None:
    """Write the report and print where it is.

    Without ``out`` it is ``report.html`` in the folder of the first run; of a JSONL file, and of
    several runs, in the working folder. Raises ``RunError`` for what is no run.
    """
    from ..server_free.report import read_all, write_pngs, write_report

    readings = read_all(runs)
    beside = len(runs) == 1 and runs[0].expanduser().is_dir()
    page = out or (runs[0].expanduser() if beside else Path()) / "report.html"
    write_report(readings, page.expanduser())
    print(f"report: {page.expanduser().resolve()}")
    if png is not None:
        written = write_pngs(readings, png.expanduser())
        print(f"{len(written)} pictures: {png.expanduser().resolve()}")
