"""``first`` of an arm: what it tries before its sampler is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.errors import StudyFileError
from indian_tune.ledger import Ledger, Phase
from indian_tune.optim import FAMILIES
from indian_tune.study.file.first import as_family, first_point
from indian_tune.study.file.spec import parse_study
from tests.study.playing import Played

if TYPE_CHECKING:
    from collections.abc import Callable

    from indian_tune.study.assignment import RunningTrial

DEFAULT = {"eta": 0.2, "kappa": 0.05, "memory": 20.0}
T1 = {"alpha": 0.5, "beta": 0.1, "gamma0": {"low": 0.01, "high": 3.0, "log": True}}


@pytest.fixture
def study(tiny: dict[str, Any]) -> dict[str, Any]:
    """SGD, INDIAN at its default, and an arm that begins with a point and with their winners."""
    tiny["search"] |= {"trials": 4, "sampler": "tpe"}
    tiny["arms"] = [
        {"name": "sgd", "optimizer": "sgd", "space": {"dropout": {"low": 0.0, "high": 0.5}}},
        {"name": "t1", "optimizer": "indian", "space": T1},
        {
            "name": "t2",
            "optimizer": "indian-memory",
            "space": {"dropout": {"low": 0.1, "high": 0.2}},
            "first": [{**DEFAULT, "dropout": 0.1}, "sgd", "t1"],
        },
    ]
    return tiny


def error_of(trial: RunningTrial) -> float:
    """The best SGD has γ0 = 0.1, the best T1 a γ0 of 2, each among those that are tried."""
    config = trial.assignment.config
    return float(min(0.9, abs(config.get("gamma0", 1.0) - (2.0 if "alpha" in config else 0.1))))


def test_an_arm_begins_with_points_and_with_the_winners_of_earlier_arms(
    study: dict[str, Any], storage: str
) -> None:
    spec = parse_study(study, source="test")
    with Ledger.open(storage) as ledger:
        played = Played(ledger, spec, error_of, until=Phase.TUNE)
        paths = played.work()
        # It waits until both have ended.
        assert [path.split("/")[0] for path in paths] == ["sgd", "t1"] * 4 + ["t2"] * 4
        configs = {
            arm: [trial.config or {} for trial in played.trials(arm, Phase.TUNE)]
            for arm in ("sgd", "t1", "t2")
        }
        best = {
            arm: min(played.trials(arm, Phase.TUNE), key=lambda trial: trial.value or 0.0).config
            for arm in ("sgd", "t1")
        }
    given, sgd, t1, drawn = configs["t2"]
    assert given == {**DEFAULT, "dropout": 0.1}
    assert best["sgd"] is not None
    assert best["t1"] is not None
    assert sgd["eta"] == best["sgd"]["gamma0"]
    # What is outside the space is moved to its nearest end.
    assert (sgd["kappa"], sgd["memory"]) == (1.0, min(max(1 / sgd["eta"], 1.0), 100.0))
    assert sgd["dropout"] == min(max(best["sgd"]["dropout"], 0.1), 0.2)
    gamma0 = best["t1"]["gamma0"]
    assert t1["eta"] == pytest.approx(min(gamma0 / 0.5, 2.0))
    assert t1["kappa"] == pytest.approx(0.05)
    assert t1["memory"] == pytest.approx(max(1 / (0.5 * gamma0), 1.0))
    # The problem's own, moved into the range.
    assert t1["dropout"] == 0.2
    assert drawn not in (given, sgd, t1)


@pytest.mark.parametrize("name", ["indian", "indian-eta", "indian-memory"])
@pytest.mark.parametrize(
    "config",
    [
        {"gamma0": 0.3, "alpha": 0.4, "beta": 0.7, "weight_decay": 0.02},
        {"gamma0": 0.3, "alpha": 0.4, "beta": 0.7, "weight_decay": 0.1, "decay_power": 0.0},
        {"gamma0": 0.3, "alpha": 1.0, "beta": 1.0, "initial_velocity": 0.5},
    ],
)
def test_a_configuration_of_indian_is_the_same_in_other_coordinates(
    name: str, config: dict[str, float]
) -> None:
    family = FAMILIES[name]
    complete = FAMILIES["indian"].complete(config)
    for source in ("indian", "indian-eta"):
        theirs = FAMILIES[source].adopt
        assert theirs is not None
        adopted = as_family(name, source, {**theirs(complete), "dropout": 0.3})
        assert adopted.pop("dropout") == 0.3
        assert family.complete(adopted) == pytest.approx(complete, rel=1e-12)


def test_a_study_without_it_has_the_canonical_form_it_had(tiny: dict[str, Any]) -> None:
    arms = parse_study(tiny, source="test").canonical()["arms"]
    assert not any("first" in arm for arm in arms)


def test_a_point_may_hold_constants_of_the_space_and_names_of_schedules(
    tiny: dict[str, Any],
) -> None:
    """As the best configuration of another study does."""
    space = {"schedule": {"choices": ["power", "cosine"]}, "momentum": 0.9}
    point = {"gamma0": 0.1, "schedule": "cosine", "momentum": 0.9}
    tiny["arms"] = [{"name": "m", "optimizer": "momentum", "space": space, "first": [point]}]
    spec = parse_study(tiny, source="test")
    arm = spec.arm("m")
    begun = first_point(arm, spec.space("m"), 0, {})
    assert begun == {"gamma0": 0.1, "schedule": 3}
    tiny["arms"][0]["first"] = [{**point, "momentum": 0.8}]
    with pytest.raises(StudyFileError, match=r"first\[1\].momentum is not searched"):
        parse_study(tiny, source="test")


def change_point(study: dict[str, Any], **changed: float | None) -> None:
    point = {**DEFAULT, "dropout": 0.1, **changed}
    study["arms"][2]["first"] = [{k: v for k, v in point.items() if v is not None}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda study: change_point(study, kappa=2.0), "first[1].kappa = 2.0 is outside"),
        (lambda study: change_point(study, kapa=1.0), "first[1].kapa is not searched. Did you"),
        (lambda study: change_point(study, memory=None), "first[1].memory is missing: memory is"),
        (lambda study: study["arms"].reverse(), "first[2] = 'sgd' is not a searched arm that"),
        (lambda study: study["arms"][2].update(first=["t1"] * 5), "first has 5 configurations, m"),
        (lambda study: study["arms"][1].update(optimizer="adam", space={}), "is an arm of adam"),
        (
            lambda study: study["arms"][1].update(
                first=["sgd"], fixed=True, space={"alpha": 0.5, "gamma0": 0.1}
            ),
            "first is not used by an arm that is not searched",
        ),
        (
            lambda study: study["arms"].append(
                {"name": "adam", "optimizer": "adam", "first": ["sgd"]}
            ),
            "only arms of 'indian', 'indian-eta', 'indian-memory' can try",
        ),
        (lambda study: study["search"].update(budget="epochs", epochs=50), "use budget = 'trials'"),
        (lambda study: study["arms"][2].update(first=[3]), "first"),
    ],
)
def test_what_cannot_be_tried_first_is_refused(
    study: dict[str, Any], change: Callable[[dict[str, Any]], None], message: str
) -> None:
    change(study)
    with pytest.raises(StudyFileError) as refused:
        parse_study(study, source="test")
    assert message in str(refused.value)
