"""What a study registers of its verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.errors import StudyFileError
from indian_tune.ledger import Ledger
from indian_tune.study.file.spec import parse_study
from indian_tune.study.hypotheses import Factorial
from indian_tune.study.registration import register

if TYPE_CHECKING:
    from pathlib import Path


def test_a_study_registered_before_its_file_gave_no_verdict_goes_on(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    former = parse_study(tiny, source="study.toml")
    assert "verdict" not in former.canonical()["claims"]
    now = parse_study(tiny | {"claims": {"verdict": "none"}}, source="study.toml")
    assert now.digest != former.digest
    with Ledger.open(f"sqlite:///{tmp_path / 'a.db'}") as ledger:
        record = register(ledger, former)
        assert register(ledger, now).id == record.id
    with Ledger.open(f"sqlite:///{tmp_path / 'b.db'}") as ledger:
        register(ledger, now)
        with pytest.raises(StudyFileError, match="claims"):
            register(ledger, former)


def test_arms_that_tune_both_usual_regularizers_make_h4(tiny: dict[str, Any]) -> None:
    usual = {
        "dropout": {"low": 0.0, "high": 0.7},
        "weight_decay": {"low": 1e-5, "high": 1e-2, "log": True},
    }
    tiny["arms"] = [
        {"name": "indian", "optimizer": "indian", "space": usual | SEARCHED},
        {"name": "sgd", "optimizer": "sgd", "space": usual},
    ]
    claims = parse_study(tiny, source="study.toml").claims
    assert claims.h4 == Factorial(full="indian", baseline="sgd")
    assert claims.h4.pairs() == [("indian", "sgd")]


SEARCHED = {name: {"low": 0.1, "high": 1.0, "log": True} for name in ("alpha", "beta")}
