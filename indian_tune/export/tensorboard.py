"""A study as TensorBoard's event files, one folder a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams

from indian_tune.columns import config_columns
from indian_tune.errors import InputError
from indian_tune.ledger.frames import epoch_frame

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from indian_tune.ledger import LedgerReader, StudyRecord

# Column of a frame → tag, grouped as TensorBoard groups by the first part.
TAGS = {
    "train_loss": "loss/train",
    "validation_loss": "loss/validation",
    "test_loss": "loss/test",
    "train_accuracy": "accuracy/train",
    "validation_accuracy": "accuracy/validation",
    "test_accuracy": "accuracy/test",
}
_KEYS = ["arm", "phase", "trial", "seed"]


def write_events(
    ledger: LedgerReader, study: StudyRecord, folder: Path, *, sealed: bool = False
) -> list[Path]:
    """Write the learning curves of every run, and its hyperparameters for the HPARAMS page.

    The steps are epochs. The times are those of the training itself: seconds since the run began.

    Args:
        ledger: to read from.
        study: to take out.
        folder: must not hold event files of these runs yet; made if need be.
        sealed: whether to add the test metrics.

    Returns:
        A folder for every run, ``ARM/PHASE-TRIAL/seed-SEED``.

    Raises:
        InputError: a run's folder exists, or cannot be written.
        SealedError: the test results are asked for and nobody has unsealed them.
    """
    frame = epoch_frame(ledger, study.id, sealed=sealed)
    names = config_columns(frame.columns)
    groups = {
        folder / str(arm) / f"{phase}-{trial}" / f"seed-{seed}": rows
        for (arm, phase, trial, seed), rows in frame.groupby(_KEYS, sort=False)
    }
    for run in groups:
        if run.exists():
            raise InputError(f"{run} exists and is not added to: name another folder with --out")
    try:
        for run, rows in groups.items():
            _write_run(run, rows, names)
    except OSError as error:
        raise InputError(f"--out {folder} cannot be written: {error}") from error
    return list(groups)


def _write_run(folder: Path, rows: pd.DataFrame, names: list[str]) -> None:
    times = rows["seconds"].cumsum().to_numpy()
    first = rows.iloc[0]
    config = {name: float(first[name]) for name in names if np.isfinite(first[name])}
    with SummaryWriter(str(folder)) as writer:
        told = [
            tag for column, tag in TAGS.items() if column in rows and rows[column].notna().any()
        ]
        for summary in hparams({"arm": first["arm"], **config}, dict.fromkeys(told, 0.0)):
            writer.file_writer.add_summary(summary)
        for column, tag in TAGS.items():
            if column not in rows:
                continue
            values = rows[column].to_numpy()
            for epoch, value, time in zip(rows["epoch"], values, times, strict=True):
                # A point that was not finite is a gap.
                if np.isfinite(value):
                    writer.add_scalar(tag, float(value), int(epoch), walltime=float(time))
