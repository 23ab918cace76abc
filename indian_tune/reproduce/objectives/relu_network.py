"""A small ReLU network with square loss."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from indian_tune.reproduce.zonotope import Zonotope

if TYPE_CHECKING:
    from indian_tune.reproduce.recursion import Floats, Indices

__all__ = ["ReluNetwork"]


@dataclass(frozen=True)
class ReluNetwork:
    """J(θ) = (1/N) Σ_n (f_θ(x_n) - y_n)² for a network with one hidden layer of ReLU units.

    f_θ(x) = c + Σ_j a_j max(w_j·x, 0), x with a constant 1 appended; θ holds the w_j, then the
    a_j, then c.

    Attributes:
        inputs: shape [N, inputs + 1].
        targets: shape [N].
        initial: θ_0.
    """

    inputs: Floats
    targets: Floats
    initial: Floats = field(repr=False)
    title: str = "ReLU network, square loss"
    gamma0: float = 0.2
    largest_gamma0: float = 1.6
    minimum: None = None

    @classmethod
    def random(cls, seed: int = 0, terms: int = 40, units: int = 6) -> ReluNetwork:
        """Return a network of ``units`` hidden units on ``terms`` points of a smooth curve."""
        generator = np.random.default_rng(seed)
        points = generator.uniform(-1, 1, terms)
        inputs = np.stack([points, np.ones(terms)], axis=1)
        initial = np.concatenate(
            [generator.standard_normal(2 * units), generator.standard_normal(units), [0.0]]
        )
        return cls(inputs, np.sin(3 * points), initial)

    @property
    def terms(self) -> int:
        """N."""
        return int(self.targets.shape[0])

    @property
    def start(self) -> Floats:
        """The drawn weights."""
        return self.initial

    @property
    def _units(self) -> int:
        return int((self.initial.shape[0] - 1) // (self.inputs.shape[1] + 1))

    def _split(self, theta: Floats) -> tuple[Floats, Floats, Floats]:
        width = self.inputs.shape[1]
        weights = theta[:, : self._units * width].reshape(-1, self._units, width)
        return weights, theta[:, self._units * width : -1], theta[:, -1]

    def value(self, theta: Floats) -> Floats:
        """Return J at each row."""
        weights, outer, constant = self._split(theta)
        hidden = np.maximum(np.einsum("rjd,nd->rnj", weights, self.inputs), 0)
        errors = np.einsum("rnj,rj->rn", hidden, outer) + constant[:, np.newaxis] - self.targets
        value: Floats = (errors**2).mean(axis=1)
        return value

    def subgradient(self, theta: Floats, batch: Indices) -> Floats:
        """Return the mini-batch subgradient of each row."""
        weights, outer, constant = self._split(theta)
        inputs = self.inputs[batch]
        fields = np.einsum("rjd,rbd->rbj", weights, inputs)
        hidden = np.maximum(fields, 0)
        errors = np.einsum("rbj,rj->rb", hidden, outer) + constant[:, np.newaxis]
        errors = 2 * (errors - self.targets[batch]) / batch.shape[1]
        inner = np.einsum("rb,rbj,rj,rbd->rjd", errors, (fields > 0).astype(float), outer, inputs)
        return np.concatenate(
            [
                inner.reshape(theta.shape[0], -1),
                np.einsum("rb,rbj->rj", errors, hidden),
                errors.sum(axis=1, keepdims=True),
            ],
            axis=1,
        )

    def critical_set(self, theta: Floats, radius: float) -> Zonotope:
        """Return D J with the kinks of the (point, unit) pairs that are within ``radius``."""
        weights, outer, _ = (part[0] for part in self._split(theta[np.newaxis]))
        everything = np.arange(self.terms)[np.newaxis]
        center = self.subgradient(theta[np.newaxis], everything)[0]
        fields = self.inputs @ weights.T
        near = np.abs(fields) <= radius * np.linalg.norm(self.inputs, axis=1, keepdims=True)
        errors = np.maximum(fields, 0) @ outer + theta[-1] - self.targets
        points, units = np.nonzero(near)
        width = self.inputs.shape[1]
        generators = np.zeros((points.shape[0], theta.shape[0]))
        for row, (point, unit) in enumerate(zip(points, units, strict=True)):
            half_segment = errors[point] * outer[unit] * self.inputs[point] / self.terms
            generators[row, unit * width : (unit + 1) * width] = half_segment
            # The segment runs from inactive to active; the center is its middle.
            active = fields[point, unit] > 0
            center += -generators[row] if active else generators[row]
        return Zonotope(center, generators)

    def clarke_set(self, theta: Floats, radius: float) -> None:
        """Return nothing: kinks of several points may cancel in ∂J."""
        del theta, radius
