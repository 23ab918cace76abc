"""Handwritten digits in 8×8 grey levels, from scikit-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.problems.dataset import DatasetInfo
from indian_tune.problems.packaged import hold_out_test, packaged_file

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from indian_tune.problems.dataset import StoredFile
    from indian_tune.problems.problem import Split

SHAPE = (1, 8, 8)
TEST_FRACTION = 0.2


def read_digits(folder: Path, files: tuple[StoredFile, ...]) -> tuple[Split, Split]:
    """Read the digits from scikit-learn; a fixed, stratified fifth (359 of 1,797) is for testing.

    Grey levels are whole numbers from 0 to 16.
    """
    del folder, files
    return hold_out_test(_table(), SHAPE, TEST_FRACTION)


def _table() -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Return the pixels of each image, row by row, and its label: shape [1797, 65]."""
    import numpy as np

    # Importing scikit-learn takes a worker as long as importing torch; reading its file does not.
    file = packaged_file("sklearn/datasets/data/digits.csv.gz")
    if file is not None:
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
        shape=SHAPE,
        scale=16,
        train_images=1438,
        test_images=359,
        read=read_digits,
        package="scikit-learn",
        official_test=False,
    ),
)
