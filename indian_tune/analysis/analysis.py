"""A data frame and claims in, a verdict out."""

from __future__ import annotations

import dataclasses
import pkgutil
from typing import TYPE_CHECKING

import numpy as np

from indian_tune.analysis.claim import (
    PAPER,
    described,
    explored,
    in_order,
    judge,
    scope_words,
)
from indian_tune.analysis.evidence import Evidence
from indian_tune.analysis.finding import not_tested
from indian_tune.analysis.frame import confirm_rows, read_curves, tune_rows
from indian_tune.analysis.importance import importances
from indian_tune.analysis.label import Label
from indian_tune.analysis.verdict import Check, Scope, Verdict
from indian_tune.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from indian_tune.analysis.verdict import Finding, Registration
    from indian_tune.study.claims import ClaimsSection
    from indian_tune.study.hypotheses import Hypothesis


def analyze(
    frame: pd.DataFrame,
    claims: ClaimsSection,
    *,
    registration: Registration | None = None,
    scope: Scope | None = None,
    edges: Mapping[str, Sequence[str]] | None = None,
    examples: pd.DataFrame | None = None,
) -> Verdict:
    """Judge the claim that tuning (α, β) regularizes.

    Args:
        frame: one row per run and epoch, as :mod:`indian_tune.analysis.frame` describes.
        claims: which arms each hypothesis compares, and at which levels.
        registration: what was fixed before the first trial. Without one the verdict is
            EXPLORATORY: nobody can tell whether the claims were chosen after the results.
        scope: what the verdict holds for; ``scope.classes`` gives the score of runs that diverged.
        edges: of an arm, in words, which of its winner's values lie on the edge of their range;
            they make what rests on the arm provisional.
        examples: which test images every run gets right at its end: columns arm, seed and
            correct, an array [images]; adds bounds over images. Runs that diverged have no row.

    Raises:
        InputError: the frame cannot be analysed; the message names column, arm and seed.
    """
    scope = scope or Scope()
    if scope.classes is not None and scope.classes < 2:
        raise InputError(f"classes = {scope.classes!r} must be at least 2")
    chance = None if scope.classes is None else 1 / scope.classes
    rows = confirm_rows(frame)
    seeds, curves = read_curves(rows, chance)
    search = tune_rows(frame)
    evidence = Evidence(
        claims=claims,
        seeds=seeds,
        curves=curves,
        chance=chance,
        search=search,
        edges={arm: tuple(said) for arm, said in (edges or {}).items()},
        examples=_examples(examples, seeds, tuple(curves), chance),
    )
    study = str(frame["study"].iloc[0]) if "study" in frame else ""
    epochs = int(rows["epoch"].max())
    scope = dataclasses.replace(scope, n=len(seeds), epochs=scope.epochs or epochs)
    return dataclasses.replace(
        judge_evidence(
            evidence,
            study=study,
            scope=scope,
            registration=registration,
            breaks=_breaks(registration, seeds, search),
        ),
        importances=importances(search),
    )


def judge_evidence(
    evidence: Evidence,
    *,
    study: str,
    scope: Scope,
    registration: Registration | None,
    breaks: tuple[str, ...] = (),
) -> Verdict:
    """Evaluate every hypothesis, then the claim.

    Args:
        evidence: the runs and the claims.
        study: name of the study.
        scope: what the verdict holds for.
        registration: what was registered.
        breaks: how the runs depart from it.
    """
    claims = evidence.claims
    findings = tuple(_find(evidence, kind, section) for kind, section in claims.sections())
    checks = _checks(evidence, findings)
    exploratory = breaks
    if registration is not None and registration.mode == "paper":
        findings = described(findings)
        label, broken, reason = Label.DESCRIPTIVE, None, PAPER
    elif exploratory:
        findings = explored(findings)
        label, broken = Label.EXPLORATORY, None
        reason = f"No verdict is given: {'; '.join(exploratory)}."
    else:
        findings = in_order(findings, claims.links())
        every = [*checks, *(check for found in findings for check in found.checks)]
        label, broken, reason = judge(findings, every, claims.links())
    provisional = [said for found in findings for said in found.provisional]
    if provisional:
        reason += " Provisional: winners lie on the edge of their range."
    return Verdict(
        study=study,
        label=label,
        broken=broken,
        sentence=f"{reason} This holds for {scope_words(scope)}.",
        scope=scope,
        registration=registration,
        exploratory=exploratory,
        delta=claims.delta,
        alpha=claims.alpha,
        findings=findings,
        checks=checks,
        diverged=tuple(
            f"{arm} {seed}"
            for arm, curves in evidence.curves.items()
            for seed, gone in zip(evidence.seeds, curves.diverged, strict=True)
            if gone
        ),
    )


def _find(evidence: Evidence, kind: type[Hypothesis], section: Hypothesis | None) -> Finding:
    """Judge one hypothesis by the function that it names, where its arms have runs."""
    if section is None:
        return not_tested(kind, kind.add)
    missing = evidence.runs_of(section.required())
    if missing:
        return not_tested(kind, missing)
    found: Finding = pkgutil.resolve_name(kind.find)(evidence, section)
    return found


def _breaks(
    registration: Registration | None, seeds: tuple[int, ...], search: pd.DataFrame
) -> tuple[str, ...]:
    """Return how a frame departs from what was registered, one clause each."""
    if registration is None:
        return ("nothing was registered before the results were known",)
    breaks = list(registration.breaks)
    if tuple(sorted(registration.seeds)) != seeds:
        breaks.append(
            f"the fresh seeds are {_listed(seeds)}, registered were "
            f"{_listed(sorted(registration.seeds))}"
        )
    if len(search):
        found = search.groupby("arm")["trial"].nunique()
        for arm, trials in registration.trials.items():
            if int(found.get(arm, 0)) != trials:
                breaks.append(
                    f"arm {arm!r} has {int(found.get(arm, 0))} trials of the search, registered "
                    f"were {trials}"
                )
    return tuple(breaks)


def _listed(seeds: Sequence[int]) -> str:
    listed = ", ".join(map(str, seeds[:6]))
    return f"{listed}, … ({len(seeds)})" if len(seeds) > 6 else listed or "none"


def _checks(evidence: Evidence, findings: Sequence[Finding]) -> tuple[Check, ...]:
    """Check that every compared arm learned something at all."""
    if evidence.chance is None:
        return ()
    arms = dict.fromkeys(
        arm for found in findings for made in found.primary for arm in (made.arm, made.baseline)
    )
    floor = evidence.chance + evidence.claims.delta
    idle = [arm for arm in arms if float(evidence.curves[arm].final.mean()) <= floor]
    said = (
        f"{', '.join(idle)} {'does' if len(idle) == 1 else 'do'} no better than chance."
        if idle
        else "Every compared arm does better than chance."
    )
    return (Check("every compared arm learns", not idle, said),)


def _examples(
    frame: pd.DataFrame | None,
    seeds: tuple[int, ...],
    arms: tuple[str, ...],
    chance: float | None,
) -> dict[str, NDArray[np.float64]]:
    """Return per-example correctness by arm, [seeds, images]; chance for runs that diverged."""
    if frame is None or frame.empty:
        return {}
    rows = frame[frame["phase"] == "confirm"] if "phase" in frame else frame
    lengths = {len(correct) for correct in rows["correct"]}
    if len(lengths) > 1:
        raise InputError(f"examples hold {sorted(lengths)} images: every run needs the same")
    found = {
        (arm, seed): np.asarray(correct, dtype=np.float64)
        for arm, seed, correct in zip(rows["arm"], rows["seed"], rows["correct"], strict=True)
    }
    known = {arm for arm, _ in found} & set(arms)
    blank = np.full(lengths.pop() if lengths else 0, np.nan if chance is None else chance)
    return {
        arm: np.stack([found.get((arm, seed), blank) for seed in seeds])
        for arm in arms
        if arm in known
    }
