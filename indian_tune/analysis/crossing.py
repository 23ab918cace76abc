"""Where a run first reaches a training loss, and its accuracy there.

"Train until the loss is τ" is an intervention, so that comparing arms at τ conditions on no
outcome, provided that every run gets there. The training loss of a run fluctuates between epochs:
the crossing is found on its decreasing isotonic fit, and the accuracy there is the intercept of a
local linear regression of accuracy on the fitted loss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import isotonic_regression

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Half-width of the local regression, in epochs. Its bias grows with the square of this and differs
# between arms that train at different rates, while runs spread far more than epochs do.
BANDWIDTH = 2.0


def decreasing_fit(loss: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the decreasing isotonic least-squares fit of every run.

    Args:
        loss: [..., epochs]; a run's values after the first that is not finite do not count.

    Returns:
        array of the same shape, NaN where the run had ended.
    """
    runs = loss.reshape(-1, loss.shape[-1])
    fitted = np.full_like(runs, np.nan)
    lengths = np.where(np.isfinite(runs).all(1), runs.shape[1], (~np.isfinite(runs)).argmax(1))
    for run, values, length in zip(fitted, runs, lengths, strict=True):
        if length:
            run[:length] = isotonic_regression(values[:length], increasing=False).x
    return fitted.reshape(loss.shape)


def crossings(fit: NDArray[np.float64], taus: Sequence[float]) -> NDArray[np.float64]:
    """Return where decreasing curves first reach losses, between epochs by linear interpolation.

    Args:
        fit: decreasing, [..., epochs], NaN after the end of a run.
        taus: losses.

    Returns:
        positions [..., taus], counted in epochs from 0 for the first. NaN where a run never gets
        to τ, and where it is below τ at its first epoch already: what came before was not seen.
    """
    with np.errstate(invalid="ignore"):
        reached = fit[..., None, :] <= np.asarray(taus)[:, None]
    after = reached.argmax(-1)
    before = np.maximum(after - 1, 0)
    high, low = (np.take_along_axis(fit, index, -1) for index in (before, after))
    step = high - low
    share = np.divide(high - taus, step, out=np.ones_like(step), where=step > 0)
    position = before + share
    first = fit[..., :1]
    position = np.where(first == taus, 0.0, position)
    return np.where(reached.any(-1) & (first >= taus), position, np.nan)


def accuracy_at(
    loss: NDArray[np.float64], accuracy: NDArray[np.float64], taus: Sequence[float]
) -> NDArray[np.float64]:
    """Return the accuracy of every run when its training loss first reaches every τ.

    Tricube weights over the epochs within ``BANDWIDTH`` of the crossing; where the fitted loss is
    flat there, their weighted mean.

    Args:
        loss: training losses [..., epochs].
        accuracy: [..., epochs].
        taus: training losses.

    Returns:
        array [..., taus]; NaN where a run does not cross τ.
    """
    fit = decreasing_fit(loss)
    position = crossings(fit, taus)
    epochs = np.arange(loss.shape[-1])
    distance = np.abs(epochs - position[..., None]) / BANDWIDTH
    usable = (np.isfinite(fit) & np.isfinite(accuracy))[..., None, :] & (distance < 1)
    weight = np.where(usable, (1 - np.minimum(np.nan_to_num(distance), 1) ** 3) ** 3, 0.0)
    x = np.where(usable, fit[..., None, :] - np.asarray(taus)[:, None], 0.0)
    y = np.where(usable, accuracy[..., None, :], 0.0)
    total = weight.sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_x = (weight * x).sum(-1) / total
        mean_y = (weight * y).sum(-1) / total
        spread = (weight * (x - mean_x[..., None]) ** 2).sum(-1)
        shared = (weight * (x - mean_x[..., None]) * (y - mean_y[..., None])).sum(-1)
        scale = np.max(np.abs(fit), axis=-1, keepdims=True, where=np.isfinite(fit), initial=0)
        flat = spread <= total * (1e-9 * scale) ** 2
        slope = np.where(flat, 0.0, shared / np.where(flat, 1.0, spread))
        at = mean_y - slope * mean_x
    return np.where(np.isfinite(position) & (total > 0), at, np.nan)


def first_crossing_accuracy(
    loss: NDArray[np.float64], accuracy: NDArray[np.float64], taus: Sequence[float]
) -> NDArray[np.float64]:
    """Return the accuracy at the first epoch whose recorded loss is at most τ, unsmoothed.

    Args and result as for :func:`accuracy_at`.
    """
    with np.errstate(invalid="ignore"):
        reached = loss[..., None, :] <= np.asarray(taus)[:, None]
    found = np.take_along_axis(accuracy, reached.argmax(-1), -1)
    return np.where(reached.any(-1), found, np.nan)
