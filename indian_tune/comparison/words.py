"""A comparison as text: one sentence, warnings, rows of a table, Markdown."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from indian_tune.analysis.label import Label
from indian_tune.comparison.intervals import half_if_paired
from indian_tune.comparison.sequential import fewest
from indian_tune.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indian_tune.comparison.best_of import BestOf
    from indian_tune.comparison.contrast import Contrast
    from indian_tune.comparison.findings import Findings, ManyFindings
    from indian_tune.comparison.intervals import Difference

MOST_DECIMALS = 12
ONE = {"seeds": "seed", "runs": "run", "searches": "search"}


def decimals(difference: Difference) -> int:
    """Return how many decimals show two digits of half an interval, or four of an estimate."""
    half = (difference.high - difference.low) / 2
    digits, size = (1, half) if math.isfinite(half) and half > 0 else (2, abs(difference.estimate))
    if not math.isfinite(size) or size <= 0:
        return 3
    return max(digits - math.floor(math.log10(size)), 0)


def shown(value: float, places: int, *, sign: bool = False) -> str:
    """Return a number with so many decimals; a dash for none, a minus that is no hyphen.

    With more than 12 it is written with a power of ten.
    """
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    form = f".{places}f" if places <= MOST_DECIMALS else ".2e" if value else ".0f"
    text = f"{value:{'+' if sign else ''}{form}}"
    if not text.strip("+-0."):
        text = text.lstrip("+-")
    return text.replace("-", "−")


def sentence_of(found: Findings) -> str:
    """Return the answer in one plain sentence."""
    made, difference = found.contrast, found.contrast.difference
    places = decimals(difference)
    if math.isnan(difference.estimate):
        ours, theirs = made.of_a, made.of_b
        return (
            f"{found.a} and {found.b} cannot be compared in {found.metric}: {ours.arm} trained in "
            f"{ours.runs - ours.failed} of {counted(ours.runs, 'run')}, {theirs.arm} in "
            f"{theirs.runs - theirs.failed} of {theirs.runs}{_failures_p(made)}."
        )
    amount = shown(abs(difference.estimate), places)
    if difference.estimate and not amount.strip("0."):
        # A wide interval leaves no digit of it.
        amount = shown(abs(difference.estimate), -math.floor(math.log10(abs(difference.estimate))))
    way = "better" if difference.estimate >= 0 else "worse"
    delta = "" if found.delta is None else f"{found.delta:g}"
    interval = (
        f"{100 * (1 - found.alpha):g} % interval {shown(difference.low, places, sign=True)} to "
        f"{shown(difference.high, places, sign=True)}"
        if difference.settled
        else _no_interval(found)
    )
    if found.sequence is not None and difference.settled:
        interval = f"anytime-valid {interval}"
    basis = f"{interval}, {_basis(made)}"
    it = "it"
    match made.label:
        case Label.SUPPORTED:
            beyond = (
                f", by more than {delta}" if delta and difference.low > (found.delta or 0) else ""
            )
            said = f"{found.a} is better than {found.b}{beyond}"
        case Label.NEGLIGIBLE:
            said = f"{found.a} is better than {found.b}, but by less than {delta}"
        case Label.REFUTED if difference.high < 0:
            said = f"{found.a} is worse than {found.b}"
        case Label.REFUTED if difference.low > -(found.delta or 0):
            it, said = found.a, f"neither of {found.a} and {found.b} is better by {delta}"
        case Label.REFUTED:
            said = f"{found.a} is not better than {found.b} by {delta}"
        case _ if made.held_back:
            said = (
                f"whether {found.a} is better than {found.b} is open, because {made.held_back[0]}"
            )
        case _:
            said = f"whether {found.a} is better than {found.b} is open"
    said = said if said.startswith(found.a) else said[0].upper() + said[1:]
    return (
        f"{said}: in {found.metric} {it} is {amount} {way} ({basis}); this holds for {found.scope} "
        "only."
    )


def _no_interval(found: Findings) -> str:
    """Return why there is no interval, of the first task without one where there are several."""
    made = next((t for t in found.tasks if not t.difference.settled), found.contrast)
    match made.difference.why:
        case "few":
            reason = f"a sequential interval needs at least {fewest(found.alpha)} {made.unit}"
        case "one":
            of = "" if made.paired else " of an arm"
            reason = f"one {ONE[made.unit]}{of} shows no spread"
        case _:
            reason = "all differences are equal" if made.paired else "the values do not vary"
    return f"no interval, as {reason}{f' on {made.task}' if found.tasks else ''}"


def _basis(made: Contrast) -> str:
    if made.paired:
        return f"{counted(made.difference.n, ONE[made.unit], made.unit)}, paired"
    counts = [arm.runs - arm.failed for arm in (made.of_a, made.of_b)]
    return f"{counts[0]} and {counts[1]} runs, unpaired"


def _failures_p(made: Contrast) -> str:
    return f" (exact p = {made.failures_p:.2g})" if made.failures_p < 1 else ""


def remarks(found: Findings) -> Iterator[str]:
    """Yield what belongs to the sentence, a sentence each."""
    made = found.contrast
    one = ONE[made.unit]
    share = made.superiority
    if math.isfinite(share.estimate):
        ends = "" if math.isnan(share.low) else f" ({share.low:.2f} to {share.high:.2f})"
        yield (
            f"Probability that {found.a} is better than {found.b} on one new {one}: "
            f"{share.estimate:.2f}{ends}."
        )
    ours, theirs = made.of_a, made.of_b
    if ours.failed or theirs.failed:
        yield (
            f"Failures: {ours.arm} {ours.failed} of {ours.runs}, {theirs.arm} {theirs.failed} of "
            f"{theirs.runs}{_failures_p(made)}; means do not include failed runs."
        )
    for reason in made.held_back[1:]:
        yield f"A further reason for no decision: {reason}."
    yield from _pairing(found)
    if found.further is not None:
        more = found.further
        units = counted(more.units, f"further {one}", f"further {made.unit}")
        if more.enough:
            yield (
                f"{units} of each arm would give a decision with probability "
                f"{more.probability:.2f}: fix their number now and test once, or test after each "
                "with --sequential."
            )
        else:
            yield (
                f"Even {units} of each arm would give a decision with probability "
                f"{more.probability:.2f} only: the effect is near 0"
                + (" or δ." if found.delta else "; --delta sets the smallest effect of interest.")
            )
    if found.sequence is not None:
        looks = found.sequence
        last = looks.looks[-1]
        if looks.drifts:
            yield (
                f"No decision after {last.n} differences: their mean is outside the interval that "
                "earlier ones gave. The differences seem to change over time (other code or "
                "machines?), so further seeds cannot give a decision."
            )
        elif looks.settled_at is not None:
            yield (f"Decided after {looks.settled_at} differences, and final: {looks.label}.")
        else:
            yield f"No decision after {last.n} differences: test again after the next one."
    for curve in found.best_of:
        yield (
            f"Tuning of {curve.arm}, median {curve.metric}: {curve.median[0]:.4g} after one trial, "
            f"{curve.median[-1]:.4g} after {curve.budget} trials{_band(curve)}."
        )
    if found.target is not None:
        for arm in found.target.arms:
            reached = (
                f"{found.metric} {found.target.target:g}: {arm.arm} reaches it in {arm.reached} of "
                f"{arm.runs} runs"
            )
            if math.isinf(arm.median):
                yield f"{reached}, fewer than half of them within the steps that they ran."
                continue
            yield (
                f"{reached}, half of them within {shown(arm.median, 0)} steps "
                f"({shown(arm.low, 0)} to {shown(arm.high, 0)}, {100 * arm.coverage:.0f} %)."
            )
        ratio = found.target.ratio
        yield (
            "There is no ratio of steps, because not all runs reach it."
            if ratio is None
            else f"Steps of {found.a} over those of {found.b}: {ratio.estimate:.2f} "
            f"({shown(ratio.low, 2)} to {shown(ratio.high, 2)})."
        )


def _band(curve: BestOf) -> str:
    """Return the ends of the band after the last trial, as far as they are known."""
    ends = (("at best", curve.better[-1]), ("at worst", curve.worse[-1]))
    known = [f"{side} {value:.4g}" for side, value in ends if not math.isnan(value)]
    return f" (95 % band: {', '.join(known)})" if known else ""


def _pairing(found: Findings) -> Iterator[str]:
    gain, made = found.pairing, found.contrast
    if made.paired:
        if gain.width is not None and gain.correlation is not None:
            yield (
                f"Pairing by seed makes the interval {gain.width:.2f} times as wide as without it "
                f"(correlation between the arms: {shown(gain.correlation, 2)})."
            )
        if gain.alone:
            yield (
                f"{counted(gain.alone, 'run')} whose seed only one arm has "
                f"{'is' if gain.alone == 1 else 'are'} excluded."
            )
        return
    difference = made.difference
    if difference.settled:
        half = (difference.high - difference.low) / 2
        paired = half_if_paired(difference, found.alpha, 0.5)
        places = decimals(difference)
        why = (
            f"although the arms have {counted(gain.shared, 'seed')} in common"
            if gain.shared
            else "because the arms have no seed in common"
            if gain.seeded
            else "because no seeds are known"
        )
        yield (
            f"Not paired, {why}: on the same seeds, with a correlation of 0.5, the interval would "
            f"reach {shown(paired, places)} to each side instead of {shown(half, places)}."
        )


def rows(found: Findings) -> list[tuple[str, ...]]:
    """Return a heading and a row for the comparison, and for every task where there are several."""
    table: list[tuple[str, ...]] = [("task", "difference", "interval", "n", "failed", "label")]
    several = bool(found.tasks)
    for made in (found.contrast, *found.tasks):
        places = decimals(made.difference)
        low, high = (
            shown(v, places, sign=True) for v in (made.difference.low, made.difference.high)
        )
        table.append(
            (
                made.task or ("average" if several else "–"),
                shown(made.difference.estimate, places, sign=True),
                f"{low}, {high}" if made.difference.settled else "–",
                str(made.difference.n),
                f"{made.of_a.failed}, {made.of_b.failed}",
                str(made.label),
            )
        )
    return table


def many_rows(found: ManyFindings) -> list[tuple[str, ...]]:
    """Return a heading and a row for each of many contrasts."""
    table: list[tuple[str, ...]] = [
        ("a", "b", "difference", "interval", "n", "failed", "p (Holm)", "label")
    ]
    for row in found.rows:
        made = row.contrast
        places = decimals(made.difference)
        low, high = (
            shown(v, places, sign=True) for v in (made.difference.low, made.difference.high)
        )
        table.append(
            (
                made.a,
                made.b,
                shown(made.difference.estimate, places, sign=True),
                f"{low}, {high}" if made.difference.settled else "–",
                str(made.difference.n),
                f"{made.of_a.failed}, {made.of_b.failed}",
                f"{row.p_above:.2g}",
                str(made.label),
            )
        )
    return table


def headings(found: Findings | ManyFindings) -> str:
    """Return what the answer is headed with: whether it was registered, as far as is known."""
    if found.exploratory:
        return f"Exploratory: {'; '.join(found.exploratory)}"
    return found.registered or "Registered before the runs"


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def markdown_table(table: list[tuple[str, ...]]) -> list[str]:
    """Return rows as the lines of a Markdown table."""
    lines = ["| " + " | ".join(map(_cell, row)) + " |" for row in table]
    return [lines[0], "|" + "---|" * len(table[0]), *lines[1:]]


def markdown(found: Findings) -> str:
    """Return a comparison as Markdown."""
    lines = [
        f"**{found.label}** ({headings(found)}). {found.sentence}",
        "",
        *markdown_table(rows(found)),
        "",
        *(f"- {remark}" for remark in remarks(found)),
        *(f"- {'Question' if c.asked else 'Caution'}: {c.sentence}" for c in found.cautions),
        *(f"- {note}" for note in found.notes),
    ]
    return "\n".join(lines).rstrip() + "\n"


def many_markdown(found: ManyFindings) -> str:
    """Return many contrasts as Markdown."""
    of = f"all arms compared with {found.baseline}" if found.baseline else "all pairs of arms"
    lines = [
        f"**{found.metric}**, {of} ({headings(found)})",
        "",
        *markdown_table(many_rows(found)),
        "",
        *(f"- {caution}" for caution in found.cautions),
    ]
    return "\n".join(lines).rstrip() + "\n"
