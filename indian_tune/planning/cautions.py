"""Warnings before a study runs: hypotheses that it cannot test, and other limits."""

from __future__ import annotations

import itertools
import math
import statistics
from typing import TYPE_CHECKING

from indian_tune.ledger import Phase
from indian_tune.optim.schedules import is_scheduled
from indian_tune.planning.workload import (
    CURVATURES,
    grids,
    searched,
    unstable_shares,
    workload,
)
from indian_tune.study.claims import ADVISED_SEARCHES, LEAST_SEARCHES
from indian_tune.study.file.parameters import differing_settings
from indian_tune.study.file.space import Constant, bounds
from indian_tune.study.hypotheses import Prospect
from indian_tune.study.registration_check import control_fault
from indian_tune.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indian_tune.study import StudySpec

# A tune run shorter than this share of a confirm run may choose what is best early on only.
SHORT_TUNE = 0.2
TRIALS_PER_HYPERPARAMETER = 10
# A gap in a grid that is this many times the median gap is a hole; a point left out doubles one.
HOLE = 1.75
MOSTLY = 0.5
# In the names of optimizers that estimate how far to step.
RATE_FINDERS = ("prodigy", "dadapt")


def prospects(spec: StudySpec) -> list[Prospect]:
    """Return what a study can say on each hypothesis."""
    paper = spec.protocol.mode == "paper"
    default = ", ".join(f"{name} = {value:g}" for name, value in spec.claims.default.items())
    found = []
    for key, kind in spec.claims.hypotheses().items():
        section = getattr(spec.claims, key)
        if paper and kind.role != "replication":
            missing = "mode = 'paper' is descriptive: use protocol.mode = 'honest'"
            found.append(Prospect(kind.name, False, missing=missing))
        elif section is None:
            found.append(Prospect(kind.name, False, missing=kind.needs.format(default=default)))
        else:
            found.append(section.prospect())
    return found


def warnings(spec: StudySpec) -> list[str]:
    """Return what to think of before a study is run, a sentence each."""
    return [
        *_about_seeds(spec),
        *_about_controls(spec),
        *_about_budget(spec),
        *_about_spaces(spec),
    ]


def verdict_warnings(spec: StudySpec) -> list[str]:
    """Return those of the warnings that say why a study can get no verdict, or an EXPLORATORY one.

    They matter before a study is registered, because a registered study does not change.
    """
    seeds = _about_seeds(spec) if spec.claims.claimed else ()
    return [*seeds, *_about_controls(spec)]


def _about_seeds(spec: StudySpec) -> Iterator[str]:
    n = len(spec.protocol.confirming_seeds)
    if n < 2 and any(section.pairs() for section in spec.claims.tested):
        yield (
            f"protocol.confirm_seeds gives {n} fresh seeds, but the standard deviation of "
            "differences paired by seed needs at least 2: raise it"
        )


def _about_controls(spec: StudySpec) -> Iterator[str]:
    if spec.protocol.mode == "paper":
        yield (
            "mode = 'paper' selects on training loss and reports on the test images: a descriptive "
            "replication, underpowered, without a verdict"
        )
    elif spec.claims.claimed:
        for section in spec.claims.tested:
            yield from section.warnings()
        fault = control_fault(spec)
        if fault is not None:
            yield f"{fault}. No verdict would be given"
        yield from _about_ranges(spec)
        yield from _about_settings(spec)
        yield from _about_gates(spec)


def _about_ranges(spec: StudySpec) -> Iterator[str]:
    """Warn of arms of one optimizer that are compared, and searched over other step sizes."""
    h3b, h4 = spec.claims.h3b, spec.claims.h4
    tuned = [] if h3b is None else [h3b.full, h3b.rate]
    rates = [spec.space(arm)["gamma0"] for arm in tuned if "gamma0" in spec.space(arm)]
    if len(rates) == 2 and rates[0] != rates[1]:
        yield (
            f"{tuned[0]!r} and {tuned[1]!r} have different ranges of gamma0: H3b would take what "
            "the better range gains for a gain of tuning (α, β), so use one range"
        )
    plain = next(iter(spec.claims.plain), None)
    usual = None if h4 is None else h4.baseline
    if plain is None or usual is None:
        return
    ranges = [spec.space(arm).get("gamma0") for arm in (plain, usual)]
    if ranges[0] != ranges[1]:
        yield (
            f"{plain!r} and {usual!r} have different ranges of gamma0: what the better range gains "
            "is no gain of dropout and weight decay, so the gate “assay” would not pass; use one "
            "range"
        )


def _about_settings(spec: StudySpec) -> Iterator[str]:
    """Warn of arms that the claim compares, and that differ in what regularizes by itself."""
    h3b, h4 = spec.claims.h3b, spec.claims.h4
    pairs: list[tuple[str | None, str | None]] = []
    if h3b is not None:
        pairs += [(h3b.full, h3b.rate), (h3b.full, h3b.baseline)]
    if h4 is not None:
        pairs.append((h4.full, h4.baseline))
    for arm, other in pairs:
        if arm is None or other is None:
            continue
        differing = differing_settings(spec.space(arm), spec.space(other))
        if differing:
            yield (
                f"{arm!r} and {other!r} differ in {', '.join(differing)}: the gate “settings” "
                "would not pass, so give both the same"
            )


def _about_gates(spec: StudySpec) -> Iterator[str]:
    """Warn of gates that no result can pass."""
    if spec.replicates < LEAST_SEARCHES:
        yield (
            f"search.replicates = {spec.replicates}: the gate “searches” would not pass, so the "
            f"verdict can only be INCONCLUSIVE: set it to {ADVISED_SEARCHES} "
            f"({LEAST_SEARCHES} are the least that can decide, {ADVISED_SEARCHES} are more likely "
            "to)"
        )
    if not spec.claims.half_budget:
        yield (
            "claims.half_budget = false: the gate “budget” would not pass, so the claim can be "
            "neither SUPPORTED nor REFUTED: set it to true (searches then need at least 2 trials, "
            "and no grid)"
        )


def _about_budget(spec: StudySpec) -> Iterator[str]:
    protocol, trials = spec.protocol, spec.search.trials
    if protocol.confirming_seeds and protocol.tuning_epochs < SHORT_TUNE * protocol.epochs:
        yield (
            f"a tune run has {counted(protocol.tuning_epochs, 'epoch')} and a confirm run "
            f"{protocol.epochs}: a winner after few epochs may be worse after more, so raise "
            "protocol.tune_epochs if you can"
        )
    if spec.search.sampler.enumerates:
        counts = {arm: spec.trials_of(arm) for arm in spec.searched_arms}
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{arm} {count}" for arm, count in counts.items())
            yield f"the grids have different sizes, so the arms have different budgets: {listed}"
        return
    thin: dict[int, list[str]] = {}
    for arm in spec.searched_arms:
        count = len(searched(spec, arm))
        if trials < TRIALS_PER_HYPERPARAMETER * count:
            thin.setdefault(count, []).append(arm)
    for count, arms in sorted(thin.items()):
        yield (
            f"search.trials = {trials} is few for {counted(count, 'searched hyperparameter')} "
            f"({', '.join(arms)}): {TRIALS_PER_HYPERPARAMETER * count} or more are usual"
        )


def _about_spaces(spec: StudySpec) -> Iterator[str]:
    for arm in spec.searched_arms:
        for name, values in grids(spec, arm).items():
            for low, high, middle in _holes(values):
                yield (
                    f"arm {arm!r}: the grid of {name} has a wide gap between {low:g} and "
                    f"{high:g}: add a value such as {middle:.2g}"
                )
        optimizer = spec.arm(arm).optimizer
        if is_scheduled(spec.space(arm)) and any(n in optimizer.lower() for n in RATE_FINDERS):
            yield (
                f"arm {arm!r}: {optimizer} finds its step size by itself, and the schedule of its "
                "space multiplies it: search it without a schedule too"
            )
        longest = bounds(spec.space(arm).get("warmup", Constant(0.0)))[1]
        # Below 1 it is a share of the run.
        steps = _tune_steps(spec, arm) if not isinstance(longest, str) and longest >= 1 else 0
        if steps and longest >= steps:
            yield (
                f"arm {arm!r}: its warm-up takes up to {longest:g} steps, and its runs in the "
                f"search have {steps}: they never reach γ0, so give a share of the run, below 1"
            )
        shares = unstable_shares(spec, arm)
        if shares is not None and shares[0] > MOSTLY:
            yield (
                f"arm {arm!r}: {shares[0]:.0%} of its space is already unstable at curvature "
                f"{CURVATURES[0]:g}, so most trials will diverge: lower its rates"
            )


def _tune_steps(spec: StudySpec, arm: str) -> int:
    """Return the steps of a run of an arm in the search; 0 in a loop of one's own."""
    (work,) = (each for each in workload(spec) if (each.arm, each.phase) == (arm, Phase.TUNE))
    return round(work.epochs * work.steps_per_epoch)


def _holes(values: tuple[float, ...]) -> list[tuple[float, float, float]]:
    """Return neighbours that lie much further apart than is usual in a grid, and a value between.

    Positive values are compared by their ratios if these are more even than the differences.
    """
    pairs = list(itertools.pairwise(values))
    if len(pairs) < 2:
        return []
    gaps = [high - low for low, high in pairs]
    middles = [(low + high) / 2 for low, high in pairs]
    if values[0] > 0:
        ratios = [math.log(high / low) for low, high in pairs]
        if max(ratios) / min(ratios) <= max(gaps) / min(gaps):
            gaps, middles = ratios, [math.sqrt(low * high) for low, high in pairs]
    usual = statistics.median(gaps)
    return [
        (*pair, middle)
        for pair, gap, middle in zip(pairs, gaps, middles, strict=True)
        if gap > HOLE * usual
    ]
