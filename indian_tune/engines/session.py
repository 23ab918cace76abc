"""Opens a study for work: registration, repair, and its folders."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from indian_tune.engines import process_info
from indian_tune.engines.own_code import prepared, remember
from indian_tune.engines.rehearsal import check_memory, check_split
from indian_tune.engines.runs import missing_data
from indian_tune.errors import DataError, LedgerError, StorageError, StudyFileError
from indian_tune.imports import imports_allowed
from indian_tune.ledger import STARTED, Ledger, LedgerReader, sqlite_file
from indian_tune.study.optuna.projection import Projection
from indian_tune.study.optuna.reconcile import Repairs, rebuild, reconcile
from indian_tune.study.registered_study import RegisteredStudy
from indian_tune.study.registration import extend, extend_space, register

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy.engine import URL

    from indian_tune.ledger import StudyRecord
    from indian_tune.study.file.spec import StudySpec

ARTIFACTS = "indian-tune-artifacts"


@dataclass(frozen=True)
class Session(RegisteredStudy[Ledger]):
    """A study that is open for work.

    Attributes:
        repairs: what a crash had left half-written.
        changes: what is told of own code that has changed since the study was registered.
    """

    repairs: Repairs
    changes: list[str]


@contextmanager
def open_session(
    spec: StudySpec,
    storage: URL,
    data_dir: Path | None,
    *,
    extend_by: int = 0,
    space_extension: bool = False,
    retry_failed: bool = False,
    imports: Sequence[str] | None = None,
    on_own_code: Callable[[], None] = lambda: None,
    trains: bool = False,
    check: Callable[[StudySpec], None] = lambda _spec: None,
    on_new: Callable[[StudySpec], None] = lambda _spec: None,
) -> Iterator[Session]:
    """Register a study or take it up again, and repair what a crash left.

    Args:
        spec: of the study.
        storage: where it is recorded.
        data_dir: folder of the data sets; ``None`` for the default.
        extend_by: how many tune trials to add to every arm.
        space_extension: whether arms whose winner lies at an end of its range search beyond it.
        retry_failed: whether trials that failed are tried again; those of a grid always are, which
            is worth nothing with holes.
        imports: folders in which own code is looked for; ``None`` if none may be imported.
        on_own_code: called before own code is tried, if the study names any.
        trains: whether its runs are trained here, for which a loop needs a function.
        check: called with the study, own code included, before anything is written.
        on_new: called with it before it is registered, if it is not registered yet.

    Raises:
        DataError: its data set is missing or damaged; nothing is written.
        InputError: it cannot be extended, its data cannot be split so, or its own code cannot be
            used; nothing is written.
        StorageError: the database cannot be used; nothing is written.
        StudyFileError: another study is registered under its name.
    """
    missing = missing_data(spec, data_dir)
    if missing is not None:
        raise DataError(missing)
    check_split(spec)
    check_memory(spec)
    spec = prepared(spec, imports, on_own_code, trains=trains)
    check(spec)
    with Ledger.open(storage) as ledger:
        if ledger.find_study(spec.name) is None:
            on_new(spec)
        study = register(ledger, spec, host=process_info.host())
        repairs = _repair(study)
        if retry_failed or spec.search.sampler.enumerates:
            ledger.retry(study.id)
        if space_extension:
            extend_space(study, extend_by or None)
        elif extend_by:
            extend(study, extend_by)
        with imports_allowed(imports):
            changes = remember(study)
        yield Session(ledger, study.record, study.spec, repairs, changes)
        # A connection that was lost may have left a trial twice in Optuna's tables.
        _repair(study)


def _repair(study: RegisteredStudy[Ledger], *, rebuild_optuna: bool = False) -> Repairs:
    repair = rebuild if rebuild_optuna else reconcile
    with closing(Projection.beside(study)) as projection:
        return repair(study, projection, process_info.is_dead)


def make_optuna_tables(ledger: Ledger) -> None:
    """Make Optuna's tables where they are missing, for those who may only read afterwards.

    Raises:
        StorageError: Optuna cannot use the database.
    """
    Projection(ledger.url, "", ()).close()


def note_start(
    ledger: Ledger,
    study: StudyRecord,
    artifacts: Path,
    command: str | None = None,
    *,
    joins: bool = False,
) -> str | None:
    """Record where the checkpoints of a study are written from now on.

    Args:
        ledger: open for writing.
        study: that is worked on.
        artifacts: folder of the checkpoints.
        command: with which the study is searched, without passwords; ``None`` for a worker.
        joins: whether this is one worker among others, for which a folder that is recorded stays
            recorded: the same folder may have another path on its machine.

    Returns:
        What to warn of if the checkpoints may not be found there.
    """
    now = {"artifacts": str(artifacts.absolute()), "command": command}
    here = process_info.host()
    known = [event.data for event in ledger.events(study.id, STARTED)]
    if not known or not (joins or now == {key: known[-1][key] for key in now}):
        ledger.record_event(study.id, STARTED, {**now, "host": here})
    if not known:
        return None
    before, host = known[-1]["artifacts"], known[-1]["host"]
    if before == now["artifacts"]:
        if host == here or artifacts.exists():
            return None
        return (
            f"the checkpoints of study {study.name!r} are in {before} on host {host!r}, but "
            f"{here!r} has no such folder and creates one: unfinished trials start from the "
            "beginning. Mount the folder here; if it has another path, give it with --artifacts"
        )
    if joins:
        return (
            f"the checkpoints of study {study.name!r} are in {before}, but this worker uses "
            f"{now['artifacts']}. Unless both are the same folder, trials that go from one worker "
            "to another start from the beginning"
        )
    return (
        f"the checkpoints of study {study.name!r} were written to {before} before, but are now "
        f"read from {now['artifacts']}. Unless both are the same folder, unfinished trials start "
        "from the beginning: give the former folder with --artifacts"
    )


@dataclass(frozen=True)
class Examination:
    """What an examination found in one study.

    Attributes:
        study: its name.
        trials: how many it has.
        finished: how many of them are finished.
        repairs: what was repaired; ``None`` when it could not be examined.
        problem: why not.
        ignored: how many Optuna trials beside it are none of its own.
    """

    study: str
    trials: int
    finished: int
    repairs: Repairs | None
    problem: str | None = None
    ignored: int = 0


def examine(ledger: Ledger, *, rebuild_optuna: bool = False) -> list[Examination]:
    """Repair every study of a database, whoever may be at work on it.

    Args:
        ledger: open for writing.
        rebuild_optuna: whether to rebuild Optuna's tables of these studies; refused, study by
            study, where workers are at work.
    """
    examinations = []
    for study in ledger.studies():
        repairs, problem, ignored = None, None, 0
        try:
            opened = RegisteredStudy.open(ledger, study)
            repairs = _repair(opened, rebuild_optuna=rebuild_optuna)
            with closing(Projection.beside(opened)) as projection:
                ignored = projection.foreign_trials()
        except (StudyFileError, LedgerError) as error:
            problem = str(error)
        trials = ledger.trials(study.id)
        finished = sum(trial.state.finished for trial in trials)
        examinations.append(
            Examination(study.name, len(trials), finished, repairs, problem, ignored)
        )
    return examinations


def artifacts_folder(storage: URL) -> Path:
    """Return the folder of the checkpoints: beside an SQLite file, else where we stand."""
    file = sqlite_file(storage)
    return (Path.cwd() if file is None else file.absolute().parent) / ARTIFACTS


def recorded_folder(ledger: LedgerReader, study: StudyRecord) -> Path:
    """Return the folder that is recorded for the checkpoints of a study, or else the usual one.

    An SQLite file may have been moved together with its folder.
    """
    usual = artifacts_folder(ledger.url)
    known = [Path(event.data["artifacts"]) for event in ledger.events(study.id, STARTED)]
    if not known or (sqlite_file(ledger.url) is not None and not known[-1].exists()):
        return usual
    return known[-1]


def study_folder(storage: URL, study: str) -> Path:
    """Return the folder of the checkpoints of a study that need not be registered yet.

    Raises:
        StorageError: the database cannot be reached.
    """
    try:
        with LedgerReader.open(storage) as ledger:
            record = ledger.find_study(study)
            if record is not None:
                return recorded_folder(ledger, record)
    except StorageError as error:
        # Without a cause: there is no database of ours yet, or it must be upgraded first.
        if error.__cause__ is not None:
            raise
    return artifacts_folder(storage)
