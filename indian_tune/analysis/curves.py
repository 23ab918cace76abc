"""The learning curves of an arm, as arrays over seeds and epochs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# How many epochs the sensitivity row "last epochs" averages over.
LAST_EPOCHS = 5


@dataclass(frozen=True)
class Curves:
    """The runs of one arm on the fresh seeds, float64 [..., seeds, epochs].

    Attributes:
        train_loss: eval-mode training loss; NaN after the end of a run that diverged.
        test_accuracy: share of test images classified correctly; likewise.
        validation_accuracy: likewise; ``None`` where there is no validation part.
        diverged: bool [..., seeds].
        chance: accuracy that counts for a run that diverged; NaN when none did and it is not known.
    """

    train_loss: NDArray[np.float64]
    test_accuracy: NDArray[np.float64]
    validation_accuracy: NDArray[np.float64] | None
    diverged: NDArray[np.bool_]
    chance: float

    @property
    def final(self) -> NDArray[np.float64]:
        """Test accuracy at the last epoch, [..., seeds]."""
        return self._outcome(self.test_accuracy[..., -1])

    @property
    def last(self) -> NDArray[np.float64]:
        """Mean test accuracy of the last epochs, [..., seeds]."""
        return self._outcome(self.test_accuracy[..., -LAST_EPOCHS:].mean(-1))

    @property
    def best_validation(self) -> NDArray[np.float64]:
        """Test accuracy at the first epoch of best validation accuracy, [..., seeds]."""
        assert self.validation_accuracy is not None
        seen = np.where(np.isfinite(self.validation_accuracy), self.validation_accuracy, -np.inf)
        best = seen.argmax(-1)[..., None]
        return self._outcome(np.take_along_axis(self.test_accuracy, best, -1)[..., 0])

    def _outcome(self, accuracy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give runs that diverged the worst score: they are results, not missing values."""
        return np.where(self.diverged, self.chance, accuracy)
