"""Recorded facts about a user's problem, so that a study can be read without its code."""

from __future__ import annotations

from dataclasses import asdict
from math import isfinite
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field

from indian_tune.outcome import Outcome
from indian_tune.problems.loop import Loop
from indian_tune.problems.task import get_task
from indian_tune.study.file.section import ADDED, Section

if TYPE_CHECKING:
    from indian_tune.problems import Problem

Size = Annotated[int, Field(ge=0)]


class OutcomeSection(Section):
    """What runs are judged by, as :class:`indian_tune.outcome.Outcome` has it."""

    name: str
    title: str
    unit: str
    greater_is_better: bool = False
    best: float = 0.0
    share: bool = False
    chance: float | None = None

    @property
    def outcome(self) -> Outcome:
        """The same, with what can be done with it."""
        return Outcome(**dict(self))


class TaskSection(Section):
    """``[problem.facts.task]``: what is learned, where that is no plain classification.

    Attributes:
        name: of the task.
        loss: what the loss is, in words.
        loss_chance: the loss at chance level.
        metrics: name, title, and whether it is a share, of everything that is measured.
        outcome: what runs are judged by.
    """

    name: str
    loss: str
    loss_chance: float
    metrics: list[list[str | bool]]
    outcome: OutcomeSection

    @classmethod
    def of(cls, problem: Problem | Loop) -> Self | None:
        """Return what is registered of a task; ``None`` for classification as it is."""
        task = get_task(problem.task)
        if task == get_task("classification"):
            return None
        labels = None if isinstance(problem, Loop) else problem.train.sample().labels
        given = problem.chance if isinstance(problem, Loop) else None
        if given is None:
            chances = task.chances(labels, problem.classes)
        else:
            chances = {task.outcome: given, "loss": given}
        outcome = asdict(task.judged(chances[task.outcome]))
        return cls(
            name=task.name,
            loss=task.loss_unit,
            loss_chance=chances["loss"],
            metrics=[[name, each.title, each.share] for name, each in task.metrics.items()],
            outcome=OutcomeSection(**outcome),
        )


class ProblemSummary(Section):
    """``[problem.facts]``: what the factory made when the study was registered.

    Attributes:
        dataset: its name.
        model: name of the network.
        classes: number of classes; of a regression, of numbers that are predicted.
        train: training examples.
        validation: examples held out; 0 in paper mode.
        test: test examples.
        shape: of an input.
        loop: whether it trains by a loop of its own, of which only the names and ``classes`` are
            known.
        task: what is learned; ``None`` for classification.
    """

    dataset: str
    model: str
    classes: Annotated[int, Field(ge=1)]
    train: Size
    validation: Size
    test: Size
    shape: list[Size]
    loop: Annotated[bool, ADDED] = False
    task: Annotated[TaskSection | None, ADDED] = None

    @classmethod
    def of(cls, problem: Problem | Loop) -> ProblemSummary:
        """Return the summary of a problem, or of a loop."""
        if isinstance(problem, Loop):
            return cls(
                dataset=problem.dataset,
                model=problem.model,
                classes=problem.classes,
                train=0,
                validation=0,
                test=0,
                shape=[],
                loop=True,
                task=TaskSection.of(problem),
            )
        return cls(
            dataset=problem.dataset,
            model=problem.model,
            classes=problem.classes,
            train=len(problem.train),
            validation=0 if problem.validation is None else len(problem.validation),
            test=len(problem.test),
            shape=list(problem.train.first(1).inputs.shape[1:]),
            task=TaskSection.of(problem),
        )


def check_plain(value: object, key: str = "problem.arguments") -> None:
    """Check that arguments come out of the record as they went in.

    Args:
        value: numbers, texts, truth values, and lists and tables of them.
        key: of the value, for the message.

    Raises:
        ValueError: it is, or holds, something else, such as a date.
    """
    if isinstance(value, dict):
        for name, part in value.items():
            check_plain(part, f"{key}.{name}")
    elif isinstance(value, list):
        for n, part in enumerate(value, 1):
            check_plain(part, f"{key}[{n}]")
    elif not isinstance(value, (bool, int, float, str)) or (
        isinstance(value, float) and not isfinite(value)
    ):
        raise ValueError(
            f"{key} = {value!r} cannot be recorded: give a finite number, a string, true or "
            "false, or a list or table of these"
        )
