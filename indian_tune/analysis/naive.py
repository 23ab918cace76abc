"""What is often done and does not hold its level: the teeth of the calibration.

None of this is used for a verdict. Each function returns one-sided p-values of "the effect is not
above 0", vectorised over simulated studies.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import special, stats

from indian_tune.analysis.contrasts import paired_t

if TYPE_CHECKING:
    from numpy.typing import NDArray


def same_data_selection(accuracies: NDArray[np.float64], alpha: float) -> NDArray[np.float64]:
    """Pick the best of several configurations and test it on the data that picked it.

    Args:
        accuracies: [studies, configurations, seeds]; the default configuration is the first.
        alpha: level of the test.
    """
    best = accuracies.mean(-1).argmax(1)
    chosen = np.take_along_axis(accuracies, best[:, None, None], 1)[:, 0]
    return paired_t(chosen - accuracies[:, 0], alpha).p


def ancova(
    arm: NDArray[np.float64],
    baseline: NDArray[np.float64],
    arm_loss: NDArray[np.float64],
    baseline_loss: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Adjust the final accuracy for the final training loss by least squares.

    The loss comes after the treatment and is measured with noise, so that what the arm does
    through it is taken for a direct effect.

    Args:
        arm: final accuracies of the arm, [studies, seeds].
        baseline: of the baseline.
        arm_loss: final training losses of the arm.
        baseline_loss: of the baseline.
    """
    y = np.concatenate([arm, baseline], axis=-1)
    loss = np.concatenate([arm_loss, baseline_loss], axis=-1)
    treated = np.broadcast_to(np.r_[np.ones(arm.shape[-1]), np.zeros(baseline.shape[-1])], y.shape)
    design = np.stack([np.ones_like(y), treated, loss], axis=-1)
    inverse = np.linalg.inv(np.einsum("rik,ril->rkl", design, design))
    slopes = np.einsum("rkl,ril,ri->rk", inverse, design, y)
    residual = y - np.einsum("rik,rk->ri", design, slopes)
    freedom = y.shape[-1] - 3
    error = np.sqrt((residual**2).sum(-1) / freedom * inverse[:, 1, 1])
    return np.asarray(special.stdtr(freedom, -slopes[:, 1] / error))


def unpaired(arm: NDArray[np.float64], baseline: NDArray[np.float64]) -> NDArray[np.float64]:
    """Forget that arms share their seeds: Welch's t-test.

    Args:
        arm: final accuracies [studies, seeds].
        baseline: likewise.
    """
    made = stats.ttest_ind(arm, baseline, axis=-1, equal_var=False, alternative="greater")
    return np.asarray(made.pvalue)


def normal_quantiles(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Test paired differences with a z for a t, as mixed models with few seeds do.

    Args:
        differences: [studies, seeds].
    """
    error = differences.std(-1, ddof=1) / math.sqrt(differences.shape[-1])
    return np.asarray(special.ndtr(-differences.mean(-1) / error))
