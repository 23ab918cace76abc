"""What is left of a study, what failed, and how to continue."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from indian_tune.ledger import STARTED, Phase, State
from indian_tune.ledger.slots import RETRIED
from indian_tune.study.finalists import called
from indian_tune.text import counted, some

if TYPE_CHECKING:
    from collections.abc import Mapping

    from indian_tune.ledger import LedgerReader, StudyRecord, TrialRecord

# Names that a message lists; the rest is counted.
NAMES = 20
# So many trials that fail with one exception, before any other trial has ended, show a fault of the
# user's code that all of them have: the rest of the study would meet it too.
SHARED = 3


@dataclass(frozen=True)
class Completion:
    """How far a study is.

    Attributes:
        study: its name.
        open: how many trials of each phase wait or run.
        failed: every trial that has failed, by its path.
        broken: how many of them there are in each phase.
        called: whether the finalists have their slots, if searches have finalists.
        frozen: whether the winners are frozen.
        matched: whether the levels of their controls are frozen, if there are such controls.
        fault: see :func:`shared_fault`.
    """

    study: str
    open: Mapping[Phase, int]
    failed: tuple[str, ...]
    broken: Mapping[Phase, int]
    called: bool
    frozen: bool
    matched: bool
    fault: str | None = None

    def left(self, until: Phase = Phase.CONFIRM) -> int:
        """Return how many trials wait or run, up to the end of a phase."""
        phases = list(Phase)
        return sum(self.open[phase] for phase in phases[: phases.index(until) + 1])

    def finished(self, until: Phase = Phase.CONFIRM) -> bool:
        """Whether nothing is left up to the end of a phase; trials may have failed."""
        decided = self.frozen and self.matched
        if until in (Phase.TUNE, Phase.FINAL):
            decided = until is Phase.TUNE or self.called
        return decided and not self.left(until)

    @property
    def withheld(self) -> str:
        """What is not frozen because trials failed among which it is chosen; empty if nothing."""
        if not self.frozen:
            chosen_in = (Phase.TUNE, Phase.FINAL)
            waits = not any(map(self.open.get, chosen_in)) and any(map(self.broken.get, chosen_in))
            return "no winners are frozen" if waits else ""
        waits = not self.matched and not self.open[Phase.MATCH] and self.broken[Phase.MATCH] > 0
        return "no level of a control is frozen" if waits else ""

    def stuck(self, until: Phase = Phase.CONFIRM) -> bool:
        """Whether nothing is worked on up to the end of a phase because trials have failed.

        Where levels are withheld, arms that do not wait for them continue to their fresh seeds.
        """
        if self.fault is not None and not self.finished(until):
            return True
        return bool(self.withheld) and not (self.frozen and self.left(until))

    @property
    def failures(self) -> str:
        """Which trials failed, as the beginning of a sentence."""
        shared = "" if self.fault is None else f", all with {self.fault!r}, so no other was started"
        return (
            f"{counted(len(self.failed), 'trial')} of study {self.study!r} failed "
            f"({some(self.failed, NAMES)}){shared}"
        )


def completion(ledger: LedgerReader, study: StudyRecord) -> Completion:
    """Return how far a study is."""
    arms = {arm.id: arm.name for arm in ledger.arms(study.id)}
    failed = ledger.trials(study.id, states=(State.FAILED,))
    return Completion(
        study=study.name,
        open={phase: ledger.open_trials(study.id, phase) for phase in Phase},
        failed=tuple(path_of(study, arms[trial.arm_id], trial) for trial in failed),
        broken={phase: sum(trial.phase is phase for trial in failed) for phase in Phase},
        called=called(ledger, study),
        frozen=ledger.frozen(study.id),
        matched=ledger.has_levels(study.id),
        fault=shared_fault(ledger, study.id),
    )


def shared_fault(ledger: LedgerReader, study_id: int) -> str | None:
    """Return with what all trials of a study that have ended so far have failed.

    Returns:
        ``None`` if a trial has ended otherwise, few have ended, or failed ones are tried
        again: their user knows.
    """
    failed = ledger.trials(study_id, states=(State.FAILED,))
    reasons = {trial.reason for trial in failed}
    if len(failed) < SHARED or len(reasons) > 1:
        return None
    others = (State.COMPLETE, State.PRUNED, State.DIVERGED)
    if ledger.trials(study_id, states=others) or ledger.events(study_id, RETRIED):
        return None
    return reasons.pop()


def trial_path(search: str, trial: TrialRecord) -> str:
    """Return the name of a trial as `indian-tune show` takes it.

    Args:
        search: its name, see :meth:`StudyRecord.search_name`.
        trial: of that search.
    """
    middle = "" if trial.phase is Phase.TUNE else f"/{trial.phase}"
    return f"{search}{middle}/{trial.index}"


def path_of(study: StudyRecord, arm: str, trial: TrialRecord) -> str:
    """Return the same of a trial of an arm, of whichever search."""
    return trial_path(study.search_name(arm, trial.replicate), trial)


def search_command(ledger: LedgerReader, study_id: int) -> str | None:
    """Return the command that a study was last searched with; ``None`` before the first search.

    It names the database as it is open now, without its password, and the folder to which the
    checkpoints were last written: given anywhere, it continues with this very record.
    """
    starts = [event.data for event in ledger.events(study_id, STARTED)]
    commands = [start["command"] for start in starts if start.get("command") is not None]
    if not commands:
        return None
    words = shlex.split(commands[-1])
    for option, value in (
        ("--storage", ledger.address),
        ("--artifacts", starts[-1]["artifacts"]),
    ):
        if option in words:
            at = words.index(option)
            del words[at : at + 2]
        words += [option, value]
    return shlex.join(words)


def held_trials(ledger: LedgerReader, study: StudyRecord) -> dict[str, list[str]]:
    """Return the trials that workers hold: id of the worker → paths."""
    arms = {arm.id: arm.name for arm in ledger.arms(study.id)}
    held: dict[str, list[str]] = {}
    for trial in ledger.trials(study.id, states=(State.RUNNING,)):
        if trial.worker_id is not None:
            path = path_of(study, arms[trial.arm_id], trial)
            held.setdefault(trial.worker_id, []).append(path)
    return held
