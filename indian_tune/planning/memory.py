"""Memory that a study needs, counted without a run."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

from indian_tune.imports import imports_allowed
from indian_tune.planning.timing import kind_of
from indian_tune.problems import Loop
from indian_tune.problems.catalog import get_dataset_info, get_model_info
from indian_tune.study.examples import example_counts

if TYPE_CHECKING:
    from indian_tune.problems import ModelBuilder, Problem
    from indian_tune.study import StudySpec


def count_bytes(spec: StudySpec, imports: tuple[str, ...] | None = None) -> tuple[int, int]:
    """Return what a run holds in memory, and what the data hold once for a worker.

    Of a run: weights, gradients, optimizer and activations, in the arm that needs most. Counted on
    blank inputs, so that a data set of the catalog need not be there. Loads torch.

    Args:
        spec: of the study.
        imports: folders in which own code is looked for; ``None`` if none may be imported.
    """
    with imports_allowed(imports):
        if spec.problem.factory is not None:
            from indian_tune.engines.runs import problem_of

            problem = problem_of(spec, None)
            assert not isinstance(problem, Loop)
            one = problem.train.first(1)
            inputs = one.inputs
            shape, whole = tuple(inputs.shape[1:]), str(inputs.dtype) == "torch.int64"
            learned = {"task": problem.task, "labels": one.labels}
            held = _run_bytes(spec, problem.build_model, shape, whole=whole, **learned)
            return held, problem.nbytes
        shape = _image_shape(spec)
        data = sum(example_counts(spec)) * (math.prod(shape) + 8)
        return _run_bytes(spec, _catalog_model(spec, shape), shape), data


def blank_problem(spec: StudySpec, count: int) -> Problem | Loop:
    """Return a study's problem: its own, or one of the catalog with blank images.

    Args:
        spec: of the study.
        count: of the blank images of each part.
    """
    import torch

    from indian_tune.engines.runs import problem_of
    from indian_tune.problems import Problem, Split

    section = spec.problem
    if section.factory is not None:
        return problem_of(spec, None)
    assert section.dataset is not None
    assert section.model is not None
    shape = _image_shape(spec)
    blank = Split(
        torch.zeros(count, *shape, dtype=torch.uint8), torch.zeros(count, dtype=torch.int64)
    )
    return Problem(
        section.dataset, section.model, section.classes, blank, blank, _catalog_model(spec, shape)
    )


def _image_shape(spec: StudySpec) -> tuple[int, ...]:
    assert spec.problem.dataset is not None
    assert spec.problem.model is not None
    data = get_dataset_info(spec.problem.dataset)
    size = get_model_info(spec.problem.model).input_size(data, spec.problem.size)
    return data.shape[0], size, size


def _catalog_model(spec: StudySpec, shape: tuple[int, ...]) -> ModelBuilder:
    from indian_tune.problems import build_model

    section = spec.problem
    assert section.model is not None
    return partial(
        build_model,
        section.model,
        classes=section.classes,
        channels=shape[0],
        size=shape[1],
        width=section.width,
        widths=section.widths or (),
        init=section.init,
        init_std=section.init_std,
    )


def _run_bytes(
    spec: StudySpec,
    build_model: ModelBuilder,
    shape: tuple[int, ...],
    *,
    whole: bool = False,
    **learned: Any,
) -> int:
    from indian_tune.training.footprint import footprint

    return max(
        footprint(
            build_model,
            shape=shape,
            whole=whole,
            family=kind.family,
            config=dict(kind.config),
            batch_size=kind.batch_size,
            dropout=kind.dropout,
            averages=kind.ema_decay > 0,
            precision=spec.problem.precision,
            **learned,
        ).total
        for kind in (kind_of(spec, arm.name) for arm in spec.arms)
    )
