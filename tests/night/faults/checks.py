"""What has to hold of a study after every command, and what has to hold when it is finished."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import optuna
import sqlalchemy as sa
from optuna.trial import TrialState
from sqlalchemy.engine import make_url

from indian_tune.ledger import LedgerReader, Phase, State, sqlite_file
from indian_tune.ledger import tables as t

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from indian_tune.training import EpochRecord

Trial = tuple[str, str, int]
Run = tuple[str, str, int, int]

# What ends an attempt: three of them fail a trial.
ATTEMPTS = 3
_SHOWN = {
    State.COMPLETE: TrialState.COMPLETE,
    State.PRUNED: TrialState.PRUNED,
    State.FAILED: TrialState.FAIL,
}


@dataclass(frozen=True)
class Record:
    """What is recorded of a study, without ids and times.

    Attributes:
        trials: arm, phase and index → configuration, state and value.
        epochs: arm, phase, index and seed → the epochs of the run, in turn.
        twice: rows of which there may be only one.
        frozen: whether nothing is left to be chosen.
    """

    trials: Mapping[Trial, tuple[Mapping[str, Any] | None, State, float | None]]
    epochs: Mapping[Run, Sequence[EpochRecord]]
    twice: tuple[str, ...] = ()
    frozen: bool = False

    @property
    def open(self) -> int:
        """How many trials are not finished."""
        return sum(not state.finished for _, state, _ in self.trials.values())

    @property
    def failed(self) -> list[str]:
        """The trials that have failed."""
        return sorted(
            f"{arm}/{index}" if phase == Phase.TUNE else f"{arm}/{phase}/{index}"
            for (arm, phase, index), (_, state, _) in self.trials.items()
            if state is State.FAILED
        )

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do; trials may have failed."""
        return self.frozen and not self.open


def read(storage: str, study: str) -> Record:
    """Return what is recorded of a study; an empty record before it is registered."""
    if not _has_ledger(storage):
        return Record({}, {})
    with LedgerReader.open(storage) as ledger:
        found = ledger.find_study(study)
        if found is None:
            return Record({}, {})
        arms = {arm.id: arm.name for arm in ledger.arms(found.id)}
        trials, epochs, twice = {}, {}, []
        for trial in ledger.trials(found.id):
            name = (arms[trial.arm_id], str(trial.phase), trial.index)
            if name in trials:
                twice.append(f"trial {name}")
            trials[name] = (trial.config, trial.state, trial.value)
            for run in ledger.runs(trial.id):
                if (*name, run.seed) in epochs:
                    twice.append(f"run {(*name, run.seed)}")
                epochs[*name, run.seed] = ledger.epochs(run.id)
        frozen = ledger.frozen(found.id) and ledger.has_levels(found.id)
        return Record(trials, epochs, tuple(twice), frozen)


def _has_ledger(storage: str) -> bool:
    file = sqlite_file(make_url(storage))
    if file is not None and not file.exists():
        return False
    engine = sa.create_engine(storage, poolclass=sa.NullPool)
    found = sa.inspect(engine).has_table(t.study.name)
    engine.dispose()
    return found


def wrong_epochs(record: Record, before: Record, reference: Record, *, alike: bool) -> list[str]:
    """Return what was lost, doubled or falsified.

    Args:
        record: of now.
        before: of an earlier moment.
        reference: what the study records when nothing disturbs it.
        alike: whether the configurations are those of the reference: a sampler that learns may go
            another way after a trial that failed.
    """
    wrong = [f"doubled: {row}" for row in record.twice]
    for run, epochs in record.epochs.items():
        numbers = [epoch.epoch for epoch in epochs]
        if numbers != list(range(1, len(numbers) + 1)):
            wrong.append(f"the epochs of {run} are {numbers}")
        expected = reference.epochs.get(run)
        if alike and (expected is None or list(expected[: len(epochs)]) != list(epochs)):
            wrong.append(f"the epochs of {run} are not those of the undisturbed study")
    for run, epochs in before.epochs.items():
        now = record.epochs.get(run, ())
        if list(now[: len(epochs)]) != list(epochs):
            wrong.append(f"lost or changed: epochs of {run}, {len(epochs)} before, {len(now)} now")
    for trial, (_, state, value) in before.trials.items():
        if state.finished and state is not State.FAILED:
            if trial not in record.trials:
                wrong.append(f"lost: trial {trial}")
            elif record.trials[trial][1:] != (state, value):
                wrong.append(f"{trial} was {state} {value}, is {record.trials[trial][1:]}")
    return wrong


def wrong_end(storage: str, study: str, reference: Record, *, alike: bool) -> list[str]:
    """Return what is wrong with a study that has just been finished."""
    record = read(storage, study)
    if record.open:
        return [f"{record.open} trials are open at the end"]
    wrong = []
    if alike and record.trials != reference.trials:
        names = sorted({*record.trials, *reference.trials})
        wrong += [
            f"{name} is {record.trials.get(name)}, undisturbed {reference.trials.get(name)}"
            for name in names
            if record.trials.get(name) != reference.trials.get(name)
        ]
    if alike and record.epochs != reference.epochs:
        wrong.append("the epochs at the end are not those of the undisturbed study")
    return wrong + _wrong_in_optuna(storage, study)


def _wrong_in_optuna(storage: str, study: str) -> list[str]:
    """Compare every trial with the one that Optuna shows of it."""
    with LedgerReader.open(storage) as ledger:
        found = ledger.study(study)
        arms = {arm.id: arm.name for arm in ledger.arms(found.id)}
        trials = ledger.trials(found.id)
    rdb = optuna.storages.RDBStorage(storage)
    try:
        shown = {
            part: optuna.load_study(study_name=f"{study}/{part}", storage=rdb).trials
            for part in (*arms.values(), "confirm")
        }
    finally:
        rdb.remove_session()
        rdb.engine.dispose()
    wrong = []
    for part, theirs in shown.items():
        ours = {
            trial.id: trial
            for trial in trials
            if part == ("confirm" if trial.phase is Phase.CONFIRM else arms[trial.arm_id])
        }
        # A stray of a worker that died is told to have failed, and stays in sight.
        kept = [each for each in theirs if each.state is not TrialState.FAIL]
        slots = Counter(each.user_attrs.get("slot") for each in kept)
        wrong += [
            f"Optuna shows slot {slot} of {part} {n} times" for slot, n in slots.items() if n > 1
        ]
        by_id = {each._trial_id: each for each in theirs}
        for trial in ours.values():
            mine = by_id.get(trial.optuna_trial_id or -1)
            name = f"{part}/{trial.phase}/{trial.index}"
            if mine is None:
                # It failed before it had a configuration.
                if trial.config is not None:
                    wrong.append(f"Optuna does not show {name}")
                continue
            expected = _SHOWN.get(trial.state)
            if expected is not None and mine.state is not expected:
                wrong.append(f"{name} is {trial.state}, {mine.state.name} in Optuna")
            if trial.state is State.COMPLETE and mine.value != trial.value:
                wrong.append(f"{name} has the value {trial.value}, {mine.value} in Optuna")
        wrong += [
            f"Optuna still shows trial {each.number} of {part} as running"
            for each in theirs
            if not each.state.is_finished()
        ]
    return wrong


def wrong_status(shown: Mapping[str, Any], record: Record) -> list[str]:
    """Compare what `status --json` says with the record."""
    wrong = []
    if shown["finished"] != record.finished:
        wrong.append(f"status says finished = {shown['finished']}, with {record.open} open trials")
    if sorted(shown["failed"]) != record.failed:
        wrong.append(f"status says that {shown['failed']} failed, recorded is {record.failed}")
    for arm in shown["arms"]:
        for phase in Phase:
            part = arm.get(str(phase))
            states = Counter(
                str(state)
                for (name, of, _), (_, state, _) in record.trials.items()
                if (name, of) == (arm["arm"], str(phase))
            )
            if part is not None and part["states"] != states:
                wrong.append(
                    f"status says {part['states']} of {arm['arm']} {phase}: {dict(states)}"
                )
    return wrong


def wrong_exit(status: int, record: Record, log: str, *, stopped: bool) -> list[str]:
    """Compare an exit status, and what was said, with the record.

    Args:
        status: of `search`; negative for a signal.
        record: after it.
        log: its standard error.
        stopped: whether it was asked to stop.
    """
    wrong = []
    done = record.finished and not record.failed
    if status == 0 and not done:
        wrong.append(f"status 0 with {record.open} open trials, {len(record.failed)} failed")
    # An address at which no database answers is bad input, unless it has answered before.
    away = "Error: database" in log and ": starting" not in log
    # So is own code that fails in the first try of it.
    tried = "Trying the study's own code" in log and ": starting" not in log
    refused = tried and (
        status == 130
        or any(
            word in log
            for word in (
                "Error: problem.factory",
                "user code ended this process",
                "lost sys.stderr",
            )
        )
    )
    if (
        status == 1
        and not refused
        and not any(
            word in log
            for word in ("indian-tune search", "indian-tune worker", "run the same command again")
        )
    ):
        wrong.append("status 1 without the command that continues")
    allowed = (0, 1, *((130,) if stopped else ()), *((2,) if away else ()))
    if status > 0 and status not in allowed and not refused:
        wrong.append(f"status {status}")
    if "Traceback (most recent call last)" in log:
        wrong.append("a traceback for what is no fault of the program")
    return wrong


def epochs_recorded(engine: sa.Engine) -> int:
    """Count the epochs of a database; 0 while it cannot tell."""
    file = sqlite_file(engine.url)
    if file is not None and not file.exists():
        # To look would make it.
        return 0
    try:
        with engine.connect() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(t.epoch)).scalar_one()
    except sa.exc.SQLAlchemyError:
        return 0
