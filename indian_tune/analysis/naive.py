"""What is often done and does not hold its level: the teeth of the calibration.

None of this is used for a verdict. Each function draws studies in which there is no effect and
returns lower bounds of what the method takes for one, [studies]; those above 0 are errors.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import special, stats

from indian_tune.analysis.estimates import bounds

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Method = Callable[[int, int, np.random.Generator], NDArray[np.bool_]]

ALPHA = 0.05
SEED, RUN, SEARCH = 0.01, 0.006, 0.007
CONFIGURATIONS = 25


def _above(differences: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(bounds(differences, ALPHA, ALPHA).low > 0)


def same_data_selection(n: int, studies: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Test the best of 25 configurations on the data that chose it."""
    values = RUN * rng.standard_normal((studies, CONFIGURATIONS, n))
    best = values.mean(-1).argmax(1)
    chosen = np.take_along_axis(values, best[:, None, None], 1)[:, 0]
    return _above(chosen - values[:, 0])


def ancova(n: int, studies: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Adjust the final accuracy for a noisy training loss, which comes after the treatment."""
    losses = np.log([0.25, 0.4])[None, :, None]
    smooth = np.exp(losses + 0.05 * rng.standard_normal((studies, 2, n)))
    y = 0.72 - 0.15 * np.sqrt(smooth) + RUN * rng.standard_normal(smooth.shape)
    y, loss = (
        table.reshape(studies, -1)
        for table in (y, smooth * np.exp(0.2 * rng.standard_normal(smooth.shape)))
    )
    treated = np.broadcast_to(np.r_[np.ones(n), np.zeros(n)], y.shape)
    design = np.stack([np.ones_like(y), treated, loss], axis=-1)
    inverse = np.linalg.inv(np.einsum("rik,ril->rkl", design, design))
    slopes = np.einsum("rkl,ril,ri->rk", inverse, design, y)
    rest = y - np.einsum("rik,rk->ri", design, slopes)
    error = np.sqrt((rest**2).sum(-1) / (2 * n - 3) * inverse[:, 1, 1])
    return np.asarray(slopes[:, 1] > special.stdtrit(2 * n - 3, 1 - ALPHA) * error)


def unpaired(n: int, studies: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Forget that arms share their seeds: Welch's test, which then finds nothing."""
    shared = 5 * SEED * rng.standard_normal((studies, n))
    a, b = (shared + RUN * rng.standard_normal((studies, n)) for _ in range(2))
    made = stats.ttest_ind(a, b, axis=-1, equal_var=False, alternative="greater")
    return np.asarray(made.pvalue <= ALPHA)


def control_at_eventual_rate(n: int, studies: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Take SGD at γ_k/α for a control, where it diverges in 26 of 30 runs, scored at chance."""
    fails = rng.random((studies, n)) < 26 / 30
    return _above(np.where(fails, 0.7, 0.0) + RUN * rng.standard_normal((studies, n)))


def control_untuned(n: int, studies: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Take SGD at exactly s_k for a control, with its optimum an octave off (.54 points)."""
    return _above(0.0054 + RUN * rng.standard_normal((studies, n)))


def _curves(
    studies: int, n: int, rng: np.random.Generator, offset: float
) -> tuple[NDArray[np.float64], ...]:
    """Draw loss [epochs], training accuracy [epochs] and noise: a gap of 2 points everywhere."""
    loss = 2.3 * np.exp(-0.35 * np.arange(1, 13))
    train = np.minimum(1.0, 1 - 0.3 * loss + offset * loss)
    return loss, train, 0.001 * rng.standard_normal((studies, n, len(loss)))


def equal_cross_entropy(n: int, studies: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Compare at equal cross-entropy, where only the calibration of the logits differs."""
    (_, own, a), (_, other, b) = (_curves(studies, n, rng, offset) for offset in (0.06, 0.0))
    at = slice(3, 8)
    return _above(((own - other) + a - b)[..., at].mean(-1))


def equal_training_error(n: int, studies: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Compare at equal training error two plain SGDs, a factor of 2 apart in their rate (.88)."""
    return _above(0.0088 + 2 * RUN * rng.standard_normal((studies, n)))


def chance_scores(n: int, studies: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Count runs that fail with the score of chance: the baseline fails more, truth 0."""
    fails = rng.random((studies, n)) < 0.3
    return _above(np.where(fails, 0.7, 0.0) + RUN * rng.standard_normal((studies, n)))


def one_search(n: int, studies: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Take the seeds of one search for evidence on tuning."""
    found = math.sqrt(2) * SEARCH * rng.standard_normal((studies, 1))
    return _above(found + RUN * rng.standard_normal((studies, n)))


METHODS: dict[str, Method] = {
    "best of 25 on the data that chose it": same_data_selection,
    "ANCOVA on the final loss": ancova,
    "unpaired t-test": unpaired,
    "C1 at γ_k/α": control_at_eventual_rate,
    "C1 at m = 1, the optimum an octave off": control_untuned,
    "matched cross-entropy": equal_cross_entropy,
    "matched training error": equal_training_error,
    "chance scores in a t": chance_scores,
    "one search taken for tuning": one_search,
}
