from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from indian_tune.errors import DataError, InputError
from indian_tune.problems import Problem, Split, SplitSizes, load_arrays, load_problem
from indian_tune.problems.splits import _resized, channel_statistics, split_validation
from indian_tune.problems.stratify import draw, stratify

if TYPE_CHECKING:
    from pathlib import Path

    from tests.problems.conftest import Small


def keys(split: Split) -> list[bytes]:
    """The images of a split as values that can be compared."""
    return [image.numpy().tobytes() for image in split.inputs]


@given(
    labels=st.lists(st.integers(0, 6), min_size=2, max_size=200),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**64),
)
def test_every_class_gives_its_share_to_within_one_image(
    labels: list[int], fraction: float, seed: int
) -> None:
    array = np.array(labels, dtype=np.int64)
    count = min(max(round(fraction * len(labels)), 1), len(labels) - 1)
    rest, part = stratify(array, count, seed)
    assert len(part) == count
    assert sorted([*rest, *part]) == list(range(len(labels)))
    for label in set(labels):
        exact = labels.count(label) * count / len(labels)
        assert abs(int(np.sum(array[part] == label)) - exact) < 1


def test_a_tenth_of_cifar_is_50_images_of_each_of_100_classes() -> None:
    labels = np.arange(50_000, dtype=np.int64) % 100
    rest, part = stratify(labels, 0.1, 0)
    assert len(rest) == 45_000
    assert np.bincount(labels[part]).tolist() == [50] * 100


def test_a_fraction_and_the_number_that_it_means_give_the_same_part() -> None:
    labels = np.arange(500, dtype=np.int64) % 10
    for ours, theirs in zip(stratify(labels, 0.1, 3), stratify(labels, 50, 3), strict=True):
        assert ours.tolist() == theirs.tolist()


def test_a_larger_part_of_equal_classes_holds_the_smaller() -> None:
    labels = np.arange(500, dtype=np.int64) % 10
    assert set(stratify(labels, 50, 3)[1]) < set(stratify(labels, 100, 3)[1])


def test_the_part_is_a_function_of_the_seed_alone() -> None:
    labels = np.arange(60, dtype=np.int64) % 3
    np.random.seed(1)
    torch.manual_seed(1)
    first = stratify(labels, 6, 7)[1].tolist()
    np.random.seed(2)
    torch.manual_seed(2)
    assert stratify(labels, 6, 7)[1].tolist() == first
    assert stratify(labels, 6, 8)[1].tolist() != first


def test_the_part_is_the_same_in_every_version_and_on_every_machine() -> None:
    labels = np.arange(60, dtype=np.int64) % 3
    assert stratify(labels, 6, 7)[1].tolist() == [6, 23, 24, 32, 37, 52]


def test_every_image_of_a_class_is_as_likely_to_be_taken() -> None:
    labels = np.zeros(20, dtype=np.int64)
    taken = np.zeros(20)
    for seed in range(2000):
        taken[stratify(labels, 5, seed)[1]] += 1
    # 500 expected; the standard deviation of one count is about 19.
    assert np.abs(taken - 500).max() < 80


@pytest.mark.parametrize("part", [0.0, 1.0, -0.1, 1.5, float("nan"), 0, 60, -1, True, 0.001])
def test_a_part_that_leaves_nothing_on_one_side_is_refused(part: float) -> None:
    labels = np.arange(60, dtype=np.int64) % 3
    with pytest.raises(InputError, match=f"validation_fraction = {part}"):
        stratify(labels, part, 0)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(InputError, match="split_seed = -1"):
        stratify(np.zeros(4, dtype=np.int64), 2, -1)


@given(
    labels=st.lists(st.integers(0, 6), min_size=3, max_size=200),
    shares=st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)),
    seed=st.integers(0, 2**64),
)
def test_parts_drawn_one_after_the_other_are_disjoint_and_stratified(
    labels: list[int], shares: tuple[float, float], seed: int
) -> None:
    array = np.array(labels, dtype=np.int64)
    counts = [int(share * len(labels)) for share in shares]
    first, second, rest = draw(array, counts, seed)
    assert [len(first), len(second)] == counts
    assert sorted([*first, *second, *rest]) == list(range(len(labels)))
    for label in set(labels):
        for part, within in ((first, 1), (second, 2)):
            exact = labels.count(label) * len(part) / len(labels)
            assert abs(int(np.sum(array[part] == label)) - exact) < within


def test_the_second_part_takes_every_image_equally_often() -> None:
    labels = np.zeros(20, dtype=np.int64)
    taken = np.zeros(20)
    for seed in range(2000):
        taken[draw(labels, [5, 5], seed)[1]] += 1
    # 500 expected; the standard deviation of one count is about 19.
    assert np.abs(taken - 500).max() < 80


def test_parts_are_the_same_in_every_version_and_on_every_machine() -> None:
    labels = np.arange(60, dtype=np.int64) % 3
    first, second, _ = draw(labels, [6, 6], 7)
    assert first.tolist() == stratify(labels, 6, 7)[1].tolist()
    assert second.tolist() == [20, 21, 35, 39, 46, 55]


def test_carving_moves_images_with_their_labels() -> None:
    images = torch.arange(40, dtype=torch.uint8).reshape(40, 1, 1, 1)
    split = Split(images, torch.arange(40) % 4)
    left, validation = split_validation(split, 8, 0)
    assert (len(left), len(validation)) == (32, 8)
    for part in (left, validation):
        assert (part.inputs.flatten().long() % 4).tolist() == part.labels.tolist()


def test_statistics_agree_with_numpy_in_float64() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (50, 3, 7, 7), dtype=np.uint8)
    split = Split(torch.from_numpy(pixels), torch.zeros(50, dtype=torch.int64))
    mean, std = channel_statistics(split, 255)
    scaled = pixels.astype(np.float64) / 255
    np.testing.assert_allclose(mean, scaled.mean(axis=(0, 2, 3)), rtol=1e-13)
    np.testing.assert_allclose(std, scaled.std(axis=(0, 2, 3)), rtol=1e-12)


def test_statistics_do_not_depend_on_the_order_of_the_images() -> None:
    images = torch.randint(0, 256, (500, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    split = Split(images.to(torch.uint8), torch.zeros(500, dtype=torch.int64))
    assert channel_statistics(split, 255) == channel_statistics(
        Split(split.inputs.flip(0), split.labels), 255
    )


def test_the_honest_problem_divides_the_training_images_and_leaves_the_test_alone() -> None:
    problem = load_problem(dataset="digits", model="nin-small", validation_fraction=0.1)
    train, test = load_arrays("digits")
    assert problem.validation is not None
    assert (len(problem.train), len(problem.validation), len(problem.test)) == (1294, 144, 359)
    assert sorted(keys(problem.train) + keys(problem.validation)) == sorted(keys(train))
    assert torch.equal(problem.test.inputs, test.inputs)
    assert torch.equal(problem.test.labels, test.labels)
    assert (problem.dataset, problem.model, problem.classes) == ("digits", "nin-small", 10)
    assert problem.scale == 16


def test_the_test_images_are_the_same_for_every_split_seed() -> None:
    first, second = (
        load_problem(dataset="digits", model="nin-small", split_seed=seed) for seed in (0, 1)
    )
    assert torch.equal(first.test.inputs, second.test.inputs)
    assert not torch.equal(first.train.inputs, second.train.inputs)


def test_the_paper_mode_trains_on_every_training_image() -> None:
    problem = load_problem(dataset="digits", model="nin-small", validation_fraction=None)
    train, _ = load_arrays("digits")
    assert problem.validation is None
    assert torch.equal(problem.train.inputs, train.inputs)


def test_splits_of_given_sizes_are_drawn_by_class_and_share_no_image() -> None:
    sizes = SplitSizes(train=500, validation=300, test=100)
    problem = load_problem(dataset="digits", model="nin-small", sizes=sizes, split_seed=3)
    train, test = load_arrays("digits")
    assert problem.validation is not None
    used, held_out = set(keys(problem.train)), set(keys(problem.validation))
    assert (len(used), len(held_out), len(problem.test)) == (500, 300, 100)
    assert not used & held_out
    assert used | held_out < set(keys(train))
    assert set(keys(problem.test)) < set(keys(test))
    for split, whole in ((problem.train, train), (problem.validation, train), (problem.test, test)):
        exact = whole.labels.bincount() * (len(split) / len(whole))
        assert bool((split.labels.bincount() - exact).abs().max() < 2)
    pixels = problem.train.inputs.numpy().astype(np.float64) / 16
    np.testing.assert_allclose(problem.mean, [pixels.mean()], rtol=1e-13)


def test_the_seed_decides_what_is_drawn_and_the_validation_part_is_the_one_held_out() -> None:
    def drawn(seed: int) -> Problem:
        sizes = SplitSizes(train=400, validation=144, test=50)
        return load_problem(dataset="digits", model="nin-small", sizes=sizes, split_seed=seed)

    first, again, other = drawn(1), drawn(1), drawn(2)
    for name in ("train", "validation", "test"):
        ours = [keys(getattr(problem, name)) for problem in (first, again, other)]
        assert ours[0] == ours[1]
        assert set(ours[0]) != set(ours[2])
    validation = load_problem(
        dataset="digits", model="nin-small", validation_fraction=0.1, split_seed=1
    )
    assert validation.validation is not None
    assert first.validation is not None
    assert keys(first.validation) == keys(validation.validation)


def test_sizes_of_all_there_is_leave_out_nothing() -> None:
    sizes = SplitSizes(train=1438, test=359)
    problem = load_problem(dataset="digits", model="nin-small", sizes=sizes)
    train, test = load_arrays("digits")
    assert problem.validation is None
    assert torch.equal(problem.train.inputs, train.inputs)
    assert torch.equal(problem.test.inputs, test.inputs)


def test_a_data_set_without_an_official_test_part_gives_a_larger_one() -> None:
    first, second = (
        load_problem(
            dataset="digits",
            model="nin-small",
            sizes=SplitSizes(train=500, validation=500, test=797),
            split_seed=seed,
        )
        for seed in (0, 1)
    )
    train, test = load_arrays("digits")
    assert first.validation is not None
    parts = (first.train, first.validation, first.test)
    everything = sorted(keys(train) + keys(test))
    assert sorted(key for part in parts for key in keys(part)) == everything
    # The test part is the same for every seed, and holds the one that all studies have.
    assert keys(first.test) == keys(second.test)
    assert set(keys(test)) < set(keys(first.test))
    assert set(keys(first.train)) != set(keys(second.train))
    assert bool((first.test.labels.bincount() - 79.7).abs().max() < 3)


def test_labels_are_made_noisy_in_the_training_part_alone() -> None:
    def load(noise: float, seed: int = 0) -> Problem:
        return load_problem(
            dataset="digits",
            model="nin-small",
            sizes=SplitSizes(train=900, validation=200),
            split_seed=seed,
            label_noise=noise,
        )

    clean, noisy, again, all_random = load(0.0), load(0.2), load(0.2), load(1.0)
    assert clean.validation is not None
    assert noisy.validation is not None
    assert torch.equal(noisy.train.inputs, clean.train.inputs)
    assert torch.equal(noisy.train.labels, again.train.labels)
    assert torch.equal(noisy.validation.labels, clean.validation.labels)
    assert torch.equal(noisy.test.labels, clean.test.labels)
    changed = noisy.train.labels != clean.train.labels
    # Of 180 that are drawn, a tenth draws its own label.
    assert 145 < int(changed.sum()) < 175
    assert noisy.train.labels[changed][:6].tolist() == [3, 8, 3, 8, 2, 2]
    # The more noise, the more labels; those of less noise stay as they were drawn.
    assert torch.equal(all_random.train.labels[changed], noisy.train.labels[changed])
    assert all_random.train.labels.bincount().min() > 60
    other = load(0.2, seed=1)
    assert (other.train.labels != load(0.0, seed=1).train.labels).tolist() != changed.tolist()


@pytest.mark.parametrize(("side", "size"), [(28, 14), (28, 10), (8, 12), (8, 8)])
def test_a_resized_pixel_is_the_mean_of_its_area(side: int, size: int) -> None:
    images = torch.randint(0, 256, (3, 2, side, side), generator=torch.Generator().manual_seed(0))
    split = Split(images.to(torch.uint8), torch.zeros(3, dtype=torch.int64))
    resized = _resized(split, size).inputs
    fine = np.repeat(np.repeat(images.numpy(), size, axis=2), size, axis=3)
    means = fine.reshape(3, 2, size, side, size, side).mean(axis=(3, 5))
    assert resized.tolist() == np.floor(means + 0.5 + 1e-9).tolist()


def test_mean_and_std_are_of_the_training_part_alone() -> None:
    problem = load_problem(dataset="digits", model="nin-small", validation_fraction=0.5)
    pixels = problem.train.inputs.numpy().astype(np.float64) / 16
    np.testing.assert_allclose(problem.mean, [pixels.mean()], rtol=1e-13)
    np.testing.assert_allclose(problem.std, [pixels.std()], rtol=1e-12)
    whole = load_problem(dataset="digits", model="nin-small", validation_fraction=None)
    assert problem.mean != whole.mean


def test_small_images_are_padded_with_black_on_all_sides(small_mnist: Small, data: Path) -> None:
    small_mnist.unpack_into(data)
    problem = load_problem(dataset=small_mnist.info, model="nin", width=0.05, data_dir=data)
    stored, _ = load_arrays(small_mnist.info, data)
    assert problem.validation is not None
    for split in (problem.train, problem.validation, problem.test):
        assert split.inputs.shape[1:] == (1, 32, 32)
        assert int(split.inputs.sum()) == int(split.inputs[:, :, 2:30, 2:30].sum())
    cropped = Split(problem.train.inputs[:, :, 2:30, 2:30], problem.train.labels)
    assert set(keys(cropped)) < set(keys(stored))
    pixels = problem.train.inputs.numpy().astype(np.float64) / 255
    np.testing.assert_allclose(problem.mean, [pixels.mean()], rtol=1e-13)


def test_the_network_fits_the_images_and_the_classes(small_cifar100: Small, data: Path) -> None:
    small_cifar100.unpack_into(data)
    problem = load_problem(dataset=small_cifar100.info, model="nin", width=0.1, data_dir=data)
    network = problem.build_model(seed=1, dropout=0.0)
    logits = network(problem.train.inputs[:2].float() / problem.scale)
    assert logits.shape == (2, 100)
    assert len(problem.mean) == len(problem.std) == 3


def test_the_builder_can_be_sent_to_another_process() -> None:
    problem = load_problem(dataset="digits", model="nin-small", width=0.5)
    sent = pickle.loads(pickle.dumps(problem.build_model))
    ours, theirs = (
        build(seed=3, dropout=0.5).state_dict() for build in (problem.build_model, sent)
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": "digit"}, "dataset = 'digit'"),
        ({"model": "nin-smal"}, "model = 'nin-smal'"),
        ({"model": "nin"}, "does not accept the 8×8 images"),
        ({"width": 0.0}, "width"),
        ({"init": "xavier"}, "init"),
        ({"validation_fraction": 1438}, "1438 of 1438 examples"),
        ({"split_seed": -1}, "split_seed"),
        ({"sizes": SplitSizes(0, 5)}, r"problem.sizes.train = 0 must be at least 1"),
        ({"sizes": SplitSizes(5, 5, -1)}, r"problem.sizes.test = -1 must be at least 1"),
        (
            {"sizes": SplitSizes(1000, 439)},
            r"sizes.train = 1000 and problem.sizes.validation = 439 are together more than the "
            r"1,438 training examples of dataset = 'digits': give at most 1,438",
        ),
        ({"sizes": SplitSizes(1439)}, r"sizes.train = 1439 is more than the 1,438"),
        (
            {"sizes": SplitSizes(1000, 300, 498)},
            r"problem.sizes.test = 498 are together more than the 1,797 examples",
        ),
        (
            {"dataset": "mnist", "model": "nin", "sizes": SplitSizes(5, 5, 10_001)},
            r"sizes.test = 10001 is more than the 10,000 test examples of dataset = 'mnist'",
        ),
        ({"label_noise": 1.5}, r"label_noise = 1.5 is not allowed"),
    ],
)
def test_what_cannot_be_a_problem_is_refused(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"dataset": "digits", "model": "nin-small"}
    with pytest.raises(InputError, match=message):
        load_problem(**{**arguments, **change})


def test_a_misfit_is_noticed_before_any_data_is_looked_for(data: Path) -> None:
    with pytest.raises(InputError, match="does not accept"):
        load_problem(dataset="cifar100", model="nin-small", data_dir=data)


def test_images_that_are_all_the_same_are_refused(small_mnist: Small, data: Path) -> None:
    small_mnist.unpack_into(data)
    images = data / "MNIST" / "raw" / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:16] + bytes(40 * 28 * 28))
    with pytest.raises(DataError, match=r"'mnist' have the same value everywhere in channel 0"):
        load_problem(dataset=small_mnist.info, model="nin", width=0.05, data_dir=data)
