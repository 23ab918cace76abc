"""Fresh seeds that a study file counts are derived when it is registered, and recorded."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.errors import StudyFileError
from indian_tune.ledger import ArmPlan, Ledger, LedgerReader
from indian_tune.study.file.spec import parse_study
from indian_tune.study.fresh_seeds import FIRST, counted, with_fresh_seeds
from indian_tune.study.looks import looks_sentence
from indian_tune.study.registered_study import RegisteredStudy
from indian_tune.study.registration import register, renamed
from indian_tune.study.registration_check import departures

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from indian_tune.study.file.spec import StudySpec


@pytest.fixture
def tiny(tiny: dict[str, Any]) -> dict[str, Any]:
    tiny["protocol"]["confirm_seeds"] = 2
    return tiny


@pytest.fixture
def spec(tiny: dict[str, Any]) -> StudySpec:
    return parse_study(tiny, source="study.toml")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path / 'study.db'}") as opened:
        yield opened


def test_fresh_seeds_depend_on_the_name_and_on_all_that_is_registered(
    spec: StudySpec, tiny: dict[str, Any]
) -> None:
    tiny["search"]["seed"] += 1
    others = [renamed(spec, "other"), parse_study(tiny, source="study.toml")]
    found = [with_fresh_seeds(each).fresh_seeds for each in (spec, spec, *others)]
    assert found[0] == found[1]
    assert len({frozenset(seeds) for seeds in found}) == 3
    # No result depends on how long an epoch may take.
    tiny["protocol"]["epoch_timeout"] = 30.0
    assert with_fresh_seeds(parse_study(tiny, source="study.toml")).fresh_seeds == found[3]
    for seeds in found:
        assert len(set(seeds)) == 2
        assert all(FIRST <= seed < 2**31 for seed in seeds)


def test_fresh_seeds_avoid_the_tune_seeds_that_are_listed(tiny: dict[str, Any]) -> None:
    tiny["protocol"]["tune_seeds"] = [0, 1]
    derived = with_fresh_seeds(parse_study(tiny, source="study.toml")).fresh_seeds
    tiny["protocol"]["tune_seeds"] = [derived[0], derived[1]]
    spec = with_fresh_seeds(parse_study(tiny, source="study.toml"))
    assert not set(spec.fresh_seeds) & set(spec.protocol.tuning_seeds)
    # Such a study can be read again.
    assert parse_study(spec.canonical(), source="record").fresh_seeds == spec.fresh_seeds


@pytest.mark.parametrize("replicates", [1, 3])
def test_a_registered_study_lists_its_fresh_seeds_and_its_file_still_fits(
    ledger: Ledger, tiny: dict[str, Any], replicates: int
) -> None:
    tiny["search"]["replicates"] = replicates
    spec = parse_study(tiny, source="study.toml")
    study = register(ledger, spec)
    assert study.spec.fresh_seeds == with_fresh_seeds(spec).fresh_seeds != spec.fresh_seeds
    assert len(set(study.spec.fresh_seeds)) == 2 * replicates
    assert RegisteredStudy.open(ledger, "tiny").spec == study.spec
    assert counted(study.record.spec) == spec.canonical()
    assert register(ledger, spec).spec == study.spec
    assert departures(study) == []


def test_a_file_that_was_changed_is_told_of_without_the_seeds_that_follow(
    ledger: Ledger, spec: StudySpec, tiny: dict[str, Any]
) -> None:
    register(ledger, spec)
    changed = copy.deepcopy(tiny)
    changed["search"]["seed"] += 1
    with pytest.raises(StudyFileError) as raised:
        register(ledger, parse_study(changed, source="study.toml"))
    assert "search.seed: registered 7, now 8" in str(raised.value)
    assert "confirm_seeds" not in str(raised.value)
    changed = copy.deepcopy(tiny)
    changed["protocol"]["confirm_seeds"] = 3
    with pytest.raises(StudyFileError, match="confirm_seeds: registered 2, now 3"):
        register(ledger, parse_study(changed, source="study.toml"))
    # Seeds that a file lists are its own, also those that another study's were.
    changed["protocol"]["confirm_seeds"] = list(with_fresh_seeds(spec).fresh_seeds)
    listed = parse_study(changed, source="study.toml")
    assert with_fresh_seeds(listed) == listed


def test_a_study_that_was_registered_with_counted_seeds_keeps_them(
    ledger: Ledger, spec: StudySpec
) -> None:
    arms = [ArmPlan(arm.name, arm.optimizer, 2) for arm in spec.arms]
    former = ledger.register(spec.name, spec.canonical(), spec.digest, arms)
    study = register(ledger, spec)
    assert study.record == former
    assert study.spec.fresh_seeds == (1000, 1001)


def test_the_ledger_counts_who_has_opened_the_test_set_of_a_data_set(
    ledger: Ledger, spec: StudySpec, tiny: dict[str, Any]
) -> None:
    assert ledger.looks("digits") == []
    for name in ("tiny", "second", "sealed"):
        register(ledger, renamed(spec, name))
    other = copy.deepcopy(tiny) | {"name": "other"}
    other["problem"] |= {"dataset": "mnist", "model": "nin"}
    register(ledger, parse_study(other, source="study.toml"))
    for name in ("second", "other", "tiny", "second"):
        ledger.unseal(ledger.study(name).id, by="analyze")
    with LedgerReader.open(ledger.url) as reader:
        looks = reader.looks("digits")
    assert [(look.study, look.by) for look in looks] == [("second", "analyze"), ("tiny", "analyze")]
    looks = [
        replace(look, at=datetime(2026, 1, 31 - n, 12, tzinfo=UTC)) for n, look in enumerate(looks)
    ]
    assert looks_sentence("digits", looks) == (
        "The test set of digits has been opened in this database by 2 studies: second (2026-01-31 "
        "12:00 UTC), tiny (2026-01-30 12:00 UTC)."
    )
    assert looks_sentence("digits", looks[:1]).endswith("1 study: second (2026-01-31 12:00 UTC).")
