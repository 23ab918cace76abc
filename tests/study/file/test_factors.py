from __future__ import annotations

from typing import Any

import pytest

from indian_tune.errors import StudyFileError
from indian_tune.study.file.spec import StudySpec, parse_study

TUNING = {
    "name": "tuning",
    "levels": {
        "default": {"alpha": 0.5, "beta": 0.1},
        "tuned": {
            "alpha": {"low": 0.05, "high": 2.0, "log": True},
            "beta": {"low": 0.01, "high": 2.0, "log": True},
        },
    },
}
DROPOUT = {"name": "dropout", "levels": {"off": {"dropout": 0.0}, "on": {"dropout": 0.5}}}
DECAY = {
    "name": "weight_decay",
    "levels": {
        "off": {"weight_decay": 0.0},
        "tuned": {"weight_decay": {"low": 1e-5, "high": 1e-2, "log": True}},
    },
}


def parse(study: dict[str, Any], *factors: dict[str, Any]) -> StudySpec:
    study["arms"] = [{"name": "indian", "optimizer": "indian"}]
    study["factors"] = list(factors)
    return parse_study(study, source="study.toml")


def test_factors_are_multiplied_out_into_arms(tiny: dict[str, Any]) -> None:
    spec = parse(tiny, DROPOUT, DECAY)
    assert [arm.name for arm in spec.arms] == [
        *("indian-off-off", "indian-off-tuned", "indian-on-off", "indian-on-tuned"),
    ]
    assert spec.arm("indian-on-off").space["dropout"] == 0.5
    assert spec.arm("indian-off-tuned").space["weight_decay"]["high"] == 1e-2
    # What no factor touches is inherited from the family as ever.
    assert spec.arm("indian-on-off").space["gamma0"]["log"] is True
    assert spec.claims.h4 is None


def test_the_eight_cells_of_h4_stand_in_the_claims(tiny: dict[str, Any]) -> None:
    spec = parse(tiny, TUNING, DROPOUT, DECAY)
    assert len(spec.arms) == 8
    assert spec.claims.h4 is not None
    arm = spec.claims.h4.arm(tuned=True, dropout=True, weight_decay=False)
    assert arm == "indian-tuned-on-off"
    assert isinstance(spec.arm(arm).space["alpha"], dict)
    assert spec.arm(arm).space["dropout"] == 0.5


def test_what_is_registered_is_written_out_and_reads_the_same(tiny: dict[str, Any]) -> None:
    spec = parse(tiny, TUNING, DROPOUT, DECAY)
    canonical = spec.canonical()
    assert "factors" not in canonical
    assert parse_study(canonical, source="registered").digest == spec.digest


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        ({"name": "dropout", "levels": {"on": {"dropout": 0.5}}}, "at least two levels"),
        ({"name": "drop out", "levels": DROPOUT["levels"]}, "factors.1.name = 'drop out'"),
        ({"levels": DROPOUT["levels"]}, "factors.1.name"),
        ({**DROPOUT, "order": 1}, "factors.1.order"),
        ({"name": "dropout", "levels": {"off": {"dropuot": 0}, "on": {}}}, "dropuot"),
    ],
)
def test_factors_that_are_not_valid_are_refused(
    tiny: dict[str, Any], factor: dict[str, Any], message: str
) -> None:
    with pytest.raises(StudyFileError, match=message):
        parse(tiny, factor)


def test_a_factor_cannot_stand_twice(tiny: dict[str, Any]) -> None:
    with pytest.raises(
        StudyFileError, match=r"factors\[2\]\.name = 'dropout' is used twice: give it another"
    ):
        parse(tiny, DROPOUT, DROPOUT)


def test_a_mistake_in_a_level_says_which_arm_the_factors_made(tiny: dict[str, Any]) -> None:
    tiny["arms"] = [{"name": "indian", "optimizer": "indian"}]
    tiny["factors"] = [
        {"name": "dropout", "levels": {"off": {"dropout": 0.0}, "on": {"dropuot": 0.5}}}
    ]
    with pytest.raises(StudyFileError, match="dropuot") as refused:
        parse_study(tiny, source="study.toml")
    assert str(refused.value).endswith(
        "[[factors]] made these arms of [[arms]] and their levels: arms[2] is 'indian-on'"
    )
    del tiny["factors"]
    tiny["arms"][0]["space"] = {"dropuot": 0.5}
    with pytest.raises(StudyFileError, match="dropuot") as refused:
        parse_study(tiny, source="study.toml")
    assert "factors" not in str(refused.value)
