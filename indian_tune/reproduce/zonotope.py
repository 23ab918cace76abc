"""Zonotopes, the shape that D J has for piecewise smooth objectives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from indian_tune.reproduce.recursion import Floats

__all__ = ["Zonotope"]


@dataclass(frozen=True)
class Zonotope:
    """The set {center + Σ_i w_i generators[i] : -1 <= w_i <= 1}.

    Attributes:
        center: shape [d].
        generators: shape [m, d]; m may be 0.
    """

    center: Floats
    generators: Floats

    def smallest_element(self) -> Floats:
        """Return the element of smallest Euclidean norm, shape [d].

        It is found from the quadratic program min |center + wᵀ generators|² over the cube, which
        SciPy solves as bounded least squares.
        """
        if self.generators.shape[0] == 0:
            return self.center
        from scipy.optimize import lsq_linear

        # Generators of very different lengths slow the solver down; lengths go into the bounds.
        lengths = np.linalg.norm(self.generators, axis=1)
        kept = lengths > 0
        directions = self.generators[kept] / lengths[kept, np.newaxis]
        if directions.shape[0] == 0:
            return self.center
        program = lsq_linear(
            directions.T,
            -self.center,
            bounds=(-lengths[kept], lengths[kept]),
            method="bvls",
            tol=1e-12,
        )
        element: Floats = self.center + program.x @ directions
        return element

    def distance_of_zero(self) -> float:
        """Return the distance between 0 and the set."""
        return float(np.linalg.norm(self.smallest_element()))
