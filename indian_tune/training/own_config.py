"""What a run of one's own loop is configured with, and what the loop has read of it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NoReturn

from indian_tune.errors import IndianTuneError
from indian_tune.training.own_report import LoopError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from indian_tune.training.run import Run

log = logging.getLogger(__name__)

# What a run has beside the hyperparameters of its optimizer.
OWN = ("batch_size", "dropout")
PRUNING = "run.epochs() ends by itself when a trial is pruned: choose a pruner as search.pruner"


class UnknownNameError(LoopError, KeyError):
    """A name that a configuration does not have; loops that several arms share may catch it."""

    # A KeyError would show its message in quotation marks.
    __str__ = Exception.__str__


class Configuration(dict[str, Any]):
    """The hyperparameters of the optimizer; it remembers which names the loop has read.

    Attributes:
        read: names of hyperparameters, and ``batch_size`` and ``dropout``.
        built: whether an optimizer was built with all of the hyperparameters.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.read: set[str] = set()
        self.built = False

    @property
    def unread(self) -> frozenset[str]:
        """Names of what the loop could have read, but has not."""
        return frozenset({*(() if self.built else super().keys()), *OWN} - self.read)

    def __getitem__(self, name: str) -> Any:
        if name in self:
            self.read.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """Return a value, or the default; what is known by another name is no such case."""
        if name not in self and name in (*OWN, "lr", "learning_rate"):
            return self[name]
        self.read.add(name)
        return super().get(name, default)

    def __missing__(self, name: str) -> Any:
        own = name in OWN
        told = f"it is run.{name}" if own else "the step size is 'gamma0'"
        known = ", ".join(dict.keys(self))
        raise UnknownNameError(f"run.config[{name!r}] is not known: {told}. Known: {known}")


def _reading_all(name: str) -> Callable[..., Any]:
    plain = getattr(dict, name)

    def method(self: Configuration, *others: Any) -> Any:
        self.read.update(dict.keys(self))
        return plain(self, *others)

    return method


# A loop may pass it on as a whole; ``**run.config`` asks for the keys.
for _name in ("__iter__", "__or__", "__ror__", "copy", "items", "keys", "values"):
    setattr(Configuration, _name, _reading_all(_name))


def no_attribute(name: str) -> AttributeError:
    """Return the error for an attribute that a run lacks; users of Optuna look for some."""
    told = "help('indian_tune.training.own_loop') lists the attributes"
    if name == "should_prune":
        told = PRUNING
    if name.startswith("suggest_"):
        told = "give ranges in the space of an Arm, and read the trial's values in run.config"
    return AttributeError(f"run.{name} does not exist: {told}")


def check_effect(run: Run, epoch: int, steps: int | None, config_read: bool) -> None:
    """Refuse an epoch in which a trial's configuration can have had no effect.

    Args:
        run: of the loop.
        epoch: that ended.
        steps: that the trial's optimizer has taken; ``None`` if the loop has none of it.
        config_read: whether the loop has used ``run.config``.

    Raises:
        LoopError: it can have had none in the whole run.
    """
    if steps == 0:
        told = (
            f"epoch {epoch} ended without a step of the optimizer from run.optimizer(): call its "
            "step() after every backward pass"
        )
        if epoch == run.epochs:
            raise LoopError(told)
        # A gradient scaler may skip the first steps, and gradients be summed over epochs.
        if epoch == 1:
            log.warning("run %s: %s, or the last epoch fails", run.key, told)
    # Loops of other frameworks make their optimizer from the configuration.
    if steps is None and not config_read:
        raise LoopError(
            f"epoch {epoch} ended, but the loop used neither run.optimizer() nor run.config, so "
            "all trials would train alike: create the optimizer with run.optimizer(params), or "
            "from run.config"
        )


def raise_explained(error: BaseException) -> NoReturn:
    """Raise what a loop has raised, as what a worker takes for a fault of a model.

    Raises:
        LoopError: it is of Optuna, or of this package.
    """
    if type(error).__name__ == "TrialPruned":
        told = LoopError(f"the loop raised TrialPruned: {PRUNING}")
        raise told.with_traceback(error.__traceback__) from error
    if isinstance(error, IndianTuneError):
        raise LoopError(str(error)) from error
    raise error
