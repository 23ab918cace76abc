from __future__ import annotations

import pkgutil
from itertools import product
from typing import Any

import pytest

from indian_tune.errors import StudyFileError
from indian_tune.study.claims import ClaimsSection
from indian_tune.study.file.spec import StudySpec, parse_study
from indian_tune.study.hypotheses import (
    Cell,
    Factorial,
    MatchedLoss,
    Replication,
    Surface,
    TuningGain,
)
from indian_tune.study.hypotheses.hypothesis import Hypothesis

DEFAULT = {"alpha": 0.5, "beta": 0.1}
ARMS: dict[str, dict[str, Any]] = {
    "indian": {"optimizer": "indian"},
    "rate-only": {"optimizer": "indian", "space": DEFAULT},
    "untuned": {"optimizer": "indian", "fixed": True, "space": {**DEFAULT, "gamma0": 0.1}},
    "usual": {
        "optimizer": "indian",
        "space": {
            **DEFAULT,
            "dropout": {"low": 0.0, "high": 0.7},
            "weight_decay": {"low": 1e-5, "high": 1e-2, "log": True},
        },
    },
    "sgd": {"optimizer": "sgd"},
    "sgd-matched": {"optimizer": "sgd", "matched_rate_of": "indian"},
    "adam": {"optimizer": "adam"},
    "qhm": {"optimizer": "qhm"},
    "nesterov": {"optimizer": "nesterov"},
}


def parse(study: dict[str, Any], *names: str, **claims: Any) -> StudySpec:
    study["arms"] = [{"name": name, **ARMS[name]} for name in names]
    study["claims"] = claims
    return parse_study(study, source="study.toml")


def test_the_arms_of_a_study_make_its_hypotheses(tiny: dict[str, Any]) -> None:
    claims = parse(tiny, *ARMS).claims
    assert claims.h1 == Replication(
        arms=["indian", "rate-only", "usual"],
        baselines=["sgd", "adam"],
        beside=["qhm", "nesterov"],
    )
    assert claims.h2 == MatchedLoss(
        arm="indian", baseline="sgd", matched_rate="sgd-matched", momentum=["qhm", "nesterov"]
    )
    assert claims.h3a is None
    assert claims.h3b == TuningGain(
        rate="rate-only", full="indian", default="untuned", usual="usual"
    )


def test_what_the_arms_cannot_test_stays_open(tiny: dict[str, Any]) -> None:
    claims = parse(tiny, "indian", "adam").claims
    assert (claims.h2, claims.h3b, claims.h4) == (None, None, None)
    assert parse(tiny, "sgd", "adam").claims.h1 is None


def test_what_the_file_says_is_kept(tiny: dict[str, Any]) -> None:
    h1 = {"arms": ["indian"], "baselines": ["adam"]}
    claims = parse(tiny, "indian", "sgd", "adam", h1=h1).claims
    assert claims.h1 == Replication(arms=["indian"], baselines=["adam"])


def test_a_grid_over_both_coefficients_and_the_rate_is_a_surface(tiny: dict[str, Any]) -> None:
    points = {"grid": [0.1, 0.3, 1.0]}
    tiny["arms"] = [
        {
            "name": "surface",
            "optimizer": "indian-eta",
            "space": {"alpha": points, "beta": points, "eta": points},
        }
    ]
    tiny["search"] |= {"sampler": "grid", "trials": 27}
    tiny["protocol"]["tune_seeds"] = 5
    assert parse_study(tiny, source="s").claims.h3a == Surface(arm="surface")
    tiny["protocol"]["tune_seeds"] = 1
    assert parse_study(tiny, source="s").claims.h3a is None


def test_a_descriptive_replication_tests_h1_alone(tiny: dict[str, Any]) -> None:
    tiny["protocol"]["mode"] = "paper"
    claims = parse(tiny, "indian", "sgd", "sgd-matched").claims
    assert claims.h1 is not None
    assert claims.h2 is None
    with pytest.raises(StudyFileError, match=r"claims\.h2 asks for a verdict, but mode = 'paper'"):
        parse(tiny, "indian", "sgd", h2={"arm": "indian", "baseline": "sgd"})


def test_every_hypothesis_is_judged_and_has_the_key_of_its_name() -> None:
    for key, kind in ClaimsSection.hypotheses().items():
        assert key == kind.name.lower()
        assert callable(pkgutil.resolve_name(kind.find))


def test_the_pairs_of_the_claims_are_those_of_every_hypothesis_each_once() -> None:
    cells = [
        Cell(arm=f"{t:d}{d:d}{w:d}", tuned=t, dropout=d, weight_decay=w)
        for t, d, w in product((False, True), repeat=3)
    ]
    claims = ClaimsSection(
        h1=Replication(arms=["indian"], baselines=["sgd"], beside=["qhm"]),
        h2=MatchedLoss(arm="indian", baseline="sgd", matched_rate="matched", momentum=["qhm"]),
        h3a=Surface(arm="surface"),
        h3b=TuningGain(rate="rate", full="indian", default="untuned"),
        h4=Factorial(cells=cells),
    )
    rivals = ("sgd", "matched", "qhm", "rate")
    assert claims.pairs() == [
        *(("indian", rival) for rival in rivals),
        *(("100", "000"), ("101", "001"), ("110", "010"), ("111", "011")),
    ]


def test_what_is_registered_reads_the_same(tiny: dict[str, Any]) -> None:
    spec = parse(tiny, *ARMS)
    assert parse_study(spec.canonical(), source="registered").digest == spec.digest


def test_a_claim_about_an_arm_that_is_not_there_is_refused(tiny: dict[str, Any]) -> None:
    with pytest.raises(StudyFileError, match=r"claims\.h2\.arm = 'indain' is not an arm.*'indian'"):
        parse(tiny, "indian", "sgd", h2={"arm": "indain", "baseline": "sgd"})


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ({"optimizer": "sgd", "fixed": True}, "sgd needs gamma0"),
        (
            {"optimizer": "sgd", "fixed": True, "space": {"gamma0": {"low": 0.1, "high": 1.0}}},
            r"arms\[1\]\.space\.gamma0 has several values, but the arm is fixed",
        ),
        (
            {"optimizer": "sgd", "matched_rate_of": "indain"},
            "is not an arm of this study.*'indian'",
        ),
        ({"optimizer": "sgd", "matched_rate_of": "adam"}, "must be an arm of indian"),
        (
            {"optimizer": "adam", "matched_rate_of": "indian"},
            "write optimizer = 'sgd', and remove space",
        ),
        (
            {"optimizer": "sgd", "matched_rate_of": "indian", "space": {"gamma0": 0.1}},
            "write optimizer = 'sgd', and remove space",
        ),
    ],
)
def test_an_arm_that_is_not_tuned_must_be_complete(
    tiny: dict[str, Any], arm: dict[str, Any], message: str
) -> None:
    tiny["arms"] = [
        {"name": "odd", **arm},
        {"name": "indian", "optimizer": "indian"},
        {"name": "adam", "optimizer": "adam"},
    ]
    with pytest.raises(StudyFileError, match=message):
        parse_study(tiny, source="study.toml")


def test_a_study_searches_something(tiny: dict[str, Any]) -> None:
    tiny["arms"] = [
        {"name": "sgd", "optimizer": "sgd", "fixed": True, "space": {"gamma0": 0.1}},
    ]
    with pytest.raises(StudyFileError, match="no arm is searched"):
        parse_study(tiny, source="study.toml")


def test_a_hypothesis_without_one_of_its_texts_is_refused_when_it_is_defined() -> None:
    with pytest.raises(TypeError, match="Untold needs the class attribute add"):
        type(
            "Untold",
            (Hypothesis,),
            {
                "__module__": __name__,
                "name": "H8",
                "role": "secondary",
                "question": "?",
                "needs": "nothing",
                "find": "indian_tune.analysis.tuning_gain:find",
            },
        )
