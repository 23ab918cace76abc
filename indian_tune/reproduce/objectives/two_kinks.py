"""The function of Figure 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from indian_tune.reproduce.zonotope import Zonotope

if TYPE_CHECKING:
    from indian_tune.reproduce.recursion import Floats, Indices

__all__ = ["TwoKinks"]


@dataclass(frozen=True)
class TwoKinks:
    """J(θ) = 100 (θ2 - |θ1|)² + |1 - θ1|, the function of Figure 1, in two terms.

    Its two terms, each alone in a mini-batch, make for strong noise.
    """

    title: str = "100(θ₂ − |θ₁|)² + |1 − θ₁|"
    terms: int = 2
    gamma0: float = 0.02
    largest_gamma0: float = 0.08
    minimum: float = 0.0

    @property
    def start(self) -> Floats:
        """The start of Figure 1."""
        return np.array([-1.0, 1.5])

    def value(self, theta: Floats) -> Floats:
        """Return J at each row."""
        ridge = theta[:, 1] - np.abs(theta[:, 0])
        value: Floats = 100 * ridge**2 + np.abs(1 - theta[:, 0])
        return value

    def subgradient(self, theta: Floats, batch: Indices) -> Floats:
        """Return the mini-batch subgradient of each row."""
        first = np.mean(batch == 0, axis=1) * self.terms
        second = np.mean(batch == 1, axis=1) * self.terms
        slope = 200 * (theta[:, 1] - np.abs(theta[:, 0])) * first
        return np.stack(
            [
                -slope * np.sign(theta[:, 0]) - second * np.sign(1 - theta[:, 0]),
                slope,
            ],
            axis=1,
        )

    def gradient(self, theta: Floats) -> Floats:
        """Return the subgradient of J itself at each row."""
        return self.subgradient(theta, np.tile([0, 1], (theta.shape[0], 1)))

    def critical_set(self, theta: Floats, radius: float) -> Zonotope:
        """Return D J with the kinks at θ1 = 0 and θ1 = 1 where they are within ``radius``."""
        slope = 200 * (theta[1] - abs(theta[0]))
        center, generators = np.array([0.0, slope]), []
        for distance, jump in ((theta[0], -slope), (theta[0] - 1, 1.0)):
            if abs(distance) <= radius:
                generators.append([jump, 0.0])
            else:
                center[0] += jump * np.sign(distance)
        return Zonotope(center, np.array(generators).reshape(-1, 2))

    def clarke_set(self, theta: Floats, radius: float) -> Zonotope:
        """Return D J, which is ∂J: no two terms have a kink at the same place."""
        return self.critical_set(theta, radius)
