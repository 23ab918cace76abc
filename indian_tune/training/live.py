"""One run while it trains, in a loop over its mini-batches."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, nan
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from indian_tune.optim.families import get_family
from indian_tune.problems.models import dropout_layers
from indian_tune.problems.randomness import lent_global_generator
from indian_tune.training.evaluation import Measure, evaluate
from indian_tune.training.feed import epoch_order
from indian_tune.training.precision import FLOAT32
from indian_tune.training.run import EpochRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from indian_tune.problems.problem import Problem
    from indian_tune.training.feed import Feed
    from indian_tune.training.precision import Precision
    from indian_tune.training.run import Run

CHECK_EVERY = 100
"""Steps between two looks at whether the losses are finite; each look waits for the device."""


@dataclass(frozen=True)
class Feeds:
    """What a run trains on and what it is measured on."""

    train: Feed
    train_metrics: Feed
    validation: Feed | None
    test: Feed


class LiveRun:
    """A run's network, optimizer, schedule and position: all its own, shared with no other run.

    Attributes:
        run: what is trained.
        model: the network, on the device.
        epoch: epochs done.
        step: optimizer steps done.
        diverged: a loss was not finite, and the run goes no further.

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
        config = family.complete(run.config)
        with lent_global_generator("initial weights", run.seed):
            model = problem.build_model(seed=run.seed, dropout=run.dropout)
        self.run = run
        self.model = model.to(device, precision.dtype).to(memory_format=torch.channels_last)
        self.epoch = 0
        self.step = 0
        self.diverged = False
        self._device = device
        self._precision = precision
        self._dropouts = dropout_layers(self.model)
        self._parameters = tuple(self.model.parameters())
        self._optimizer, self._scheduler = family.build(self._parameters, config)

    @property
    def active(self) -> bool:
        """Whether there are epochs left to train."""
        return not self.diverged and self.epoch < self.run.epochs

    def advance(self, feeds: Feeds) -> EpochRecord:
        """Train one epoch and measure."""
        began = perf_counter()
        epoch = self.epoch + 1
        with (
            self._precision.arithmetic(self._device),
            # The package's own networks draw nothing from it; those of users may.
            lent_global_generator("epoch", self.run.seed, epoch, device=self._device),
        ):
            self._train_epoch(feeds.train, epoch)
            train, validation, test = self._measure(feeds)
        self.epoch = epoch
        return EpochRecord(
            key=self.run.key,
            epoch=epoch,
            step=self.step,
            train_loss=train.loss,
            train_accuracy=train.accuracy,
            validation_loss=None if validation is None else validation.loss,
            validation_accuracy=None if validation is None else validation.accuracy,
            test_loss=test.loss,
            test_accuracy=test.accuracy,
            seconds=perf_counter() - began,
            diverged=self.diverged,
        )

    def state(self) -> dict[str, Any]:
        """Return all that is needed to go on: tensors and plain values."""
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scheduler": None if self._scheduler is None else self._scheduler.state_dict(),
        }

    def restore(self, epoch: int, state: Mapping[str, Any]) -> None:
        """Go on from a ``state`` of the same run after ``epoch`` epochs."""
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._scheduler is not None:
            self._scheduler.load_state_dict(state["scheduler"])
        self.step = state["step"]
        self.epoch = epoch

    def _train_epoch(self, feed: Feed, epoch: int) -> None:
        run = self.run
        order = epoch_order(len(feed), seed=run.seed, epoch=epoch).to(self._device)
        unchecked: list[Tensor] = []
        self.model.train()
        for images, labels in feed.batches(run.batch_size, order):
            for layer in self._dropouts:
                layer.seek(run.seed, self.step)
            for parameter in self._parameters:
                parameter.grad = None
            with self._precision.forward(self._device):
                loss = functional.cross_entropy(self.model(images), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()
            if self._scheduler is not None:
                self._scheduler.step()
            self.step += 1
            unchecked.append(loss.detach())
            if len(unchecked) == CHECK_EVERY:
                if not _all_finite(unchecked):
                    break
                unchecked.clear()
        self.diverged = bool(unchecked) and not _all_finite(unchecked)

    def _measure(self, feeds: Feeds) -> tuple[Measure, Measure | None, Measure]:
        """Measure on training, validation and test images; nothing once the run has diverged."""
        unmeasured = Measure(nan, nan)

        def measure(feed: Feed) -> Measure:
            return unmeasured if self.diverged else evaluate(self.model, feed, self._precision)

        train = measure(feeds.train_metrics)
        self.diverged = not isfinite(train.loss)
        validation = None if feeds.validation is None else measure(feeds.validation)
        return unmeasured if self.diverged else train, validation, measure(feeds.test)


def _all_finite(losses: list[Tensor]) -> bool:
    return bool(torch.stack(losses).isfinite().all())
