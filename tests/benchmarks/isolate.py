"""How often the studies `isolate-mnist` and `isolate-digits` come to which verdict, by the truth.

Claim: in no world in which the claim is false are they, each alone or together, SUPPORTED in more
than .06 of the studies, and in none in which it is true by δ or more REFUTED in more than .06.

Searches, trials, seeds, δ, level and test examples are those of the study files; every arm is
searched trial by trial, winners of half the budget are confirmed too, and every gate is asked
(`tests/searches.py`). How far searches differ is that of the pilots: two winners by a standard
deviation of about a point. Both studies have the same truth. "On all" and "on average" are what
`analyze --combined` says of the two.

    python -m tests.benchmarks.isolate --out studies/results/isolate
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from indian_tune.analysis.analysis import judge_evidence
from indian_tune.analysis.combined import combine
from indian_tune.analysis.contrasts import stopped
from indian_tune.analysis.evidence import Evidence
from indian_tune.analysis.label import Label
from indian_tune.analysis.simulation import CHANCE, TUNED, simulated_claims
from indian_tune.analysis.verdict import Registration, Scope
from indian_tune.study.file.spec import load_study
from tests.benchmarks.report import in_words, machine, save
from tests.searches import NOT_SEARCHED, Setting, searches

if TYPE_CHECKING:
    from collections.abc import Mapping

    from indian_tune.analysis.verdict import Verdict
    from indian_tune.study import StudySpec

ROOT = Path(__file__).parents[2]
NAMES = ("isolate-mnist", "isolate-digits")
STUDIES, FALSE = 500, 0.06
# With these, searches differ and gain as those of `tuning.py` and of the pilots do: deviations of
# what validation adds to a trial's score and of a run, and what a corner of a space loses.
SELECTION, RUN, SCALE = 0.01, 0.008, 0.15
ALL, AVERAGE = "on all", "on average"
LABELS = ("SUPPORTED", "REFUTED", "INCONCLUSIVE")
CONTROLLED = (*TUNED, NOT_SEARCHED)


@dataclass(frozen=True)
class World:
    """A truth: effects in points, by arm, and whether the claim holds in it."""

    name: str
    gain: Mapping[str, float] = dataclasses.field(default_factory=dict)
    fit: Mapping[str, float] = dataclasses.field(default_factory=dict)
    usual: float = 3.0
    true: bool = False

    def setting(self, spec: StudySpec) -> Setting:
        """Return what is simulated of a study."""
        sizes = spec.problem.sizes
        assert sizes is not None
        assert sizes.test is not None
        assert isinstance(spec.protocol.confirm_seeds, int)
        assert spec.search.trials is not None
        return Setting(
            replicates=spec.search.replicates,
            trials=spec.search.trials,
            seeds=spec.protocol.confirm_seeds,
            gain={arm: points / 100 for arm, points in self.gain.items()},
            fit={arm: points / 100 for arm, points in self.fit.items()},
            usual=self.usual / 100,
            scale=SCALE,
            selection=SELECTION,
            run=RUN,
            test_examples=sizes.test,
        )


def of(arms: tuple[str, ...], points: float) -> dict[str, float]:
    """Return the same effect of several arms."""
    return dict.fromkeys(arms, points)


WORLDS = (
    World("nothing"),
    World("tuning gains 1, not by fit", of(TUNED, 1), true=True),
    World("tuning gains 2, not by fit", of(TUNED, 2), true=True),
    World("tuning gains 3, not by fit", of(TUNED, 3), true=True),
    World("tuning gains 3, by fit", of(TUNED, 3), of(TUNED, 3)),
    World("tuning gains 3, by the level of the rate", of(CONTROLLED, 3)),
    World("tuning gains 3, not beside dropout and decay", {"full": 3}),
    World("tuning loses 1", of(TUNED, -1)),
    World("nothing, and dropout and decay gain nothing", usual=0),
)


def judge(job: tuple[World, int, int]) -> dict[str, Counter[str]]:
    """Simulate both studies many times; return labels by study, and gates that stop by study."""
    world, studies, number = job
    rng = np.random.default_rng([11, number])
    found: dict[str, Counter[str]] = {}
    specs = [load_study(ROOT / "studies" / f"{name}.toml") for name in NAMES]
    for _ in range(studies):
        verdicts = [verdict_of(world, spec, rng) for spec in specs]
        both = combine(verdicts, dict.fromkeys(NAMES, NAMES))
        labels = {verdict.study: verdict.label for verdict in verdicts}
        for name, label in {**labels, ALL: both.on_all, AVERAGE: both.on_average}.items():
            found.setdefault(name, Counter())[str(label)] += 1
        for verdict in verdicts:
            found.setdefault(f"gates of {verdict.study}", Counter()).update(stopping(verdict))
    return found


def stopping(verdict: Verdict) -> set[str]:
    """Return the gates that stop a label which the bounds of a contrast allow."""
    contrasts = [made for each in verdict.findings for made in each.contrasts]
    allowed = [
        *((made, Label.SUPPORTED) for made in contrasts if made.test.low > 0),
        *((made, Label.REFUTED) for made in contrasts if made.test.high < verdict.delta),
    ]
    return {gate.name for made, label in allowed for gate in stopped(made, verdict.gates, label)}


def verdict_of(world: World, spec: StudySpec, rng: np.random.Generator) -> Verdict:
    """Simulate one study and judge it as `analyze --combined` would."""
    found = searches(world.setting(spec), rng)
    rows = np.arange(spec.search.replicates)
    winners = {
        name: {
            str(axis): ((1 + arm.points[rows, arm.score.argmin(-1), axis]) / 2).tolist()
            for axis in range(2)
        }
        for name, arm in found.items()
    }
    claims = simulated_claims().model_copy(
        update={"delta": spec.claims.delta, "alpha": spec.claims.alpha}
    )
    arms = {name: arm.ends for name, arm in found.items()}
    evidence = Evidence(claims, arms, CHANCE, winners=winners, joins=True, thorough=False)
    return judge_evidence(
        evidence, study=spec.name, scope=Scope(), registration=Registration("honest", ())
    )


def to_markdown(report: dict[str, Any]) -> str:
    ran = report["setting"]
    lines = [
        "# Calibration of `isolate`",
        "",
        f"{ran['studies']:,} simulated pairs of studies a row. {ran['design']} "
        f"{in_words(ran['machine'])}.",
        "",
        report["claim"],
        "",
        "Shares: SUPPORTED / REFUTED / INCONCLUSIVE. Effects in points.",
        "",
        f"| truth | claim | {' | '.join((*NAMES, ALL, AVERAGE))} |",
        "|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        cells = " | ".join(
            " / ".join(f"{row['shares'][name].get(label, 0):.3f}" for label in LABELS)
            for name in (*NAMES, ALL, AVERAGE)
        )
        lines.append(f"| {row['world']} | {'true' if row['true'] else 'false'} | {cells} |")
    lines += [
        "",
        "Shares of studies in which a gate stops a label that the bounds of a contrast allow:",
        "",
        "| truth | " + " | ".join(NAMES) + " |",
        "|---|---|---|",
    ]
    for row in report["rows"]:
        cells = " | ".join(
            ", ".join(f"{gate} {share:.2f}" for gate, share in row["gates"][name].items()) or "–"
            for name in NAMES
        )
        lines.append(f"| {row['world']} | {cells} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--studies", type=int, default=STUDIES)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, help="folder for calibration.md and .json")
    given = parser.parse_args()
    jobs = [(world, given.studies, number) for number, world in enumerate(WORLDS)]
    if given.processes > 1:
        with ProcessPoolExecutor(given.processes) as pool:
            found = list(pool.map(judge, jobs))
    else:
        found = [judge(job) for job in jobs]
    rows: list[dict[str, Any]] = [
        {
            "world": world.name,
            "true": world.true,
            "shares": {
                name: {label: count / given.studies for label, count in counts[name].items()}
                for name in (*NAMES, ALL, AVERAGE)
            },
            "gates": {
                name: {
                    gate: count / given.studies
                    for gate, count in counts[f"gates of {name}"].most_common()
                }
                for name in NAMES
            },
        }
        for (world, _, _), counts in zip(jobs, found, strict=True)
    ]
    wrong = {
        f"{row['world']}, {name}": row["shares"][name].get(
            "REFUTED" if row["true"] else "SUPPORTED", 0
        )
        for row in rows
        for name in (*NAMES, ALL, AVERAGE)
    }
    worst = max(wrong, key=wrong.__getitem__)
    # What chance adds to a rate of .06 over so many studies.
    most = FALSE + 3 * math.sqrt(FALSE * (1 - FALSE) / given.studies)
    holds = "holds" if wrong[worst] <= most else "does not hold"
    spec = load_study(ROOT / "studies" / f"{NAMES[0]}.toml")
    report = {
        "setting": {
            "machine": machine("numpy", "scipy"),
            "studies": given.studies,
            "design": f"{spec.search.replicates} searches of {spec.search.trials} trials, "
            f"{spec.protocol.confirm_seeds} fresh seeds, δ = {100 * spec.claims.delta:g} points.",
        },
        "claim": f"The most frequent wrong verdict comes in {wrong[worst]:.3f} ({worst}), wanted "
        f"≤ {FALSE:g}, up to chance {most:.3f}: the claim {holds}.",
        "rows": rows,
    }
    save(given.out, "calibration", report, to_markdown(report))


if __name__ == "__main__":
    main()
