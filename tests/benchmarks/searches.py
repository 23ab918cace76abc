"""How often studies of whole searches come to a verdict, and what stops the others.

Claim: where tuning (α, β) gains nothing, ten searches of 32 trials with 5 fresh seeds each are
conclusive in at least .8 of the studies, and falsely SUPPORTED in at most .06. Every arm of a
simulated study is searched trial by trial, and the winner of the first half of the budget is
confirmed too (`tests/searches.py`); the verdict is the one that `analyze` gives.

The control of H2 takes the steps of the winner that it is a control of. It is simulated twice: as
losing what that winner loses, and, as the worst case, with a search of its own.

Beside the rule of the gate on the budget, others are put to the same studies, and to such in which
they must not pass: the arms that T2 is compared with have a space of three dimensions, so that
they are behind at any budget and equal in the end.

    python -m tests.benchmarks.searches --out tests/benchmarks/results
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from indian_tune.analysis.analysis import judge_evidence
from indian_tune.analysis.contrasts import refutes, stopped, supports
from indian_tune.analysis.evidence import Evidence
from indian_tune.analysis.label import Label
from indian_tune.analysis.simulation import CHANCE, DELTA, TUNED, UNBOUNDED, simulated_claims
from indian_tune.analysis.verdict import Registration, Scope
from tests.benchmarks.report import in_words, machine, save
from tests.searches import NOT_SEARCHED, Setting, searches

if TYPE_CHECKING:
    from indian_tune.analysis.verdict import Contrast, Verdict

STUDIES = 2_000
CONCLUSIVE, FALSE = 0.8, 0.06
GAINS = (0.0, 0.005, 0.01, 0.02)
BUDGETS, REPLICATES = (16, 32, 64), (5, 10, 20)
# The gate on the budget: none; the mean of g in place of its values; both arms gain, with the noise
# of both, and on average.
RULES = ("none", "the mean of g", "both arms gain", "both arms gain their mean")
BEHIND = ("rate", "sgd", "sgd-usual")


@dataclass
class Found:
    """What the studies of a setting came to; counts of studies, summed deviations by contrast."""

    labels: Counter[str] = field(default_factory=Counter)
    hangs_on: Counter[str] = field(default_factory=Counter)
    # By contrast: its bound allows REFUTED; the same, and no gate stops it; the gates that do.
    below: Counter[str] = field(default_factory=Counter)
    refuting: Counter[str] = field(default_factory=Counter)
    stopping: Counter[str] = field(default_factory=Counter)
    deviation: dict[str, float] = field(default_factory=dict)
    # By rule of the gate on the budget: labels of the claim.
    ruled: dict[str, Counter[str]] = field(default_factory=dict)


def judge(job: tuple[Setting, int, int]) -> Found:
    """Simulate and judge the studies of one setting."""
    setting, studies, number = job
    rng = np.random.default_rng([7, number])
    claims, registration = simulated_claims(), Registration("honest", ())
    found = Found()
    for _ in range(studies):
        arms = {name: arm.ends for name, arm in searches(setting, rng).items()}
        evidence = Evidence(claims, arms, CHANCE, winners=UNBOUNDED, thorough=False)
        verdict = judge_evidence(
            evidence, study="simulated", scope=Scope(), registration=registration
        )
        found.labels[str(verdict.label)] += 1
        for rule in RULES:
            found.ruled.setdefault(rule, Counter())[ruled(evidence, verdict, rule)] += 1
        if verdict.label is Label.INCONCLUSIVE:
            found.hangs_on[str(verdict.hangs_on)] += 1
        for made in (made for each in verdict.findings for made in each.contrasts):
            summed = found.deviation.get(made.name, 0.0)
            found.deviation[made.name] = summed + made.deviation
            if made.test.high < claims.delta:
                found.below[made.name] += 1
                gates = stopped(made, verdict.gates, Label.REFUTED)
                found.refuting[made.name] += not gates
                found.stopping.update(f"{made.name}: {gate.name}" for gate in gates)
    return found


def ruled(evidence: Evidence, verdict: Verdict, rule: str) -> str:
    """Return the label of the claim under another rule of the gate on the budget."""
    gates = [gate for gate in verdict.gates if gate.name != "budget"]
    contrasts = [made for each in verdict.findings for made in each.contrasts]
    delta = evidence.claims.delta
    if any(
        refutes(made, gates, delta) and bounds_after(evidence, made, rule)[1] < delta
        for made in contrasts
    ):
        return str(Label.REFUTED)
    if all(
        supports(made, gates) and bounds_after(evidence, made, rule)[0] > 0 for made in contrasts
    ):
        return str(Label.SUPPORTED)
    return str(Label.INCONCLUSIVE)


def bounds_after(evidence: Evidence, made: Contrast, rule: str) -> tuple[float, float]:
    """Return the bounds of Δ: the lower after the rival's gain, the upper after that of the arm."""
    first, second = evidence.arms[made.arm], evidence.arms[made.baseline]
    if made.needs_gap or rule == "none" or first.half is None or second.half is None:
        return made.test.low, made.test.high
    difference = (first.test - second.test).mean(-1)
    own, other = ((ends.test - ends.half.test).mean(-1) for ends in (first, second) if ends.half)
    if rule == "both arms gain":
        moved = evidence.bounds(difference + own - other)
        return float(moved.low), float(moved.high)
    if rule == "both arms gain their mean":
        gain = float((own - other).mean())
        return made.test.low + gain, made.test.high + gain
    return made.test.low - float(other.mean()), made.test.high + float(own.mean())


def settings() -> list[Setting]:
    """Return what is simulated, the setting of the claim first."""
    return [
        Setting(),
        Setting(follows=False),
        *(Setting(trials=trials) for trials in BUDGETS if trials != 32),
        *(Setting(replicates=count) for count in REPLICATES if count != 10),
        *(Setting(gain=dict.fromkeys(TUNED, gain)) for gain in GAINS if gain),
        Setting(follows=False, trials=64),
        Setting(follows=False, replicates=20),
        # H2 holds, and all else hangs on searches that are behind.
        Setting(gain={NOT_SEARCHED: -0.02}, dimensions=dict.fromkeys(BEHIND, 3)),
    ]


def to_markdown(report: dict[str, Any]) -> str:
    ran = report["setting"]
    lines = [
        "# Studies of whole searches",
        "",
        f"{ran['studies']:,} simulated studies a row, δ = {100 * DELTA:g} points, 5 fresh seeds. "
        f"{in_words(ran['machine'])}.",
        "",
        report["claim"],
        "",
        "| truth, points | searches | trials | control | SUPPORTED | REFUTED | INCONCLUSIVE | open "
        "ones depend on |",
        "|---:|---:|---:|---|---:|---:|---:|---|",
    ]
    for row in report["rows"]:
        shares = " | ".join(
            f"{row['labels'].get(label, 0):.3f}"
            for label in ("SUPPORTED", "REFUTED", "INCONCLUSIVE")
        )
        hangs = ", ".join(
            f"{name} {share:.2f}" for name, share in list(row["hangs_on"].items())[:3]
        )
        lines.append(
            f"| {'behind' if row['behind'] else format(100 * row['gain'], 'g')} | "
            f"{row['replicates']} | {row['trials']} | {row['control']} | "
            f"{shares} | {hangs or '–'} |"
        )
    lines += [
        "",
        "## What each contrast does",
        "",
        "Deviation: of Δ between searches. Below: the upper bound is below δ. Refutes: and no gate "
        "stops it.",
        "",
        "| truth, points | searches | trials | control | contrast | deviation, points | below | "
        "refutes | stopped by |",
        "|---:|---:|---:|---|---|---:|---:|---:|---|",
    ]
    for row in report["rows"]:
        if row["gain"] or row["behind"]:
            continue
        for name, one in row["contrasts"].items():
            gates = ", ".join(f"{gate} {share:.2f}" for gate, share in one["stopped_by"].items())
            lines.append(
                f"| {100 * row['gain']:g} | {row['replicates']} | {row['trials']} | "
                f"{row['control']} | {name} | {100 * one['deviation']:.2f} | {one['below']:.2f} | "
                f"{one['refutes']:.2f} | {gates or '–'} |"
            )
    lines += [
        "",
        "## Other rules of the gate on the budget",
        "",
        "Shares SUPPORTED / REFUTED. Behind: the arms that T2 is compared with are searched in "
        "three dimensions and are as good in the end, so that SUPPORTED is wrong beyond B.",
        "",
        f"| truth | searches | trials | control | the rule | {' | '.join(RULES)} |",
        f"|---|---:|---:|---|{'---|' * (1 + len(RULES))}",
    ]
    for row in report["rows"]:
        if row["gain"]:
            continue
        cells = " | ".join(
            f"{labels.get('SUPPORTED', 0):.3f} / {labels.get('REFUTED', 0):.3f}"
            for labels in (row["labels"], *(row["ruled"][rule] for rule in RULES))
        )
        lines.append(
            f"| {'behind' if row['behind'] else '0'} | {row['replicates']} | {row['trials']} | "
            f"{row['control']} | {cells} |"
        )
    return "\n".join(lines) + "\n"


def _row(setting: Setting, found: Found, studies: int) -> dict[str, Any]:
    def shares(counts: Counter[str]) -> dict[str, float]:
        return {name: count / studies for name, count in counts.most_common()}

    stopping = shares(found.stopping)
    return {
        "gain": max((*setting.gain.values(), 0.0)),
        "behind": bool(setting.dimensions),
        "replicates": setting.replicates,
        "trials": setting.trials,
        "seeds": setting.seeds,
        "control": "as its winner" if setting.follows else "searched",
        "labels": shares(found.labels),
        "hangs_on": shares(found.hangs_on),
        "ruled": {rule: shares(labels) for rule, labels in found.ruled.items()},
        "contrasts": {
            name: {
                "deviation": total / studies,
                "below": found.below[name] / studies,
                "refutes": found.refuting[name] / studies,
                "stopped_by": {
                    key.partition(": ")[2]: share
                    for key, share in stopping.items()
                    if key.startswith(f"{name}: ")
                },
            }
            for name, total in found.deviation.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--studies", type=int, default=STUDIES)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, help="folder for searches.md and .json")
    given = parser.parse_args()
    jobs = [(setting, given.studies, number) for number, setting in enumerate(settings())]
    if given.processes > 1:
        with ProcessPoolExecutor(given.processes) as pool:
            found = list(pool.map(judge, jobs))
    else:
        found = [judge(job) for job in jobs]
    rows = [_row(job[0], one, given.studies) for job, one in zip(jobs, found, strict=True)]
    parts = []
    for row in rows[:2]:
        conclusive = 1 - row["labels"].get("INCONCLUSIVE", 0.0)
        false = row["labels"].get("SUPPORTED", 0.0)
        holds = conclusive >= CONCLUSIVE and false <= FALSE
        parts.append(
            f"Control {row['control']}: conclusive in {conclusive:.3f} (wanted ≥ {CONCLUSIVE:g}), "
            f"falsely SUPPORTED in {false:.4f} (wanted ≤ {FALSE:g}): "
            f"{'the claim holds' if holds else 'the claim does not hold'}."
        )
    report = {
        "setting": {"machine": machine("numpy", "scipy"), "studies": given.studies},
        "claim": " ".join(parts),
        "rows": rows,
    }
    save(given.out, "searches", report, to_markdown(report))


if __name__ == "__main__":
    main()
