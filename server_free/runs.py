"""The folder that a run leaves behind, read back: ``config.json`` and ``metrics.jsonl``.

``config.json`` says what the run is and how it ended. ``metrics.jsonl`` has one JSON object a line,
in the order in which things happened, each with its ``kind``; see the dataclasses here.
``model.safetensors`` is the served model.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import RunError
from .orders import Loss
from .plans import Plan
from .run_rows import (
    EndRow,
    EvaluationRow,
    LeftOutRow,
    LossRow,
    RoundRow,
    Row,
    SegmentRow,
    ServerEvaluationRow,
    SimulatedRow,
    parsed,
)

__all__ = [
    "CONFIG",
    "FORMAT",
    "METRICS",
    "MODEL",
    "Run",
    "RunConfig",
    "Tail",
    "read_config",
    "read_run",
    "sorted_rows",
]

FORMAT = 1
CONFIG, METRICS, MODEL = "config.json", "metrics.jsonl", "model.safetensors"
STATUSES = ("running", "finished", "failed")


@dataclass(frozen=True, slots=True)
class RunConfig:
    """What a run is: the content of ``config.json``.

    Attributes
    ----------
    version : str
        Of the plugin that wrote it.
    training : str
        The plugin's own name of the run.
    flower_run : int or None
        Flower's run id, where Flower's runtime gave one.
    runtime : str
        "in-process", "simulation", "deployment" or "vectorized".
    strategy : mapping
        ``name``, ``description`` and ``settings``, plain values.
    num_nodes, num_slots, num_rounds : int
        n, k and T.
    plan_json : str
        ``Plan.to_json()``; :attr:`plan` is the plan.
    nodes : tuple of str
        The identity of each node; none where nodes have only their indices.
    parameters, model_bytes : int
        Size of one model.
    started, ended : str, str or None
        ISO 8601 with the time zone.
    status : str
        "running", "finished" or "failed"; a run that was killed stays "running".
    error : str or None
        Why it failed, in one line.
    resumed_after : int
        The round after which an earlier run was taken up; 0 for a new one.
    """

    version: str
    training: str
    flower_run: int | None
    runtime: str
    strategy: Mapping[str, Any]
    num_nodes: int
    num_slots: int
    num_rounds: int
    plan_json: str
    nodes: tuple[str, ...]
    parameters: int
    model_bytes: int
    started: str
    ended: str | None = None
    status: str = "running"
    error: str | None = None
    resumed_after: int = 0

    @property
    def plan(self) -> Plan:
        """The plan: topology, schedule and live lists; ``PlanError`` where it cannot be read."""
        return Plan.from_json(self.plan_json)

    def to_json(self) -> str:
        """Return the content of ``config.json``."""
        names = [name for name in self.__dataclass_fields__ if name != "plan_json"]
        values = {name: getattr(self, name) for name in names}
        content = {"format": FORMAT, **values, "plan": self.plan_json}
        return json.dumps(content, indent=1, default=str) + "\n"

    @staticmethod
    def of(content: Mapping[str, Any], path: Path) -> RunConfig:
        """Return what stands in ``config.json``; ``RunError`` names the field that is wrong."""
        if content.get("format") != FORMAT:
            raise RunError(
                f"{path} has the format {content.get('format')!r}, this version reads {FORMAT}: "
                f"it was written by flwr-gossip {content.get('version', '?')}."
            )
        given = {**content, "plan_json": content.get("plan")}
        wanted = _CONFIG_TYPES | {name: _OPTIONAL[name] for name in _OPTIONAL if name in given}
        for name, types in wanted.items():
            value = given.get(name)
            if not isinstance(value, types) or isinstance(value, bool):
                shown = "plan" if name == "plan_json" else name
                raise RunError(f"{path}: {shown} is {value!r:.60}, which no run writes.")
        if given.get("status") not in STATUSES:
            raise RunError(f"{path}: status is {given.get('status')!r}, allowed is {STATUSES}.")
        values = {name: given[name] for name in wanted}
        return RunConfig(**values | {"nodes": tuple(map(str, values["nodes"]))})


_CONFIG_TYPES: dict[str, tuple[type, ...]] = {
    "version": (str,),
    "training": (str,),
    "flower_run": (int, type(None)),
    "runtime": (str,),
    "strategy": (dict,),
    "num_nodes": (int,),
    "num_slots": (int,),
    "num_rounds": (int,),
    "plan_json": (str,),
    "nodes": (list,),
    "parameters": (int,),
    "model_bytes": (int,),
    "started": (str,),
}
_OPTIONAL: dict[str, tuple[type, ...]] = {
    "ended": (str, type(None)),
    "status": (str,),
    "error": (str, type(None)),
    "resumed_after": (int,),
}


@dataclass(frozen=True, slots=True)
class Run:
    """A run's folder, read.

    Attributes
    ----------
    folder : Path
        Where it is.
    config : RunConfig
        What the run is.
    rounds, segments, evaluations, server_evaluations, losses, simulated : tuple
        The rows of each kind, in order; ``losses`` as :class:`.orders.Loss`, ``simulated`` as
        the history records of the vectorized runtime.
    losses_left_out : int
        Further models that did not arrive, which have no row.
    end : EndRow or None
        The last row, None while the run is under way or where it was killed.
    """

    folder: Path
    config: RunConfig
    rounds: tuple[RoundRow, ...] = ()
    segments: tuple[SegmentRow, ...] = ()
    evaluations: tuple[EvaluationRow, ...] = ()
    server_evaluations: tuple[ServerEvaluationRow, ...] = ()
    losses: tuple[Loss, ...] = ()
    losses_left_out: int = 0
    simulated: tuple[dict[str, float], ...] = ()
    end: EndRow | None = None

    @property
    def last_round(self) -> int:
        """The newest round of which there is a row; before the first the one it went on after."""
        rounds = [row.round for row in self.rounds] + [row.last for row in self.segments]
        simulated = [int(record["round"]) for record in self.simulated]
        return max(rounds + simulated, default=self.config.resumed_after)

    @property
    def model(self) -> Path | None:
        """The file of the served model, None where there is none yet."""
        path = self.folder / MODEL
        return path if path.is_file() else None

    @property
    def seconds(self) -> float:
        """Wall seconds from the start to the newest row; 0 before the first."""
        newest = [self.end.seconds] if self.end else []
        newest += [row.seconds for row in self.rounds[-1:]]
        newest += [row.seconds for row in self.segments[-1:]]
        newest += [row.seconds for row in self.evaluations[-1:]]
        return max(newest, default=0.0)


@dataclass(slots=True)
class Tail:
    """Reads the rows of a ``metrics.jsonl`` that is being written, each of them once.

    A line without its end is left for the next time.
    """

    path: Path
    offset: int = 0
    lines: int = 0

    def read(self) -> list[Row]:
        """Return the rows that came since the last call, none where there is no file yet."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                content = file.read()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RunError(f"{self.path} cannot be read: {error.strerror}.") from error
        *whole, half = content.split(b"\n")
        self.offset += len(content) - len(half)
        rows = [self._row(line) for line in whole]
        return [row for row in rows if row is not None]

    def _row(self, line: bytes) -> Row | None:
        self.lines += 1
        return parsed(line, f"{self.path} line {self.lines}")


def read_config(folder: Path) -> RunConfig:
    """Return what ``config.json`` says; ``RunError`` for what is no run's folder."""
    path = folder / CONFIG
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise RunError(
            f"{folder} is no run's folder: it has no {CONFIG}. {_nearby(folder)}"
        ) from None
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise RunError(f"{path} is not JSON: {error}.") from None
    if not isinstance(content, dict):
        raise RunError(f"{path} is a {type(content).__name__}, allowed is a JSON object.")
    return RunConfig.of(content, path)


def _nearby(folder: Path) -> str:
    """Return which folder may be meant: one of those in it, or in ``runs`` in it."""
    for place in (folder, folder / "runs"):
        inside = sorted(path.parent for path in place.glob(f"*/{CONFIG}"))
        if inside:
            number = f"{len(inside)} run{'s' if len(inside) > 1 else ''}"
            return f"In {place} lie {number}: give a run itself, such as {inside[-1]}."
    return (
        "Give the folder whose place a run prints at its start, such as "
        "runs/2026-01-31-120000-gossip."
    )


def read_run(folder: str | Path) -> Run:
    """Read a run's folder, of a run that has ended or is under way.

    Parameters
    ----------
    folder : str or Path
        What a run prints at its start. Half a line at the end, of a run that is writing or was
        killed, is left out, and so are kinds of rows that this version does not know.

    Returns
    -------
    Run
        What the run is, and its rows by kind.

    Raises
    ------
    RunError
        If it is no run's folder, or a line of it is none; names the file and the line.
    """
    place = Path(folder).expanduser()
    config = read_config(place)
    return sorted_rows(place, config, Tail(place / METRICS).read())


def sorted_rows(folder: Path, config: RunConfig, rows: Iterable[Row]) -> Run:
    """Return the run that has this configuration and these rows, sorted by kind."""
    found: dict[type, list[Any]] = {}
    for row in rows:
        found.setdefault(type(row), []).append(row)
    ends = found.get(EndRow, [])
    return Run(
        folder,
        config,
        rounds=tuple(found.get(RoundRow, ())),
        segments=tuple(found.get(SegmentRow, ())),
        evaluations=tuple(found.get(EvaluationRow, ())),
        server_evaluations=tuple(found.get(ServerEvaluationRow, ())),
        losses=tuple(row.loss for row in found.get(LossRow, ())),
        losses_left_out=sum(row.count for row in found.get(LeftOutRow, ())),
        simulated=tuple(row.record for row in found.get(SimulatedRow, ())),
        end=ends[-1] if ends else None,
    )
