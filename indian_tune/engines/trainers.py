"""The trainers of a worker, one per shape of packs."""

from __future__ import annotations

import gc
import traceback
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from indian_tune.engines.interrupt import is_from_user
from indian_tune.engines.runs import trainer_of
from indian_tune.errors import IndianTuneError

if TYPE_CHECKING:
    from collections.abc import Callable

    from indian_tune.engines.pack_shapes import PackShapes
    from indian_tune.engines.settings import WorkerSettings
    from indian_tune.problems import Loop, Problem
    from indian_tune.study.file.spec import StudySpec
    from indian_tune.training import CheckpointFolder, LoopTrainer, PackShape, Trainer

T = TypeVar("T")


class Trainers:
    """Makes the trainers of a worker.

    Args:
        settings: of the worker.
        spec: of the study.
        problem: returns what is trained now.
        checkpoints: where runs are saved and resumed from.
        shapes: of packs, as recorded: bits depend on them.

    Attributes:
        shape: of the packs of the last trainer; ``None`` where runs are looped.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        spec: StudySpec,
        problem: Callable[[], Problem | Loop],
        checkpoints: CheckpointFolder,
        shapes: PackShapes,
    ) -> None:
        self._settings = settings
        self._spec = spec
        self._problem = problem
        self._checkpoints = checkpoints
        self._shapes = shapes
        self._told: PackShape | None = None
        self.shape: PackShape | None = None

    @property
    def lanes(self) -> int:
        """How many runs are trained side by side."""
        return (self._settings.lanes or 1) if self.shape is None else self.shape.lanes

    def make(self) -> Trainer | LoopTrainer:
        """Return a new trainer."""
        from indian_tune.training import Packing

        measured = self.shape is None
        if measured:
            self.shape = self._shapes.first()
        shape, settings = self.shape, self._settings
        trainer = trainer_of(
            self._spec,
            self._problem(),
            settings.torch_device or settings.device,
            self._checkpoints,
            Packing(
                lanes=settings.lanes if shape is None else shape.lanes,
                convolutions=None if shape is None else shape.convolutions,
                shrink=settings.shrink,
            ),
        )
        # Tried out once: another trial may come out differently, and the bits with it.
        self.shape = trainer.pack_shape
        if self.shape is None or self.shape == self._told:
            return trainer
        self._shapes.record(self.shape, measured=measured)
        self._told = self.shape
        first = self._shapes.first() if measured else None
        if first is None or first == replace(self.shape, shrink=False):
            return trainer
        # Another worker has measured at the same time.
        del trainer
        self.shape = first
        return self.make()

    def halve(self) -> bool:
        """Have half the lanes from now on; return whether there were several."""
        if self.shape is None or self.shape.lanes == 1:
            return False
        self.shape = replace(self.shape, lanes=self.shape.lanes // 2)
        return True


@dataclass(frozen=True)
class Failure:
    """Why an epoch could not be trained, without the frames that hold its tensors.

    Attributes:
        traceback: of the exception.
        reason: its message.
        out_of_memory: whether a GPU's memory did not suffice.
        final: whether another attempt would meet the same, see :func:`is_final`.
    """

    traceback: str
    reason: str
    out_of_memory: bool
    final: bool


def is_final(error: BaseException) -> bool:
    """Whether an error is one of the code itself: a wrong name, or a wrong use of this package.

    Machines, files and memory have no part in it, so that another attempt would end in the same
    way.
    """
    from indian_tune.problems.task import MetricError
    from indian_tune.training.own_report import LoopError, StaleCheckpointError

    of_code = (LoopError, MetricError, NameError, AttributeError, TypeError, ImportError)
    return isinstance(error, of_code) and not isinstance(error, StaleCheckpointError)


def attempt(train: Callable[[], T]) -> T | Failure:
    """Return what a function returns, or why it fails.

    When this returns, nothing of the failed attempt is in memory any more.

    Raises:
        IndianTuneError: the record itself is in trouble: another attempt would meet the same.
        torch.AcceleratorError: the device is lost to this process.
        BaseException: the user's Ctrl-C.
    """
    import torch

    from indian_tune.training import is_out_of_memory

    try:
        return train()
    except IndianTuneError:
        raise
    except BaseException as error:
        short = is_out_of_memory(error)
        # A model may raise anything, SystemExit and KeyboardInterrupt too.
        if is_from_user(error) or (isinstance(error, torch.AcceleratorError) and not short):
            raise
        text = "".join(traceback.format_exception(error))
        failure = Failure(text, str(error), short, is_final(error))
    if failure.out_of_memory:
        # A network may have bound its tensors in circles.
        gc.collect()
        torch.cuda.empty_cache()
    return failure
