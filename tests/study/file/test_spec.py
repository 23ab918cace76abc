from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.errors import StudyFileError
from indian_tune.planning.timing import kind_of
from indian_tune.study.file.parameters import split_training_parameters, training_values
from indian_tune.study.file.schedules import check_warmup
from indian_tune.study.file.space import Choices, Constant, Range
from indian_tune.study.file.spec import StudySpec, load_study, parse_study

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def parse(study: dict[str, Any]) -> StudySpec:
    return parse_study(study, source="study.toml")


def put(study: dict[str, Any], key: str, value: Any) -> None:
    """Set ``arms.0.space`` and the like; without a value, remove the key."""
    *path, last = key.split(".")
    place: Any = study
    for part in path:
        place = place[int(part) if part.isdigit() else part]
    if value is None:
        del place[last]
    else:
        place[last] = value


def test_a_study_file_is_read_whole(
    tiny: dict[str, Any], write_study: Callable[[dict[str, Any]], Path]
) -> None:
    spec = load_study(write_study(tiny))
    assert spec == parse(tiny)
    assert (spec.name, spec.problem.dataset, [arm.name for arm in spec.arms]) == (
        "tiny",
        "digits",
        ["indian", "sgd"],
    )


def test_an_arm_inherits_its_family_s_space_name_by_name(tiny: dict[str, Any]) -> None:
    put(tiny, "arms.0.space", {"alpha": 0.5})
    indian, sgd = parse(tiny).arms
    assert indian.space["alpha"] == 0.5
    assert indian.space["beta"] == indian.family.default_space["beta"]
    assert sgd.space == dict(sgd.family.default_space)


def test_the_canonical_form_is_the_same_study(tiny: dict[str, Any]) -> None:
    spec = parse(tiny)
    again = parse(json.loads(json.dumps(spec.canonical())))
    assert (again, again.digest) == (spec, spec.digest)


def test_any_change_changes_the_digest(tiny: dict[str, Any]) -> None:
    before = parse(tiny).digest
    put(tiny, "claims", {"delta": 0.01})
    assert parse(tiny).digest != before


def test_confirm_seeds_are_fresh(tiny: dict[str, Any]) -> None:
    protocol = parse(tiny).protocol
    assert protocol.tuning_seeds == (0,)
    assert protocol.confirming_seeds == (1000, 1001)


def test_a_diverged_trial_scores_at_chance_level(tiny: dict[str, Any]) -> None:
    assert parse(tiny).chance == pytest.approx(0.9)
    put(tiny, "protocol.objective", "train_loss")
    assert parse(tiny).chance == pytest.approx(2.302585)


def test_a_grid_has_one_trial_per_point(tiny: dict[str, Any]) -> None:
    put(tiny, "search", {"trials": 6, "sampler": "grid"})
    put(
        tiny,
        "arms.0.space",
        {"alpha": {"grid": [0.1, 0.5]}, "beta": {"choices": [0.1, 1.0, 0.5]}, "gamma0": 0.1},
    )
    put(tiny, "arms.1.space", {"gamma0": {"grid": [0.01, 0.1]}})
    spec = parse(tiny)
    assert (spec.trials_of("indian"), spec.trials_of("sgd")) == (6, 2)


MISTAKES: list[tuple[str, Any, str]] = [
    ("colour", "red", "colour is not a key of a study file"),
    ("name", None, "name is missing"),
    ("name", "a/b", "name = 'a/b' may hold ASCII letters, digits"),
    ("name", 3, "name = 3 must be a string"),
    ("problem", 3, "problem = 3 must be a table"),
    ("problem.datset", "x", "problem.datset is not a key of a study file. Did you mean 'dataset'?"),
    ("problem.dataset", "digit", "dataset = 'digit' is not known. Did you mean 'digits'?"),
    ("problem.model", "resnet", "model = 'resnet' is not known. Allowed: mlp, nin, nin-small"),
    ("problem.model", "nin", "model = 'nin' does not accept the 8×8 images"),
    ("problem.model", "mlp", "problem.widths is missing: model = 'mlp' needs the widths"),
    ("problem.widths", [96], "problem.widths = [96] is not used by model = 'nin-small'"),
    ("problem.widths", [0], "problem.widths[1] = 0 must be at least 1"),
    ("problem.size", 14, "problem.size = 14 does not fit model = 'nin-small'"),
    ("problem.label_noise", 1.5, "problem.label_noise = 1.5 must be at most 1"),
    ("problem.dropout", 1.0, "problem.dropout = 1.0 must be below 1"),
    ("problem.batch_size", 0, "problem.batch_size = 0 must be at least 1"),
    ("problem.batch_size", 1.5, "problem.batch_size = 1.5 must be a whole number"),
    ("problem.width", "wide", "problem.width = 'wide' must be a number"),
    ("problem.init", "xavier", "problem.init = 'xavier' is not known. Allowed: he_normal, normal"),
    ("problem.init", "normal", "init = 'normal' needs init_std"),
    ("protocol.epochs", 0, "protocol.epochs = 0 must be at least 1"),
    ("protocol.epochs", None, "protocol.epochs is missing"),
    ("protocol.tune_epochs", 3, "tune_epochs = 3 must be at most epochs = 2"),
    ("protocol.tune_seeds", "a", "protocol.tune_seeds = 'a' must be a whole number"),
    ("protocol.tune_seeds", [], "tune_seeds = [] must contain at least one seed"),
    ("protocol.tune_seeds", [1, 1], "tune_seeds = [1, 1] contains a seed twice"),
    ("protocol.confirm_seeds", [0, 1], "tune_seeds and confirm_seeds share [0]"),
    ("protocol.confirm_seeds", [-1], "protocol.confirm_seeds[1] = -1 must be at least 0"),
    ("protocol.objective", "error", "protocol.objective = 'error' is not known"),
    ("search.seed", 2**40, "search.seed = 1099511627776 must be at most 2147483647"),
    ("protocol.epoch_timeout", 1e9, "epoch_timeout = 1000000000.0 must be at most 2592000"),
    ("search.trials", 0, "search.trials = 0 must be at least 1"),
    ("search.trials", "many", "search.trials = 'many' must be a whole number"),
    ("search.sampler", "tpee", "search.sampler = 'tpee' is not known. Did you mean 'tpe'?"),
    ("search.pruner", "medium", "search.pruner = 'medium' is not known. Did you mean 'median'?"),
    ("search.pruner", "wilcoxon", "raise protocol.tune_seeds to at least 2"),
    ("search.sampler", "grid", "is a range, and sampler = 'grid' needs points"),
    ("arms", [], "arms is empty: give at least 1"),
    ("arms.1.name", "indian", "arms[2].name = 'indian' is already the name of arms[1]"),
    ("arms.1.name", "confirm", "arms[2].name = 'confirm' is reserved"),
    ("arms.0.optimizer", "indiana", "arms[1].optimizer: optimizer = 'indiana' is not known"),
    ("arms.0.optimizer", None, "arms[1].optimizer is missing"),
    ("arms.0.optimizer", f"m:{'C' * 200}", "arms[1].optimizer must have at most 200 characters"),
    ("name", "n" * 300, "name must have at most 100 characters, not 300"),
    ("arms.0.space", {"alpah": 0.5}, "Did you mean 'alpha'?"),
    ("arms.0.space", {"beta": 0}, "arms[1].space.beta: beta must be a finite number > 0, got 0"),
    ("arms.0.space", {"beta": {"low": -1, "high": 1}}, "beta must be a finite number > 0, got -1"),
    ("arms.0.space", {"alpha": {"low": 2, "high": 1}}, "low = 2 must be below high = 1"),
    ("arms.0.space", {"alpha": {"low": 1, "high": 1}}, "low = 1 must be below high = 1"),
    (
        "arms.0.space",
        {"alpha": {"low": 0, "high": 1, "log": True}},
        "arms[1].space.alpha: low = 0 must be above 0 on a log scale",
    ),
    ("arms.0.space", {"alpha": {"lo": 1, "high": 2}}, "Did you mean 'low'?"),
    ("arms.0.space", {"alpha": {"low": 1}}, "arms[1].space.alpha.high is missing"),
    ("arms.0.space", {"alpha": {"choices": []}}, "must be a list of at least one number"),
    ("arms.0.space", {"alpha": {"choices": [1, 1]}}, "contains a value twice"),
    ("arms.0.space", {"alpha": {"grid": [2, 1]}}, "must be in increasing order"),
    ("arms.0.space", {"alpha": {"grid": [1], "low": 1}}, "cannot be given with"),
    ("arms.0.space", {"alpha": "half"}, "arms[1].space.alpha = 'half' must be a number"),
    ("arms.0.space", {"alpha": 1, "beta": 1, "gamma0": 1}, "arms[1].space has nothing to search"),
    ("arms.0.space", {"dropout": {"low": 0.5, "high": 1.5}}, "must be in [0, 1)"),
    ("arms.0.space", {"batch_size": {"low": 16, "high": 64}}, "must be whole numbers"),
    ("claims", {"delta": 0.0}, "claims.delta = 0.0 must be above 0"),
    ("claims", {"default": {"alpha": "x"}}, "claims.default.alpha = 'x' must be a number"),
]


@pytest.mark.parametrize(("key", "value", "message"), MISTAKES)
def test_a_mistake_is_named_with_its_key_and_the_way_on(
    tiny: dict[str, Any], key: str, value: Any, message: str
) -> None:
    put(tiny, key, value)
    with pytest.raises(StudyFileError) as caught:
        parse(tiny)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_several_mistakes_are_told_at_once(tiny: dict[str, Any]) -> None:
    put(tiny, "protocol", None)
    put(tiny, "search.trials", 0)
    with pytest.raises(StudyFileError) as caught:
        parse(tiny)
    assert str(caught.value).splitlines() == [
        "study.toml has 2 mistakes:",
        "  - protocol is missing",
        "  - search.trials = 0 must be at least 1",
    ]


def test_paper_mode_has_no_validation_part_to_be_judged_by(tiny: dict[str, Any]) -> None:
    put(tiny, "protocol.mode", "paper")
    assert parse(tiny).protocol.score == "train_loss"
    put(tiny, "protocol.objective", "validation_error")
    with pytest.raises(StudyFileError, match="but mode = 'paper' has none"):
        parse(tiny)


def test_a_file_that_is_absent_or_no_toml_is_named(tmp_path: Path) -> None:
    with pytest.raises(StudyFileError, match="there is no study file"):
        load_study(tmp_path / "absent.toml")
    with pytest.raises(StudyFileError, match="cannot be read"):
        load_study(tmp_path)
    broken = tmp_path / "broken.toml"
    broken.write_text("name = ")
    with pytest.raises(StudyFileError, match=r"broken\.toml is not valid TOML"):
        load_study(broken)
    broken.write_bytes(b"name = 1\nx = \xff\xfe")
    with pytest.raises(StudyFileError, match="is not UTF-8: byte 0xff in line 2; save it as UTF-8"):
        load_study(broken)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"schedule": "cosin"}, "space.schedule = 'cosin' is not known. Did you mean 'cosine'"),
        ({"schedule": ["cosine"]}, "space.schedule = ['cosine'] must be a number"),
        (
            {"schedule": {"low": 0, "high": 1}},
            "space.schedule accepts no range: give one of 'power'",
        ),
        ({"schedule": {"choices": ["cosine", "no"]}}, "space.schedule = 'no' is not known"),
        ({"schedule": 7}, "schedule must be one of 'power', 'constant'"),
        (
            {"schedule": "cosine", "decay_power": 0.5},
            "space.decay_power is used with schedule = 'power' only, but this space has 'cosine'",
        ),
        (
            {"floor": 0.1},
            "is used with schedule = 'linear' or 'cosine' or 'wsd' only, but this space has",
        ),
        (
            {"schedule": "wsd", "warmup": 0.6, "cooldown": {"low": 0.1, "high": 0.5}},
            "warmup = 0.6 and cooldown = 0.5 of the run's steps would overlap",
        ),
        ({"schedule": "wsd", "cooldown_shape": "round"}, "Allowed: cosine, linear, sqrt"),
        (
            {"schedule": "cosine", "warmup": {"low": 0.1, "high": 20.0}},
            "space.warmup goes from 0.1 to 20: below 1 it is a share of the run's steps",
        ),
        ({"warmup": {"choices": [0, 0.1, 10]}}, "so give either shares or steps"),
        ({"schedule": "cosine", "warmup": -0.1}, "warmup must be a finite number >= 0, got -0.1"),
        ({"schedule": "constant", "floor": 0.1}, "but this space has 'constant': remove floor or"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(
    tiny: dict[str, Any], space: dict[str, Any], message: str
) -> None:
    for arm in tiny["arms"]:
        arm["space"] = {"gamma0": {"low": 0.01, "high": 0.1}, **space}
        with pytest.raises(StudyFileError) as refused:
            parse(tiny)
        assert message in str(refused.value)


@pytest.mark.parametrize(
    ("optimizer", "space", "message"),
    [
        ("indian", {"clip_norm": -1}, "clip_norm must be a finite number >= 0, got -1"),
        ("indian", {"clip_norm": "none"}, "space.clip_norm = 'none' must be a number"),
        ("indian", {"ema_decay": {"low": 0.9, "high": 1.0}}, "a finite number >= 0 and < 1, got 1"),
        (
            "schedule-free",
            {"ema_decay": {"choices": [0, 0.9]}},
            "space.ema_decay is not used by schedule-free, which averages the weights itself",
        ),
    ],
)
def test_a_clipping_or_an_average_that_cannot_be_is_refused(
    tiny: dict[str, Any], optimizer: str, space: dict[str, Any], message: str
) -> None:
    tiny["arms"][0] = {"name": "one", "optimizer": optimizer, "space": space}
    with pytest.raises(StudyFileError) as refused:
        parse(tiny)
    assert message in str(refused.value)


def test_clipping_and_average_are_constants_lists_and_ranges_of_the_training(
    tiny: dict[str, Any],
) -> None:
    space = {"clip_norm": {"low": 0.1, "high": 10.0, "log": True}}
    tiny["arms"][0]["space"] = {**space, "ema_decay": {"choices": [0, 0.99]}}
    tiny["arms"][1]["space"] = {"clip_norm": 1.0}
    spec = parse(tiny)
    assert spec.space("indian")["clip_norm"] == Range(0.1, 10.0, log=True)
    assert kind_of(spec, "indian").ema_decay == 0.99
    assert kind_of(spec, "indian").clip_norm == pytest.approx(1.0)
    assert kind_of(spec, "sgd").clip_norm == 1.0
    own, training = split_training_parameters({"gamma0": 0.1, "clip_norm": 1.0, "ema_decay": 0.9})
    assert own == {"gamma0": 0.1}
    assert training_values(training, spec.problem) == {
        "batch_size": 128,
        "dropout": spec.problem.dropout,
        "clip_norm": 1.0,
        "ema_decay": 0.9,
    }


def test_schedules_are_searched_and_registered_as_texts(tiny: dict[str, Any]) -> None:
    given = {"choices": ["power", "cosine", "wsd"]}
    tiny["arms"][0]["space"] = {"schedule": given, "decay_power": 0.4, "floor": 0.1, "warmup": 3}
    spec = parse(tiny)
    assert spec.space("indian")["schedule"] == Choices((0, 1 + 2, 4))
    assert spec.canonical()["arms"][0]["space"]["schedule"] == given
    with pytest.raises(StudyFileError, match=r"warmup = 3 steps, but the shortest run has 3 steps"):
        check_warmup({"warmup": Constant(3)}, 3, "arms[1].space")
    with pytest.raises(StudyFileError, match="its cooldown begins after 8: lower it, or give a sh"):
        check_warmup({"warmup": Constant(8), "schedule": Constant(4)}, 10, "arms[1].space")
    check_warmup({"warmup": Constant(7), "schedule": Constant(4)}, 10, "arms[1].space")
    check_warmup({"warmup": Choices((0, 7)), "schedule": Constant(3)}, 10, "arms[1].space")
