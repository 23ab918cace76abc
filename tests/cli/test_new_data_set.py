"""A data set is added by one file: every command then knows it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.problems import DATASETS, MODELS, ModelInfo, datasets, load_problem, models
from indian_tune.problems.catalog import find_datasets
from indian_tune.study.examples import example_counts
from indian_tune.study.file.spec import parse_study

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.cli.conftest import Ended

# 2 channels, and neither square nor of a size that a network of the package takes.
TOY = """
from indian_tune.problems import DatasetInfo, Split


def read_toy(folder, files):
    import torch

    generator = torch.Generator().manual_seed(0)
    splits = []
    for count in (60, 20):
        labels = torch.arange(count) % 3
        noise = torch.randint(0, 50, (count, 2, 12, 10), generator=generator)
        splits.append(Split((noise + 60 * labels.view(-1, 1, 1, 1)).to(torch.uint8), labels))
    return tuple(splits)


DATASETS = (
    DatasetInfo(
        name="toy",
        title="Toy",
        description="three shades of noise",
        classes=3,
        shape=(2, 12, 10),
        scale=255,
        train_images=60,
        test_images=20,
        read=read_toy,
        package="this-test",
    ),
)
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The catalog with a file more in its folder, and with a network for images of its size."""
    (tmp_path / "added").mkdir()
    (tmp_path / "added" / "toy.py").write_text(TOY)
    monkeypatch.setattr(datasets, "__path__", [*datasets.__path__, str(tmp_path / "added")])
    monkeypatch.setitem(DATASETS, "toy", find_datasets()["toy"])
    small = ModelInfo("nin-12", "Network in Network", "for the test", size=12, smallest_size=10)
    monkeypatch.setitem(MODELS, "nin-12", small)
    monkeypatch.setitem(models._LAYOUTS, "nin-12", models._LAYOUTS["nin-small"])
    yield
    del sys.modules["indian_tune.problems.datasets.toy"]


@pytest.fixture
def study(tiny: dict[str, Any]) -> dict[str, Any]:
    tiny["problem"] |= {"dataset": "toy", "model": "nin-12", "batch_size": 16}
    tiny["protocol"] |= {"epochs": 1, "tune_epochs": 1, "confirm_seeds": 1}
    return tiny


@pytest.mark.usefixtures("toy")
def test_a_new_data_set_is_listed_with_the_networks_that_take_it(
    command: Callable[..., Ended],
) -> None:
    rows = [" ".join(line.split()) for line in command("data", "list").out.splitlines()]
    assert "toy 2×12×10 3 60 20 mlp, nin-12 intact" in rows
    listed = json.loads(command("data", "list", "--json").out)["datasets"]
    (told,) = (entry for entry in listed if entry["name"] == "toy")
    assert (told["shape"], told["details"]) == ([2, 12, 10], ["comes with this-test"])


@pytest.mark.usefixtures("toy")
def test_the_catalog_lists_small_images_first() -> None:
    names = ["digits", "toy", "mnist", "fashion-mnist", "mnist-5k", "cifar10", "cifar100"]
    assert list(find_datasets()) == names


@pytest.mark.usefixtures("toy")
def test_a_network_that_does_not_take_its_images_is_refused(
    command: Callable[..., Ended],
    study: dict[str, Any],
    write_study: Callable[[dict[str, Any]], Path],
) -> None:
    study["problem"]["model"] = "nin-small"
    ended = command("plan", write_study(study))
    assert ended.status == 2
    assert (
        "model = 'nin-small' does not accept the 12×10 images of dataset = 'toy'. Models for this "
        "data set: mlp, nin-12; data sets for this model: digits" in ended.err
    )


@pytest.mark.usefixtures("toy")
def test_it_is_split_and_padded_on_both_sides() -> None:
    problem = load_problem(dataset="toy", model="nin-12", width=0.2, validation_fraction=0.25)
    assert problem.validation is not None
    assert problem.train.inputs.shape == (45, 2, 12, 12)
    assert problem.validation.labels.bincount().tolist() == [5, 5, 5]
    assert int(problem.test.inputs.sum()) == int(problem.test.inputs[..., 1:11].sum())
    assert len(problem.mean) == len(problem.std) == 2


@pytest.mark.usefixtures("toy")
def test_it_is_planned_and_searched(
    command: Callable[..., Ended],
    study: dict[str, Any],
    write_study: Callable[[dict[str, Any]], Path],
) -> None:
    file = write_study(study)
    assert example_counts(parse_study(study, source="test")) == (45, 15, 20)
    planned = command("plan", file, "--no-timing")
    assert "45 training, 15 validation and 20 test images" in " ".join(planned.out.split())
    searched = command("search", file, "--engine", "inline")
    assert searched.status == 0, searched.err
    assert "nin-12 on toy" in searched.err + searched.out
