"""Judges several studies together: on all of them, and on their average.

"On all" asks every study: the smallest lower bound. "On average of these" is the mean of the
effects with the error √ΣSE²/P over P studies and Welch and Satterthwaite's degrees of freedom; it
speaks of these studies and not of others, so that there is no random effect.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scipy import special

from indian_tune.analysis.contrasts import refutes
from indian_tune.analysis.label import Label
from indian_tune.analysis.verdict import Amount
from indian_tune.errors import InputError
from indian_tune.study.claims import ClaimsSection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from indian_tune.analysis.verdict import Contrast, Verdict
    from indian_tune.outcome import Outcome


@dataclass(frozen=True)
class Joint:
    """One contrast of the claim in several studies.

    Attributes:
        hypothesis: that it belongs to.
        name: of the contrast, as the first study has it.
        smallest: smallest lower bound of Δ, at the level alpha.
        smallest_in: the study that has it.
        average: mean of Δ over the studies, with its bounds.
        gap: the same of G, where it must be above 0 too; ``None`` where it need not.
        freedom: degrees of freedom of the average.
        gates: those of any study that stop a label, by the label, as "study: gate".
    """

    hypothesis: str
    name: str
    smallest: float
    smallest_in: str
    average: Amount
    gap: Amount | None
    freedom: float
    gates: Mapping[Label, tuple[str, ...]]


@dataclass(frozen=True)
class Combined:
    """What several studies say together.

    Attributes:
        studies: a verdict each.
        on_all: label of the claim in every study.
        on_average: label of the claim on average of these studies.
        all_sentence: the first in plain words.
        average_sentence: the second.
        exploratory: why both are EXPLORATORY; empty when they are not.
        joints: one per contrast.
    """

    studies: tuple[Verdict, ...]
    on_all: Label
    on_average: Label
    all_sentence: str
    average_sentence: str
    exploratory: tuple[str, ...]
    joints: tuple[Joint, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return all as plain data; infinite bounds stay infinite."""
        return dataclasses.asdict(self)


def check_combined(claims: Sequence[tuple[str, ClaimsSection]]) -> None:
    """Refuse studies that cannot be judged together, before anything of them is opened.

    Args:
        claims: name and claims of every study.

    Raises:
        InputError: there are fewer than two, one is given twice, their δ or level differs, or one
            lacks an arm; the message names the study.
    """
    twice = [name for name, count in Counter(name for name, _ in claims).items() if count > 1]
    if twice:
        raise InputError(f"study {twice[0]!r} is given twice to --combined: give different studies")
    if len(claims) < 2:
        raise InputError(f"--combined needs at least 2 studies, got {len(claims)}: name them all")
    first, wanted = claims[0]
    for name, own in claims:
        for key in ("delta", "alpha"):
            if (mine := getattr(own, key)) != (other := getattr(wanted, key)):
                raise InputError(
                    f"studies {first!r} and {name!r} cannot be combined: their claims.{key} is "
                    f"{other:g} and {mine:g}. Combine studies that were registered with the same "
                    "value"
                )
        for kind, section in own.sections():
            if kind.role == "link" and (section is None or not section.prospect().testable):
                missing = kind.needs if section is None else section.prospect().missing
                raise InputError(
                    f"study {name!r} does not test {kind.name}, so it cannot be combined: it "
                    f"needs {missing.format(default=own.default)}"
                )


def combine(verdicts: Sequence[Verdict], registered: Mapping[str, Sequence[str]]) -> Combined:
    """Judge several studies together.

    Args:
        verdicts: of the studies, with the gates of both labels.
        registered: by study, which studies it registered to be combined with, itself included.

    Raises:
        InputError: a study has no runs of an arm that a contrast needs.
    """
    names = {verdict.study for verdict in verdicts}
    if len({verdict.contrasts for verdict in verdicts}) > 1:
        raise InputError(
            "combine studies with the same claims: these have different numbers of contrasts"
        )
    outcomes = {verdict.scope.judged.name: verdict.study for verdict in verdicts}
    if len(outcomes) > 1:
        told = ", ".join(f"{study!r} by {name}" for name, study in outcomes.items())
        raise InputError(f"combine studies with the same metric: these are judged by {told}")
    pairs = [_pairs(verdict) for verdict in verdicts]
    wanted = {
        kind.name: kind.contrasts
        for kind in ClaimsSection.hypotheses().values()
        if kind.role == "link"
    }
    for verdict in verdicts:
        for found in verdict.findings:
            if len(found.contrasts) != wanted.get(found.hypothesis, len(found.contrasts)):
                raise InputError(
                    f"study {verdict.study!r} cannot be combined, because contrasts of "
                    f"{found.hypothesis} are missing: {found.sentence}"
                )
    joints = tuple(
        _joint(verdicts, [own[n] for own in pairs]) for n in range(verdicts[0].contrasts)
    )
    exploratory = [
        f"study {verdict.study!r} is {verdict.label}"
        for verdict in verdicts
        if verdict.label in (Label.EXPLORATORY, Label.DESCRIPTIVE, Label.NOT_TESTED)
    ]
    exploratory += [
        f"study {name!r} did not register this combination (claims.combined)"
        for name in sorted(names)
        if set(registered.get(name, ())) != names
    ]
    on_all, all_sentence = _on_all(verdicts, joints)
    on_average, average_sentence = _on_average(joints, verdicts[0].delta, verdicts[0].scope.judged)
    if exploratory:
        on_all = on_average = Label.EXPLORATORY
    return Combined(
        studies=tuple(verdicts),
        on_all=on_all,
        on_average=on_average,
        all_sentence=all_sentence,
        average_sentence=average_sentence,
        exploratory=tuple(exploratory),
        joints=joints,
    )


def joint_rows(combined: Combined) -> list[tuple[str, ...]]:
    """Return the heading, then a row for each Δ, and G where it counts, of several studies."""
    outcome = combined.studies[0].scope.judged
    rows: list[tuple[str, ...]] = [
        ("contrast", "", "average", "at least", "at most", "df", "smallest", "in")
    ]
    for joint in combined.joints:
        smallest = (outcome.signed(joint.smallest), joint.smallest_in)
        for symbol, amount in (("Δ", joint.average), ("G", joint.gap)):
            if amount is not None:
                average = map(outcome.signed, (amount.estimate, amount.low, amount.high))
                last = (f"{joint.freedom:.1f}", *smallest) if symbol == "Δ" else ("", "", "")
                rows.append((f"{joint.hypothesis} {joint.name}", symbol, *average, *last))
    return rows


def average_of(
    estimates: Sequence[float],
    errors: Sequence[float],
    freedoms: Sequence[float],
    alpha: float,
    alpha_high: float,
) -> tuple[Amount, float]:
    """Return a mean over studies with its bounds, and its degrees of freedom.

    Args:
        estimates: of every study.
        errors: their standard errors; infinite where nothing is known.
        freedoms: degrees of freedom of these.
        alpha: one-sided level of the lower bound.
        alpha_high: one-sided level of the upper bound.
    """
    count = len(estimates)
    mean = sum(estimates) / count
    if not all(map(math.isfinite, errors)):
        return Amount(mean, -math.inf, math.inf), math.nan
    variance = sum(error**2 for error in errors)
    freedom = variance**2 / sum(e**4 / df for e, df in zip(errors, freedoms, strict=True))
    error = math.sqrt(variance) / count
    low, high = (
        float(special.stdtrit(freedom, 1 - level)) * error for level in (alpha, alpha_high)
    )
    return Amount(mean, mean - low, mean + high), freedom


def _pairs(verdict: Verdict) -> list[tuple[str, Contrast]]:
    return [(found.hypothesis, made) for found in verdict.findings for made in found.contrasts]


def _joint(verdicts: Sequence[Verdict], pairs: Sequence[tuple[str, Contrast]]) -> Joint:
    alpha, k = verdicts[0].alpha, verdicts[0].contrasts
    contrasts = [made for _, made in pairs]
    freedoms = [made.n - 1 for made in contrasts]

    def average(amounts: Sequence[Amount]) -> tuple[Amount, float]:
        errors = [_error(a, df, alpha) for a, df in zip(amounts, freedoms, strict=True)]
        return average_of([a.estimate for a in amounts], errors, freedoms, alpha, alpha / k)

    gates: dict[Label, tuple[str, ...]] = {}
    for label in (Label.SUPPORTED, Label.REFUTED):
        own = [
            (verdict.study, gate)
            for verdict, made in zip(verdicts, contrasts, strict=True)
            for gate in verdict.gates
            if gate.contrast == made.name and label in gate.stops
        ]
        # A study without an effect of its own does not hold a budget: asked of the average.
        moved = [gate.moved for _, gate in own if gate.moved is not None]
        stops = [f"{study}: {g.name}" for study, g in own if not g.passed and g.moved is None]
        if len(moved) == len(verdicts):
            made, _ = average(moved)
            holds = made.high < verdicts[0].delta if label is Label.REFUTED else made.low > 0
            stops += [] if holds else ["all: budget"]
        gates[label] = tuple(stops)
    amount, freedom = average([made.test for made in contrasts])
    gaps = [made.gap or Amount(math.nan, -math.inf, math.inf) for made in contrasts]
    lows = [made.test.low for made in contrasts]
    smallest = min(range(len(lows)), key=lows.__getitem__)
    return Joint(
        hypothesis=pairs[0][0],
        name=contrasts[0].name,
        smallest=lows[smallest],
        smallest_in=verdicts[smallest].study,
        average=amount,
        gap=average(gaps)[0] if contrasts[0].needs_gap else None,
        freedom=freedom,
        gates=gates,
    )


def _error(amount: Amount, freedom: int, alpha: float) -> float:
    """Return the standard error behind a lower bound, infinite where nothing is known."""
    if freedom < 1 or math.isinf(amount.low):
        return math.inf
    return (amount.estimate - amount.low) / float(special.stdtrit(freedom, 1 - alpha))


def _on_all(verdicts: Sequence[Verdict], joints: Sequence[Joint]) -> tuple[Label, str]:
    """Return whether the claim holds in every study, and in words.

    Any contrast of any study may refute it, so that upper bounds have the level alpha / (k P).
    """
    delta, alpha, outcome = verdicts[0].delta, verdicts[0].alpha, verdicts[0].scope.judged
    level = alpha / (verdicts[0].contrasts * len(verdicts))
    for verdict in verdicts:
        for hypothesis, made in _pairs(verdict):
            error = _error(made.test, made.n - 1, alpha)
            if not math.isfinite(error):
                continue
            high = made.test.estimate + float(special.stdtrit(made.n - 1, 1 - level)) * error
            bounded = dataclasses.replace(made.test, high=high)
            if refutes(dataclasses.replace(made, test=bounded), verdict.gates, delta):
                return Label.REFUTED, (
                    f"Refuted by study {verdict.study!r} at {hypothesis}: {made.name} is at most "
                    f"{outcome.signed(high)} {outcome.unit}, at level {alpha:g}/"
                    f"{verdicts[0].contrasts * len(verdicts)} as any contrast of any study may "
                    "refute."
                )
    least = min(joints, key=lambda joint: joint.smallest)
    told = (
        f"The smallest lower bound is {outcome.signed(least.smallest)} {outcome.unit}, of "
        f"{least.hypothesis} ({least.name}) in study {least.smallest_in!r}."
    )
    open_studies = [verdict.study for verdict in verdicts if verdict.label is not Label.SUPPORTED]
    if not open_studies:
        return Label.SUPPORTED, f"Every study supports the claim. {told}"
    return Label.INCONCLUSIVE, f"Not supported by {', '.join(map(repr, open_studies))}. {told}"


def _on_average(joints: Sequence[Joint], delta: float, outcome: Outcome) -> tuple[Label, str]:
    """Return whether the claim holds on average of these studies, and in words."""

    def told(joint: Joint) -> str:
        made = joint.average
        return (
            f"{joint.hypothesis} ({joint.name}) is {outcome.signed(made.estimate)} {outcome.unit} "
            f"on the average of these studies (at least {outcome.signed(made.low)}, at most "
            f"{outcome.signed(made.high)})"
        )

    for joint in joints:
        if joint.average.high < delta and not joint.gates[Label.REFUTED]:
            return Label.REFUTED, f"{told(joint)}."
    open_joints = [
        joint
        for joint in joints
        if not joint.average.low > 0
        or (joint.gap is not None and not joint.gap.low > 0)
        or joint.gates[Label.SUPPORTED]
    ]
    if not open_joints:
        return Label.SUPPORTED, f"{told(min(joints, key=lambda joint: joint.average.low))}."
    hanging = min(open_joints, key=lambda joint: joint.average.low)
    label = Label.REFUTED if hanging.average.high < delta else Label.SUPPORTED
    stops = hanging.gates[label]
    gates = f" Gates of {', '.join(stops)} stop it." if stops else ""
    return Label.INCONCLUSIVE, f"It depends on {told(hanging)}.{gates}"
