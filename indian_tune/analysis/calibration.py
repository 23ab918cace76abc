"""Whether the analysis is right: its error rates on simulated studies with known truth.

The bound of a single contrast errs as often as it says, with finite test sets as well; whole
verdicts are rarely wrong in any world and find what is there. Methods that are known to fail are
put through the same test, and must fail it.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from indian_tune.analysis import former
from indian_tune.analysis.analysis import judge_evidence
from indian_tune.analysis.estimates import bounds, example_variance
from indian_tune.analysis.evidence import Evidence
from indian_tune.analysis.label import Label
from indian_tune.analysis.simulation import (
    CHANCE,
    UNBOUNDED,
    WORLDS,
    World,
    direct,
    simulate,
    simulated_claims,
    units,
)
from indian_tune.analysis.verdict import Registration, Scope

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

REPLICATIONS = 2_000
SEARCHES = (5, 10)
ALPHA = 0.05
BAND, MOST_WRONG, LEAST_POWER = 0.015, 0.065, 0.97
# Bounds of single contrasts are cheap: they get this many times the studies of whole verdicts.
TEST_FACTOR = 5
TEST_SETS = (359, 797, 3_000)
# The world in which the claim must be found with ten searches: q is the share of pairs left out.
POWER = dataclasses.replace(
    direct(0.02, fails=1 - 0.9**0.5, search=0.004), name="direct effect of 2 points, q = .1"
)
_CHUNK = 100

Kind = Literal["type I", "at most", "at least"]


@dataclass(frozen=True)
class Rate:
    """One error rate.

    Attributes:
        world: the truth.
        n: searches.
        procedure: bound, verdict or method.
        kind: "type I" must hit its target; "at most" and "at least" are limits.
        value: the rate found.
        target: the rate it should have.
        tolerance: how far it may be off.
        studies: number of simulated studies.
        passed: whether it is within.
    """

    world: str
    n: int
    procedure: str
    kind: Kind
    value: float
    target: float
    tolerance: float
    studies: int
    passed: bool


@dataclass(frozen=True)
class Calibration:
    """What a calibration found.

    Attributes:
        rates: of the analysis; all must pass.
        former: of rules that are known not to hold their level; each must fail somewhere.
        instead: of this package's rules on the same studies; all must pass.
        verdicts: by world and searches: how often the claim got which label.
        failures: what is wrong, in words; none when the analysis is calibrated.
    """

    rates: tuple[Rate, ...]
    former: tuple[Rate, ...]
    instead: tuple[Rate, ...]
    verdicts: tuple[tuple[str, int, Mapping[str, int]], ...]
    failures: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the calibration as plain data."""
        return dataclasses.asdict(self)

    def text(self) -> str:
        """Return the calibration as Markdown tables."""
        return "\n".join(_lines(self))


def calibrate(
    replications: int = REPLICATIONS,
    searches: Sequence[int] = SEARCHES,
    *,
    verdicts: int | None = None,
    processes: int = 1,
) -> Calibration:
    """Simulate studies and hold the analysis against their truth.

    Args:
        replications: studies per world and number of searches for whole verdicts; bounds of single
            contrasts get ``TEST_FACTOR`` times as many.
        searches: numbers of searches of an arm.
        verdicts: another number of studies for whole verdicts.
        processes: how many to use.
    """
    jobs = [
        (world, n, verdicts or replications, k)
        for k, (world, n) in enumerate((w, n) for w in (*WORLDS, POWER) for n in searches)
    ]
    if processes > 1:
        with ProcessPoolExecutor(processes) as pool:
            counts = list(pool.map(_labels, jobs))
    else:
        counts = [_labels(job) for job in jobs]
    tests = replications * TEST_FACTOR
    rates = [
        *(rate for n in searches for rate in _bounds(n, tests, np.random.default_rng(n))),
        *(
            rate
            for n in searches
            for rate in _test_sets(n, replications, np.random.default_rng([n, 1]))
        ),
        *(
            rate
            for job, found in zip(jobs, counts, strict=True)
            for rate in _verdicts(job[0], job[1], found)
        ),
    ]
    kinds: tuple[Kind, Kind] = ("type I", "at most")
    teeth = [
        [_rate("no gain", n, name, kind, float(errors.mean()), tests) for kind, errors in judged]
        for n in searches
        for rng in [np.random.default_rng([n, 2])]
        for name, method in former.METHODS.items()
        for judged in [zip(kinds, method(n, tests, rng), strict=True)]
    ]
    told = tuple(
        (job[0].name, job[1], {str(label): count for label, count in found.items()})
        for job, found in zip(jobs, counts, strict=True)
    )
    old, instead = (tuple(column) for column in zip(*teeth, strict=True))
    made = Calibration(tuple(rates), old, instead, told, ())
    return dataclasses.replace(made, failures=tuple(_failures(made)))


def _labels(job: tuple[World, int, int, int]) -> Counter[Label]:
    """Judge the studies of one world."""
    world, n, studies, number = job
    rng = np.random.default_rng([2026, number])
    claims, registration = simulated_claims(), Registration("honest", ())
    labels: Counter[Label] = Counter()
    for _ in range(studies):
        arms = simulate(world, n, rng)
        evidence = Evidence(claims, arms, CHANCE, winners=UNBOUNDED, thorough=False)
        verdict = judge_evidence(
            evidence, study="simulated", scope=Scope(), registration=registration
        )
        labels[verdict.label] += 1
    return labels


def _bounds(n: int, studies: int, rng: np.random.Generator) -> Iterator[Rate]:
    """Yield how often the lower bound of a contrast that is 0 lies above it."""
    for world in WORLDS:
        if world.gain or world.fails:
            continue
        values = units(world, "full", "control", n, studies, rng)
        above = float((bounds(values, ALPHA, ALPHA).low > 0).mean())
        # A t over few units of heavy tails is conservative, which is no error.
        kind: Kind = "at most" if world.heavy else "type I"
        yield _rate(world.name, n, "lower bound of Δ", kind, above, studies)


def _test_sets(n: int, studies: int, rng: np.random.Generator) -> Iterator[Rate]:
    """Yield the same for finite test sets that all searches share."""
    for size in TEST_SETS:
        wrong = 0
        for start in range(0, studies, _CHUNK):
            count = min(_CHUNK, studies - start)
            shape = (count, n, size)
            of_example = 0.2 * rng.standard_normal((count, 1, size), dtype=np.float32)
            of_search = 0.004 * rng.standard_normal((count, n, 1), dtype=np.float32)
            rest = 0.25 * rng.standard_normal(shape, dtype=np.float32)
            table = of_example + of_search + rest
            means = table.mean(-1, dtype=np.float64)
            low = bounds(means, ALPHA, ALPHA, example_variance(table)).low
            wrong += int((low > 0).sum())
        name = f"{size:,} test examples"
        yield _rate("null", n, f"lower bound of Δ, {name}", "at most", wrong / studies, studies)


def _verdicts(world: World, n: int, found: Mapping[Label, int]) -> Iterator[Rate]:
    studies = sum(found.values())
    if not world.supported:
        share = found.get(Label.SUPPORTED, 0) / studies
        yield _rate(world.name, n, "SUPPORTED", "at most", share, studies, MOST_WRONG)
    if not world.refuted:
        share = found.get(Label.REFUTED, 0) / studies
        yield _rate(world.name, n, "REFUTED", "at most", share, studies, MOST_WRONG)
    if world == POWER and n >= max(SEARCHES):
        share = found.get(Label.SUPPORTED, 0) / studies
        yield _rate(world.name, n, "SUPPORTED", "at least", share, studies, LEAST_POWER)


def _rate(
    world: str,
    n: int,
    procedure: str,
    kind: Kind,
    value: float,
    studies: int,
    target: float | None = None,
) -> Rate:
    tolerance = 0.0
    if target is None:
        target, tolerance = ALPHA, BAND
    if studies < REPLICATIONS or kind == "at least":
        tolerance += 3 * math.sqrt(target * (1 - target) / studies)
    off = {"type I": abs(value - target), "at most": value - target, "at least": target - value}
    passed = off[kind] <= tolerance + 1e-12
    return Rate(world, n, procedure, kind, value, target, tolerance, studies, passed)


def _failures(made: Calibration) -> Iterator[str]:
    for rate in (*made.rates, *made.instead):
        if not rate.passed:
            yield (
                f"{rate.procedure} with {rate.n} searches ({rate.world}): {rate.kind} "
                f"{rate.value:.4f}, wanted {rate.target:g} ± {rate.tolerance:.4f}"
            )
    for method in dict.fromkeys(rate.procedure for rate in made.former):
        if all(rate.passed for rate in made.former if rate.procedure == method):
            yield f"{method} passes, so the calibration does not detect a wrong rule"


def _lines(made: Calibration) -> Iterator[str]:
    yield "## The analysis"
    yield ""
    yield "| truth | procedure | rate | searches | found | wanted | |"
    yield "|---|---|---|---:|---:|---:|---|"
    for rate in made.rates:
        yield (
            f"| {rate.world} | {rate.procedure} | {rate.kind} | {rate.n} | {rate.value:.4f} | "
            f"{_wanted(rate)} | {'holds' if rate.passed else 'fails'} |"
        )
    yield ""
    yield "## Rules that must fail, and the current rules on the same studies"
    yield ""
    yield ("In every case the claim is false. Rates are shares of studies that find a gain.")
    yield ""
    yield "| former rule | searches | found | wanted | | instead | wanted | |"
    yield "|---|---:|---:|---:|---|---:|---:|---|"
    for old, new in zip(made.former, made.instead, strict=True):
        cells = (
            f"{rate.value:.4f} | {_wanted(rate)} | {'holds' if rate.passed else 'fails'}"
            for rate in (old, new)
        )
        yield f"| {old.procedure} | {old.n} | {' | '.join(cells)} |"
    yield ""
    labels = (Label.SUPPORTED, Label.REFUTED, Label.INCONCLUSIVE)
    yield "## Labels of the claim in every simulated case"
    yield ""
    yield f"| truth | searches | {' | '.join(labels)} |"
    yield "|---|---:|---:|---:|---:|"
    for world, n, counts in made.verdicts:
        total = sum(counts.values())
        shares = " | ".join(f"{counts.get(label, 0) / total:.3f}" for label in labels)
        yield f"| {world} | {n} | {shares} |"


def _wanted(rate: Rate) -> str:
    sign = {"type I": "", "at most": "≤ ", "at least": "≥ "}[rate.kind]
    return f"{sign}{rate.target:g} ± {rate.tolerance:.3f}"
