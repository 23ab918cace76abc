"""The data sets and models that a study can name, and which fit together."""

from __future__ import annotations

import importlib
import math
import pkgutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from indian_tune.errors import InputError, unknown_name
from indian_tune.problems import datasets

if TYPE_CHECKING:
    from indian_tune.problems.dataset import DatasetInfo


@dataclass(frozen=True)
class ModelInfo:
    """What is known about a model before it is built.

    Attributes:
        name: as written in a study file.
        title: as shown to people.
        description: what the network is.
        size: height and width of the images that it takes, in pixels; ``None`` for any.
        smallest_size: smaller images down to this size are padded to ``size``.
        hidden: whether the study says the widths of its hidden layers; otherwise it says a factor
            on the numbers of channels.
    """

    name: str
    title: str
    description: str
    size: int | None
    smallest_size: int = 1
    hidden: bool = False

    def takes(self, dataset: DatasetInfo, size: int | None = None) -> bool:
        """Whether the images of a data set fit, padded if need be.

        Args:
            dataset: what it is trained on.
            size: height and width that the images are resized to; as stored if ``None``.
        """
        largest = self.size or math.inf
        return all(self.smallest_size <= side <= largest for side in sides(dataset, size))

    def input_size(self, dataset: DatasetInfo, size: int | None = None) -> int:
        """Return height and width of what the network gets, in pixels; see :meth:`takes`."""
        return self.size or max(sides(dataset, size))


def sides(dataset: DatasetInfo, size: int | None = None) -> tuple[int, int]:
    """Return height and width of the images of a data set, resized to ``size`` if it is given."""
    _, height, width = dataset.shape
    return (height, width) if size is None else (size, size)


def find_datasets() -> dict[str, DatasetInfo]:
    """Return the data sets of the files in ``indian_tune.problems.datasets``, by name.

    Smaller images come first; of the same size, in the order of the files.
    """
    modules = [
        importlib.import_module(f"{datasets.__name__}.{module.name}")
        for module in pkgutil.iter_modules(datasets.__path__)
    ]
    found: list[DatasetInfo] = [info for module in modules for info in module.DATASETS]
    return {info.name: info for info in sorted(found, key=lambda info: math.prod(info.shape))}


DATASETS = find_datasets()

MODELS = {
    info.name: info
    for info in (
        ModelInfo(
            name="nin",
            title="Network in Network",
            description="the published network, about a million weights at width 1",
            size=32,
            smallest_size=28,
        ),
        ModelInfo(
            name="nin-small",
            title="Network in Network, small",
            description="for 8×8 images, about 24 thousand weights at width 1",
            size=8,
            smallest_size=8,
        ),
        ModelInfo(
            name="mlp",
            title="Multilayer perceptron",
            description="hidden layers of the widths that the study gives, for any images",
            size=None,
            hidden=True,
        ),
    )
}


def get_dataset_info(name: str) -> DatasetInfo:
    """Return the data set of that name.

    Raises:
        InputError: there is none; the message lists the names.
    """
    try:
        return DATASETS[name]
    except KeyError:
        raise InputError(unknown_name("dataset", name, DATASETS)) from None


def get_model_info(name: str) -> ModelInfo:
    """Return the model of that name.

    Raises:
        InputError: there is none; the message lists the names.
    """
    try:
        return MODELS[name]
    except KeyError:
        raise InputError(unknown_name("model", name, MODELS)) from None


def check_fit(dataset: DatasetInfo, model: ModelInfo, size: int | None = None) -> None:
    """Check that a model takes the images of a data set.

    Args:
        dataset: what is trained on.
        model: what is trained.
        size: height and width that the images are resized to; as stored if ``None``.

    Raises:
        InputError: it does not; the message names the models and the data sets that would do.
    """
    if model.takes(dataset, size):
        return
    height, width = sides(dataset, size)
    if size is not None:
        raise InputError(
            f"problem.size = {size} does not fit model = {model.name!r}, which accepts images of "
            f"{model.smallest_size} to {model.size} pixels: give such a size, or another model"
        )
    models = [other.name for other in MODELS.values() if other.takes(dataset)]
    others = [other.name for other in DATASETS.values() if model.takes(other)]
    raise InputError(
        f"model = {model.name!r} does not accept the {height}×{width} images of dataset = "
        f"{dataset.name!r}. Models for this data set: {', '.join(models) or 'none'}; data sets "
        f"for this model: {', '.join(others)}"
    )
