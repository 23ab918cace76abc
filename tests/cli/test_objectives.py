"""Studies with several objectives, from the file to Optuna's Pareto front."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from typing import TYPE_CHECKING, Any

import optuna
import pandas as pd
import pytest

from indian_tune.errors import StudyFileError
from indian_tune.ledger import LedgerReader, Phase, RunRecord, State, TrialRecord
from indian_tune.ledger.frames import trial_frame
from indian_tune.outcome import ACCURACY, Outcome
from indian_tune.service.ranking import front_table
from indian_tune.study.file.spec import parse_study
from indian_tune.study.ranking import pareto_front, rank
from indian_tune.study.scoring import objective_values
from tests.conftest import measured

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Ended

OBJECTIVES = ["validation_error", "seconds"]


def several(study: dict[str, Any]) -> dict[str, Any]:
    study["protocol"]["objectives"] = OBJECTIVES
    return study


@pytest.mark.parametrize("sampler", ["random", "qmc", "tpe", "gp"])
def test_optuna_is_told_every_objective(
    storage: str,
    tiny: dict[str, Any],
    search: Callable[..., tuple[int, str, str]],
    command: Callable[..., Ended],
    sampler: str,
) -> None:
    several(tiny)["search"] |= {"sampler": sampler, "trials": 3}
    status, out, _ = search(tiny)
    assert status == 0
    assert "no other trial of their arm beats" in out
    assert "no other trial of their arm beats" in command("status", "--storage", storage).out
    listed = command("show", "tiny", "--storage", storage).out
    assert "seconds of training" in listed
    shown = command("show", "tiny", "indian/0", "--storage", storage).out
    said = re.search(
        r"score \(validation error %\) (\S+), score \(seconds of training\) (\S+),", shown
    )
    assert said is not None
    told = json.loads(command("show", "tiny", "indian", "--storage", storage, "--json").out)[0]
    error, took = told["values"]
    assert said.groups() == (f"{100 * error:.2f}", f"{took:.4g}")
    # A column has the same number of decimals in all rows.
    row = re.search(rf"^indian/0 +complete +{said[1]} +(\S+) ", listed, re.M)
    assert row is not None
    assert float(row[1]) == pytest.approx(float(said[2]), rel=1e-3)
    with LedgerReader.open(storage) as ledger:
        study = ledger.study("tiny")
        trials = ledger.trials(study.id, phase=Phase.TUNE)
        seconds = {
            run.trial_id: sum(row.seconds for row in ledger.epochs(run.id))
            for run in ledger.study_runs(study.id, Phase.TUNE)
        }
        ranked = rank(ledger, study)
        fronts = {result.name: [t.values for t in result.front] for result in ranked}
        (frozen,) = ledger.events(study.id, "frozen")
        confirms = ledger.confirms(study.id)
        frame = trial_frame(ledger, study.id, Phase.TUNE)
        assert trial_frame(ledger, study.id, Phase.CONFIRM)["score.seconds"].isna().all()
    # The front in the units of the ranking, also of a metric that is to be large.
    f1 = Outcome("f1", "F1", "F1", greater_is_better=True, best=1.0)
    for outcome, scale, offset in ((ACCURACY, 100, 0), (f1, -1, 1)):
        made = front_table(ranked, OBJECTIVES, outcome)
        assert made is not None
        cells = [float(str(cell)) for cell in made.columns[2].cells]
        errors = [trial.values[0] for r in ranked for trial in r.front if trial.values is not None]
        assert cells == pytest.approx([error * scale + offset for error in errors], abs=0.01)
    scores = frame[["score.validation_error", "score.seconds"]].to_numpy().tolist()
    assert sorted(scores) == sorted(list(trial.values or ()) for trial in trials)
    for trial in trials:
        assert trial.values is not None
        assert list(trial.values) == [trial.value, seconds[trial.id]]
    assert {trial.state for trial in confirms} == {State.COMPLETE}
    for arm in ("indian", "sgd"):
        told = optuna.load_study(study_name=f"tiny/{arm}", storage=storage)
        assert len(told.directions) == 2
        assert sorted(map(list, filter(None, fronts[arm]))) == sorted(
            trial.values for trial in told.best_trials
        )
        best = min(trial.values[0] for trial in told.trials)
        assert frozen.data["winners"][arm]["value"] == best


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "name"),
    [
        ({"objective": "validation_loss"}, "validation_loss"),
        pytest.param(
            {"objectives": ["train_loss", "seconds"]}, "train_loss", marks=pytest.mark.slow
        ),
    ],
)
def test_a_report_shows_the_scores_that_the_winners_were_chosen_by(
    storage: str,
    tmp_path: Path,
    tiny: dict[str, Any],
    search: Callable[..., tuple[int, str, str]],
    command: Callable[..., Ended],
    objective: dict[str, Any],
    name: str,
) -> None:
    tiny["protocol"] |= {**objective, "tune_seeds": 2}
    tiny["search"]["trials"] = 4
    assert search(tiny)[0] == 0
    with LedgerReader.open(storage) as ledger:
        study = ledger.study("tiny")
        arms = {arm.id: arm.name for arm in ledger.arms(study.id)}
        scores = {
            (arms[trial.arm_id], trial.index): trial.value
            for trial in ledger.trials(study.id, phase=Phase.TUNE)
        }
        ranked = {result.name: result.best_trial for result in rank(ledger, study)}
    assert command("analyze", "--storage", storage, "--out", tmp_path / "report").status == 0
    figures = tmp_path / "report" / "figures"
    tables = [pd.read_csv(figures / f"{each}.csv") for each in ("step-size", "best-so-far")]
    for table in tables:
        assert (
            dict(zip(zip(table["arm"], table["trial"], strict=True), table["score"], strict=True))
            == scores
        )
        assert set(table["objective"]) == {name}
    best = tables[0][tables[0]["best"]]
    assert dict(zip(best["arm"], best["trial"], strict=True)) == ranked
    words = {"validation_loss": "validation loss", "train_loss": "training loss"}[name]
    assert f">{words}<" in (figures / "step-size.svg").read_text(encoding="utf-8")
    assert f">best {words} so far<" in (figures / "best-so-far.svg").read_text(encoding="utf-8")


def trial(index: int, *values: float) -> TrialRecord:
    blank: dict[str, Any] = dict.fromkeys(field.name for field in dataclasses.fields(TrialRecord))
    return TrialRecord(**{**blank, "index": index, "values": values or None})


def test_a_front_holds_what_nothing_dominates() -> None:
    trials = [trial(0, 3, 1), trial(1, 1, 3), trial(2, 2, 2), trial(3, 3, 3), trial(4, 2, 2)]
    assert [one.index for one in pareto_front([*trials, trial(5)])] == [1, 2, 4, 0]


def test_a_diverged_run_gains_nothing_by_its_early_end(tiny: dict[str, Any]) -> None:
    spec = parse_study(several(tiny), source="study.toml")
    blank: dict[str, Any] = dict.fromkeys(field.name for field in dataclasses.fields(RunRecord))
    runs = [
        RunRecord(**{**blank, "id": 1, "state": State.DIVERGED, "epochs_planned": 10}),
        RunRecord(**{**blank, "id": 2, "state": State.COMPLETE, "epochs_planned": 10}),
    ]
    rows = {
        1: [measured(epoch, *[math.nan] * 6, seconds=2.0) for epoch in (1, 2)],
        2: [measured(epoch, 0.1, 0.9, 0.3, 0.7, 0.3, 0.7, seconds=1.0) for epoch in range(1, 11)],
    }
    values = objective_values(spec, runs, rows)
    assert values is not None
    error, seconds = values
    assert error == pytest.approx((0.9 + 0.3) / 2)
    assert seconds == pytest.approx((20 + 10) / 2)


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        ("protocol", {"objectives": ["validation_error"]}, "protocol.objectives is empty|at least"),
        ("protocol", {"objectives": ["seconds", "validation_error"]}, "begins with 'seconds'"),
        ("protocol", {"objectives": ["train_loss", "train_loss"]}, "contains one twice"),
        ("protocol", {"objectives": ["train_loss", "test_loss"]}, "reads test data"),
        (
            "protocol",
            {"objectives": OBJECTIVES, "objective": "train_loss"},
            "cannot be given together",
        ),
        ("search", {"pruner": "median"}, "supports one objective only"),
        ("search", {"sampler": "cmaes"}, "supports one objective only"),
        ("protocol", {"mode": "paper"}, "needs a validation part"),
    ],
)
def test_objectives_that_cannot_be_searched_together_are_refused(
    tiny: dict[str, Any], section: str, changes: dict[str, Any], message: str
) -> None:
    several(tiny)[section] |= changes
    with pytest.raises(StudyFileError, match=message):
        parse_study(tiny, source="study.toml")
