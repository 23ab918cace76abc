"""Gates: conditions without which a contrast gives no verdict.

A gate only takes verdicts away, so that none of them raises an error rate. Each is a function of
the evidence and a contrast.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from indian_tune.analysis.ends import unit_means
from indian_tune.analysis.evidence import example_spread
from indian_tune.analysis.label import Label
from indian_tune.analysis.verdict import Amount, Finding, Gate
from indian_tune.study.claims import ADVISED_SEARCHES, LEAST_SEARCHES
from indian_tune.study.file.parameters import differing_settings
from indian_tune.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from indian_tune.analysis.evidence import Evidence
    from indian_tune.analysis.verdict import Contrast
    from indian_tune.study.hypotheses import MatchedLoss

MOST_LEFT_OUT = 0.2
# A winner in this part of its range, at either end, is at an edge.
EDGE = 0.1
BOTH = (Label.SUPPORTED, Label.REFUTED)
NOT_ISOLATED = "not isolated: no level of the control trains where INDIAN does"


def gates_of(evidence: Evidence, made: Contrast) -> list[Gate]:
    """Return every gate of a contrast of the claim."""
    return [gate for ask in GATES for gate in ask(evidence, made)]


def searches(evidence: Evidence, made: Contrast) -> Iterator[Gate]:
    """Ask for enough searches: one speaks of two configurations, not of tuning."""
    yield Gate(
        "searches",
        made.name,
        made.searches >= LEAST_SEARCHES,
        BOTH,
        f"{counted(made.searches, 'search', 'searches')} of every arm (needed: at least "
        f"{LEAST_SEARCHES})",
        f"set search.replicates = {ADVISED_SEARCHES} ({LEAST_SEARCHES} are the least that can "
        f"decide, {ADVISED_SEARCHES} are more likely to)",
    )


def trains(evidence: Evidence, made: Contrast) -> Iterator[Gate]:
    """Ask that few pairs are left out, and that the arm is not shown to fail more often."""
    figure = (
        f"{made.arm} trains in {made.pairs - made.arm_failed} of {made.pairs} runs, "
        f"{made.baseline} in {made.pairs - made.baseline_failed}"
    )
    if made.empty:
        figure += (
            f"; {counted(made.empty, 'search', 'searches')} without a pair in which both train"
        )
    few = made.left_out <= MOST_LEFT_OUT * made.pairs and made.empty == 0 and made.pairs > 0
    advice = "search the arm that fails over a space in which it trains, or use more tuning seeds"
    yield Gate("trains", made.name, few, BOTH, figure, advice)
    if made.arm_failed > made.baseline_failed:
        alone, other, p = _fails_more(evidence, made)
        yield Gate(
            "not shown to fail more often",
            made.name,
            p > evidence.alpha_high,
            (Label.SUPPORTED,),
            f"only {made.arm} failed in {counted(alone, 'pair')}, only {made.baseline} in "
            f"{other}: p = {p:.2g} in a sign test at level {evidence.alpha_high:g}",
            advice,
        )


def _fails_more(evidence: Evidence, made: Contrast) -> tuple[int, int, float]:
    """Return in how many pairs each arm failed alone, and p of "the first fails no more often".

    A sign test at α / k, not a comparison of the counts: equally frequent failures fall on one arm
    more often than on the other by chance alone, so that counts would withhold a true gain in
    most studies that have any failure. The figure has the counts.
    """
    from scipy.stats import binomtest

    first, second = evidence.arms[made.arm], evidence.arms[made.baseline]
    paired = first.there & second.there
    lost = int((paired & first.failed & ~second.failed).sum())
    won = int((paired & second.failed & ~first.failed).sum())
    return lost, won, float(binomtest(lost, lost + won, alternative="greater").pvalue)


def asked(evidence: Evidence, made: Contrast) -> list[Label]:
    """Return the labels that a contrast may come to; of an open one, the nearer."""
    if evidence.joins:
        return list(BOTH)
    delta, labels = evidence.claims.delta, []
    if made.test.low > 0:
        labels.append(Label.SUPPORTED)
    if made.test.high < delta:
        labels.append(Label.REFUTED)
    nearer = Label.SUPPORTED if made.test.estimate > delta / 2 else Label.REFUTED
    return labels or [nearer]


def room(evidence: Evidence, made: Contrast) -> Iterator[Gate]:
    """Ask for a gap between training and test that a regularizer could close."""
    arm = evidence.plain or made.baseline
    ends = evidence.arms[arm]
    gaps = unit_means(ends.train - ends.test, ends.trained)
    needed = 2 * evidence.claims.delta
    known = len(gaps) > 0 and bool(np.isfinite(gaps).all())
    gap = float(gaps.mean()) if known else math.nan
    yield Gate(
        "range",
        made.name,
        known and gap >= needed,
        BOTH,
        f"{arm} is {evidence.outcome.size(abs(gap))} {evidence.outcome.unit} "
        f"{'better' if gap >= 0 else 'worse'} on its training examples than on the test examples "
        "(needed: at least "
        f"{evidence.outcome.scale * needed:g})"
        if known
        else f"the training {evidence.outcome.title} of {arm} is not known",
        "the baseline overfits too little: train longer, on fewer examples or with more noise in "
        "the labels"
        if known
        else f"give the column {evidence.outcome.column('train_accuracy')}",
    )


def control(evidence: Evidence, made: Contrast) -> Iterator[Gate]:
    """Ask that the response-matched control trains in every search."""
    if not made.needs_gap:
        return
    confirmed = [bool(row.any()) for row in evidence.arms[made.baseline].trained]
    levels = evidence.levels.get(made.baseline)
    tried = (None,) * len(confirmed) if levels is None else levels.trains
    trains_in = sum(
        there if trained is None else trained
        for there, trained in zip(confirmed, tried, strict=True)
    )
    figure = f"{made.baseline} trains at some level in {trains_in} of {len(confirmed)} searches"
    if levels is not None and not any(map(math.isnan, levels.chosen)):
        figure += (
            f"; chosen levels m (¼ to 4): {', '.join(f'{level:g}' for level in levels.chosen)}"
        )
    yield Gate("control", made.name, trains_in == len(confirmed), BOTH, figure, NOT_ISOLATED)


def not_isolated(claim: MatchedLoss, control: str) -> Finding:
    """Return the finding of H2 where no level of the control trains in any search."""
    figure = f"no level of {control} trains in any search"
    gate = Gate("control", f"{claim.arm} - {control}", False, BOTH, figure, NOT_ISOLATED)
    return Finding(
        claim.name,
        claim.question,
        Label.INCONCLUSIVE,
        f"Not isolated: {figure}.",
        gates=(gate,),
    )


def budget(evidence: Evidence, made: Contrast) -> Iterator[Gate]:
    """Ask that the verdict remains when the other side gains once more from a doubled budget.

    The gain g of the last doubling is that of the winner over the winner of the first half of the
    budget, on the same fresh seeds, paired with Δ: the bound is of Δ - g or Δ + g. Only one side
    gains: rules under which both do decide more studies, and support what is merely a rival that is
    behind at this budget (tests/benchmarks/results/searches.md).

    A control of H2 has no half of a budget: it is made from the winner, so nothing is asked before
    it is beaten. Before it refutes, the arm gains once more: a control is chosen from more runs
    than an arm of few trials, so that it may be ahead by selection alone.
    """
    told, unit = evidence.outcome.signed, evidence.outcome.unit
    for label in asked(evidence, made):
        refuted = label is Label.REFUTED
        if made.needs_gap and not refuted:
            continue
        arm = made.arm if refuted else made.baseline
        first, second = evidence.arms[made.arm], evidence.arms[made.baseline]
        own = evidence.arms[arm]
        if own.half is None:
            yield Gate(
                "budget",
                made.name,
                False,
                (label,),
                f"the winners of {arm} from half the budget were not run on fresh seeds",
                "run them on the same fresh seeds, as runs of the phase 'half'",
            )
            continue
        pairs = first.trained & second.trained
        used = pairs & own.half.trained
        lost = int(pairs.sum() - used.sum())
        whole = used.any() and not (pairs.any(-1) & ~used.any(-1)).any()
        if lost > MOST_LEFT_OUT * pairs.sum() or not whole:
            yield Gate(
                "budget",
                made.name,
                False,
                (label,),
                f"the gain of {arm} from the last doubling of its budget is not known in {lost} "
                f"of {pairs.sum()} pairs, in which its winner of half the budget did not train",
                "search it over a space in which more of its trials train, or run those winners on "
                "the same fresh seeds",
            )
            continue
        sign = 1.0 if refuted else -1.0
        gain = unit_means(own.test - own.half.test, used)
        tables = [first.examples, second.examples]
        if own.half.examples is not None:
            tables += [own.examples, own.half.examples]
        moved = evidence.bounds(
            unit_means(first.test - second.test, used) + sign * gain,
            example_spread(used, tables, (1.0, -1.0, sign, -sign)[: len(tables)]),
        )
        bound = float(moved.high if refuted else moved.low)
        holds = bound < evidence.claims.delta if refuted else bound > 0
        yield Gate(
            "budget",
            made.name,
            holds,
            (label,),
            f"{arm} gained {told(float(gain.mean()))} {unit} from the last doubling of its "
            f"budget{_between(gain, made, told)}; if another doubling gained as much, the "
            f"difference would be {'at most' if refuted else 'at least'} {told(bound)}",
            "search with more trials",
            moved=Amount(float(moved.mean), float(moved.low), float(moved.high)),
        )


def _between(gain: NDArray[np.float64], made: Contrast, told: Callable[[float], str]) -> str:
    """Return how far a gain varies, as a single winner may have made its mean."""
    if len(gain) < 2:
        return ""
    return f" ({told(float(gain.min()))} to {told(float(gain.max()))} between {made.unit})"


def edge(evidence: Evidence, made: Contrast) -> Iterator[Gate]:
    """Ask that the winners of the losing arm do not lie at one end of a range.

    Before a control refutes, it must not have won at an end of its levels either: the arm was then
    searched at rates at which even its control is not at its best.
    """
    levels = evidence.levels.get(made.baseline) if made.needs_gap else None
    if levels is not None and any(map(math.isnan, levels.chosen)):
        levels = None
    for label in asked(evidence, made):
        if levels is not None:
            advice = f"the best level may be outside these: search {made.arm} at other rates"
            places = {"the levels m, ¼ to 4": levels.places}
            yield _edge(made, label, made.baseline, places, EDGE, advice)
            if label is Label.SUPPORTED:
                continue
        arm = made.baseline if label is Label.SUPPORTED else made.arm
        own = evidence.winners.get(arm)
        if own is None:
            yield Gate(
                "edge",
                made.name,
                False,
                (label,),
                f"the ranges of {arm}, or its winners, are not known",
                f'give the ranges as scope.spaces."{arm}" in the claims, and the columns config.*',
            )
            continue
        width = edge_width(evidence, arm)
        yield _edge(made, label, arm, own, width, "widen that range with --extend-space")


def _edge(
    made: Contrast,
    label: Label,
    arm: str,
    places: Mapping[str, Sequence[float]],
    width: float,
    advice: str,
) -> Gate:
    worst, said = 0.0, f"no winner of {arm} is at an end of a range"
    for name, values in places.items():
        at_low = sum(value < width for value in values)
        at_high = sum(value > 1 - width for value in values)
        for side, count in (("lower", at_low), ("upper", at_high)):
            if count > worst * len(values):
                worst = count / len(values)
                said = f"{count} of {len(values)} winners of {arm} at the {side} end of {name}"
    return Gate("edge", made.name, worst <= 0.5, (label,), said, advice)


def edge_width(evidence: Evidence, arm: str) -> float:
    """Return the part of a range, at either end, in which a winner is at an edge.

    Of few random trials the one nearest to an end is often not in the last tenth: the part is at
    least so large that one of them lies in it in half of the searches.
    """
    search = evidence.search
    if search is None or search.empty:
        return EDGE
    trials = search.loc[search["arm"] == arm, "trial"].nunique()
    return max(EDGE, 1 - 0.5 ** (1 / trials)) if trials else EDGE


def settings(evidence: Evidence, made: Contrast) -> Iterator[Gate]:
    """Ask that two arms differ in nothing that regularizes or trains by itself.

    Weight decay in one of them alone gains too, and that is no gain of (α, β). A control has the
    settings of the arm that it follows. Nothing is yielded where nothing differs.
    """
    if made.arm not in evidence.spaces or made.baseline not in evidence.spaces:
        return
    spaces = evidence.spaces
    differing = differing_settings(spaces[made.arm], spaces[made.baseline])
    if differing and not made.needs_gap:
        yield Gate(
            "settings",
            made.name,
            False,
            BOTH,
            f"{made.arm} and {made.baseline} differ in {', '.join(differing)}, so the difference "
            "may come from that",
            "give both arms the same value or range of it",
        )


def assay(evidence: Evidence, made: Contrast) -> Iterator[Gate]:
    """Ask that dropout and weight decay gain δ here, before a gain of δ is ruled out.

    Both arms must have been searched over the same ranges of what they share: a better range of
    step sizes gains too, without a regularizer.
    """
    h4, plain, delta = evidence.claims.h4, evidence.plain, evidence.claims.delta
    usual, outcome = None if h4 is None else h4.baseline, evidence.outcome
    if plain is None or usual is None or usual not in evidence.arms:
        passed, figure = False, "no arm of SGD with dropout and weight decay was run"
        advice = "add one, and name it in claims.h4.baseline"
    else:
        found = evidence.contrast(usual, plain).test
        passed = found.low > 0 and found.estimate >= delta
        figure = (
            f"{usual} - {plain} is {outcome.signed(found.estimate)} {outcome.unit} (at least "
            f"{outcome.signed(found.low)})"
        )
        advice = (
            "register a smaller δ, or take a problem on which dropout and weight decay gain "
            f"{outcome.amount(delta)} or more"
            if found.estimate < delta
            else "the gain is not shown to be above 0: search every arm more often "
            "(search.replicates)"
        )
        spaces = [evidence.spaces.get(arm, {}) for arm in (usual, plain)]
        shared = [name for name in spaces[0] if name in spaces[1]]
        differing = [name for name in shared if spaces[0][name] != spaces[1][name]]
        if differing:
            passed = False
            figure += f"; their ranges of {', '.join(differing)} differ, so these may cause it"
            advice = f"search {usual} and {plain} over the same ranges"
    yield Gate("assay", made.name, passed, (Label.REFUTED,), figure, advice)


def tuned(evidence: Evidence, made: Contrast) -> Iterator[Gate]:
    """Ask that the arm is not shown worse on validation than those that its space contains."""
    outcome = evidence.outcome
    for rival in made.contains:
        found = evidence.contrast(made.arm, rival).validation
        if found is not None:
            yield Gate(
                "tuned",
                made.name,
                not found.high < 0,
                (Label.REFUTED,),
                f"{made.arm} is {outcome.size(abs(found.estimate))} {outcome.unit} "
                f"{'worse' if found.estimate < 0 else 'better'} than {rival} on validation "
                f"(difference at most {outcome.signed(found.high)})",
                f"UNDER-TUNED: INDIAN can do what {rival} does; search {made.arm} better, over "
                "ranges that contain those of the other arm",
            )


GATES = (searches, trains, room, control, settings, budget, edge, assay, tuned)
