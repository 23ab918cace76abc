"""All results of a comparison, as one frozen record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from indian_tune.analysis.label import Label
    from indian_tune.comparison.best_of import BestOf
    from indian_tune.comparison.cautions import Caution
    from indian_tune.comparison.contrast import Contrast
    from indian_tune.comparison.further import Further
    from indian_tune.comparison.metric_names import Better
    from indian_tune.comparison.sequential import ConfidenceSequence
    from indian_tune.comparison.target import ToTarget

Scope = Literal["these configurations", "these tunings"]


@dataclass(frozen=True)
class PairingGain:
    """What pairing by seed does for the interval.

    Attributes:
        seeded: whether the source has seeds.
        shared: seeds that both arms have.
        alone: runs of a seed that the other arm does not have.
        correlation: of the pairs; ``None`` where it is not known.
        width: width of the paired interval over that of the unpaired one; likewise.
    """

    seeded: bool
    shared: int
    alone: int
    correlation: float | None
    width: float | None


@dataclass(frozen=True)
class Findings:
    """All that was found of two arms.

    Attributes:
        a: the first arm.
        b: the second arm.
        metric: that is compared.
        better: whether a lower or a higher value is better.
        delta: smallest effect of interest; ``None`` for none, where nothing is negligible.
        alpha: level of the two-sided interval.
        label: SUPPORTED, NEGLIGIBLE, REFUTED or INCONCLUSIVE: that A is better than B.
        sentence: the answer in plain words.
        scope: what it speaks of: "these tunings" where searches were repeated.
        contrast: the difference and all that belongs to it.
        tasks: the same on every task; none where there is one.
        pairing: what pairing by seed does.
        further: how many further units of each arm settle it; ``None`` where it is settled, or
            where nothing can be said.
        sequence: the interval after every unit, valid whenever one stops; ``None`` if not asked
            for.
        target: steps to a target; ``None`` if not asked for.
        best_of: the best of n trials of every arm; none where its trials are not known.
        cautions: what must not be believed.
        exploratory: why this is exploratory; empty where it was registered before the runs.
        notes: what to know of the source.
        registered: what is known of the registration, to head the answer; empty where it is known
            to come before the runs.
    """

    a: str
    b: str
    metric: str
    better: Better
    delta: float | None
    alpha: float
    label: Label
    sentence: str
    scope: Scope
    contrast: Contrast
    tasks: tuple[Contrast, ...]
    pairing: PairingGain
    further: Further | None
    sequence: ConfidenceSequence | None
    target: ToTarget | None
    best_of: tuple[BestOf, ...]
    cautions: tuple[Caution, ...]
    exploratory: tuple[str, ...]
    notes: tuple[str, ...]
    registered: str = ""


@dataclass(frozen=True)
class Row:
    """One of many contrasts.

    Attributes:
        contrast: with its label after the correction; its interval has no correction.
        p_above: corrected one-sided p of a difference that is not above 0.
        p_below: that of a difference that is not below δ.
        tasks: the contrast on every task, without a correction; none where there is one task.
    """

    contrast: Contrast
    p_above: float
    p_below: float
    tasks: tuple[Contrast, ...]


@dataclass(frozen=True)
class ManyFindings:
    """Many contrasts.

    Attributes:
        metric: that is compared.
        better: whether a lower or a higher value is better.
        delta: smallest effect of interest; ``None`` for none.
        alpha: level of all of them together.
        baseline: the arm that all others are compared with; ``None`` for all pairs.
        tasks: that are averaged; none where there is one.
        rows: the contrasts.
        exploratory: why this is exploratory.
        cautions: what must not be believed.
        registered: what is known of the registration, as of :class:`Findings`.
    """

    metric: str
    better: str
    delta: float | None
    alpha: float
    baseline: str | None
    tasks: tuple[str, ...]
    rows: tuple[Row, ...]
    exploratory: tuple[str, ...]
    cautions: tuple[str, ...] = ()
    registered: str = ""
