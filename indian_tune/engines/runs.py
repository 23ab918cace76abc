"""The same run as the record and as the trainer know it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from indian_tune.errors import InputError, LeaseLostError
from indian_tune.ledger import Phase, RunRecord, StudyRecord
from indian_tune.problems import verify
from indian_tune.study.controller import Assignment, Controller, Decision
from indian_tune.study.file.parameters import split_training_parameters
from indian_tune.study.registration import differences

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from indian_tune.problems import Problem
    from indian_tune.study.file.problem import ProblemSection
    from indian_tune.study.file.spec import StudySpec
    from indian_tune.training import CheckpointFolder, EpochRecord, Packing, Run, Trainer


logger = logging.getLogger(__name__)


def problem_of(spec: StudySpec, data_dir: Path | None) -> Problem:
    """Load what a study trains, and on what.

    Raises:
        DataError: the data set is missing or damaged.
        InputError: its factory may not be imported, fails, or makes another problem than was
            registered.
    """
    section = spec.problem
    held_out = section.validation_fraction if spec.protocol.mode == "honest" else None
    if section.factory is not None:
        return _own_problem(section, section.factory, held_out)
    from indian_tune.problems import load_problem

    assert section.dataset is not None
    assert section.model is not None
    return load_problem(
        dataset=section.dataset,
        model=section.model,
        width=section.width,
        init=section.init,
        init_std=section.init_std,
        validation_fraction=held_out,
        sizes=section.split_sizes,
        split_seed=section.split_seed,
        data_dir=data_dir,
    )


def _own_problem(section: ProblemSection, factory: str, held_out: float | None) -> Problem:
    from indian_tune.problems import make_problem
    from indian_tune.study.file.problem_summary import ProblemSummary

    problem = make_problem(
        factory,
        section.arguments,
        dropout=section.dropout,
        validation_fraction=held_out,
        sizes=section.split_sizes,
        split_seed=section.split_seed,
    )
    summary = ProblemSummary.of(problem)
    if section.facts not in (None, summary):
        assert section.facts is not None
        registered, now = (each.model_dump() for each in (section.facts, summary))
        lines = "; ".join(differences(registered, now))
        raise InputError(
            f"problem.factory = {factory!r} makes another problem than the study was registered "
            f"with ({lines}): give it the code and the data of then"
        )
    return problem


def missing_data(spec: StudySpec, data_dir: Path | None) -> str | None:
    """Return how to get the data set of a study, ``None`` if it is there or a factory makes it."""
    if spec.problem.dataset is None:
        return None
    status = verify(spec.problem.dataset, data_dir, checksums=False)
    return None if status.usable else status.advice


def trainer_of(
    spec: StudySpec,
    problem: Problem,
    device: str,
    checkpoints: CheckpointFolder | None,
    packing: Packing | None = None,
) -> Trainer:
    """Return a trainer that trains as a study says.

    Args:
        spec: of the study.
        problem: from ``problem_of``.
        device: ``cpu`` or ``cuda:N``.
        checkpoints: where runs are saved and resumed from; ``None`` for neither.
        packing: how runs share the device; ``None`` for the default.
    """
    from indian_tune.training import Packing, Precision, Trainer

    return Trainer(
        problem,
        device=device,
        checkpoints=checkpoints,
        train_eval_size=spec.protocol.train_eval_size,
        precision=Precision(spec.problem.precision, spec.problem.tf32),
        augmentation=spec.problem.augmentation,
        packing=packing or Packing(),
    )


def run_key(study: StudyRecord, run: RunRecord) -> str:
    """Return the key of a run's checkpoints: the same for every worker, now and later."""
    # The time of registration keeps apart what a deleted database's namesake has left behind.
    born = int(study.created_at.timestamp() * 1e6)
    return f"{study.name}-{born:x}-run-{run.id}"


def kept_folder(artifacts: Path) -> CheckpointFolder:
    """Return where the final weights lie that a study keeps (``protocol.keep_checkpoints``)."""
    from indian_tune.training import CheckpointFolder

    return CheckpointFolder(artifacts / "kept")


def keeps_weights(spec: StudySpec, assignment: Assignment) -> bool:
    """Whether the final weights of the runs of an assignment are to stay."""
    return spec.protocol.keep_checkpoints and assignment.lease.trial.phase is Phase.CONFIRM


def training_run(
    study: StudyRecord, spec: StudySpec, assignment: Assignment, run: RunRecord
) -> Run:
    """Return what the trainer needs to train one run of an assignment."""
    from indian_tune.training import Run

    config, own = split_training_parameters(assignment.config)
    section = spec.problem
    return Run(
        key=run_key(study, run),
        seed=run.seed,
        epochs=assignment.epochs,
        family=spec.arm(assignment.arm.name).trained_with,
        config=config,
        batch_size=int(own.get("batch_size", section.batch_size)),
        dropout=own.get("dropout", section.dropout),
    )


def warn_of_loss(assignment: Assignment, epochs: int) -> None:
    """Say that a trial was begun before, and has no checkpoint to go on from.

    Args:
        assignment: as claimed.
        epochs: that are trained again.
    """
    logger.warning(
        "no checkpoint of %s found, it starts from the beginning (%d epochs are trained again)",
        assignment.path,
        epochs,
    )


@dataclass
class OpenTrial:
    """A trial under way.

    Attributes:
        assignment: as claimed.
        runs: those that have not ended, by key.
    """

    assignment: Assignment
    runs: dict[str, RunRecord]

    @classmethod
    def of(cls, study: StudyRecord, assignment: Assignment) -> OpenTrial:
        """Return a trial with what an earlier attempt has left of it to do."""
        todo = [run for run in assignment.runs if not run.state.finished]
        return cls(assignment, {run_key(study, run): run for run in todo})


def record_epoch_reports(
    controller: Controller, reports: Sequence[tuple[OpenTrial, Sequence[EpochRecord]]]
) -> list[Decision]:
    """Report one epoch of trials that train side by side, and the end of runs that ended with it.

    Runs that have ended leave their trial's ``runs``.

    Args:
        controller: of the study.
        reports: each trial with the records of those of its runs that were trained.

    Returns:
        What to do with each trial, in turn.
    """
    decisions = controller.report_pack(
        [
            (trial.assignment, {trial.runs[record.key].id: record for record in records})
            for trial, records in reports
        ]
    )
    return [
        decision if decision is Decision.DROP else _end_runs(controller, trial, records, decision)
        for (trial, records), decision in zip(reports, decisions, strict=True)
    ]


def _end_runs(
    controller: Controller, trial: OpenTrial, records: Sequence[EpochRecord], decision: Decision
) -> Decision:
    for record in records:
        if record.diverged or record.epoch == trial.assignment.epochs:
            run = trial.runs.pop(record.key)
            try:
                at_end = controller.finish_run(trial.assignment, run, diverged=record.diverged)
            except LeaseLostError:
                return Decision.DROP
            decision = Decision.PRUNE if at_end is Decision.PRUNE else decision
    return decision
