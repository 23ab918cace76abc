"""``protocol.finalists``: the best trials are compared on further seeds before one is frozen."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.errors import StudyFileError
from indian_tune.ledger import FROZEN, Ledger, Phase, State
from indian_tune.planning.workload import workload
from indian_tune.study.completion import completion
from indian_tune.study.file.spec import parse_study
from indian_tune.study.freeze import freeze
from indian_tune.study.optuna.parts import FINAL
from indian_tune.study.optuna.projection import Projection
from indian_tune.study.optuna.reconcile import rebuild
from indian_tune.study.ranking import rank
from indian_tune.study.registration import extend
from tests.study.playing import Played

if TYPE_CHECKING:
    from indian_tune.study.assignment import RunningTrial

TRIALS, FINALISTS, FURTHER = 4, 3, 4


@pytest.fixture
def study(tiny: dict[str, Any]) -> dict[str, Any]:
    tiny["search"]["trials"] = TRIALS
    tiny["protocol"]["finalists"] = FINALISTS
    return tiny


def error_of(trial: RunningTrial) -> float:
    """Tune trials get worse with their index; on further seeds the first diverges."""
    index = trial.lease.trial.index
    if trial.phase is Phase.FINAL:
        return [math.inf, 0.3, 0.2, 0.1][index]
    return 0.2 + 0.01 * index


def test_the_best_of_the_finalists_on_all_seeds_wins(study: dict[str, Any], storage: str) -> None:
    spec = parse_study(study, source="test")
    with Ledger.open(storage) as ledger:
        played = Played(ledger, spec, error_of)
        phases = [path.split("/")[1:-1] for path in played.work()]
        assert phases == [[]] * 2 * TRIALS + [["final"]] * 2 * FINALISTS + [["confirm"]] * 4
        finals = played.trials("sgd", Phase.FINAL)
        assert [(trial.index, trial.state) for trial in finals] == [
            (0, State.DIVERGED),
            (1, State.COMPLETE),
            (2, State.COMPLETE),
        ]
        assert [run.seed for run in ledger.runs(finals[1].id)] == [1, 2, 3, 4]
        tuned = played.trials("sgd", Phase.TUNE)
        assert [trial.config for trial in finals] == [trial.config for trial in tuned[:FINALISTS]]
        winner = ledger.events(played.study.id, FROZEN)[-1].data["winners"]["sgd"]
        # (.22 + 4 · .2) / 5 is less than (.21 + 4 · .3) / 5; the best on its tune seed diverged.
        assert (winner["trial"], winner["config"]) == (2, tuned[2].config)
        assert [t.config for t in played.trials("sgd", Phase.CONFIRM)] == [tuned[2].config] * 2
        (sgd,) = (arm for arm in rank(ledger, played.study.record) if arm.name == "sgd")
        assert (sgd.best_trial, sgd.value) == (2, tuned[2].value)
        assert sgd.confirmed is not None
        assert completion(ledger, played.study.record).finished()
        # Optuna shows them apart, where no sampler looks, and again when its tables are rebuilt.
        for _ in range(2):
            projection = Projection.beside(played.study)
            assert len(projection.trials("sgd")) == TRIALS
            shown = sorted(
                (trial.params["arm"], trial.params["trial"]) for trial in projection.trials(FINAL)
            )
            projection.close()
            assert shown == [(arm, n) for arm in ("indian", "sgd") for n in range(FINALISTS)]
            played.reconcile(rebuild)


@pytest.mark.parametrize(
    ("phase", "records"), [(Phase.TUNE, "insert_finalists"), (Phase.FINAL, "freeze")]
)
def test_a_trial_that_ends_while_another_worker_chooses_is_not_missed(
    study: dict[str, Any], storage: str, monkeypatch: pytest.MonkeyPatch, phase: Phase, records: str
) -> None:
    with Ledger.open(storage) as ledger:
        played = Played(ledger, parse_study(study, source="test"), error_of, until=phase)
        while (last := played.claim()) is not None:
            if ledger.open_trials(played.study.id, phase) == 1:
                break
            played.train(last)
        assert last is not None
        assert last.phase is phase

        record = getattr(Ledger, records)

        # The other worker chooses now; the trial ends before it records what it chose.
        def late(*args: Any, **named: Any) -> Any:
            played.train(last)
            return record(*args, **named)

        monkeypatch.setattr(Ledger, records, late)
        assert not freeze(played.study)
        monkeypatch.undo()
        played.train(last)
        rest = Played(ledger, played.spec, error_of)
        rest.work()
        winners = ledger.events(played.study.id, FROZEN)[-1].data["winners"]
        assert {arm: winner["trial"] for arm, winner in winners.items()} == {"indian": 2, "sgd": 2}
        assert len(rest.trials("sgd", Phase.FINAL)) == FINALISTS


def test_a_search_that_is_extended_calls_finalists_again(
    study: dict[str, Any], storage: str
) -> None:
    def error(trial: RunningTrial) -> float:
        index = trial.lease.trial.index
        if trial.phase is Phase.FINAL:
            return 0.1 + 0.1 * index
        # What is added is best on its tune seed.
        return 0.01 if index == TRIALS else 0.2 + 0.01 * index

    with Ledger.open(storage) as ledger:
        played = Played(ledger, parse_study(study, source="test"), error)
        played.work()
        extend(played.study, 1)
        added = [path.partition("/")[2] for path in played.work()]
        assert added == ["4", "4", "final/4", "final/4"]
        winners = ledger.events(played.study.id, FROZEN)[-1].data["winners"]
        assert {arm: winner["trial"] for arm, winner in winners.items()} == {"indian": 0, "sgd": 0}


def test_the_tune_phase_alone_ends_with_the_finalists(study: dict[str, Any], storage: str) -> None:
    with Ledger.open(storage) as ledger:
        played = Played(ledger, parse_study(study, source="test"), error_of, until=Phase.FINAL)
        assert len(played.work()) == 2 * (TRIALS + FINALISTS)
        now = completion(ledger, played.study.record)
        assert now.finished(Phase.FINAL)
        assert not now.finished()


def test_finalists_are_planned_and_left_out_of_a_study_without_them(
    study: dict[str, Any],
) -> None:
    spec = parse_study(study, source="test")
    planned = [(w.arm, w.trials, w.seeds) for w in workload(spec) if w.phase is Phase.FINAL]
    assert planned == [(arm, FINALISTS, FURTHER) for arm in ("indian", "sgd")]
    study["protocol"]["finalists"] = 0
    plain = parse_study(study, source="test")
    assert "finalists" not in plain.canonical()["protocol"]
    assert not [work for work in workload(plain) if work.phase is Phase.FINAL]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"finalists": 1}, "finalists = 1 with tune_seeds = 1 cannot compare finalists"),
        ({"tune_seeds": 5}, "finalists = 3 with tune_seeds = 5 cannot compare finalists"),
        ({"finalists": -1}, "protocol.finalists = -1 must be at least 0"),
        ({"finalists": 10**9}, "protocol.finalists = 1000000000 must be at most 100"),
    ],
)
def test_finalists_that_compare_nothing_are_refused(
    study: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    study["protocol"] |= change
    with pytest.raises(StudyFileError) as refused:
        parse_study(study, source="test")
    assert message in str(refused.value)
