"""A task: its loss, its metrics, and its valid labels.

A task of the package is a module of :mod:`indian_tune.problems.tasks` with a ``TASK``; one of your
own is an object that a problem names.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
from dataclasses import dataclass, fields, replace
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeGuard

from indian_tune.errors import InputError, unknown_name
from indian_tune.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

PACKAGE = "indian_tune.problems.tasks"


@dataclass(frozen=True)
class Metric:
    """What is measured on a split after every epoch.

    Attributes:
        title: what it is in words, as it heads a column for people.
        total: outputs and labels of a batch → sum over what counts (examples, or whatever the
            task's ``count`` counts), a scalar; the metric is their mean. ``None`` for one that the
            task's ``summary`` gives.
        share: it is a share of right examples in [0, 1]; people are shown the wrong ones in %.
        unit: of a difference, in words; the title by default.
        greater_is_better: whether it is to be large.
        best: value that no better one exists than, where greater is better.
    """

    title: str
    total: Callable[[Tensor, Tensor], Tensor] | None = None
    share: bool = False
    unit: str = ""
    greater_is_better: bool = False
    best: float = 0.0


class MetricError(RuntimeError):
    """A metric of a user's own raises, or returns what is no metric."""


@dataclass(frozen=True)
class OwnMetric:
    """A metric of a user's own.

    Attributes:
        function: outputs and labels of a batch → a value per example [B], or their mean; ``None``
            for one that only a loop of one's own reports.
        metric: its words.
        chance: its value at chance level; ``None`` where nothing is judged by it.
    """

    function: Callable[[Tensor, Tensor], Any] | None
    metric: Metric
    chance: float | None = None

    def total(self, name: str, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the sum over the examples of a batch, float64.

        Raises:
            MetricError: there is no function, or it raises, or returns something else than numbers.
        """
        import torch

        if self.function is None:
            raise MetricError(
                f"metric {name!r} of the task has no function, which only a Loop can do without: "
                f"give with_metric({name!r}, function, …)"
            )
        try:
            values = torch.as_tensor(self.function(outputs, labels)).detach().double()
        except Exception as error:
            raise MetricError(
                f"metric {name!r} of the task raised {type(error).__name__} on outputs of shape "
                f"{list(outputs.shape)} and labels of shape {list(labels.shape)}: {error}"
            ) from error
        if values.dim() == 0:
            return values * len(labels)
        if tuple(values.shape) != (len(labels),):
            raise MetricError(
                f"metric {name!r} of the task returned values of shape {list(values.shape)}: it "
                f"must be a number, or one per example, [{len(labels)}]"
            )
        return values.sum()


@dataclass(frozen=True)
class Task:
    """What is learned. Tasks of the package and of one's own derive from it.

    Attributes:
        outcome: name of the metric that configurations and arms are judged by.
        own: metrics of a user's own, by name; see :meth:`with_metric`.
    """

    outcome: str
    own: tuple[tuple[str, OwnMetric], ...] = ()

    name: ClassVar[str]
    loss_unit: ClassVar[str] = ""
    """What the loss is in words, for axes."""

    def __init_subclass__(cls) -> None:
        # A loss of one's own also counts in packs: a faster form is of the loss that it replaces.
        if "loss" in vars(cls):
            for name in {"lane_losses", "summed_loss"} - vars(cls).keys():
                setattr(cls, name, vars(Task)[name])

    def __post_init__(self) -> None:
        if self.outcome not in self.metrics:
            raise InputError(unknown_name("outcome", self.outcome, self.metrics))
        judging = dict(self.own).get(self.outcome)
        if judging is not None and judging.chance is None:
            raise InputError(
                f"outcome = {self.outcome!r} needs `chance`, its value at chance level, which "
                "runs that diverge get: give with_metric(…, chance=…)"
            )

    @property
    def metrics(self) -> dict[str, Metric]:
        """Name → metric, in the order in which they are recorded and shown; ``loss`` is first."""
        return {**self.declared(), **{name: own.metric for name, own in self.own}}

    def declared(self) -> Mapping[str, Metric]:
        """Return the task's own metrics, without those that a user has added."""
        raise NotImplementedError

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return what is minimised: the mean over what counts in a batch, a scalar."""
        raise NotImplementedError

    @property
    def shipped(self) -> bool:
        """Whether its loss is one of the package, and not a user's, which may do anything."""
        return type(self).__module__.startswith(PACKAGE)

    def lane_losses(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of every lane of a pack, [K].

        Args:
            outputs: [K, B, …].
            labels: [K, B, …].
        """
        import torch

        return torch.stack(
            [self.loss(own, target) for own, target in zip(outputs, labels, strict=True)]
        )

    def summed_loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the sum of the loss over what counts in a batch, a scalar."""
        return self.loss(outputs, labels) * self.count(labels)

    def count(self, labels: Tensor) -> int:
        """Return over how much a mean is taken: examples by default."""
        return len(labels)

    def totals(self, outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the sums over a batch that :meth:`summary` makes the metrics of."""
        sums = {
            name: metric.total(outputs, labels)
            for name, metric in self.declared().items()
            if metric.total is not None
        }
        return sums | {name: own.total(name, outputs, labels) for name, own in self.own}

    def summary(self, totals: Mapping[str, Tensor], count: int, examples: int) -> dict[str, float]:
        """Return the metrics of a split.

        Args:
            totals: of :meth:`totals`, summed over its batches, float64.
            count: of all labels.
            examples: their number.
        """
        own = dict(self.own)
        return {
            name: totals[name].item() / divisor
            if (divisor := examples if name in own else count)
            else math.nan
            for name in self.metrics
            if name in totals
        }

    def correct(self, outputs: Tensor, labels: Tensor) -> Tensor | None:
        """Return which examples are right, bool [B]; ``None`` where that has no meaning."""
        del outputs, labels
        return None

    def output_shapes(self, labels: Tensor, classes: int) -> tuple[tuple[int, ...], ...]:
        """Return which shapes the outputs may have for these labels, the usual one first."""
        raise NotImplementedError

    def label_fault(self, labels: Tensor, classes: int) -> str | None:
        """Return what is wrong with the labels of a split, ``None`` if nothing is."""
        raise NotImplementedError

    def class_fault(self, classes: int) -> str | None:
        """Return what is wrong with a problem's number of classes, ``None`` if nothing is."""
        if classes < 1:
            return f"its classes must be a whole number of at least 1, got {classes!r}"
        return None

    def loop_fault(self) -> str | None:
        """Return what is wrong with it as the task of a ``Loop``, ``None`` if nothing is."""
        for name, own in self.own:
            # A loop reports what trials are judged by, and losses, but no other metric.
            if own.chance is None:
                judging = self.judged()
                return (
                    f"metric {name!r} has no chance, so trials would be judged by "
                    f"{'error' if judging.share else judging.title}: give its value at chance "
                    "level, with_metric(…, chance=…), or remove it"
                )
        return None

    def strata(self, labels: Tensor) -> Tensor:
        """Return what splits are stratified by, int64 [N]; one stratum by default."""
        return labels.new_zeros(len(labels)).long()

    def baseline(self, labels: Tensor | None, classes: int) -> dict[str, float]:
        """Return the scores at chance level by ``loss`` and by the outcome.

        Args:
            labels: of the training examples; ``None`` for a loop of one's own, which hides them.
            classes: of the problem.

        Raises:
            InputError: it cannot be told without labels.
        """
        raise NotImplementedError

    def chances(self, labels: Tensor | None, classes: int) -> dict[str, float]:
        """Return the scores at chance level by ``loss`` and by the outcome, whoever's it is."""
        own = dict(self.own).get(self.outcome)
        known = None if own is None else own.chance
        try:
            found = self.baseline(labels, classes)
        except InputError:
            if labels is not None or known is None:
                raise
            # A loop hides the labels, from which the loss would be told.
            found = {"loss": known}
        return found if known is None else {**found, self.outcome: known}

    def judged(self, chance: float | None = None) -> Outcome:
        """Return the metric that runs are judged by.

        Args:
            chance: its value at chance level.

        Raises:
            InputError: chance is not worse than the best value, so that errors have no scale.
        """
        metric = self.metrics[self.outcome]
        outcome = Outcome(
            name=self.outcome,
            # The title of a share is that of its error.
            title=self.outcome if metric.share else metric.title,
            unit=metric.unit or metric.title,
            greater_is_better=metric.greater_is_better,
            best=metric.best,
            share=metric.share,
        )
        if chance is None:
            return outcome
        # Errors are judged as shares of that at chance level, see `indian_tune.study.scoring`.
        fault = _chance_fault(outcome, chance)
        if fault is not None:
            raise InputError(fault)
        return replace(outcome, chance=outcome.error(chance))

    def with_metric(
        self,
        name: str,
        function: Callable[[Tensor, Tensor], Any] | None = None,
        *,
        title: str | None = None,
        greater_is_better: bool = False,
        best: float = 0.0,
        chance: float | None = None,
    ) -> Self:
        """Return the task with a metric more, by which runs are judged if ``chance`` is given.

        A loop of one's own reports the metric as ``error``, as it is: with ``greater_is_better``
        larger values win. There it needs ``chance``, and no ``function``.

        Args:
            name: in the record: ``validation_NAME``.
            function: outputs and labels of a batch → a value per example [B], or their mean. It is
                averaged over batches, so RMSE, F1, AUC and R² are refused, as they are no means
                over examples: use the MSE, which ranks models as the RMSE does, or compute the
                metric over all examples in a ``Loop``.
            title: in words; the name by default.
            greater_is_better: whether it is to be large.
            best: the largest value that the metric can have, where greater is better: 1.0 for a
                share, 0.0 for a log-likelihood. If there is none, as for a reward, one that good
                runs come near and none exceeds: a run that covers less than 0.5 % of the way from
                chance to it counts as not trained. Where it is to be small, that value is 0.
            chance: its value at chance level, worse than the best one; runs that diverge are
                given it.

        Raises:
            InputError: the name cannot be one, or is taken, an argument has the wrong type, or
                chance is not worse than the best value.
        """
        given: object = name
        if not isinstance(given, str) or not name.isidentifier() or name in self.metrics:
            raise InputError(
                f"a metric cannot have the name {name!r}: use letters and digits, and none of the "
                f"names {', '.join(self.metrics)}"
            )
        if function is not None and not callable(function):
            raise InputError(f"metric {name!r} must be a function, got {function!r}")
        fault = _argument_fault(title, greater_is_better, best)
        if fault is not None:
            raise InputError(f"metric {name!r}: {fault}")
        if _is_finite(chance):
            chance = float(chance)
        best = float(best)
        metric = Metric(title or name, None, greater_is_better=greater_is_better, best=best)
        made = replace(
            self,
            own=(*self.own, (name, OwnMetric(function, metric, chance))),
            outcome=self.outcome if chance is None else name,
        )
        if chance is not None:
            made.judged(chance)
        return made


def _argument_fault(title: object, greater_is_better: object, best: object) -> str | None:
    """Return what has the wrong type, ``None`` if nothing has."""
    if title is not None and not isinstance(title, str):
        return f"title = {title!r} must be a text"
    if not isinstance(greater_is_better, bool):
        return f"greater_is_better = {greater_is_better!r} must be True or False"
    if not _is_finite(best):
        return f"best = {best!r} must be a finite number"
    if best != 0 and not greater_is_better:
        return (
            f"best = {best!r} is of a metric that is to be large: give greater_is_better=True, or "
            "leave best out"
        )
    return None


def _is_finite(value: object) -> TypeGuard[float]:
    # A number of NumPy's is one as well.
    return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)


def _chance_fault(outcome: Outcome, chance: object) -> str | None:
    """Return what is wrong with the value at chance level, ``None`` if nothing is."""
    given = f"metric {outcome.name!r}: chance = {chance!r} must be"
    if not _is_finite(chance):
        return f"{given} a finite number"
    if outcome.error(chance) > 0:
        return None
    if outcome.greater_is_better:
        return (
            f"{given} below best = {outcome.best!r}, as greater is better: give the largest value "
            "that the metric can have, such as best=1.0 for a share, and a chance below it"
        )
    return (
        f"{given} above 0, the best value of a metric that is to be small: add a constant to one "
        "with values below 0, or give greater_is_better=True and best=…"
    )


def task_names() -> list[str]:
    """Return the names of the tasks of the package."""
    found = pkgutil.iter_modules(importlib.import_module(PACKAGE).__path__)
    return sorted(module.name for module in found)


def get_task(task: Task | str, **options: Any) -> Task:
    """Return a task by its name; a task is returned as it is.

    Args:
        task: a name, or a task.
        **options: fields of the task to set, such as ``outcome="mae"`` or ``ignored=0``.

    Raises:
        InputError: it is neither a task nor the name of one, or has no such field.
    """
    if options:
        known = get_task(task)
        for name in options:
            names = [field.name for field in fields(known) if field.name != "own"]
            if name not in names:
                raise InputError(unknown_name(f"option of task {known.name!r}", name, names))
        return replace(known, **options)
    if isinstance(task, Task):
        return task
    if not isinstance(task, str):
        raise InputError(
            f"task must be a name ({', '.join(task_names())}) or an indian_tune.problems.Task, got "
            f"{task!r}"
        )
    if task not in task_names():
        raise InputError(unknown_name("task", task, task_names()))
    made: Task = importlib.import_module(f"{PACKAGE}.{task}").TASK
    return made
