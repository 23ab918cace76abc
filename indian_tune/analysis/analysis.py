"""Analyzes a data frame under registered claims and returns a verdict."""

from __future__ import annotations

import dataclasses
import math
import pkgutil
from typing import TYPE_CHECKING, Any

from indian_tune.analysis.budget import as_measured, budget_curves
from indian_tune.analysis.claim import NONE, PAPER, UNCOMPARED, judge, scope_words
from indian_tune.analysis.ends import unit_means
from indian_tune.analysis.evidence import Evidence, not_tested
from indian_tune.analysis.frame import (
    confirm_rows,
    read_ends,
    scored,
    trial_rows,
    with_config_columns,
)
from indian_tune.analysis.importance import importances
from indian_tune.analysis.label import Label
from indian_tune.analysis.levels import LEVEL, read_levels
from indian_tune.analysis.places import winner_places
from indian_tune.analysis.verdict import Scope, Trained, Verdict
from indian_tune.analysis.verdict_text import ReadableVerdict
from indian_tune.columns import config_column
from indian_tune.errors import InputError
from indian_tune.outcome import ACCURACY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from indian_tune.analysis.verdict import Finding, Registration
    from indian_tune.outcome import Outcome
    from indian_tune.study.claims import ClaimsSection
    from indian_tune.study.file.space import Space
    from indian_tune.study.hypotheses import Hypothesis


def analyze(
    frame: pd.DataFrame,
    claims: ClaimsSection,
    *,
    registration: Registration | None = None,
    scope: Scope | None = None,
    spaces: Mapping[str, Space] | None = None,
    examples: pd.DataFrame | None = None,
    joins: bool = False,
) -> Verdict:
    """Judge the claim that tuning (α, β) regularizes.

    Args:
        frame: one row per run and epoch, as :mod:`indian_tune.analysis.frame` describes.
        claims: which arms each hypothesis compares, and at which levels.
        registration: what was fixed before the first run. Without one the verdict is
            EXPLORATORY: nobody can tell whether the claims were chosen after the results.
        scope: what the verdict holds for; ``scope.classes`` tells which runs did not train, and
            ``scope.outcome`` what they are judged by where that is no accuracy.
        spaces: of an arm, what it was searched over, as ``parse_space`` reads it. Without that of
            the arm that loses no contrast is decided.
        examples: which test examples every run gets right at its end: columns arm, seed, correct,
            an array [examples], and replicate. Runs that diverged have no row.
        joins: whether the study is combined with others, so that gates are asked for either label.

    Raises:
        InputError: the frame cannot be analysed; the message names column, arm and seed.
    """
    scope = scope or Scope()
    if scope.classes is not None and scope.classes < 2:
        raise InputError(f"classes = {scope.classes!r} must be at least 2")
    least, outcome = scope.trained_score, scope.judged
    frame = scored(frame, outcome)
    if outcome.name != ACCURACY.name:
        # Which examples are right tells how an accuracy varies, and no other metric.
        examples = None
    rows = confirm_rows(frame)
    control = None if claims.h2 is None else claims.h2.matched_rate
    seeds, arms = read_ends(rows, confirm_rows(frame, "half"), examples, least, control)
    search = trial_rows(frame, "tune")
    evidence = Evidence(
        claims=claims,
        arms=arms,
        least=least,
        outcome=outcome,
        search=search,
        winners=winner_places(rows, search, spaces or {}),
        levels=read_levels(frame, rows, seeds, least),
        spaces=spaces or {},
        joins=joins,
    )
    study = str(frame["study"].iloc[0]) if "study" in frame else ""
    scope = dataclasses.replace(
        scope,
        searches=len(seeds),
        n=max(map(len, seeds.values())),
        epochs=scope.epochs or int(rows["epoch"].max()),
    )
    every = tuple(sorted({seed for own in seeds.values() for seed in own}))
    return dataclasses.replace(
        judge_evidence(
            evidence,
            study=study,
            scope=scope,
            registration=registration,
            breaks=(*_breaks(registration, every, search), *_former_control(rows, claims)),
        ),
        trained=_trained(evidence, seeds, outcome),
        importances=importances(search),
        budget_curves=as_measured(budget_curves(search), outcome),
        doubt=_doubt(evidence, scope.with_chance),
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
    strongly, hangs_on = False, None
    paper = registration is not None and registration.mode == "paper"
    claimed = claims.claimed and not paper
    if paper:
        label, reason = Label.DESCRIPTIVE, PAPER
    elif claims.verdict == "none":
        label, reason = Label.DESCRIPTIVE, NONE
    elif breaks:
        label, reason = Label.EXPLORATORY, f"No verdict is given: {'; '.join(breaks)}."
    elif not claims.claimed:
        label, reason = Label.NOT_TESTED, NONE
    else:
        label, strongly, hangs_on, reason = judge(
            findings, claims.links(), claims.delta, evidence.outcome
        )
    compared = any(found.contrasts or found.beside for found in findings)
    if reason == NONE and len(evidence.arms) > 1 and not compared:
        reason = UNCOMPARED
    if label in (Label.DESCRIPTIVE, Label.EXPLORATORY):
        findings = tuple(
            found
            if found.label is Label.NOT_TESTED
            else dataclasses.replace(found, label=label, **_silent(found, label))
            for found in findings
        )
    return ReadableVerdict(
        study=study,
        label=label,
        strongly=strongly,
        hangs_on=hangs_on,
        sentence=f"{reason} {'This holds' if claimed else 'The results hold'} for "
        f"{scope_words(scope)}.",
        scope=scope,
        registration=registration,
        exploratory=breaks if label is Label.EXPLORATORY else (),
        delta=claims.delta,
        alpha=claims.alpha,
        contrasts=sum(kind.contrasts for kind in claims.links()),
        findings=findings,
        claimed=claimed,
    )


def _silent(found: Finding, label: Label) -> dict[str, Any]:
    """Return the fields of a finding without labels of its contrasts and without gates."""
    return {
        "contrasts": tuple(dataclasses.replace(made, label=label) for made in found.contrasts),
        "beside": tuple(dataclasses.replace(made, label=label) for made in found.beside),
        "gates": () if label is Label.DESCRIPTIVE else found.gates,
    }


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
            f"the fresh seeds are {_listed(seeds)}, but the registered ones are "
            f"{_listed(sorted(registration.seeds))}"
        )
    if len(search):
        found = search.groupby(["arm", "replicate"])["trial"].nunique()
        for arm, trials in registration.trials.items():
            odd = [int(n) for n in found[found.index.get_level_values("arm") == arm] if n != trials]
            if odd or arm not in found.index.get_level_values("arm"):
                breaks.append(
                    f"arm {arm!r} has {(odd or [0])[0]} trials of the search, but {trials} were "
                    "registered"
                )
    return tuple(breaks)


def _listed(seeds: Sequence[int]) -> str:
    listed = ", ".join(map(str, seeds[:6]))
    return f"{listed}, … ({len(seeds)})" if len(seeds) > 6 else listed or "none"


def _former_control(rows: pd.DataFrame, claims: ClaimsSection) -> tuple[str, ...]:
    """Return why H2 was registered by other rules: its control has no level that was tuned.

    Such a control has a step size of its own and no level.
    """
    control = None if claims.h2 is None else claims.h2.matched_rate
    own = with_config_columns(rows[rows["arm"] == control])
    if control is None or own.empty:
        return ()
    rate = config_column("gamma0")
    if rate not in own or own[rate].isna().any() or (LEVEL in own and own[LEVEL].notna().any()):
        return ()
    return (
        f"the control {control!r} was not matched by response at a tuned level: arms with "
        "matched_rate_of have no such level",
    )


def _doubt(evidence: Evidence, outcome: Outcome) -> str:
    """Return why runs may count as failed that did train."""
    arms = evidence.arms.values()
    if not any(ends.failed.any() for ends in arms):
        return ""
    return outcome.doubt(1 - score for ends in arms for score in ends.train.ravel().tolist())


def _trained(
    evidence: Evidence, seeds: Mapping[int, tuple[int, ...]], outcome: Outcome
) -> tuple[Trained, ...]:
    """Return for every arm how its runs ended, the arm with the best mean first."""
    means = {arm: unit_means(ends.test, ends.trained) for arm, ends in evidence.arms.items()}
    first = sorted(means, key=lambda arm: -means[arm].mean() if len(means[arm]) else math.inf)
    return tuple(
        Trained(
            arm,
            int(evidence.arms[arm].there.sum()),
            tuple(
                f"{replicate}/{seed}" if len(seeds) > 1 else str(seed)
                for row, (replicate, own) in enumerate(seeds.items())
                for place, seed in enumerate(own)
                if evidence.arms[arm].failed[row, place]
            ),
            float(outcome.measured(means[arm].mean())) if len(means[arm]) else None,
            float(means[arm].std(ddof=1)) if len(means[arm]) > 1 else None,
        )
        for arm in first
    )
