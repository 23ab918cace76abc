"""One run after the other, each in a loop over its mini-batches."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, partial
from time import perf_counter
from typing import TYPE_CHECKING

import torch

from indian_tune.optim.own_family import set_mode
from indian_tune.problems.models import build_model, dropout_layers
from indian_tune.problems.randomness import seeded_global_generator
from indian_tune.problems.task import get_task
from indian_tune.training.by_hand import Measured, by_hand
from indian_tune.training.execution import CHECK_EVERY
from indian_tune.training.feed import epoch_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from indian_tune.training.live import LiveRun, Setup
    from indian_tune.training.run import EpochRecord


# What torch's batch normalisation says of a batch of one example.
ONE_VALUE = "more than 1 value per channel"


class SingleExampleError(ValueError):
    """A batch has one example, on which batch normalisation cannot train.

    Args:
        said: by torch.
        examples: of the training split.
        size: of the batches.
    """

    def __init__(self, said: str, examples: int, size: int) -> None:
        where = f"the last of {examples:,} examples in batches of {size} is alone in its batch"
        if size == 1:
            where = "every batch has one example"
        advice = "give more training examples"
        for other in range(size + 1, examples + 1):
            last = examples % other or other
            if last > 1:
                advice = f"choose another batch_size, such as {other}, which leaves {last}"
                break
        super().__init__(f"{said}: {where}; {advice}")
        self.said = said


class Loop:
    """Runs one after the other, by torch's ordinary operations; takes any network.

    On a CPU the gradients of the package's own small networks are computed without autograd; see
    :mod:`indian_tune.training.by_hand`.

    Args:
        setup: what the runs share.
    """

    def __init__(self, setup: Setup) -> None:
        self._setup = setup

    @property
    def description(self) -> str:
        """See :class:`Execution`."""
        return "loop, by hand" if self._writes_out else "loop"

    @cached_property
    def _writes_out(self) -> bool:
        setup = self._setup
        build = setup.problem.build_model
        if setup.device.type != "cpu" or setup.precision.name == "bfloat16":
            return False
        # Of a network of a user's own nothing is known, such as what else holds its gradients.
        if not (isinstance(build, partial) and build.func is build_model):
            return False
        return by_hand(build(seed=0, dropout=0.5), self._shape, seed=0) is not None

    @property
    def _shape(self) -> torch.Size:
        return self._setup.problem.train.first(1).inputs.shape[1:]

    def advance(self, lives: Sequence[LiveRun]) -> list[EpochRecord]:
        """Train an epoch of each run and measure it; see :class:`Execution`."""
        return [self._advance(live) for live in lives]

    def _advance(self, live: LiveRun) -> EpochRecord:
        began = perf_counter()
        device = self._setup.device
        with (
            self._setup.precision.arithmetic(device),
            # The package's own networks draw nothing from it; those of users may.
            seeded_global_generator("epoch", live.run.seed, live.epoch + 1, device=device),
        ):
            self._train(live)
            network = None
            if self._writes_out and (measured := by_hand(live.measured, self._shape, None)):
                network = Measured(measured)
            record = live.finish_epoch(self._setup, network=network)
        return replace(record, seconds=perf_counter() - began)

    def _train(self, live: LiveRun) -> None:
        run, model, feed = live.run, live.model, self._setup.train
        parameters = tuple(model.parameters())
        dropouts = dropout_layers(model)
        order = epoch_order(len(feed), seed=run.seed, epoch=live.epoch + 1).to(self._setup.device)
        task = get_task(self._setup.problem.task)
        unchecked: list[Tensor] = []
        set_mode(live.optimizer, training=True)
        augmented = (run.seed, live.step) if self._setup.augmented else None
        written_out = by_hand(model, self._shape, run.seed) if self._writes_out else None
        for inputs, labels in feed.batches(run.batch_size, order, augmented=augmented):
            if written_out is not None:
                loss = written_out.gradients(inputs, labels, task, live.step)
            else:
                for layer in dropouts:
                    layer.seek(run.seed, live.step)
                for parameter in parameters:
                    parameter.grad = None
                try:
                    with self._setup.precision.forward(self._setup.device):
                        loss = task.loss(model(inputs), labels)
                except ValueError as error:
                    if len(labels) > 1 or ONE_VALUE not in str(error):
                        raise
                    alone = SingleExampleError(str(error), len(feed), run.batch_size)
                    # It tells where in the network.
                    raise alone.with_traceback(error.__traceback__) from error
                loss.backward()  # type: ignore[no-untyped-call]
            if run.clip_norm:
                torch.nn.utils.clip_grad_norm_(parameters, run.clip_norm)
            live.optimizer.step()
            if live.scheduler is not None:
                live.scheduler.step()
            if live.average is not None:
                live.average.update_parameters(model)
            live.step += 1
            unchecked.append(loss.detach())
            if len(unchecked) == CHECK_EVERY:
                if not _all_finite(unchecked):
                    break
                unchecked.clear()
        live.diverged = bool(unchecked) and not _all_finite(unchecked)


def _all_finite(losses: list[Tensor]) -> bool:
    return bool(torch.stack(losses).isfinite().all())
