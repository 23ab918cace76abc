"""What a hypothesis is judged on: the runs, the claims, and what is known of the arms."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from indian_tune.analysis.contrasts import contrast
from indian_tune.analysis.crossing import accuracy_at, first_crossing_accuracy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from indian_tune.analysis.curves import Curves
    from indian_tune.analysis.verdict import Contrast
    from indian_tune.study.claims import ClaimsSection

Outcome = Literal["final", "best validation epoch", "last epochs"]


@dataclass(frozen=True)
class Evidence:
    """The runs of a study and the rules by which they are judged.

    Attributes:
        claims: the hypotheses, levels and training losses.
        seeds: the fresh seeds.
        curves: of every arm, in the order of the seeds.
        chance: accuracy of a network that knows nothing; ``None`` when not known.
        search: rows of the tune phase; ``None`` without one.
        edges: of an arm, which of its winner's values lie at an end of their range.
        examples: of an arm, bool or share [seeds, images]: which test images are right at the end.
        thorough: whether to add what stands beside the tests and decides nothing: permuted signs,
            adjusted p-values, sensitivity rows,
            equivalence, power.
    """

    claims: ClaimsSection
    seeds: tuple[int, ...]
    curves: Mapping[str, Curves]
    chance: float | None = None
    search: pd.DataFrame | None = None
    edges: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    examples: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    thorough: bool = True

    def absent(self, arms: Iterable[str | None]) -> tuple[str, ...]:
        """Return those of the arms that have no runs on the fresh seeds."""
        return tuple(
            dict.fromkeys(arm for arm in arms if arm is not None and arm not in self.curves)
        )

    def runs_of(self, arms: Iterable[str | None]) -> tuple[str, ...]:
        """Return what to add of the arms, in words: the runs of those that have none."""
        return tuple(f"runs of arm {arm!r}" for arm in self.absent(arms))

    def outcome(self, arm: str, outcome: Outcome) -> NDArray[np.float64]:
        """Return an arm's test accuracy, float64 [seeds]."""
        curves = self.curves[arm]
        match outcome:
            case "final":
                return curves.final
            case "best validation epoch":
                return curves.best_validation
            case "last epochs":
                return curves.last

    def contrast(self, arm: str, baseline: str, outcome: Outcome = "final") -> Contrast:
        """Compare two arms by their test accuracy."""
        return self.compare(
            self.outcome(arm, outcome) - self.outcome(baseline, outcome), arm, baseline, outcome
        )

    def compare(
        self,
        differences: NDArray[np.float64],
        arm: str,
        baseline: str,
        outcome: str,
        name: str | None = None,
    ) -> Contrast:
        """Make a contrast of paired differences [seeds]."""
        return contrast(
            differences,
            self.seeds,
            arm=arm,
            baseline=baseline,
            outcome=outcome,
            alpha=self.claims.alpha,
            delta=self.claims.delta,
            name=name,
            flips=self.thorough,
        )

    def sensitivity(self, primary: Iterable[Contrast]) -> tuple[Contrast, ...]:
        """Repeat contrasts at the best validation epoch and over the last epochs.

        The best **test** epoch is never among them: choosing it looks at what is to be judged.
        """
        if not self.thorough:
            return ()
        pairs = [(made.arm, made.baseline) for made in primary]
        kinds: list[Outcome] = ["last epochs"]
        if all(self.curves[arm].validation_accuracy is not None for pair in pairs for arm in pair):
            kinds.insert(0, "best validation epoch")
        return tuple(self.contrast(*pair, kind) for kind in kinds for pair in pairs)

    def matched(self, arm: str) -> NDArray[np.float64]:
        """Return an arm's accuracy at every training loss of the claims, [seeds, taus]."""
        curves = self.curves[arm]
        return accuracy_at(curves.train_loss, curves.test_accuracy, self.claims.taus)

    def first_crossed(self, arm: str) -> NDArray[np.float64]:
        """Return the same at the first recorded epoch at or below it, unsmoothed."""
        curves = self.curves[arm]
        return first_crossing_accuracy(curves.train_loss, curves.test_accuracy, self.claims.taus)
