"""`compare` for Python and for the command line: sources read, arms compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from indian_tune.comparison import Comparison
    from indian_tune.comparison.contrast import Pairing
    from indian_tune.comparison.runs import Better, Missing


def compare(
    frame: pd.DataFrame,
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
            ``replicate``, ``trial``, ``run_state`` and ``phase`` are read where they are there.
        a: the arm that may be better.
        b: the other one.
        metric: column of the values; may be left out where only one column can be it.
        better: ``lower`` or ``higher``; guessed from the metric's name.
        delta: smallest effect of interest in the unit of the metric; without one, nothing is called
            negligible.
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
    from indian_tune.comparison import compare_runs, runs_of
    from indian_tune.comparison.comparison import check_settings

    check_settings(a, b, delta, alpha)
    runs = runs_of(frame, metric=metric, better=better, names=columns, where=where, missing=missing)
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
