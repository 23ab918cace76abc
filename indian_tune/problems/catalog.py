"""The data sets and models that a study can name, and which go together."""

from __future__ import annotations

from dataclasses import dataclass

from indian_tune.errors import InputError, unknown_name
from indian_tune.problems.sources import DatasetSource, torchvision_source


@dataclass(frozen=True)
class DatasetInfo:
    """What is known about a data set before it is loaded.

    Attributes:
        name: as written in a study file.
        title: as shown to people.
        description: what the images show.
        classes: number of classes; labels are 0 … classes - 1.
        channels: 1 for grey, 3 for colour.
        size: height and width of an image as stored, in pixels.
        scale: the largest raw pixel value, which a raw pixel is divided by.
        train_images: official number of training images, before a validation part is carved out.
        test_images: official number of test images.
        torchvision_class: name of the class in ``torchvision.datasets`` that reads it; ``None`` for
            a data set that comes with scikit-learn and needs no download.
        own_source: archives and checksums to use in place of torchvision's, for a data set in the
            same format from elsewhere.
    """

    name: str
    title: str
    description: str
    classes: int
    channels: int
    size: int
    scale: int
    train_images: int
    test_images: int
    torchvision_class: str | None
    own_source: DatasetSource | None = None

    @property
    def source(self) -> DatasetSource | None:
        """Archives, addresses and checksums; ``None`` if nothing is to be downloaded."""
        if self.torchvision_class is None:
            return None
        return self.own_source or torchvision_source(self.torchvision_class)


@dataclass(frozen=True)
class ModelInfo:
    """What is known about a model before it is built.

    Attributes:
        name: as written in a study file.
        title: as shown to people.
        description: what the network is.
        size: height and width of the images that it takes, in pixels.
        smallest_size: smaller images down to this size are padded to ``size``.
    """

    name: str
    title: str
    description: str
    size: int
    smallest_size: int

    def takes(self, dataset: DatasetInfo) -> bool:
        """Whether the images of a data set fit, padded if need be."""
        return self.smallest_size <= dataset.size <= self.size


DATASETS = {
    info.name: info
    for info in (
        DatasetInfo(
            name="digits",
            title="Digits",
            description="handwritten digits, 8×8 grey; comes with scikit-learn",
            classes=10,
            channels=1,
            size=8,
            scale=16,
            train_images=1438,
            test_images=359,
            torchvision_class=None,
        ),
        DatasetInfo(
            name="mnist",
            title="MNIST",
            description="handwritten digits, 28×28 grey",
            classes=10,
            channels=1,
            size=28,
            scale=255,
            train_images=60_000,
            test_images=10_000,
            torchvision_class="MNIST",
        ),
        DatasetInfo(
            name="fashion-mnist",
            title="Fashion-MNIST",
            description="articles of clothing, 28×28 grey",
            classes=10,
            channels=1,
            size=28,
            scale=255,
            train_images=60_000,
            test_images=10_000,
            torchvision_class="FashionMNIST",
        ),
        DatasetInfo(
            name="cifar10",
            title="CIFAR-10",
            description="photographs of animals and vehicles, 32×32 colour",
            classes=10,
            channels=3,
            size=32,
            scale=255,
            train_images=50_000,
            test_images=10_000,
            torchvision_class="CIFAR10",
        ),
        DatasetInfo(
            name="cifar100",
            title="CIFAR-100",
            description="photographs in 100 fine classes, 32×32 colour",
            classes=100,
            channels=3,
            size=32,
            scale=255,
            train_images=50_000,
            test_images=10_000,
            torchvision_class="CIFAR100",
        ),
    )
}

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


def check_fit(dataset: DatasetInfo, model: ModelInfo) -> None:
    """Check that a model takes the images of a data set.

    Raises:
        InputError: it does not; the message names the models and the data sets that would do.
    """
    if model.takes(dataset):
        return
    models = [other.name for other in MODELS.values() if other.takes(dataset)]
    datasets = [other.name for other in DATASETS.values() if model.takes(other)]
    raise InputError(
        f"model = {model.name!r} does not take the {dataset.size}×{dataset.size} images of "
        f"dataset = {dataset.name!r}. Models for this data set: {', '.join(models) or 'none'}; "
        f"data sets for this model: {', '.join(datasets)}"
    )
