"""What the convergence experiment needs to know of an objective.

The objectives are nonsmooth and tame, J = (1/N) Σ_n J_n. D J(θ) = (1/N) Σ_n ∂J_n(θ), with ∂
Clarke's subdifferential, is what mini-batch subgradients average to; it contains ∂J(θ) and may be
larger. For piecewise polynomial objectives like the ones here it is a zonotope: each kink that θ
sits on contributes a segment.

A path reaches a kink only in the limit, so the sets carry a radius: kinks that are within it, to
first order, contribute their segments too. That is D J over a ball around θ, up to the change of
the smooth parts over the ball.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from indian_tune.reproduce.recursion import Floats, Indices
    from indian_tune.reproduce.zonotope import Zonotope

__all__ = ["TameObjective"]


class TameObjective(Protocol):
    """What the experiment on the convergence theorem needs to know of an objective."""

    @property
    def title(self) -> str:
        """As people read it."""
        ...

    @property
    def terms(self) -> int:
        """N, the number of terms that mini-batches draw from."""
        ...

    @property
    def gamma0(self) -> float:
        """A constant step size at which INDIAN with (α, β) = (0.5, 0.1) is stable."""
        ...

    @property
    def largest_gamma0(self) -> float:
        """The largest first step size that does no harm when the step sizes decay fast."""
        ...

    @property
    def start(self) -> Floats:
        """θ_0, shape [d]."""
        ...

    @property
    def minimum(self) -> float | None:
        """The smallest value of J, where it is known."""
        ...

    def value(self, theta: Floats) -> Floats:
        """Return J at each row of ``theta``, shape [runs, d]; result of shape [runs]."""
        ...

    def subgradient(self, theta: Floats, batch: Indices) -> Floats:
        """Return (1/B) Σ_n of a subgradient of J_n over each row's mini-batch.

        Args:
            theta: shape [runs, d].
            batch: indices of terms, shape [runs, B].

        Returns:
            Shape [runs, d]. At a kink the choice is that of automatic differentiation: 0 for the
            derivative of |·| and of the positive part at 0.
        """
        ...

    def critical_set(self, theta: Floats, radius: float) -> Zonotope:
        """Return D J at ``theta``, shape [d], with the kinks within ``radius``."""
        ...

    def clarke_set(self, theta: Floats, radius: float) -> Zonotope | None:
        """Return ∂J likewise, or ``None`` where it may be smaller than D J but is not known."""
        ...
