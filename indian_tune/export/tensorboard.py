"""Writes a study as TensorBoard's event files, one folder per run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams

from indian_tune.columns import config_columns
from indian_tune.errors import InputError
from indian_tune.ledger.frames import epoch_frame
from indian_tune.text import unused_path
from indian_tune.training.metrics import SEALED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import pandas as pd

    from indian_tune.ledger import LedgerReader, StudyRecord

_KEYS = ["phase", "trial", "seed"]


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
        A folder for every run, ``ARM/PHASE-TRIAL/seed-SEED``, or ``ARM/rN/PHASE-TRIAL/seed-SEED``
        where every arm has several searches.

    Raises:
        InputError: a run's folder exists, or cannot be written.
        SealedError: the test results are asked for and nobody has unsealed them.
    """
    frame = epoch_frame(ledger, study.id, sealed=sealed)
    tags = _tags(list(frame.columns))
    names = config_columns(frame.columns)
    groups = {
        folder / search / f"{phase}-{trial}" / f"seed-{seed}": rows
        for search, part in _searches(frame, study)
        for (phase, trial, seed), rows in part.groupby(_KEYS, sort=False)
    }
    for run in groups:
        if run.exists():
            raise InputError(
                f"{run} already exists: choose another folder, such as --out {unused_path(folder)}"
            )
    try:
        for run, rows in groups.items():
            _write_run(run, rows, names, tags)
    except OSError as error:
        raise InputError(f"--out {folder} cannot be written: {error}") from error
    return list(groups)


def _searches(frame: pd.DataFrame, study: StudyRecord) -> Iterator[tuple[str, pd.DataFrame]]:
    keys = ["arm", "replicate"] if "replicate" in frame else ["arm"]
    for (arm, *replicate), rows in frame.groupby(keys, sort=False):
        yield study.search_name(str(arm), int(str(replicate[0])) if replicate else 0), rows


def _tags(columns: list[str]) -> dict[str, str]:
    """Return column → tag of every metric, grouped as TensorBoard groups by the first part."""
    first, last = columns.index("step") + 1, columns.index("seconds")
    sealed = [name for name in columns[last:] if name.partition("_")[0] in SEALED]
    return {name: tag_of(name) for name in (*columns[first:last], *sealed)}


def tag_of(metric: str) -> str:
    """Return the tag of a metric: ``loss/train`` of ``train_loss``."""
    return "/".join(reversed(metric.split("_", 1)))


def _write_run(folder: Path, rows: pd.DataFrame, names: list[str], tags: Mapping[str, str]) -> None:
    times = rows["seconds"].cumsum().to_numpy()
    first = rows.iloc[0]
    config = {
        name: first[name] if isinstance(first[name], (bool, str)) else float(first[name])
        for name in names
        if first.notna()[name]
    }
    with SummaryWriter(str(folder)) as writer:
        recorded = [tag for column, tag in tags.items() if rows[column].notna().any()]
        for summary in hparams({"arm": first["arm"], **config}, dict.fromkeys(recorded, 0.0)):
            writer.file_writer.add_summary(summary)
        for column, tag in tags.items():
            values = rows[column].to_numpy()
            for epoch, value, time in zip(rows["epoch"], values, times, strict=True):
                # A point that was not finite is a gap.
                if np.isfinite(value):
                    writer.add_scalar(tag, float(value), int(epoch), walltime=float(time))
