"""Simulated studies as the frames that the analysis reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from indian_tune.analysis.ends import Ends


def simulated_frame(
    arms: Mapping[str, Ends], epochs: int = 3, study: str = "simulated"
) -> pd.DataFrame:
    """Return a simulated study as the frame that ``analyze`` reads."""
    return pd.concat(_parts(arms, epochs, study), ignore_index=True)


def _parts(arms: Mapping[str, Ends], epochs: int, study: str) -> Iterator[pd.DataFrame]:
    for arm, ends in arms.items():
        for phase, made in (("confirm", ends), ("half", ends.half)):
            if made is None:
                continue
            searches, seeds = made.test.shape
            replicate, seed = (table.ravel() for table in np.indices((searches, seeds)))
            for epoch in range(1, epochs + 1):
                behind = 0.05 * (epochs - epoch)
                yield pd.DataFrame(
                    {
                        "study": study,
                        "arm": arm,
                        "phase": phase,
                        "replicate": replicate,
                        "seed": 100 * replicate + seed,
                        "epoch": epoch,
                        "train_loss": 2.0 * 0.5**epoch,
                        "train_accuracy": made.train.ravel() - behind,
                        "test_accuracy": made.test.ravel() - behind,
                        "validation_accuracy": made.validation.ravel() - behind,
                    }
                )
