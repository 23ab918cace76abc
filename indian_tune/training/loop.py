"""One run after the other, each in a loop over its mini-batches."""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from indian_tune.problems.models import dropout_layers
from indian_tune.problems.randomness import seeded_global_generator
from indian_tune.training.execution import CHECK_EVERY
from indian_tune.training.feed import epoch_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from indian_tune.training.live import Feeds, LiveRun
    from indian_tune.training.precision import Precision
    from indian_tune.training.run import EpochRecord


class Loop:
    """Runs one after the other, by torch's ordinary operations; takes any network.

    Args:
        feeds: what is trained on and what is measured.
        device: where the runs and the feeds live.
        precision: of the arithmetic.
    """

    description = "loop"

    def __init__(self, feeds: Feeds, device: torch.device, precision: Precision) -> None:
        self._feeds = feeds
        self._device = device
        self._precision = precision

    def advance(self, lives: Sequence[LiveRun]) -> list[EpochRecord]:
        """Train an epoch of each run and measure it; see :class:`Execution`."""
        return [self._advance(live) for live in lives]

    def _advance(self, live: LiveRun) -> EpochRecord:
        began = perf_counter()
        with (
            self._precision.arithmetic(self._device),
            # The package's own networks draw nothing from it; those of users may.
            seeded_global_generator("epoch", live.run.seed, live.epoch + 1, device=self._device),
        ):
            self._train(live)
            record = live.finish_epoch(self._feeds)
        return replace(record, seconds=perf_counter() - began)

    def _train(self, live: LiveRun) -> None:
        run, model, feed = live.run, live.model, self._feeds.train
        parameters = tuple(model.parameters())
        dropouts = dropout_layers(model)
        order = epoch_order(len(feed), seed=run.seed, epoch=live.epoch + 1).to(self._device)
        unchecked: list[Tensor] = []
        augmented = (run.seed, live.step) if self._feeds.augmented else None
        for images, labels in feed.batches(run.batch_size, order, augmented=augmented):
            for layer in dropouts:
                layer.seek(run.seed, live.step)
            for parameter in parameters:
                parameter.grad = None
            with self._precision.forward(self._device):
                loss = functional.cross_entropy(model(images), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            live.optimizer.step()
            if live.scheduler is not None:
                live.scheduler.step()
            live.step += 1
            unchecked.append(loss.detach())
            if len(unchecked) == CHECK_EVERY:
                if not _all_finite(unchecked):
                    break
                unchecked.clear()
        live.diverged = bool(unchecked) and not _all_finite(unchecked)


def _all_finite(losses: list[Tensor]) -> bool:
    return bool(torch.stack(losses).isfinite().all())
