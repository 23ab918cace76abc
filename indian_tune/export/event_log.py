"""A study's learning curves as TensorBoard's event files that grow while it is searched.

The ledger is only read, in short transactions: workers are never kept waiting.
"""

from __future__ import annotations

import json
from math import isfinite
from time import time_ns
from typing import TYPE_CHECKING, Self

import filelock
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.summary import hparams, scalar

from indian_tune.comparison.event_files import EVENTS, last_steps
from indian_tune.errors import InputError, UnfinishedError
from indian_tune.export.tensorboard import tag_of
from indian_tune.optim.hyperparameters import is_number, value_text
from indian_tune.study.completion import completion

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from indian_tune.ledger import LedgerReader, RunRecord, StudyRecord
    from indian_tune.optim.hyperparameters import Value
    from indian_tune.training import EpochRecord

# Between two looks at the ledger.
PERIOD_SECONDS = 2.0
_OF_STUDY = "study.json"
# Held by the one process that writes.
_LOCK = ".lock"


def follow(
    ledger: LedgerReader, study: StudyRecord, folder: Path, pause: Callable[[float], bool]
) -> Path:
    """Write every epoch of a study as it is recorded, until the study is finished.

    Args:
        ledger: to read from.
        study: to follow.
        folder: for the folder of the study; see :class:`EventLog`.
        pause: waits for so many seconds, and says whether to end.

    Returns:
        The folder of the study.

    Raises:
        InputError: see :class:`EventLog`.
        UnfinishedError: files were removed meanwhile.
    """
    ended = False
    with EventLog(folder, study) as log:
        while True:
            finished = completion(ledger, study).finished()
            log.update(ledger)
            if ended or finished:
                log.check_complete()
                return log.folder
            # What was recorded while it waited is written before it ends.
            ended = pause(PERIOD_SECONDS)


class EventLog:
    """Event files of a study, ``STUDY/ARM/PHASE-TRIAL/seed-SEED`` in a folder.

    Points are only added: one that goes on reads from the files which points are there. The steps
    are epochs, the times those at which they were trained. Test results are added once they are
    unsealed, and not before.

    Args:
        folder: made if need be.
        study: that is written.

    Only one process at a time writes: a second would add points that the first adds, too.

    Raises:
        InputError: another study of the same name lies there, the folder is not one of these, or
            nothing can be written; on entering, another process writes there.
    """

    def __init__(self, folder: Path, study: StudyRecord) -> None:
        self.folder = folder / study.name
        self._study = study
        self._runs: dict[int, _RunLog] = {}
        self._opened = False
        about = self.folder / _OF_STUDY
        now = {"study": study.name, "registered": study.created_at.isoformat()}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not about.exists():
                about.write_text(json.dumps(now), encoding="utf-8")
            known = json.loads(about.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"--log {folder} cannot be used: {error}") from error
        if not isinstance(known, dict) or known.keys() != now.keys():
            raise InputError(
                f"--log {folder}: {about} was not written by indian-tune: choose another folder"
            )
        if known != now:
            raise InputError(
                f"--log {folder}: {self.folder} belongs to another study {study.name!r}, "
                f"registered at {known['registered']}: choose another folder"
            )
        self._about = about
        self._lock = filelock.FileLock(self.folder / _LOCK)

    def __enter__(self) -> Self:
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            raise InputError(
                f"another process writes the event files in {self.folder}: wait until it ends, or "
                "choose another folder"
            ) from None
        except (OSError, NotImplementedError) as error:
            raise InputError(f"{self.folder} cannot be locked: {error}") from error
        return self

    def __exit__(self, *exception: object) -> None:
        for log in self._runs.values():
            log.close()
        self._lock.release()

    def update(self, ledger: LedgerReader) -> None:
        """Write what was recorded since the last time.

        Raises:
            InputError: it cannot be written.
            UnfinishedError: the folder was removed.
        """
        opened = ledger.unsealed(self._study.id)
        runs = [
            run
            for run in ledger.study_runs(self._study.id)
            if run.epochs_done > self._written(run) or (opened and not self._opened)
        ]
        if opened and runs:
            records = ledger.study_epochs(self._study.id, sealed=True)
        else:
            records = {run.id: ledger.epochs(run.id) for run in runs}
        self._opened = opened
        arms = {arm.id: arm.name for arm in ledger.arms(self._study.id)}
        for run in runs:
            if run.id not in self._runs:
                trial = ledger.trial(run.trial_id)
                arm = arms[trial.arm_id]
                place = self._study.search_name(arm, trial.replicate)
                folder = self.folder / place / f"{trial.phase}-{trial.index}" / f"seed-{run.seed}"
                self._runs[run.id] = _RunLog(folder, {"arm": arm, **_plain(trial.config or {})})
            try:
                self._runs[run.id].add(run, records.get(run.id, []))
            except OSError as error:
                raise InputError(f"--log {self.folder} cannot be written: {error}") from error
        if not self._about.exists():
            raise self._removed(self._about)

    def check_complete(self) -> None:
        """Check that the files of every run that was written are still there.

        Raises:
            UnfinishedError: they are not.
        """
        for log in self._runs.values():
            if log.missing:
                raise self._removed(log.folder)

    def _removed(self, place: Path) -> UnfinishedError:
        return UnfinishedError(
            f"{place} was removed while the event files of study {self._study.name!r} were "
            "written, so they are not complete: run the same command again to write the rest"
        )

    def _written(self, run: RunRecord) -> int:
        return self._runs[run.id].epochs if run.id in self._runs else 0


class _RunLog:
    """The event files of one run.

    Attributes:
        epochs: how many are written.
        folder: of the files.
    """

    def __init__(self, folder: Path, settings: dict[str, Value]) -> None:
        self.epochs = 0
        self.folder = folder
        self._settings = settings
        self._writer: EventsWriter | None = None
        self._last = last_steps(folder)

    def add(self, run: RunRecord, records: list[EpochRecord]) -> None:
        """Write the points of these epochs that are not there yet."""
        assert run.started_at is not None
        time = run.started_at.timestamp()
        for record in records:
            time += record.seconds
            for name, value in {**record.metrics, **record.sealed}.items():
                tag = tag_of(name)
                # A point that was not finite is a gap.
                if isfinite(value) and record.epoch > self._last.get(tag, 0):
                    point = Event(step=record.epoch, wall_time=time, summary=scalar(tag, value))
                    self._open(record, time).write_event(point)
                    self._last[tag] = record.epoch
            self.epochs = record.epoch
        if self._writer is not None:
            self._writer.flush()
        if run.state.finished:
            self.close()

    @property
    def missing(self) -> bool:
        """Whether points were written and no file is there any more."""
        return bool(self._last) and not any(self.folder.glob(EVENTS))

    def close(self) -> None:
        """Close the file; a later point opens another one."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self, record: EpochRecord, time: float) -> EventsWriter:
        if self._writer is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            # The name of a file has but the second of its beginning.
            self._writer = EventsWriter(str(self.folder / "events"), f".{time_ns()}")
            if not self._last:
                tags = dict.fromkeys(map(tag_of, record.metrics), 0.0)
                for summary in hparams(self._settings, tags):
                    self._writer.write_event(Event(wall_time=time, summary=summary))
        return self._writer


def _plain(config: Mapping[str, Value]) -> dict[str, Value]:
    """Return hyperparameters as TensorBoard takes them."""
    return {
        name: value if is_number(value) or isinstance(value, bool) else value_text(value)
        for name, value in config.items()
    }
