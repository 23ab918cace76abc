"""Whether the analysis is right: its error rates on simulated studies with known truth.

Type-I error of every confirmatory test at the boundary of its null hypothesis, coverage of every
bound, power that rises with the effect and with the seeds, and what the whole verdict says under
every truth. Methods that are known to fail are put through the same test, and must fail it.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from indian_tune.analysis import naive
from indian_tune.analysis.analysis import judge_evidence
from indian_tune.analysis.contrasts import paired_t, sign_flip
from indian_tune.analysis.crossing import accuracy_at
from indian_tune.analysis.curves import Curves
from indian_tune.analysis.equivalence import equivalence
from indian_tune.analysis.evidence import Evidence
from indian_tune.analysis.label import Label
from indian_tune.analysis.simulation import (
    CHANCE,
    DELTA,
    NO_EFFECT,
    RUN_DEVIATION,
    SCENARIOS,
    TAUS,
    Scenario,
    cell_name,
    searched,
    simulate,
    simulated_claims,
    with_effect,
)
from indian_tune.analysis.surface import joint_p, quadratic_design
from indian_tune.analysis.verdict import Registration, Scope

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from indian_tune.analysis.contrasts import PairedT

REPLICATIONS = 2_000
SEEDS = (5, 10, 20)
ALPHA = 0.05
# How far a rate may be from its target.
BAND = 0.01
# Single tests are cheap: they get this many times the studies of whole verdicts, which makes the
# band several standard errors wide.
TEST_FACTOR = 5
SURE = 10_000
EFFECTS = (0.0025, 0.005, 0.01, 0.02)
_CHUNK = 250

Kind = Literal["type I", "at most", "coverage"]


@dataclass(frozen=True)
class Rate:
    """One error rate.

    Attributes:
        scenario: the truth.
        n: seeds.
        procedure: test, bound or method.
        kind: "type I" and "coverage" must hit their target, "at most" must not exceed it.
        value: the rate found.
        target: the rate it should have.
        tolerance: how far it may be off.
        studies: number of simulated studies.
        passed: whether it is within.
    """

    scenario: str
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
        naive: of methods that are known not to hold their level; each must fail somewhere.
        power: by effect (a share) and seeds: how often H3b's test and the claim find it.
        verdicts: by scenario and seeds: how often the claim got which label.
        failures: what is wrong, in words; none when the analysis is calibrated.
    """

    rates: tuple[Rate, ...]
    naive: tuple[Rate, ...]
    power: tuple[tuple[float, int, float, float], ...]
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
    seeds: Sequence[int] = SEEDS,
    *,
    verdicts: int | None = None,
    processes: int = 1,
) -> Calibration:
    """Simulate studies and hold the analysis against their truth.

    Args:
        replications: studies per scenario and number of seeds for whole verdicts; single tests get
            ``TEST_FACTOR`` times as many.
        seeds: numbers of seeds.
        verdicts: another number of studies for whole verdicts.
        processes: how many to use.
    """
    effects = [with_effect(effect) for effect in EFFECTS]
    scenarios = {made.name: made for made in (*SCENARIOS, *effects)}
    jobs = [
        (scenario, n, replications * TEST_FACTOR, verdicts or replications, k)
        for k, (scenario, n) in enumerate((s, n) for s in scenarios.values() for n in seeds)
    ]
    if processes > 1:
        with ProcessPoolExecutor(processes) as pool:
            parts = list(pool.map(_part, jobs))
    else:
        parts = [_part(job) for job in jobs]
    rates = [rate for part in parts for rate in part.rates]
    others = [
        rate
        for n in seeds
        for rate in _other_rates(n, replications * TEST_FACTOR, np.random.default_rng(n))
    ]
    teeth = [
        rate
        for n in seeds
        for rate in _naive(n, replications * TEST_FACTOR, np.random.default_rng(100 + n))
    ]
    made = Calibration(
        rates=(*rates, *others),
        naive=tuple(teeth),
        power=tuple(
            (job[0].effect, job[1], part.found, part.verdicts[Label.SUPPORTED] / job[3])
            for job, part in zip(jobs, parts, strict=True)
            if job[0].effect
        ),
        verdicts=tuple(
            (job[0].name, job[1], {str(label): count for label, count in part.verdicts.items()})
            for job, part in zip(jobs, parts, strict=True)
        ),
        failures=(),
    )
    return dataclasses.replace(made, failures=tuple(_failures(made)))


@dataclass(frozen=True)
class _Part:
    rates: list[Rate]
    found: float
    verdicts: Counter[Label]


def _part(job: tuple[Scenario, int, int, int, int]) -> _Part:
    """Run one scenario with one number of seeds."""
    scenario, n, tests, verdicts, number = job
    rng = np.random.default_rng([2026, number])
    chunks = [_test(simulate(scenario, n, size, rng)) for size in _sizes(tests)]
    made = {
        name: {
            part: np.concatenate([getattr(chunk[name], part) for chunk in chunks])
            for part in ("low", "high", "p")
        }
        for name in chunks[0]
    }
    rates = list(_rates(scenario, n, tests, made))
    labels: Counter[Label] = Counter()
    for size in _sizes(verdicts):
        labels.update(_labels(scenario, n, simulate(scenario, n, size, rng)))
    if scenario.claim is None:
        value = labels[Label.SUPPORTED] / verdicts
        rates.append(_rate(scenario.name, n, "claim SUPPORTED", "at most", value, verdicts))
    elif scenario.effect >= DELTA:
        # Each of the links may refute the claim at the level of one test, so that an effect of
        # exactly δ is refuted by any of them at up to their number times the level.
        value = labels[Label.REFUTED] / verdicts
        target = len(simulated_claims(scenario).links()) * ALPHA
        rates.append(_rate(scenario.name, n, "claim REFUTED", "at most", value, verdicts, target))
    return _Part(rates, float((made["H3b"]["p"] <= ALPHA).mean()), labels)


def _test(curves: Mapping[str, Curves]) -> dict[str, PairedT]:
    """Return the t statistics of every confirmatory contrast, [studies]."""
    arms = ("indian", "sgd", "sgd-eta")
    at = {arm: accuracy_at(curves[arm].train_loss, curves[arm].test_accuracy, TAUS) for arm in arms}
    # A training loss counts for a study if all runs of all three arms cross it.
    kept = np.asarray(np.isfinite(np.stack([at[arm] for arm in arms])).all(axis=(0, 2)))[:, None]
    share = np.where(kept, 1.0, 0.0) / kept.sum(-1, keepdims=True)
    matched = {arm: (np.where(kept, at[arm], 0.0) * share).sum(-1) for arm in arms}
    tuned, default = cell_name(True, True, True), cell_name(False, True, True)
    return {
        "indian - sgd": paired_t(curves["indian"].final - curves["sgd"].final, ALPHA),
        "indian - adam": paired_t(curves["indian"].final - curves["adam"].final, ALPHA),
        "indian - sgd at equal loss": paired_t(matched["indian"] - matched["sgd"], ALPHA),
        "indian - sgd-eta at equal loss": paired_t(matched["indian"] - matched["sgd-eta"], ALPHA),
        "H3b": paired_t(curves["indian"].final - curves["rate"].final, ALPHA),
        "H4": paired_t(curves[tuned].final - curves[default].final, ALPHA),
    }


def _rates(
    scenario: Scenario, n: int, studies: int, made: Mapping[str, Mapping[str, NDArray[np.float64]]]
) -> Iterator[Rate]:
    both = {
        "H1": ("indian - sgd", "indian - adam"),
        "H2": ("indian - sgd at equal loss", "indian - sgd-eta at equal loss"),
    }
    largest = {name: np.max([made[part]["p"] for part in parts], 0) for name, parts in both.items()}
    p = {**{name: part["p"] for name, part in made.items()}, **largest}
    for name in scenario.nulls:
        value = float((p[name] <= ALPHA).mean())
        yield _rate(scenario.name, n, name, "type I", value, studies)
        if name in made:
            covered = float((made[name]["high"] >= 0).mean())
            yield _rate(scenario.name, n, f"{name}, upper bound", "coverage", covered, studies)
    for name, parts in both.items():
        if name not in scenario.nulls and set(parts) & set(scenario.nulls):
            value = float((p[name] <= ALPHA).mean())
            yield _rate(scenario.name, n, f"{name}, all of", "at most", value, studies)
    if scenario.nulls == NO_EFFECT and not scenario.floor:
        # Holm rejects anything at all under a global null where the smallest p-value times their
        # number is below the level.
        smallest = np.min([made[part]["p"] for part in both["H1"]], 0) * len(both["H1"])
        value = float((smallest <= ALPHA).mean())
        yield _rate(scenario.name, n, "H1, Holm, any", "at most", value, studies)
    if scenario.effect:
        for name in ("indian - sgd at equal loss", "H3b", "H4"):
            for bound in ("low", "high"):
                covers = made[name][bound] - scenario.effect
                value = float(((covers <= 0) if bound == "low" else (covers >= 0)).mean())
                word = "lower" if bound == "low" else "upper"
                yield _rate(scenario.name, n, f"{name}, {word} bound", "coverage", value, studies)


def _labels(scenario: Scenario, n: int, curves: Mapping[str, Curves]) -> Iterator[Label]:
    """Yield the label of the claim in every simulated study, by the real verdict."""
    claims = simulated_claims(scenario)
    seeds = tuple(range(n))
    registration, scope = Registration("honest", seeds), Scope(n=n)
    for k in range(len(curves["indian"].train_loss)):
        one = {
            arm: Curves(
                train_loss=made.train_loss[k],
                test_accuracy=made.test_accuracy[k],
                validation_accuracy=None,
                diverged=made.diverged[k],
                chance=CHANCE,
            )
            for arm, made in curves.items()
        }
        evidence = Evidence(claims, seeds, one, CHANCE, thorough=False)
        yield judge_evidence(evidence, study="", scope=scope, registration=registration).label


def _other_rates(n: int, studies: int, rng: np.random.Generator) -> Iterator[Rate]:
    """Yield what stands beside the paired t: sign flips, equivalence, the surface."""
    if n <= 10:
        draws = rng.standard_normal((studies, n))
        value = float(np.mean([sign_flip(draw.tolist()) <= ALPHA for draw in draws]))
        yield _rate("no effect", n, "sign flips", "at most", value, studies)
    draws = DELTA + RUN_DEVIATION / 3 * rng.standard_normal((studies, n))
    value = float(np.mean([equivalence("", draw, DELTA, ALPHA).equivalent for draw in draws]))
    yield _rate("an interaction of δ", n, "TOST", "type I", value, studies)
    cells = np.array([(a, b, e) for a in (0.1, 0.5, 2) for b in (0.1, 0.5, 2) for e in (1, 2)])
    strata = np.tile([0, 1], 9)
    design = quadratic_design(cells, strata)
    found = []
    for _ in range(studies):
        values = rng.standard_normal((n, 1)) + rng.standard_normal((n, len(cells)))
        for stratum in (0, 1):
            own = strata == stratum
            values[:, own] -= values[:, own].mean(1, keepdims=True)
        found.append(joint_p(design, values, strata, permutations=199) <= ALPHA)
    yield _rate("no surface", n, "H3a, permutation", "type I", float(np.mean(found)), studies)


def _naive(n: int, studies: int, rng: np.random.Generator) -> Iterator[Rate]:
    by_name = {scenario.name: scenario for scenario in SCENARIOS}
    chosen = naive.same_data_selection(searched(n, studies, rng), ALPHA)
    through_loss = simulate(by_name["effect through loss only"], n, studies, rng)
    a, b = through_loss["indian"], through_loss["sgd"]
    adjusted = naive.ancova(a.final, b.final, a.train_loss[..., -1], b.train_loss[..., -1])
    shared = simulate(by_name["shared seed effects"], n, studies, rng)
    a, b = shared["indian"], shared["sgd"]
    for scenario, method, p in (
        ("selection only", "best of 25 on the data that chose it", chosen),
        ("effect through loss only", "ANCOVA on the final loss", adjusted),
        ("shared seed effects", "unpaired t-test", naive.unpaired(a.final, b.final)),
        ("shared seed effects", "z over seeds", naive.normal_quantiles(a.final - b.final)),
    ):
        yield _rate(scenario, n, method, "type I", float((p <= ALPHA).mean()), studies)


def _rate(
    scenario: str,
    n: int,
    procedure: str,
    kind: Kind,
    value: float,
    studies: int,
    target: float | None = None,
) -> Rate:
    if target is None:
        target = 1 - ALPHA if kind == "coverage" else ALPHA
    tolerance = BAND
    if studies < SURE:
        tolerance += 3 * math.sqrt(target * (1 - target) / studies)
    # Rounding must not push a rate over the edge of the band.
    off = value - target if kind == "at most" else abs(value - target)
    passed = off <= tolerance + 1e-12
    return Rate(scenario, n, procedure, kind, value, target, tolerance, studies, passed)


def _failures(made: Calibration) -> Iterator[str]:
    for rate in made.rates:
        if not rate.passed:
            yield (
                f"{rate.procedure} with {rate.n} seeds ({rate.scenario}): {rate.kind} "
                f"{rate.value:.4f}, wanted {rate.target:g} ± {rate.tolerance:.4f}"
            )
    for method in dict.fromkeys(rate.procedure for rate in made.naive):
        if all(rate.passed for rate in made.naive if rate.procedure == method):
            yield f"{method} passes, so that the calibration has no teeth"
    for by, other in ((0, 1), (1, 0)):
        for fixed in dict.fromkeys(row[other] for row in made.power):
            rows = sorted((row[by], row[2]) for row in made.power if row[other] == fixed)
            for (_, less), (where, more) in pairwise(rows):
                if more < less:
                    yield f"power falls from {less:.3f} to {more:.3f} at {where:g}"


def _lines(made: Calibration) -> Iterator[str]:
    for title, rates in (("The analysis", made.rates), ("Naive methods", made.naive)):
        yield f"## {title}"
        yield ""
        yield "| truth | procedure | rate | seeds | found | wanted | |"
        yield "|---|---|---|---:|---:|---:|---|"
        for rate in rates:
            sign = "≤" if rate.kind == "at most" else ""
            yield (
                f"| {rate.scenario} | {rate.procedure} | {rate.kind} | {rate.n} | "
                f"{rate.value:.4f} | {sign}{rate.target:g} ± {rate.tolerance:.3f} | "
                f"{'holds' if rate.passed else 'fails'} |"
            )
        yield ""
    yield "## Power"
    yield ""
    yield "| effect, points | seeds | H3b found | claim SUPPORTED |"
    yield "|---:|---:|---:|---:|"
    for effect, n, found, supported in made.power:
        yield f"| {100 * effect:g} | {n} | {found:.3f} | {supported:.3f} |"
    yield ""
    labels = (Label.SUPPORTED, Label.REFUTED, Label.INCONCLUSIVE)
    yield "## What the claim is told under every truth"
    yield ""
    yield f"| truth | seeds | {' | '.join(labels)} |"
    yield "|---|---:|---:|---:|---:|"
    for scenario, n, counts in made.verdicts:
        total = sum(counts.values())
        shares = " | ".join(f"{counts.get(label, 0) / total:.3f}" for label in labels)
        yield f"| {scenario} | {n} | {shares} |"


def _sizes(total: int) -> list[int]:
    whole, rest = divmod(total, _CHUNK)
    return [_CHUNK] * whole + ([rest] if rest else [])
