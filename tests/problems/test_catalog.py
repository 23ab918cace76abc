from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import indian_tune.problems
from indian_tune.errors import InputError
from indian_tune.problems import check_fit, get_dataset_info, get_model_info

if TYPE_CHECKING:
    from pathlib import Path


def test_an_unknown_data_set_is_refused_with_the_nearest_name_and_all_names() -> None:
    with pytest.raises(InputError) as caught:
        get_dataset_info("CIFAR-100")
    message = str(caught.value)
    assert "dataset = 'CIFAR-100'" in message
    assert "Did you mean 'cifar100'?" in message
    assert "Allowed: cifar10, cifar100, digits, fashion-mnist, mnist, mnist-5k" in message


def test_an_unknown_model_is_refused_with_the_nearest_name_and_all_names() -> None:
    with pytest.raises(InputError, match=r"model = 'nin_small'.*'nin-small'.*mlp, nin, nin-small"):
        get_model_info("nin_small")


def test_a_name_like_no_other_is_refused_without_a_guess() -> None:
    with pytest.raises(InputError) as caught:
        get_model_info("transformer")
    assert "Did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    ("dataset", "model"),
    [
        ("digits", "nin-small"),
        ("mnist", "nin"),
        ("mnist-5k", "nin"),
        ("fashion-mnist", "nin"),
        ("cifar10", "nin"),
        ("cifar100", "nin"),
    ],
)
def test_one_convolutional_model_and_the_perceptron_take_each_data_set(
    dataset: str, model: str
) -> None:
    check_fit(get_dataset_info(dataset), get_model_info("mlp"))
    check_fit(get_dataset_info(dataset), get_model_info(model))
    other = {"nin": "nin-small", "nin-small": "nin"}[model]
    with pytest.raises(InputError, match=rf"'{other}'.*'{dataset}'.*this data set: {model}, mlp;"):
        check_fit(get_dataset_info(dataset), get_model_info(other))


@pytest.mark.parametrize("name", ["CIFAR10", "CIFAR100"])
def test_cifar_sources_are_what_torchvision_holds(name: str) -> None:
    import torchvision.datasets

    held: Any = getattr(torchvision.datasets, name)
    (archive,) = get_dataset_info(name.lower()).archives
    assert (archive.path, archive.md5, archive.urls) == (held.filename, held.tgz_md5, (held.url,))
    members = [*held.train_list, *held.test_list, [held.meta["filename"], held.meta["md5"]]]
    assert [[file.path, file.md5] for file in archive.files] == [
        [f"{held.base_folder}/{file}", md5] for file, md5 in members
    ]


@pytest.mark.parametrize(
    ("dataset", "name"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")]
)
def test_mnist_sources_are_what_torchvision_holds(dataset: str, name: str) -> None:
    import torchvision.datasets

    held: Any = getattr(torchvision.datasets, name)
    archives = get_dataset_info(dataset).archives
    assert [(archive.path, archive.md5) for archive in archives] == [
        (f"{name}/raw/{file}", md5) for file, md5 in held.resources
    ]
    for archive, (file, _) in zip(archives, held.resources, strict=True):
        assert archive.urls == tuple(f"{mirror}{file}" for mirror in held.mirrors)
        assert [stored.path for stored in archive.files] == [archive.path.removesuffix(".gz")]


def test_images_are_resized_to_what_a_model_takes_or_refused() -> None:
    digits, small = get_dataset_info("digits"), get_model_info("nin-small")
    check_fit(get_dataset_info("cifar10"), small, 8)
    assert get_model_info("nin").input_size(get_dataset_info("mnist-5k")) == 32
    assert get_model_info("mlp").input_size(get_dataset_info("mnist-5k"), 14) == 14
    with pytest.raises(InputError, match=r"size = 14 does not fit model = 'nin-small', .* 8 to"):
        check_fit(digits, small, 14)


def test_looking_at_data_sets_does_not_load_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from indian_tune.problems import DATASETS, verify\n"
        f"states = [verify(name, {str(tmp_path)!r}).state for name in DATASETS]\n"
        "assert states.count('missing') == 4, states\n"
        "loaded = {'torch', 'torchvision', 'sklearn', 'numpy'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_of_the_package_can_be_had() -> None:
    for name in indian_tune.problems.__all__:
        assert getattr(indian_tune.problems, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        indian_tune.problems.no_such_name  # noqa: B018
