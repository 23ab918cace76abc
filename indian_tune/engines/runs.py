"""Builds what a study trains: its problem, its trainer, and its runs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from indian_tune.errors import InputError
from indian_tune.ledger import Phase
from indian_tune.problems import Loop, verify
from indian_tune.study.file.parameters import split_training_parameters, training_values
from indian_tune.study.file.space import bounds
from indian_tune.study.optuna.samplers import derived_seed
from indian_tune.study.registration import differences
from indian_tune.study.typical import typical

if TYPE_CHECKING:
    from pathlib import Path

    from indian_tune.problems import Problem
    from indian_tune.study.assignment import RunningTrial
    from indian_tune.study.file.problem import ProblemSection
    from indian_tune.study.file.spec import StudySpec
    from indian_tune.training import CheckpointFolder, LoopTrainer, Packing, Run, Trainer


def problem_of(spec: StudySpec, data_dir: Path | None, replicate: int = 0) -> Problem | Loop:
    """Load what a study trains, and on what.

    Args:
        spec: of the study.
        data_dir: folder of the data sets; ``None`` for the default.
        replicate: of the search, which may have a training and a validation part of its own.

    Raises:
        DataError: the data set is missing or damaged.
        InputError: its factory may not be imported, fails, or makes another problem than was
            registered.
    """
    section = spec.problem
    held_out = section.validation_fraction if spec.protocol.mode == "honest" else None
    if section.factory is not None:
        return _own_problem(section, section.factory, held_out, replicate)
    from indian_tune.problems import load_problem

    assert section.dataset is not None
    assert section.model is not None
    return load_problem(
        dataset=section.dataset,
        model=section.model,
        width=section.width,
        widths=section.widths or (),
        size=section.size,
        init=section.init,
        init_std=section.init_std,
        validation_fraction=held_out,
        sizes=section.split_sizes,
        split_seed=section.split_seed,
        parts_seed=_parts_seed(section, replicate),
        label_noise=section.label_noise,
        data_dir=data_dir,
    )


def _parts_seed(section: ProblemSection, replicate: int) -> int | None:
    """Return what decides a search's own training and validation part, ``None`` if all share it."""
    if section.split == "study":
        return None
    return derived_seed("split", section.split_seed, replicate)


def _own_problem(
    section: ProblemSection, factory: str, held_out: float | None, replicate: int
) -> Problem | Loop:
    from indian_tune.problems import Loop, make_problem
    from indian_tune.study.file.problem_summary import ProblemSummary

    problem = make_problem(
        factory,
        section.arguments,
        dropout=section.dropout,
        validation_fraction=held_out,
        sizes=section.split_sizes,
        split_seed=section.split_seed,
        parts_seed=_parts_seed(section, replicate),
        label_noise=section.label_noise,
        registered=section.facts is not None,
    )
    streamed = not isinstance(problem, Loop) and problem.train.streamed
    if section.augmentation != "none" and streamed:
        raise InputError(
            f"problem.augmentation = {section.augmentation!r} needs data in memory, but "
            f"problem.factory = {factory!r} has data read in batches: remove it, and augment in "
            "the transform of the data set"
        )
    summary = ProblemSummary.of(problem)
    if section.facts not in (None, summary):
        assert section.facts is not None
        registered, now = (each.model_dump() for each in (section.facts, summary))
        lines = "; ".join(differences(registered, now))
        raise InputError(
            f"problem.factory = {factory!r} returns another problem than the registered one "
            f"({lines}): use the same code and data as at the registration, or run the study with "
            "--as NEW-NAME"
        )
    return problem


def missing_data(spec: StudySpec, data_dir: Path | None) -> str | None:
    """Return how to get the data set of a study, ``None`` if it is there or a factory makes it."""
    if spec.problem.dataset is None:
        return None
    status = verify(spec.problem.dataset, data_dir, checksums=False)
    return None if status.usable else status.advice


def check_trains(spec: StudySpec, problem: Problem | Loop) -> None:
    """Check that a loop of one's own has a function to train by.

    Raises:
        InputError: it has none.
    """
    if isinstance(problem, Loop) and problem.train is None:
        raise InputError(
            f"problem.factory = {spec.problem.factory!r} returns a Loop without a train function: "
            "add one, or train its runs yourself, with `with indian_tune.register(study).trial() "
            "as run`"
        )


def trainer_of(
    spec: StudySpec,
    problem: Problem | Loop,
    device: str,
    checkpoints: CheckpointFolder | None,
    packing: Packing | None = None,
) -> Trainer | LoopTrainer:
    """Return a trainer that trains as a study says.

    Args:
        spec: of the study.
        problem: from ``problem_of``.
        device: ``cpu`` or ``cuda:N``.
        checkpoints: where runs are saved and resumed from; ``None`` for neither.
        packing: how runs share the device; ``None`` for the default.

    Raises:
        InputError: a loop of one's own has no function to train by.
    """
    if isinstance(problem, Loop):
        check_trains(spec, problem)
        from indian_tune.training import LoopTrainer

        return LoopTrainer(
            problem, device=device, checkpoints=checkpoints, objectives=spec.protocol.scores
        )
    from indian_tune.training import Packing, Precision, Trainer

    packing = packing or Packing()
    if device != "cpu":
        packing = replace(packing, typical=typical_runs(spec))
    return Trainer(
        problem,
        device=device,
        checkpoints=checkpoints,
        train_eval_size=spec.protocol.train_eval_size,
        precision=Precision(spec.problem.precision, spec.problem.tf32),
        augmentation=spec.problem.augmentation,
        packing=packing,
    )


def typical_runs(spec: StudySpec) -> tuple[Run, ...]:
    """Return a run of every arm, with the largest batch of its space."""
    from indian_tune.training import Run

    runs = []
    for arm in spec.arms:
        config, own = split_training_parameters(typical(spec, arm.name))
        # A control trains with batches of the size that its source's winner has.
        space = spec.space(arm.source or arm.name)
        if "batch_size" in space:
            own["batch_size"] = bounds(space["batch_size"])[1]
        values = training_values(own, spec.problem)
        runs.append(Run(arm.name, 0, 1, arm.trained_with, config, **values))
    return tuple(runs)


def kept_folder(artifacts: Path) -> CheckpointFolder:
    """Return where the final weights lie that a study keeps (``protocol.keep_checkpoints``)."""
    from indian_tune.training import CheckpointFolder

    return CheckpointFolder(artifacts / "kept")


def keeps_weights(spec: StudySpec, trial: RunningTrial) -> bool:
    """Whether the final weights of the runs of a trial are to stay."""
    return spec.protocol.keep_checkpoints and trial.phase is Phase.CONFIRM


def training_runs(spec: StudySpec, trial: RunningTrial) -> list[Run]:
    """Return what the trainer needs to train the open runs of a trial."""
    from indian_tune.training import Run

    assignment, section = trial.assignment, spec.problem
    config, own = split_training_parameters(assignment.config)
    return [
        Run(
            key=key,
            seed=run.seed,
            epochs=assignment.epochs,
            family=spec.arm(assignment.arm.name).trained_with,
            config=config,
            **training_values(own, section),
            opens_test=trial.phase in (Phase.HALF, Phase.CONFIRM),
        )
        for key, run in trial.open_runs.items()
    ]
