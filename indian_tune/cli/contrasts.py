"""INDIAN against its rivals on the fresh seeds, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.cli.output import table
from indian_tune.errors import InputError
from indian_tune.ledger import Phase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from indian_tune.ledger import LedgerReader
    from indian_tune.study.ranking import ArmResult

METRIC = "validation_accuracy"


def contrast_table(
    ledger: LedgerReader, study_id: int, results: Sequence[ArmResult]
) -> Table | None:
    """Return every INDIAN arm minus every rival, ``None`` when there is nothing to compare."""
    from indian_tune.analysis.descriptive import final_contrast
    from indian_tune.ledger.frames import epoch_frame

    confirmed = [result for result in results if result.confirmed is not None]
    ours = [r for r in confirmed if r.optimizer.startswith("indian")]
    rivals = [r for r in confirmed if r not in ours]
    frame = epoch_frame(ledger, study_id, Phase.CONFIRM)
    if not ours or not rivals or frame[METRIC].isna().all():
        return None
    made = table(
        *("contrast", "difference, points", "95 % interval", "seeds"),
        title="Validation accuracy on the fresh seeds, paired by seed (descriptive)",
        right=("difference, points", "95 % interval", "seeds"),
    )
    for arm in ours:
        for rival in rivals:
            name = f"{arm.name} - {rival.name}"
            try:
                contrast = final_contrast(frame, arm.name, rival.name, METRIC)
            except InputError as error:
                made.add_row(name, "–", str(error), "–")
                continue
            interval = "–"
            if contrast.n > 1:
                interval = f"{100 * contrast.low:+.2f}, {100 * contrast.high:+.2f}"
            made.add_row(name, f"{100 * contrast.estimate:+.2f}", interval, str(contrast.n))
    return made
