"""Data inside installed packages: found and read without importing the packages."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from indian_tune.problems.problem import Split

TEST_SEED = 0
"""Of the test part of a data set that has none of its own: the same in every study."""


def packaged_file(path: str) -> Path | None:
    """Return where a file of an installed package is, ``None`` if it is not there.

    Args:
        path: relative to the folder of installed packages, with forward slashes.
    """
    package, _, rest = path.partition("/")
    found = importlib.util.find_spec(package)
    for folder in (found and found.submodule_search_locations) or ():
        file = Path(folder, rest)
        if file.is_file():
            return file
    return None


def hold_out_test(
    table: NDArray[np.generic], shape: tuple[int, int, int], fraction: float
) -> tuple[Split, Split]:
    """Return the training and the test part of a data set that has no test part of its own.

    Args:
        table: [N, channels · height · width + 1]: the pixels of each image, whole numbers from 0
            to 255 row by row, and its label.
        shape: channels, height and width.
        fraction: of the images that are the test part; stratified, the same in every study.
    """
    import numpy as np
    import torch

    from indian_tune.problems.problem import Split
    from indian_tune.problems.stratify import stratify

    labels = table[:, -1].astype(np.int64)
    images = torch.from_numpy(table[:, :-1].astype(np.uint8)).reshape(-1, *shape)
    train, test = (
        Split(images[positions], torch.from_numpy(labels)[positions])
        for positions in stratify(labels, fraction, TEST_SEED)
    )
    return train, test
