"""`compare` for Python and for the command line: sources read, arms compared."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from indian_tune.errors import InputError
from indian_tune.service.python_words import PythonWords

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import pandas as pd

    from indian_tune.comparison import Comparison, Many
    from indian_tune.comparison.contrast import Pairing
    from indian_tune.comparison.metric_names import Better
    from indian_tune.comparison.registration import Plan
    from indian_tune.comparison.runs import Missing
    from indian_tune.comparison.sources import Request, Source
    from indian_tune.service.python import Results


# Why a registered comparison is exploratory, and what is said beside it.
UNTIMED = (
    "when the runs began is not recorded, so it is not shown that they began after the registration"
)
UNTIMED_CAUTION = (
    "The source does not say when every run began, and a copy of old runs is a new file: these "
    "runs may be older than the registration. Give the time in a column started_at, such as "
    "2026-01-31T12:00:00+00:00"
)


@PythonWords()
def compare(
    frame: pd.DataFrame | Results | str | Path,
    a: str,
    b: str,
    *,
    metric: str | None = None,
    better: Better | None = None,
    delta: float | None = None,
    alpha: float = 0.05,
    columns: Mapping[str, str] | None = None,
    where: Mapping[str, str] | None = None,
    pairing: Pairing = "auto",
    missing: Missing = "refuse",
    sequential: bool = False,
    target: float | None = None,
) -> Comparison:
    """Say whether the difference of two arms is real, and how many more seeds it takes.

    Args:
        frame: a row per run, or per run and step. The column ``arm`` names what is compared,
            ``seed`` pairs runs; ``step`` or ``epoch`` makes the last row of a run count; ``task``,
            ``replicate``, ``trial``, ``run_state`` and ``phase`` are read where they are there. Or
            the results of a study, or what `indian-tune compare` reads: the name of a study, a
            file, a folder of event files, or the address of a database.
        a: the arm that may be better.
        b: the other one.
        metric: column of the values; may be left out where only one column can be it.
        better: ``lower`` or ``higher``; guessed from the metric's name.
        delta: smallest effect of interest in the unit of the metric; without one, that which a
            study registered, or nothing is called negligible.
        alpha: level of the two-sided interval.
        columns: role → column, such as ``{"seed": "run_seed"}``.
        where: column → value: only such rows are read.
        pairing: ``auto`` pairs by seed where the arms share seeds; ``seed`` or ``none``.
        missing: ``refuse`` missing values, or take such runs as ``failed``.
        sequential: makes the interval hold after every seed, so that one may look after each.
        target: value of the metric that runs are timed to.

    Returns:
        The answer, with ``label`` and ``sentence``; ``as_dict()``, ``markdown()`` and ``page()``
        show all of it.

    Raises:
        InputError: the frame cannot be compared so; the message says why.
    """
    from indian_tune.comparison import Comparison, compare_runs, runs_of
    from indian_tune.comparison.comparison import check_settings
    from indian_tune.comparison.sources import Request
    from indian_tune.service.python import Results

    a, b = str(a), str(b)
    if isinstance(frame, str | Path | Results):
        source, storage = str(frame), None
        if isinstance(frame, Results):
            source, storage = frame.study, frame.storage
        reading = Request([source], storage, metric, better, columns, where, missing, (a, b))
        given = CompareRequest(
            reading,
            a,
            b,
            delta=delta,
            alpha=alpha,
            pairing=pairing,
            sequential=sequential,
            target=target,
        )
        found = run_compare(given)
        assert isinstance(found, Comparison)
        return found
    check_settings(a, b, delta, alpha)
    runs = runs_of(
        frame,
        metric=metric,
        better=better,
        names=columns,
        where=where,
        missing=missing,
        only=(a, b),
    )
    return compare_runs(
        runs,
        a,
        b,
        delta=delta,
        alpha=alpha,
        pairing=pairing,
        sequential=sequential,
        target=target,
    )


@dataclass(frozen=True)
class CompareRequest:
    """What `indian-tune compare` is asked for.

    Attributes:
        source: what is read.
        a: the arm that may be better; ``None`` with many.
        b: the other one.
        baseline: the arm that all others are compared with.
        every_pair: whether all pairs are compared.
        delta: smallest effect of interest; ``None`` for that of a study of ours, or none.
        alpha: level of the two-sided interval.
        pairing: "auto", "seed" or "none".
        sequential: whether the interval holds after every seed.
        target: value of the metric that runs are timed to.
        registered: file of what was registered before the runs.
    """

    source: Request
    a: str | None = None
    b: str | None = None
    baseline: str | None = None
    every_pair: bool = False
    delta: float | None = None
    alpha: float = 0.05
    pairing: Pairing = "auto"
    sequential: bool = False
    target: float | None = None
    registered: Path | None = None


def register_comparison(request: CompareRequest, out: Path) -> str:
    """Register a comparison before its runs exist; return in words where it is.

    Args:
        request: names the metric and its direction; its sources are registered and not read. A
            metric of a study that is named without its split is the one on the validation data.
        out: the file, which must not exist.

    Raises:
        InputError: something is missing, or the file exists.
    """
    from indian_tune.comparison.metric_names import direction_of
    from indian_tune.comparison.registration import write_plan
    from indian_tune.service.own_runs import register_digest

    wanted = request.source
    if wanted.metric is None:
        raise InputError("--register needs --metric: the metric is fixed before the runs")
    _check_choice(request)
    plan = _plan(request, wanted.metric, direction_of(wanted.metric, wanted.better), request.delta)
    if out.exists():
        raise InputError(f"--register = {out} already exists: choose another file")
    # One that is named may be the database of a study to come.
    create = wanted.storage is not None
    at, said = register_digest(
        plan.digest, {"compare": asdict(plan)}, wanted.storage, create=create
    )
    write_plan(plan, out, at)
    return f"{said} Give {out} to --registered when the runs are finished."


def run_compare(request: CompareRequest) -> Comparison | Many:
    """Read the sources and compare their arms.

    Raises:
        InputError: the sources cannot be read or compared so.
    """
    from indian_tune.comparison import compare_many, compare_runs
    from indian_tune.comparison.cautions import Caution
    from indian_tune.comparison.comparison import check_settings
    from indian_tune.comparison.sources import read

    _check_choice(request)
    if request.registered is None:
        source = read(request.source)
    else:
        source = _read_as_registered(request.source, request.registered)
    runs, delta = source.runs, request.delta if request.delta is not None else source.delta
    several = request.baseline is not None or request.every_pair
    if not several and (request.a is None or request.b is None):
        raise InputError(
            f"name two arms with --a and --b, or use --all: the arms are {', '.join(runs.arms)}"
        )
    check_settings(request.a, request.b, delta, request.alpha)
    why, notes, registered = _exploratory(request, source, delta)
    untimed = (UNTIMED_CAUTION,) * (UNTIMED in why)
    if several:
        many = compare_many(
            runs,
            baseline=request.baseline,
            delta=delta,
            alpha=request.alpha,
            pairing=request.pairing,
            exploratory=why,
            cautions=(*untimed, *notes, *runs.notes, *runs.selected),
        )
        return replace(many, registered=registered)
    assert request.a is not None
    assert request.b is not None
    found = compare_runs(
        replace(runs, notes=(*runs.notes, *notes)),
        request.a,
        request.b,
        delta=delta,
        alpha=request.alpha,
        pairing=request.pairing,
        sequential=request.sequential,
        target=request.target,
        exploratory=why,
    )
    cautions = (*found.cautions, *(Caution("untimed", sentence) for sentence in untimed))
    return replace(found, registered=registered, cautions=cautions)


def _check_choice(request: CompareRequest) -> None:
    several = request.baseline is not None or request.every_pair
    if request.baseline is not None and request.every_pair:
        raise InputError("--all and --baseline cannot be used together: give one of them")
    if several and (request.a is not None or request.b is not None):
        raise InputError("--a and --b cannot be used with --all or --baseline: remove one")
    if several and (request.sequential or request.target is not None):
        option = "--sequential" if request.sequential else "--target"
        raise InputError(f"{option} compares two arms: name them with --a and --b")


def _plan(request: CompareRequest, metric: str, better: str, delta: float | None) -> Plan:
    from indian_tune.comparison.registration import Plan

    return Plan(
        a=request.a,
        b=request.b,
        baseline=request.baseline,
        metric=metric,
        better=better,
        delta=delta,
        alpha=request.alpha,
        pairing=request.pairing,
        sequential=request.sequential,
        where=dict(request.source.where or {}),
        missing=request.source.missing,
        names=dict(request.source.names or {}),
        sources=tuple(_shown_source(source) for source in request.source.sources),
        folder=str(Path.cwd()) if request.source.sources else "",
    )


def _shown_source(source: str) -> str:
    """Return a source as it may be written to a file: without its password."""
    import sqlalchemy as sa

    from indian_tune.ledger.address import show_url

    if "://" not in source:
        return os.path.normpath(source)
    try:
        return show_url(sa.make_url(source))
    except sa.exc.ArgumentError as error:
        raise InputError(f"{source.partition('://')[0]}://… is not an address: {error}") from error


def _read_as_registered(request: Request, plan: Path) -> Source:
    """Read sources by the metric of a registration, unless another one is named."""
    from indian_tune.comparison.registration import read_plan
    from indian_tune.comparison.sources import read

    named = str(read_plan(plan).plan.get("metric"))
    request = replace(request, metric=request.metric or named)
    source = read(request)
    if source.of_study and request.metric == named and source.runs.metric == f"test_{named}":
        # Registered without its split, before there were test results: it means validation.
        return read(replace(request, metric=f"validation_{named}"))
    return source


def _exploratory(
    request: CompareRequest, source: Source, delta: float | None
) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """Return why a comparison is exploratory, what to say of its registration, and as heading."""
    from indian_tune.comparison.comparison import UNREGISTERED
    from indian_tune.comparison.registration import read_plan
    from indian_tune.service.own_runs import MARGIN, in_database, self_declared, utc_time

    if request.registered is None:
        return (UNREGISTERED,), (), ""
    registered = read_plan(request.registered)
    if registered.plan.get("delta") is None and request.delta is None:
        # Where none was registered, the one of the study's own claims departs from nothing.
        delta = None
    metric, named = source.runs.metric, str(registered.plan.get("metric"))
    if source.of_study and metric == f"validation_{named}":
        metric = named
    plan = _plan(request, metric, source.runs.better, delta)
    reasons = registered.departures(plan)
    at, note = in_database(registered.digest, request.source.storage)
    vouched = at is not None
    if at is None:
        at = registered.at
        note = self_declared(at)
    if not registered.sources:
        note += (
            " It names no source, so runs from another one would pass too: next time name the "
            "source with --register."
        )
    began: datetime | None = source.runs.began
    what = "the first run began"
    if began is None and source.written is not None:
        began, what = source.written, "the source was written"
    if source.runs.undated is not None:
        reasons.append(f"started_at = {source.runs.undated!r} is not an ISO 8601 time")
    if at is None:
        reasons.append("the registration has no date")
    elif began is not None and began + MARGIN < at:
        reasons.append(f"it was registered at {utc_time(at)}, after {what} at {utc_time(began)}")
    elif not source.runs.timed and source.runs.undated is None:
        # A copy of old runs is a new file, so the date of a file shows nothing.
        reasons.append(UNTIMED)
    heading = (
        ""
        if vouched
        else (
            "Registered by the date in a file, which is before the runs; no registration in a "
            "database vouches for it"
        )
    )
    return tuple(reasons), (note,), heading
