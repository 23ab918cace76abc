"""Linear regression with the absolute loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from indian_tune.reproduce.zonotope import Zonotope

if TYPE_CHECKING:
    from indian_tune.reproduce.recursion import Floats, Indices

__all__ = ["AbsoluteRegression"]


@dataclass(frozen=True)
class AbsoluteRegression:
    """J(θ) = (1/N) Σ_n |x_n·θ - y_n| on random data with heavy-tailed noise.

    Attributes:
        inputs: shape [N, d].
        targets: shape [N].
    """

    inputs: Floats
    targets: Floats
    title: str = "ℓ₁ regression"
    gamma0: float = 0.5
    largest_gamma0: float = 4.0

    @classmethod
    def random(cls, seed: int = 0, terms: int = 200, size: int = 5) -> AbsoluteRegression:
        """Return a regression with ``size`` unknowns on ``terms`` drawn points."""
        generator = np.random.default_rng(seed)
        inputs = generator.standard_normal((terms, size))
        noise = 0.5 * generator.standard_t(2, terms)
        return cls(inputs, inputs @ generator.standard_normal(size) + noise)

    @property
    def terms(self) -> int:
        """N."""
        return int(self.targets.shape[0])

    @property
    def start(self) -> Floats:
        """The origin."""
        return np.zeros(self.inputs.shape[1])

    @property
    def minimum(self) -> float:
        """The smallest value of J, from the linear program in (θ, |residuals|)."""
        from scipy.optimize import linprog

        size, ones = self.inputs.shape[1], np.eye(self.terms)
        program = linprog(
            np.concatenate([np.zeros(size), np.full(self.terms, 1 / self.terms)]),
            A_ub=np.block([[self.inputs, -ones], [-self.inputs, -ones]]),
            b_ub=np.concatenate([self.targets, -self.targets]),
            bounds=[(None, None)] * size + [(0, None)] * self.terms,
        )
        return float(program.fun)

    def value(self, theta: Floats) -> Floats:
        """Return J at each row."""
        value: Floats = np.abs(theta @ self.inputs.T - self.targets).mean(axis=1)
        return value

    def subgradient(self, theta: Floats, batch: Indices) -> Floats:
        """Return the mini-batch subgradient of each row."""
        inputs = self.inputs[batch]
        residuals = np.einsum("rbd,rd->rb", inputs, theta) - self.targets[batch]
        mean: Floats = np.einsum("rbd,rb->rd", inputs, np.sign(residuals)) / batch.shape[1]
        return mean

    def critical_set(self, theta: Floats, radius: float) -> Zonotope:
        """Return D J with the kinks of the terms whose hyperplane is within ``radius``."""
        residuals = self.inputs @ theta - self.targets
        near = np.abs(residuals) <= radius * np.linalg.norm(self.inputs, axis=1)
        center = np.sign(residuals[~near]) @ self.inputs[~near] / self.terms
        return Zonotope(center, self.inputs[near] / self.terms)

    def clarke_set(self, theta: Floats, radius: float) -> Zonotope:
        """Return D J, which is ∂J because the terms are convex."""
        return self.critical_set(theta, radius)
