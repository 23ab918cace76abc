"""Handwritten digits in 8×8 grey levels, which come with scikit-learn."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from indian_tune.problems.dataset import DatasetInfo
from indian_tune.problems.problem import Split

if TYPE_CHECKING:
    import numpy as np

    from indian_tune.problems.dataset import StoredFile

TEST_FRACTION = 0.2
TEST_SEED = 0


def read_digits(folder: Path, files: tuple[StoredFile, ...]) -> tuple[Split, Split]:
    """Read the digits from scikit-learn.

    They have no test part of their own: a fixed, stratified fifth (359 of 1,797 images) is theirs,
    the same in every study.
    """
    import numpy as np
    import torch

    from indian_tune.problems.stratify import stratify

    del folder, files
    table = _table()
    labels = table[:, -1].astype(np.int64)
    # Grey levels are whole numbers from 0 to 16 in float64.
    images = torch.from_numpy(table[:, :-1].astype(np.uint8)).reshape(-1, 1, 8, 8)
    train, test = (
        Split(images[positions], torch.from_numpy(labels)[positions])
        for positions in stratify(labels, TEST_FRACTION, TEST_SEED)
    )
    return train, test


def _table() -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Return the pixels of each image, row by row, and its label: shape [1797, 65]."""
    import numpy as np

    # Importing scikit-learn takes a worker as long as importing torch; reading its file does not.
    found = importlib.util.find_spec("sklearn")
    for folder in (found and found.submodule_search_locations) or ():
        file = Path(folder, "datasets", "data", "digits.csv.gz")
        if file.is_file():
            return np.loadtxt(file, delimiter=",", ndmin=2)
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.column_stack((digits.data, digits.target))


DATASETS = (
    DatasetInfo(
        name="digits",
        title="Digits",
        description="handwritten digits, 8×8 grey; comes with scikit-learn",
        classes=10,
        shape=(1, 8, 8),
        scale=16,
        train_images=1438,
        test_images=359,
        read=read_digits,
        package="scikit-learn",
    ),
)
