"""One run while it trains: its network, optimizer, schedule and position."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, nan
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from indian_tune.optim.families import get_family
from indian_tune.optim.own_family import set_mode
from indian_tune.problems.randomness import seeded_global_generator
from indian_tune.problems.task import get_task
from indian_tune.training.evaluation import bit_string, correctness, evaluate
from indian_tune.training.feed import IMAGE_RANK
from indian_tune.training.precision import FLOAT32
from indian_tune.training.run import EpochRecord
from indian_tune.training.startup import import_compiler_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from indian_tune.problems.problem import Problem
    from indian_tune.training.feed import Feed
    from indian_tune.training.pack_evaluation import LaneMeasures
    from indian_tune.training.precision import Precision
    from indian_tune.training.run import Run
    from indian_tune.training.stream_feed import StreamFeed

MODEL = "model"
"""Key of the weights in the state of a run."""


@dataclass(frozen=True)
class Setup:
    """What all runs of a trainer share.

    Attributes:
        problem: builds the networks.
        device: where the runs and the inputs live.
        precision: of the arithmetic.
        train: what the optimizer sees.
        train_metrics: the same inputs or some of them.
        validation: ``None`` if the problem has no validation part.
        test: the sealed inputs.
        augmented: whether training images are cropped and flipped at random; measured ones never.
    """

    problem: Problem
    device: torch.device
    precision: Precision
    train: Feed | StreamFeed
    train_metrics: Feed | StreamFeed
    validation: Feed | StreamFeed | None
    test: Feed | StreamFeed
    augmented: bool = False

    @property
    def splits(self) -> dict[str, Feed | StreamFeed]:
        """What is measured on after an epoch, by the name of the split."""
        splits = {"train": self.train_metrics, "test": self.test}
        return splits if self.validation is None else {**splits, "validation": self.validation}


class LiveRun:
    """All that is a run's own, shared with no other run.

    An execution trains it: it moves the network, the optimizer and its schedule by an epoch,
    counts ``step`` and sets ``diverged``; then ``finish_epoch`` measures. What a run has become is
    the same whichever execution moved it, up to rounding.

    Attributes:
        run: what is trained.
        config: the optimizer's configuration, complete.
        model: the network, on the device.
        average: of its weights, with a copy of the network; ``None`` where there is none.
        optimizer: of all its parameters.
        scheduler: of the optimizer, to be stepped after each of its steps; maybe ``None``.
        epoch: epochs done.
        step: optimizer steps done.
        diverged: a loss, or what runs are judged by, was not finite, and the run goes no further.

    Args:
        run: what to train.
        problem: builds the network.
        device: where to train.
        precision: of the arithmetic.

    Raises:
        HyperparameterError: the family or its configuration is not valid.
    """

    def __init__(
        self,
        run: Run,
        problem: Problem,
        device: torch.device,
        precision: Precision = FLOAT32,
    ) -> None:
        family = get_family(run.family)
        self.run = run
        steps = run.epochs * -(-len(problem.train) // run.batch_size)
        self.config = family.with_steps(family.complete(run.config), steps)
        with seeded_global_generator("initial weights", run.seed):
            model = problem.build_model(seed=run.seed, dropout=run.dropout)
        model = model.to(device, precision.dtype)
        if problem.train.first(1).inputs.dim() == IMAGE_RANK:
            model = model.to(memory_format=torch.channels_last)
        self.model = model.train()
        self.optimizer, self.scheduler = family.build(self.model.parameters(), self.config)
        import_compiler_for(self.optimizer)
        self.average = (
            AveragedModel(self.model, multi_avg_fn=_averaging(run.ema_decay))
            if run.ema_decay
            else None
        )
        self.epoch = 0
        self.step = 0
        self.diverged = False
        self._precision = precision
        self._task = get_task(problem.task)

    @property
    def active(self) -> bool:
        """Whether there are epochs left to train."""
        return not self.diverged and self.epoch < self.run.epochs

    @property
    def measured(self) -> nn.Module:
        """The network that is measured and kept: at the average of the weights if there is one."""
        return self.model if self.average is None else self.average.module

    @property
    def ends(self) -> bool:
        """Whether the epoch that is trained, or was and is not counted yet, is the last one."""
        return self.epoch + 1 == self.run.epochs

    def finish_epoch(
        self,
        setup: Setup,
        measured: LaneMeasures | None = None,
        *,
        network: nn.Module | None = None,
    ) -> EpochRecord:
        """Count an epoch that was trained, and measure.

        Args:
            setup: what the runs share.
            measured: what was measured already; ``None`` to measure here.
            network: computes what the network that is measured does; that one by default.

        Returns:
            The record, without ``seconds``, which are the execution's to fill in.
        """
        # Training continues with the next epoch: a checkpoint is taken at the measured weights too.
        set_mode(self.optimizer, training=False)
        network = network or self.measured
        metrics = self._measure("train", setup, measured, network)
        ended = "" if isfinite(metrics["train_loss"]) else "loss"
        self.diverged = self.diverged or bool(ended)
        metrics |= self._measure("validation", setup, measured, network)
        judged = f"validation_{self._task.outcome}"
        if not self.diverged and not isfinite(metrics.get(judged, 0.0)):
            ended, self.diverged = judged, True
        if self.diverged:
            metrics = dict.fromkeys(metrics, nan)
        sealed = self._measure("test", setup, measured, network)
        correct = None
        if self.ends and not self.diverged:
            correct = (
                correctness(network, setup.test, self._precision, self._task)
                if measured is None
                else measured.correct
            )
        self.epoch += 1
        return EpochRecord(
            key=self.run.key,
            epoch=self.epoch,
            step=self.step,
            metrics=metrics,
            seconds=0.0,
            sealed=sealed,
            test_correct=None if correct is None else bit_string(correct),
            not_finite=ended,
        )

    def state(self) -> dict[str, Any]:
        """Return all that is needed to continue: tensors and plain values."""
        return {
            "step": self.step,
            **({} if self.average is None else {"average": self.average.state_dict()}),
            MODEL: self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
        }

    def restore(self, epoch: int, state: Mapping[str, Any]) -> None:
        """Continue from a ``state`` of the same run after ``epoch`` epochs."""
        self.model.load_state_dict(state[MODEL])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        self.step = state["step"]
        self.epoch = epoch

    def _measure(
        self, split: str, setup: Setup, measured: LaneMeasures | None, network: nn.Module
    ) -> dict[str, float]:
        """Measure on a split: nothing if there is none, and NaN once the run has diverged."""
        feed = setup.splits.get(split)
        if feed is None:
            return {}
        if self.diverged:
            values = dict.fromkeys(self._task.metrics, nan)
        elif measured is not None:
            values = measured.metrics[split]
        else:
            values = evaluate(network, feed, self._precision, self._task)
        return {f"{split}_{name}": value for name, value in values.items()}


def _averaging(decay: float) -> Any:
    """Return torch's update of an exponential average."""
    return get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
