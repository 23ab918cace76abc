"""An objective whose D J is larger than Clarke's subdifferential."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from indian_tune.reproduce.zonotope import Zonotope

if TYPE_CHECKING:
    from indian_tune.reproduce.recursion import Floats, Indices

__all__ = ["ReluDifference"]


@dataclass(frozen=True)
class ReluDifference:
    """J(θ) = θ1 + θ1²/2 + |θ2 - θ1|, with the first term written as two.

    θ1 = max(θ1, 0) - max(-θ1, 0) is smooth, but taken as two terms of the sum its mini-batch
    subgradients at θ1 = 0 fill [0, 2] instead of {1}: D J is larger than Clarke's ∂J, and the
    origin is critical for the former alone. The minimum is at (-1, -1).

    Attributes:
        initial: θ_0.
    """

    initial: tuple[float, float] = (1.0, -0.5)
    title: str = "max(θ₁, 0) − max(−θ₁, 0) + θ₁²/2 + |θ₂ − θ₁|"
    terms: int = 4
    gamma0: float = 0.2
    largest_gamma0: float = 1.6
    minimum: float = -0.5

    @property
    def start(self) -> Floats:
        """The given start."""
        return np.array(self.initial)

    def value(self, theta: Floats) -> Floats:
        """Return J at each row."""
        first, second = theta[:, 0], theta[:, 1]
        value: Floats = first + first**2 / 2 + np.abs(second - first)
        return value

    def subgradient(self, theta: Floats, batch: Indices) -> Floats:
        """Return the mini-batch subgradient of each row."""
        first, second = theta[:, 0], theta[:, 1]
        side = np.sign(second - first)
        slopes = np.stack([(first > 0).astype(float), (first < 0).astype(float), first, -side])
        counts = np.stack([np.mean(batch == term, axis=1) for term in range(self.terms)])
        return self.terms * np.stack([(counts * slopes).sum(axis=0), counts[3] * side], axis=1)

    def critical_set(self, theta: Floats, radius: float) -> Zonotope:
        """Return D J with the kinks at θ1 = 0 and θ2 = θ1 where they are within ``radius``."""
        return self._set(theta, radius, segment_of_first=[[0.5, 0.0], [0.5, 0.0]])

    def clarke_set(self, theta: Floats, radius: float) -> Zonotope:
        """Return Clarke's subdifferential ∂J, which has no kink at θ1 = 0."""
        return self._set(theta, radius, segment_of_first=[])

    def _set(self, theta: Floats, radius: float, segment_of_first: list[list[float]]) -> Zonotope:
        center, generators = np.array([1 + theta[0], 0.0]), []
        if abs(theta[0]) <= radius:
            generators += segment_of_first
        if abs(theta[1] - theta[0]) <= radius * np.sqrt(2):
            generators.append([-1.0, 1.0])
        else:
            center += np.sign(theta[1] - theta[0]) * np.array([-1.0, 1.0])
        return Zonotope(center, np.array(generators).reshape(-1, 2))
