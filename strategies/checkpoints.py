"""Checkpoints: what a new run needs to go on where an earlier one ended, in a folder.

``run.jsonl`` begins with what makes the run the one it is; then comes a record for each segment,
with the live lists so far and what came to the result. The models are not here but in the peers;
only the initial arrays and the mean model that the server fetched last are. ``peer`` has those of
all nodes where one peer in the ServerApp's hands serves them (in a simulation, in this process).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from logging import WARNING
from pathlib import Path
from typing import Any

from flwr.app import ArrayRecord
from flwr.supercore import log

from ..server_free.codecs import decode, encode
from ..server_free.disk import FolderInUse, FolderLock, private_folder, write_whole
from ..server_free.errors import CheckpointError, ModelError, WireError
from ..server_free.journals import Journal
from ..server_free.model_files import read_model, to_parts
from ..server_free.models import Model, check_signature, signature
from ..server_free.orders import Introduction, plugin_version
from ..server_free.plans import Plan
from .history import Recorder, restore
from .results import GossipResult
from .roster import Member
from .settings import Settings
from .training import Training, to_record

__all__ = ["Checkpoint", "Saved", "open_checkpoint"]

_JOURNAL = "run.jsonl"
_INITIAL = "initial.model"
_FORMAT = 1
_WHAT_TO_DO = "Give that to go on with it, or start a new run with another folder."
_WAIT_S = 10.0
"""How long a run that was killed may keep the folder: its last processes may still be ending."""


@dataclass(slots=True)
class Saved:
    """What a checkpoint holds.

    Parameters
    ----------
    training : str
        The training id, under which peers keep the models.
    run : mapping of str to JSON
        What makes the run the one it is: see :func:`_described`.
    roster : tuple of Introduction
        The nodes, in order.
    plan : Plan
        With the live lists up to the end of the last segment.
    initial : Model
        The initial arrays.
    last : int
        The round after which the run goes on.
    result : GossipResult
        That of the rounds up to ``last``.
    """

    training: str
    run: Mapping[str, Any]
    roster: tuple[Introduction, ...]
    plan: Plan
    initial: Model
    last: int = 0
    result: GossipResult = field(default_factory=GossipResult)


class Checkpoint:
    """A folder that one run writes to; see :func:`open_checkpoint`.

    Attributes
    ----------
    folder : Path
        Where it is.
    saved : Saved, optional
        What is there of an earlier run; None for a new one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._journal = Journal(folder / _JOURNAL)
        self._recorder = Recorder()
        self._plan = ""  # as it was written last: it may hold a large graph
        self.saved = self._load() if self._journal.records else None
        if self.saved is not None:
            self._recorder = Recorder.after(self.saved.result)

    def close(self) -> None:
        """Let the file go."""
        self._journal.close()

    # ----- writing

    def begin(self, training: Training, run: Mapping[str, Any]) -> None:
        """Write down what a new run is, before its first round."""
        plan = training.plan.to_json()
        head = {
            "format": _FORMAT,
            "version": plugin_version(),
            "training": training.dispatch.training,
            "run": run,
            "roster": [asdict(member.intro) for member in training.attendance.members],
            "plan": plan,
        }
        try:
            self._write_model(_INITIAL, _model(training.dispatch.initial))
            self._journal.append(head)
            self._plan = plan
        except OSError as error:
            raise CheckpointError(
                f"checkpoint is {str(self.folder)!r}, which cannot be written: {error.strerror}. "
                "Make room there, or give another folder."
            ) from None

    def save(self, training: Training) -> None:
        """Write down the segment that has ended; a full disk does not end the training."""
        result, last = training.result, training.last
        try:
            if result.served_round == last:
                self._write_model(_served(last), _model(result.arrays))
            plan = training.plan.to_json()
            changed = {} if plan == self._plan else {"plan": plan}
            self._journal.append({"last": last, **changed, **self._recorder.news(result)})
        except OSError as error:
            log(WARNING, "the checkpoint after round %d is not written: %s", last, error)
            return
        self._plan = plan
        self._recorder.given(result)
        for path in self.folder.glob(_served("*")):
            if path.name != _served(result.served_round):
                path.unlink(missing_ok=True)

    def _write_model(self, name: str, model: Model) -> None:
        write_whole(self.folder / name, to_parts(encode(model), {}), durable=True)

    # ----- reading

    def _load(self) -> Saved:
        head, *segments = self._journal.records
        if head.get("format") != _FORMAT:
            raise CheckpointError(
                f"the checkpoint in {self.folder} is of flwr-gossip {head.get('version')}; this "
                f"one, {plugin_version()}, cannot read it."
            )
        self._plan = [str(one["plan"]) for one in (head, *segments) if "plan" in one][-1]
        saved = Saved(
            training=str(head["training"]),
            run=head["run"],
            roster=tuple(Introduction(**intro) for intro in head["roster"]),
            plan=Plan.from_json(self._plan),
            initial=self._read_model(_INITIAL),
        )
        for news in segments:
            saved.last = int(news["last"])
            restore(saved.result, news)
        result, served = saved.result, saved.result.served_round
        result.arrays = to_record(self._read_model(_served(served)) if served else saved.initial)
        result.plan = saved.plan
        return saved

    def _read_model(self, name: str) -> Model:
        try:
            return decode(read_model(self.folder / name)[0])
        except (OSError, WireError) as error:
            raise CheckpointError(f"{self.folder / name} cannot be read: {error}.") from error

    # ----- fitting

    def check(
        self, saved: Saved, given: Mapping[str, Any], initial: ArrayRecord, num_rounds: int
    ) -> None:
        """Raise ``CheckpointError`` that names the first field in which two runs differ."""
        for name, value in given.items():
            if saved.run.get(name) != value:
                raise self._misfit(name, value, f"a run with {saved.run.get(name)!r}")
        if num_rounds < saved.last:
            raise self._misfit("num_rounds", num_rounds, f"a run that has done {saved.last}")
        try:
            check_signature(_model(initial), signature(saved.initial), "initial_arrays")
        except ModelError as error:
            raise CheckpointError(
                f"the checkpoint in {self.folder} is of a run with another model: {error} "
                f"{_WHAT_TO_DO}"
            ) from None

    def check_roster(self, saved: Saved, members: Mapping[int, Member]) -> None:
        """Raise ``CheckpointError`` if the nodes were told another n."""
        for node, member in members.items():
            now, then = member.intro.num_partitions, saved.roster[node].num_partitions
            if now != then:
                whose = f"num-partitions of {member.identity}"
                raise self._misfit(whose, now, f"a run with {then}, of {len(saved.roster)} nodes")

    def _misfit(self, field: str, given: object, stored: str) -> CheckpointError:
        return CheckpointError(
            f"{field} is {given!r}, the checkpoint in {self.folder} is of {stored}. {_WHAT_TO_DO}"
        )


@contextmanager
def open_checkpoint(settings: Settings) -> Iterator[Checkpoint | None]:
    """Open the folder that the settings name for a new run, or for one that goes on.

    Raises
    ------
    CheckpointError
        If it cannot be used, another run writes there, there is nothing to go on with, or a new
        run would write over an earlier one.
    """
    field = "resume" if settings.resume else "checkpoint"
    given = settings.resume or settings.checkpoint
    if not given or isinstance(given, bool):
        yield None
        return
    folder = Path(given).expanduser().absolute()
    if settings.resume and not (folder / _JOURNAL).exists():
        raise CheckpointError(
            f"resume is {str(given)!r}, where no checkpoint is: there is no {folder / _JOURNAL}. "
            "Give the folder that was the earlier run's checkpoint."
        )
    with _locked(folder, field):
        checkpoint = Checkpoint(folder)
        try:
            _check_purpose(checkpoint, settings)
            yield checkpoint
        finally:
            checkpoint.close()


@contextmanager
def _locked(folder: Path, field: str) -> Iterator[None]:
    try:
        lock = FolderLock(private_folder(folder, field), _WAIT_S)
    except FolderInUse as error:
        raise CheckpointError(
            f"{field} is {str(folder)!r}: {error}. Let that run end, or give another folder."
        ) from None
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{error}.") from None
    try:
        yield
    finally:
        lock.release()


def _check_purpose(checkpoint: Checkpoint, settings: Settings) -> None:
    saved, folder = checkpoint.saved, checkpoint.folder
    if settings.resume and saved is None:
        raise CheckpointError(
            f"resume is {str(folder)!r}, where a run ended before its first round: start it anew."
        )
    if saved is not None and not settings.resume:
        raise CheckpointError(
            f"checkpoint is {str(folder)!r}, which has a run up to round {saved.last}. Go on with "
            f"it by resume={str(folder)!r}, or give another folder."
        )


def _served(round: int | str) -> str:
    return f"mean-{round}.model"


def _model(record: ArrayRecord) -> Model:
    return {name: array.numpy() for name, array in record.items()}
