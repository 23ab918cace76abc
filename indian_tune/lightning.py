"""PyTorch Lightning: a callback that connects a ``Trainer`` to a run.

Needs the extra ``lightning``.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from indian_tune.errors import MissingPackageError
from indian_tune.training.own_report import LoopError

try:
    from lightning.pytorch.callbacks import Checkpoint
except ModuleNotFoundError as error:
    missing = (error.name or "").removesuffix(".pytorch")
    raise MissingPackageError.of(__name__, "lightning", missing) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lightning.pytorch import LightningModule, Trainer

    from indian_tune.training.own_loop import LoopRun

__all__ = ["RunCallback"]


# Lightning calls callbacks of this class last, when all values of an epoch have been logged.
class RunCallback(Checkpoint):  # type: ignore[misc]
    """Reports the epochs of a ``Trainer`` to a run, checkpoints, resumes and prunes it.

    Checkpoints hold the module, its optimizers and schedulers and the progress of the trainer, so
    leave ``ckpt_path`` out. The module's ``configure_optimizers`` returns
    ``run.optimizer(self.parameters())``, and the trainer gets ``max_epochs=run.total_epochs``.

    Args:
        run: as the loop is called with it.
        **metrics: for each name that ``run.report`` takes, the name under which the module logs it,
            such as ``error="val_error"``; for ``test_error`` and ``test_loss`` a function that
            takes the test data of the ``Loop`` and returns a number, see ``run.sealed``. It is
            called with the module in evaluation mode and without gradients, as Lightning validates.

    Raises:
        LoopError: while training, if no such value is logged in every epoch.
    """

    def __init__(self, run: LoopRun, **metrics: str | Callable[[Any], float]) -> None:
        self._run = run
        self._metrics = metrics

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take up the last checkpoint, before data are shuffled."""
        if trainer.check_val_every_n_epoch != 1:
            raise LoopError(
                f"Trainer(check_val_every_n_epoch={trainer.check_val_every_n_epoch!r}) leaves "
                "epochs without a validation value to report: remove that option"
            )
        if any(each.reduce_on_plateau for each in trainer.lr_scheduler_configs):
            raise LoopError(
                "ReduceLROnPlateau steps after a checkpoint is written, and would lose a step "
                "when the run resumes: return another scheduler, or set the schedule of the arm"
            )
        optimizers = {f"optimizer_{n}": each for n, each in enumerate(trainer.optimizers)}
        schedulers = {
            f"scheduler_{n}": each.scheduler for n, each in enumerate(trainer.lr_scheduler_configs)
        }
        self._epochs = self._run.epochs(
            module=pl_module, progress=trainer.fit_loop, **optimizers, **schedulers
        )
        self._next(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report an epoch; wait until it is recorded, and stop if it was the last one."""
        logged = trainer.callback_metrics
        for name, key in self._metrics.items():
            if not callable(key) and key not in logged:
                raise LoopError(
                    f"RunCallback({name}={key!r}): the module did not log {key!r} in this epoch, "
                    f"only {', '.join(sorted(logged)) or 'nothing'}: call self.log({key!r}, …)"
                )
        with _evaluating(pl_module):
            values = {
                name: self._run.sealed(key) if callable(key) else logged[key]
                for name, key in self._metrics.items()
            }
        self._run.report(**values)
        self._next(trainer)

    def _next(self, trainer: Trainer) -> None:
        if next(self._epochs, None) is None:
            trainer.should_stop = True


@contextmanager
def _evaluating(module: LightningModule) -> Iterator[None]:
    """Evaluate with a module; parts of it may have a mode of their own, which they keep."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in modes:
            part.training = training
