"""The comparisons that a study registered, on the fresh seeds, as a table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from indian_tune.errors import InputError
from indian_tune.ledger import Phase
from indian_tune.service.output import table
from indian_tune.text import counted

if TYPE_CHECKING:
    from rich.table import Table

    from indian_tune.analysis.descriptive import Look
    from indian_tune.ledger import LedgerReader
    from indian_tune.outcome import Outcome
    from indian_tune.study.registered_study import RegisteredStudy

METRIC = "validation_accuracy"
"""The column of scores that is compared."""


def contrast_table(study: RegisteredStudy[LedgerReader]) -> Table | None:
    """Return what the claims compare, ``None`` when there is nothing to compare.

    Validation accuracy is compared, since test accuracy is sealed; of another task its metric.
    """
    spec = study.spec
    registered = spec.claims.pairs()
    if not registered or not spec.protocol.confirming_seeds:
        # SciPy and pandas take longer to load than a short search takes to conclude.
        return None

    from indian_tune.analysis.descriptive import final_contrast
    from indian_tune.analysis.frame import scored
    from indian_tune.ledger.frames import epoch_frame

    outcome = spec.problem.outcome
    frame = scored(epoch_frame(study.ledger, study.id, Phase.CONFIRM), outcome)
    there = set(frame["arm"])
    pairs = [pair for pair in registered if there.issuperset(pair)]
    diverged = frame["run_state"] == "diverged"
    if not pairs or METRIC not in frame or frame[METRIC][~diverged].isna().all():
        return None
    left_out = 0
    captions = [] if outcome.share else ["Above 0 the first arm is better."]
    least = outcome.trained_score
    difference = f"difference, {outcome.unit}"
    unit = "searches" if spec.replicates > 1 else "seeds"
    by = "means of every search" if spec.replicates > 1 else "paired by seed"
    shown = table(
        *("contrast", difference, "95 % interval", unit),
        title=f"Validation {outcome.title} on the fresh seeds, {by} (descriptive)",
        right=(difference, "95 % interval", unit),
    )
    for arm, rival in pairs:
        name = f"{arm} - {rival}"
        try:
            contrast = final_contrast(frame, arm, rival, METRIC, least=least)
        except InputError as error:
            shown.add_row(name, "–", str(error), "–")
            continue
        left_out += contrast.left_out
        if not contrast.differences:
            shown.add_row(name, "–", "no pair trained", "0")
            continue
        shown.add_row(
            name,
            outcome.plain(contrast.estimate),
            interval_text(contrast, outcome),
            str(contrast.count),
        )
    if left_out:
        captions.append(
            f"Left out of the means: {counted(left_out, 'pair')} with a run that diverged or did "
            "not train."
        )
    if captions:
        shown.caption, shown.caption_justify = " ".join(captions), "left"
    return shown


def interval_text(look: Look, outcome: Outcome) -> str:
    """Return the interval of a difference; without a spread there is none."""
    if len(look.differences) > 1 and not any(look.differences):
        return f"equal in all {look.unit}"
    if math.isinf(look.low):
        return "–"
    return f"{outcome.plain(look.low)}, {outcome.plain(look.high)}"
