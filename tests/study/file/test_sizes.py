"""``problem.sizes``: checked with the file, and the same study only where it is the same."""

from __future__ import annotations

from typing import Any

import pytest

from indian_tune.errors import StudyFileError
from indian_tune.planning.memory import _image_shape
from indian_tune.planning.workload import workload
from indian_tune.study.examples import example_counts
from indian_tune.study.file.spec import StudySpec, parse_study

SIZES = {"train": 500, "validation": 300, "test": 100}


def parse(tiny: dict[str, Any], mode: str = "honest", **problem: Any) -> StudySpec:
    tiny["protocol"]["mode"] = mode
    del tiny["problem"]["validation_fraction"]
    return parse_study({**tiny, "problem": {**tiny["problem"], **problem}}, source="test")


def test_a_study_of_given_sizes_is_counted_by_them(tiny: dict[str, Any]) -> None:
    spec = parse(tiny, sizes=SIZES)
    assert example_counts(spec) == (500, 300, 100)
    assert {work.steps_per_epoch for work in workload(spec)} == {4}


def test_sizes_left_out_are_the_whole_test_part_and_no_validation(tiny: dict[str, Any]) -> None:
    assert example_counts(parse(tiny, "paper", sizes={"train": 500})) == (500, 0, 359)


def test_the_canonical_form_says_sizes_in_place_of_a_fraction(tiny: dict[str, Any]) -> None:
    spec = parse(tiny, sizes=SIZES)
    said = spec.canonical()["problem"]
    assert said["sizes"] == SIZES
    assert "validation_fraction" not in said
    again = parse_study(spec.canonical(), source="registered")
    assert (again, again.digest) == (spec, spec.digest)


def test_a_study_of_resized_images_and_noisy_labels_says_so(tiny: dict[str, Any]) -> None:
    changed: dict[str, Any] = {
        "dataset": "mnist-5k",
        "model": "mlp",
        "widths": [96, 48],
        "size": 14,
    }
    del tiny["problem"]["width"]
    spec = parse(tiny, **changed, label_noise=0.2, sizes=SIZES)
    assert changed.items() <= spec.canonical()["problem"].items()
    assert spec.problem.network_name == "mlp 96-48"
    told = "mnist-5k at 14×14, 20 % of the training labels at random"
    assert spec.problem.data_name == told
    again = parse_study(spec.canonical(), source="registered")
    assert (again, again.digest) == (spec, spec.digest)
    assert _image_shape(spec) == (1, 14, 14)


def test_without_sizes_the_canonical_form_has_no_such_key(tiny: dict[str, Any]) -> None:
    said = parse(tiny, sizes=None).canonical()["problem"]
    assert not {"sizes", "size", "widths", "label_noise"} & said.keys()
    assert said["validation_fraction"] == 0.1


@pytest.mark.parametrize(
    ("mode", "problem", "message"),
    [
        (
            "honest",
            {"sizes": {"train": 1000, "validation": 439}},
            "problem.sizes.train = 1000 and problem.sizes.validation = 439 are together more than "
            "the 1,438 training examples of dataset = 'digits': give at most 1,438",
        ),
        (
            "honest",
            {"sizes": {**SIZES, "test": 998}},
            "problem.sizes.train = 500, problem.sizes.validation = 300 and problem.sizes.test = "
            "998 are together more than the 1,797 examples of dataset = 'digits'",
        ),
        ("honest", {"sizes": {**SIZES, "train": 0}}, "problem.sizes.train = 0 must be at least 1"),
        ("honest", {"sizes": {"train": 9}}, "problem.sizes.validation is missing"),
        ("honest", {"sizes": {"validation": 9}}, "problem.sizes.train is missing"),
        (
            "honest",
            {"sizes": {**SIZES, "tset": 9}},
            "problem.sizes.tset is not a key of a study file. Did you mean 'test'? Allowed: test, "
            "train, validation",
        ),
        ("paper", {"sizes": SIZES}, "problem.sizes.validation = 300 is not used with"),
        # Its default, and given all the same.
        (
            "honest",
            {"sizes": SIZES, "validation_fraction": 0.1},
            "problem.validation_fraction = 0.1 cannot be given together with problem.sizes",
        ),
    ],
)
def test_sizes_that_cannot_be_are_refused(
    tiny: dict[str, Any], mode: str, problem: dict[str, Any], message: str
) -> None:
    with pytest.raises(StudyFileError) as refused:
        parse(tiny, mode, **problem)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
