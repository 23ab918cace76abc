"""Results of the runs of an arm, as arrays over searches and seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from indian_tune.outcome import FAILED_SHARE

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Ends:
    """The runs of one arm on the fresh seeds at their last epoch, float64 [searches, seeds].

    Places without a run hold NaN: searches may have different numbers of seeds.

    Attributes:
        test: accuracy on the test examples.
        train: accuracy on the training examples; NaN where it is not known.
        validation: accuracy on the validation examples; likewise.
        failed: whether the run diverged or did not train, bool.
        examples: correctness of every test example, [searches, seeds, examples], NaN where not
            known; ``None`` where none is.
        half: the same of the winners of the first half of the budget; ``None`` without them.
    """

    test: NDArray[np.float64]
    train: NDArray[np.float64]
    validation: NDArray[np.float64]
    failed: NDArray[np.bool_]
    examples: NDArray[np.float32] | None = None
    half: Ends | None = None

    @property
    def there(self) -> NDArray[np.bool_]:
        """Whether there is a run, [searches, seeds]: one that failed may have no accuracy."""
        return self.failed | np.isfinite(self.test)

    @property
    def trained(self) -> NDArray[np.bool_]:
        """Whether there is a run that did not fail, [searches, seeds]."""
        return self.there & ~self.failed


def stuck(train: NDArray[np.float64], chance: float | None) -> NDArray[np.bool_]:
    """Return which runs ended with nearly the training error at chance level.

    Args:
        train: training accuracies.
        chance: accuracy at chance level; ``None`` where it is not known.
    """
    if chance is None:
        return np.zeros(train.shape, dtype=bool)
    return np.asarray(1 - train > FAILED_SHARE * (1 - chance))


def unit_means(values: NDArray[np.float64], used: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the mean of every search over the seeds that are used; of one search, its seeds.

    Args:
        values: [searches, seeds].
        used: likewise.

    Returns:
        [units]: searches that have a seed that is used, or the seeds that are.
    """
    if len(values) == 1:
        return values[used]
    counts = used.sum(-1)
    sums = np.where(used, values, 0.0).sum(-1)
    return np.asarray((sums / np.maximum(counts, 1))[counts > 0])
