"""Figure 1: INDIAN on a nonsmooth function of two variables, as printed and as fitted.

The published figure shows J(θ) = 100 (θ2 - |θ1|)² + |1 - θ1| from (-1, 1.5), 88,000 steps of
constant size 1e-4, for three settings of (α, β). Two things differ between what is printed beside
the figure and what reproduces its curves:

* the curves captioned α = 0.5 are those of α = 0.3;
* θ starts with velocity -0.1 ∇J(θ_0), whereas the text starts with velocity -∇J(θ_0).

So three variants are computed: ``text`` (captions, and the start of the text), ``printed``
(captions, with the fitted start) and ``fitted``.

Source: figure 1 of "An Inertial Newton Algorithm for Deep Learning" (Castera, Bolte, Févotte and
Pauwels, 2021); α and s of ``fitted`` were found by comparing simulated curves with the published
ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from indian_tune.reproduce.din import compare_with_din
from indian_tune.reproduce.objectives import TwoKinks
from indian_tune.reproduce.recursion import indian_path

if TYPE_CHECKING:
    from indian_tune.reproduce.din import Discretisation
    from indian_tune.reproduce.recursion import Floats

__all__ = [
    "GAMMA",
    "STEPS",
    "VARIANTS",
    "Curve",
    "Difference",
    "Figure1",
    "compute_figure1",
    "differences",
    "distance_to_din",
]

STEPS = 88_000
GAMMA = 1e-4
CAPTIONS = {"a": (0.5, 0.01), "b": (0.5, 0.1), "c": (1.3, 0.1)}
FITTED = {"a": (0.3, 0.01), "b": (0.3, 0.1), "c": (1.3, 0.1)}
FITTED_SPEED = 0.1
TEXT_SPEED = 1.0
VARIANTS = ("text", "printed", "fitted")
# The curves of the panels have passed no kink before this time.
SMOOTH_UNTIL = 1.0
DIN_GAMMAS = (1e-3, 5e-4, 2.5e-4, GAMMA)


@dataclass(frozen=True)
class Curve:
    """One path.

    Attributes:
        panel: ``"a"``, ``"b"`` or ``"c"``.
        variant: ``"text"``, ``"printed"`` or ``"fitted"``.
        alpha: viscous friction.
        beta: Newtonian damping.
        speed: s in the start with velocity -s ∇J(θ_0).
        path: θ_0, θ_1, …, shape [steps + 1, 2].
        values: J along the path, shape [steps + 1].
    """

    panel: str
    variant: str
    alpha: float
    beta: float
    speed: float
    path: Floats
    values: Floats


@dataclass(frozen=True)
class Figure1:
    """All curves of all variants.

    Attributes:
        curves: by variant and panel, three each.
        gamma: constant step size.
    """

    curves: tuple[Curve, ...]
    gamma: float

    def curve(self, variant: str, panel: str) -> Curve:
        """Return the curve of ``panel`` in ``variant``."""
        return next(
            curve for curve in self.curves if (curve.variant, curve.panel) == (variant, panel)
        )


@dataclass(frozen=True)
class Difference:
    """How far a variant is from the fitted curve of the same panel.

    Attributes:
        panel: ``"a"``, ``"b"`` or ``"c"``.
        variant: what is compared with ``fitted``.
        alpha: viscous friction of the variant.
        beta: Newtonian damping.
        speed: s of the variant.
        fitted_alpha: viscous friction of the fitted curve.
        fitted_speed: s of the fitted curve.
        median: median over the steps of |Δ log10 J|.
        largest: largest |Δ log10 J|.
        largest_distance: largest distance between the two θ of a step.
        parted_at: first step at which log10 J differs by more than 0.1; ``None`` if none does.
    """

    panel: str
    variant: str
    alpha: float
    beta: float
    speed: float
    fitted_alpha: float
    fitted_speed: float
    median: float
    largest: float
    largest_distance: float
    parted_at: int | None


def compute_figure1(*, steps: int = STEPS, gamma: float = GAMMA) -> Figure1:
    """Compute every curve of Figure 1.

    Args:
        steps: length of the paths.
        gamma: constant step size.
    """
    objective = TwoKinks()
    settings = [
        (variant, panel, *(FITTED if variant == "fitted" else CAPTIONS)[panel])
        for variant in VARIANTS
        for panel in CAPTIONS
    ]
    speeds = [TEXT_SPEED if variant == "text" else FITTED_SPEED for variant, *_ in settings]
    paths = indian_path(
        objective.gradient,
        np.tile(objective.start, (len(settings), 1)),
        alpha=np.array([[alpha] for _, _, alpha, _ in settings]),
        beta=np.array([[beta] for _, _, _, beta in settings]),
        gamma=gamma,
        steps=steps,
        speed=np.array(speeds)[:, np.newaxis],
    )
    return Figure1(
        tuple(
            Curve(
                panel=panel,
                variant=variant,
                alpha=alpha,
                beta=beta,
                speed=speed,
                path=paths[:, row],
                values=objective.value(paths[:, row]),
            )
            for row, ((variant, panel, alpha, beta), speed) in enumerate(
                zip(settings, speeds, strict=True)
            )
        ),
        gamma,
    )


def differences(figure: Figure1) -> list[Difference]:
    """Return how far ``text`` and ``printed`` are from ``fitted``, panel by panel."""
    rows = []
    for variant in VARIANTS[:-1]:
        for panel in CAPTIONS:
            curve, fitted = figure.curve(variant, panel), figure.curve("fitted", panel)
            gaps = np.abs(np.log10(curve.values) - np.log10(fitted.values))
            parted = np.flatnonzero(gaps > 0.1)
            distances = np.linalg.norm(curve.path - fitted.path, axis=1)
            rows.append(
                Difference(
                    panel=panel,
                    variant=variant,
                    alpha=curve.alpha,
                    beta=curve.beta,
                    speed=curve.speed,
                    fitted_alpha=fitted.alpha,
                    fitted_speed=fitted.speed,
                    median=float(np.median(gaps)),
                    largest=float(gaps.max()),
                    largest_distance=float(distances.max()),
                    parted_at=int(parted[0]) if parted.size else None,
                )
            )
    return rows


def distance_to_din() -> dict[str, Discretisation]:
    """Return how the fitted curves approach DIN as the step size falls, by panel.

    The comparison ends before any curve passes a kink, where DIN would need another solver.
    """
    objective = TwoKinks()
    return {
        panel: compare_with_din(
            objective.gradient,
            objective.start,
            alpha=alpha,
            beta=beta,
            speed=FITTED_SPEED,
            gammas=DIN_GAMMAS,
            horizon=SMOOTH_UNTIL,
        )
        for panel, (alpha, beta) in FITTED.items()
    }
