from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import stats

from indian_tune.ledger import Phase
from indian_tune.planning.cautions import prospects, warnings
from indian_tune.planning.workload import (
    points,
    searched,
    unstable_shares,
    workload,
)
from indian_tune.service.shipped import find_study_file
from indian_tune.study.examples import example_counts, shared_examples
from indian_tune.study.file.spec import StudySpec, load_study, parse_study
from indian_tune.study.registration_check import control_fault
from indian_tune.study.typical import typical

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
TINY_IMAGES = 1438 - round(0.25 * 1438)


def shipped(name: str) -> StudySpec:
    return load_study(find_study_file(name))


def said(spec: StudySpec) -> str:
    return "\n".join(warnings(spec))


@pytest.fixture
def make(tiny: dict[str, Any]) -> Callable[..., StudySpec]:
    """The tiny study with some sections changed."""

    def changed(*, arms: list[dict[str, Any]] | None = None, **sections: Any) -> StudySpec:
        for name, values in sections.items():
            tiny[name] = {**tiny.get(name, {}), **values}
        if arms is not None:
            tiny["arms"] = arms
        return parse_study(tiny, source="test")

    return changed


def test_runs_epochs_and_steps_are_counted_by_phase_and_arm(
    make: Callable[..., StudySpec],
) -> None:
    spec = make(
        protocol={"epochs": 6, "tune_epochs": 3, "tune_seeds": 2, "confirm_seeds": 4},
        search={"trials": 5},
    )
    steps = math.ceil(TINY_IMAGES / 128)
    rows = [(w.arm, w.phase, w.runs, w.total_epochs, w.total_steps) for w in workload(spec)]
    assert rows == [
        ("indian", Phase.TUNE, 10, 30, 30 * steps),
        ("sgd", Phase.TUNE, 10, 30, 30 * steps),
        ("indian", Phase.CONFIRM, 4, 24, 24 * steps),
        ("sgd", Phase.CONFIRM, 4, 24, 24 * steps),
    ]
    assert example_counts(spec) == (TINY_IMAGES, 1438 - TINY_IMAGES, 359)
    metrics = ("test_accuracy", "validation_error", "train_accuracy")
    assert [shared_examples(spec, each) for each in metrics] == [
        359,
        1438 - TINY_IMAGES,
        TINY_IMAGES,
    ]
    own = make(problem={"split": "replicate"}, search={"replicates": 2})
    assert [shared_examples(own, each) for each in metrics] == [359, 0, 0]


def test_the_published_experiment_comes_to_6360_epochs_of_1563_steps() -> None:
    work = workload(shipped("paper-figure2"))
    assert sum(each.runs for each in work) == 66
    assert sum(each.total_epochs for each in work) == 6360
    assert sum(each.total_steps for each in work) == 6360 * 1563


def test_arms_that_are_not_tuned_do_not_work_in_the_tune_phase() -> None:
    spec = shipped("regularization")
    phases: dict[str, set[Phase]] = {arm.name: set() for arm in spec.arms}
    for each in workload(spec):
        phases[each.arm].add(each.phase)
    assert phases["indian-untuned"] == {Phase.CONFIRM}
    assert phases["sgd-matched"] == {Phase.MATCH, Phase.CONFIRM}
    assert phases["indian"] == {Phase.TUNE, Phase.CONFIRM}


def test_a_searched_batch_size_counts_with_the_mean_number_of_steps(
    make: Callable[..., StudySpec],
) -> None:
    space = {"gamma0": {"grid": [0.01, 0.1]}, "batch_size": {"choices": [32, 128]}}
    spec = make(
        arms=[{"name": "sgd", "optimizer": "sgd", "space": space}],
        search={"sampler": "grid", "trials": 4},
    )
    mean = (math.ceil(TINY_IMAGES / 32) + math.ceil(TINY_IMAGES / 128)) / 2
    assert [each.steps_per_epoch for each in workload(spec)] == [mean, mean]


def test_the_unstable_share_of_sgd_is_that_of_rates_above_two_over_the_curvature(
    make: Callable[..., StudySpec],
) -> None:
    space = {"gamma0": {"low": 1e-3, "high": 10.0, "log": True}}
    spec = make(arms=[{"name": "sgd", "optimizer": "sgd", "space": space}])
    rates = stats.loguniform(1e-3, 10.0)
    expected = [rates.sf(2 / curvature) for curvature in (1.0, 10.0, 100.0)]
    assert unstable_shares(spec, "sgd") == pytest.approx(expected, abs=0.002)


def test_on_a_grid_the_share_is_that_of_its_points(make: Callable[..., StudySpec]) -> None:
    space = {"alpha": 0.5, "beta": 2.0, "gamma0": {"grid": [0.05, 0.2, 0.9, 1.1]}}
    spec = make(
        arms=[{"name": "null", "optimizer": "indian", "space": space}],
        search={"sampler": "grid", "trials": 4},
    )
    # αβ = 1 is SGD with step 2γ: unstable above γλ = 1.
    assert unstable_shares(spec, "null") == (0.25, 0.75, 1.0)


def test_the_share_is_unknown_for_adaptive_and_for_matched_arms() -> None:
    spec = shipped("regularization")
    unknown = [arm.name for arm in spec.arms if unstable_shares(spec, arm.name) is None]
    assert unknown == ["sgd-matched", "adagrad", "adam"]
    assert points(spec, "sgd-matched") == []
    assert unstable_shares(spec, "indian-untuned") == (0.0, 0.0, 0.0)


def test_points_lie_in_the_space_and_carry_its_constants() -> None:
    spec = shipped("regularization")
    drawn = points(spec, "indian-usual")
    assert len(drawn) == 1024
    assert {point["alpha"] for point in drawn} == {0.5}
    decays = np.array([point["weight_decay"] for point in drawn])
    assert decays.min() >= 1e-6
    assert decays.max() <= 1e-1
    assert np.median(np.log10(decays)) == pytest.approx(-3.5, abs=0.02)


def test_the_typical_configuration_has_the_smallest_rate() -> None:
    spec = shipped("regularization")
    assert typical(spec, "indian")["gamma0"] == 1e-3
    assert typical(spec, "indian-usual")["dropout"] == pytest.approx(0.4)
    assert typical(spec, "sgd-matched") == {**typical(spec, "indian"), "level": 1.0}
    control = typical(shipped("aa-null"), "sgd-matched")
    assert control == {**typical(shipped("aa-null"), "indian"), "level": 1.0}


def test_what_is_searched_leaves_constants_and_fixed_arms_out() -> None:
    spec = shipped("regularization")
    assert searched(spec, "indian-rate") == ["gamma0"]
    assert searched(spec, "indian-untuned") == searched(spec, "sgd-matched") == []


def test_h2_without_its_control_cannot_be_tested() -> None:
    plain, whole = shipped("quickstart"), shipped("regularization")
    assert whole.claims.h2 is not None
    without = whole.claims.h2.model_copy(update={"matched_rate": None})
    claims = whole.claims.model_copy(update={"h2": without})
    assert "H2 cannot be tested" in said(whole.model_copy(update={"claims": claims}))
    # One that asks for no verdict, or has no arms for any, is not told so.
    assert "H2 cannot be tested" not in said(plain)
    claims = plain.claims.model_copy(update={"verdict": "claim"})
    assert "H2 cannot be tested" not in said(plain.model_copy(update={"claims": claims}))
    assert "H2 cannot be tested" not in said(whole)
    h2 = prospects(plain)[1]
    assert (h2.testable, "response_of = 'indian'" in h2.missing) == (False, True)


def test_hypotheses_that_a_study_cannot_test_say_what_to_add() -> None:
    tested = {
        name: [each.hypothesis for each in prospects(shipped(name)) if each.testable]
        for name in ("regularization", "surface", "factorial", "paper-figure2")
    }
    assert tested == {
        "regularization": ["H1", "H2", "H3b"],
        "surface": ["H3a"],
        "factorial": ["H1", "H2", "H3b", "H4"],
        "paper-figure2": ["H1"],
    }
    lacking = [each for each in prospects(shipped("surface")) if not each.testable]
    assert all(each.missing for each in lacking)


def test_a_single_fresh_seed_has_no_spread(make: Callable[..., StudySpec]) -> None:
    assert "gives 1 fresh seeds" in said(make(protocol={"confirm_seeds": 1}))


def test_short_tuning_runs_are_pointed_out(make: Callable[..., StudySpec]) -> None:
    long = {"epochs": 100, "tune_epochs": 19}
    assert "19 epochs and a confirm run 100" in said(make(protocol=long))
    assert "a winner after few epochs" not in said(make(protocol={**long, "tune_epochs": 20}))


def test_few_trials_for_many_hyperparameters_are_pointed_out(
    make: Callable[..., StudySpec],
) -> None:
    text = said(make(search={"trials": 12}))
    assert "search.trials = 12 is few for 3 searched hyperparameters (indian): 30 or more" in text
    assert "(sgd)" not in text
    assert "few for" not in said(make(search={"trials": 30}))


@pytest.mark.parametrize(
    ("values", "hole"),
    [
        ([0.01, 0.03, 0.1, 1.0, 3.0], "between 0.1 and 1: add a value such as 0.32"),
        ([0.01, 0.03, 0.1, 0.3], None),
        ([0.1, 0.2, 0.3, 0.4, 0.5], None),
        ([0.0, 0.1, 0.2, 0.4], "between 0.2 and 0.4: add a value such as 0.3"),
        ([0.01, 0.1], None),
    ],
)
def test_holes_in_a_grid_are_found(
    make: Callable[..., StudySpec], values: list[float], hole: str | None
) -> None:
    space = {"gamma0": 0.1, "weight_decay": {"grid": values}}
    spec = make(
        arms=[{"name": "sgd", "optimizer": "sgd", "space": space}],
        search={"sampler": "grid", "trials": 5},
    )
    assert ("has a wide gap" in said(spec)) is (hole is not None)
    assert (hole or "") in said(spec)


def test_grids_of_different_size_are_unequal_budgets(make: Callable[..., StudySpec]) -> None:
    arms = [
        {"name": name, "optimizer": "sgd", "space": {"gamma0": {"grid": grid}}}
        for name, grid in (("a", [0.01, 0.1]), ("b", [0.01, 0.03, 0.1]))
    ]
    text = said(make(arms=arms, search={"sampler": "grid", "trials": 3}))
    assert "the arms have different budgets: a 2, b 3" in text


def test_a_space_that_is_mostly_unstable_is_pointed_out(make: Callable[..., StudySpec]) -> None:
    space = {"gamma0": {"low": 1.0, "high": 100.0, "log": True}}
    text = said(make(arms=[{"name": "sgd", "optimizer": "sgd", "space": space}]))
    assert "arm 'sgd': 85% of its space is already unstable at curvature 1" in text


@pytest.mark.parametrize("file", sorted((ROOT / "studies").glob("*.toml")), ids=lambda p: p.stem)
def test_the_header_of_a_study_file_says_how_many_epochs_and_steps_it_comes_to(file: Path) -> None:
    work = workload(load_study(file))
    (steps,) = {each.steps_per_epoch for each in work}
    lines = file.read_text(encoding="utf-8").splitlines()
    header = " ".join(line.removeprefix("#").strip() for line in lines if line.startswith("#"))
    assert f"{sum(each.total_epochs for each in work):,} epochs of {steps:,.0f} steps" in header


def test_a_schedule_on_an_optimizer_that_finds_its_rate_is_pointed_out(
    tiny: dict[str, Any],
) -> None:
    rate = {"low": 0.1, "high": 1.0}
    tiny["arms"][1] |= {"optimizer": "some.package:Prodigy", "space": {"gamma0": rate}}
    assert "finds its step size" not in said(parse_study(tiny, source="test"))
    tiny["arms"][1]["space"] = {"gamma0": rate, "schedule": "cosine"}
    assert "some.package:Prodigy finds its step size by itself, and the schedule" in said(
        parse_study(tiny, source="test")
    )


def test_arms_of_one_optimizer_are_to_have_the_same_rates() -> None:
    raw = shipped("factorial-cpu").canonical()
    assert "different ranges of gamma0" not in said(parse_study(raw, source="test"))
    claims = raw["claims"]
    for arm in raw["arms"]:
        if arm["name"] in (claims["h3b"]["rate"], claims["h4"]["baseline"]):
            arm["space"]["gamma0"]["high"] *= 2
    warned = said(parse_study(raw, source="test"))
    full, rate = claims["h3b"]["full"], claims["h3b"]["rate"]
    assert f"{full!r} and {rate!r} have different ranges of gamma0: H3b" in warned
    assert "so the gate “assay” would not pass" in warned
    assert "differ in" not in warned
    for arm in raw["arms"]:
        if arm["name"] == full:
            arm["space"]["weight_decay"] = 0.04
    spec = parse_study(raw, source="test")
    assert f"{full!r} and {rate!r} differ in weight_decay: the gate “settings”" in said(spec)
    assert control_fault(spec) is None
    raw["claims"]["h2"]["matched_rate"] = claims["h3b"]["rate"]
    other = control_fault(parse_study(raw, source="test"))
    assert other is not None
    assert "is searched by itself, and does not follow" in other


@pytest.mark.parametrize(
    ("warmup", "warned"), [(10_000, True), ({"low": 5, "high": 9_999}, True), (5, False)]
)
def test_a_warm_up_that_is_longer_than_a_run_is_told(
    make: Callable[..., StudySpec], warmup: Any, warned: bool
) -> None:
    space = {"gamma0": {"low": 0.1, "high": 1.0}, "warmup": warmup, "schedule": "cosine"}
    spec = make(arms=[{"name": "sgd", "optimizer": "sgd", "space": space}])
    assert ("they never reach γ0" in said(spec)) is warned
