from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.errors import InputError, StudyFileError
from indian_tune.ledger import ArmPlan, Ledger
from indian_tune.study import RegisteredStudy, parse_study, register

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def ledger(storage: str) -> Iterator[Ledger]:
    with Ledger.open(storage) as opened:
        yield opened


def test_a_study_is_opened_by_its_name_and_by_its_record(
    ledger: Ledger, tiny: dict[str, Any]
) -> None:
    spec = parse_study(tiny, source="study.toml")
    registered = register(ledger, spec)
    assert registered.spec == spec
    assert registered == RegisteredStudy.open(ledger, "tiny")
    assert registered == RegisteredStudy.open(ledger, registered.record)
    assert (registered.id, registered.name) == (ledger.study("tiny").id, "tiny")


def test_a_name_that_is_not_there_is_answered_with_those_that_are(
    ledger: Ledger, tiny: dict[str, Any]
) -> None:
    register(ledger, parse_study(tiny, source="study.toml"))
    told = r"no study 'tny' in .*study\.db\. Did you mean 'tiny'\? Allowed: tiny"
    with pytest.raises(InputError, match=told):
        RegisteredStudy.open(ledger, "tny")


def test_what_cannot_be_read_any_more_is_named_with_its_database(ledger: Ledger) -> None:
    record = ledger.register("older", {"name": "older"}, "hash", [ArmPlan("sgd", "sgd", 1)])
    with pytest.raises(StudyFileError) as refused:
        RegisteredStudy.open(ledger, record)
    assert f"study 'older' in {ledger.address}" in str(refused.value)
