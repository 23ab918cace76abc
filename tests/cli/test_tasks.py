"""Studies of other tasks than classification on the command line, from plan to verdict."""

from __future__ import annotations

import csv
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.dashboard.notes import study_notes
from indian_tune.ledger import LedgerReader, State
from indian_tune.service.background import background
from indian_tune.study import RegisteredStudy
from tests.conftest import to_toml

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Ended

OWN = """
import torch
from torch import nn
from indian_tune import Loop, Problem, Split

def linear():
    rows = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    return rows, rows.sum(1)

def regression(task="regression"):
    rows, sums = linear()
    return Problem(
        dataset="sums", model="linear", classes=1, train=Split(rows[:40], sums[:40]),
        test=Split(rows[40:], sums[40:]), build_model=lambda seed, dropout: nn.Linear(4, 1),
        task=task,
    )

def constant():
    rows, sums = linear()
    part = Split(rows, torch.ones(60))
    return Problem("sums", "linear", 1, part, part, lambda seed, dropout: nn.Linear(4, 1),
                   task="regression")

def raising():
    from indian_tune.problems import get_task
    return regression(get_task("regression").with_metric("own", lambda outputs, labels: 1 / 0))

def later():
    def few(outputs, labels):
        assert len(labels) < 10, "too many examples"
        return outputs.mean()

    from indian_tune.problems import get_task
    return regression(get_task("regression").with_metric("few", few))

def lacking():
    from indian_tune.problems import get_task
    return regression(get_task("regression").with_metric("own", chance=2.0))

def skilled():
    from indian_tune.problems import get_task
    def skill(outputs, labels):
        return 1 - (outputs.flatten() - labels.flatten()).abs()
    return get_task("regression").with_metric(
        "skill", skill, greater_is_better=True, best=1.0, chance=-9.0)

def skilled_problem():
    return regression(skilled())

def skilled_loop():
    return loop(None, skilled())

def loop(chance=4.0, task="regression"):
    def train(run):
        rows, sums = run.data
        model = nn.Linear(4, 1)
        optimizer = run.optimizer(model.parameters())
        for _ in run.epochs(model=model, optimizer=optimizer):
            loss = (model(rows).squeeze(1) - sums).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            error = loss if task == "regression" else -loss
            run.report(train_loss=loss, train_error=error, error=error,
                       test_error=run.sealed(lambda test: 0.5))
    return Loop(train, "sums", "linear", 1, data=linear(), test=(), task=task,
                chance=chance)
"""
STUDY = {
    "name": "sums",
    "protocol": {"epochs": 2, "confirm_seeds": 2},
    "search": {"trials": 2, "sampler": "random"},
    "claims": {"delta": 2.5},
    "arms": [{"name": "indian", "optimizer": "indian"}, {"name": "sgd", "optimizer": "sgd"}],
}


@pytest.fixture
def search(
    tmp_path: Path, command: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Ended]:
    """Search a small study of one's own, in this process."""
    monkeypatch.delitem(sys.modules, "own_task", raising=False)
    (tmp_path / "own_task.py").write_text(OWN, encoding="utf-8")

    def run(factory: str = "regression", name: str = "search", *more: str) -> Ended:
        problem: dict[str, Any] = {"factory": f"own_task:{factory}", "batch_size": 8}
        if not factory.endswith("loop"):
            problem["validation_fraction"] = 0.25
        text = to_toml({**STUDY, "problem": problem})
        (tmp_path / "sums.toml").write_text(text, encoding="utf-8")
        options = more or ("--engine", "inline")
        return command(name, "sums.toml", "--allow-import", *options)

    return run


def test_a_regression_is_planned_searched_judged_exported_and_shown_in_its_unit(
    tmp_path: Path, search: Callable[..., Ended], command: Callable[..., Ended]
) -> None:
    planned = search("regression", "plan", "--no-timing").out
    planned = planned.replace("\n", " ")
    assert "30 training, 10 validation and 20 test inputs; batch size 8" in planned
    assert "They cannot test the claim on (α, β)" in planned
    assert "SD, MSE" in search("regression", "plan", "--no-timing", "--sd", "3").out

    ended = search()
    assert ended.status == 0, ended.err
    assert "%" not in ended.out.partition("95 %")[0]
    assert "Validation MSE on the fresh seeds" in ended.out
    with LedgerReader.open(str(tmp_path / "indian-tune.db")) as ledger:
        study = ledger.study("sums")
        (record, *_) = next(iter(ledger.study_epochs(study.id).values()))
        objective, note = study_notes(ledger, study)["sums/indian"]
        (best, *_) = [a.best for a in ledger.progress(study.id) if a.best is not None]
    assert list(record.metrics) == [
        f"{split}_{name}"
        for split in ("train", "validation")
        for name in ("loss", "mse", "mae", "r2")
    ]
    assert objective == "validation MSE"
    assert "Values are the validation MSE, lower is better" in note
    assert best > 0

    shown = command("show", "sums", "indian/0").out
    assert "valid. R²" in shown
    judged = command("analyze", "sums", "--json")
    assert judged.status == 0, judged.err
    outcome = json.loads(judged.out)["scope"]["outcome"]
    assert (outcome["title"], outcome["chance"] > 0) == ("MSE", True)
    assert command("export", "sums", "--format", "csv", "--unseal", "--out", "out").status == 0
    with (tmp_path / "out" / "epochs.csv").open(encoding="utf-8") as file:
        columns = next(csv.reader(file))
    assert "test_mse" in columns
    assert not [column for column in columns if "accuracy" in column]
    assert not (tmp_path / "out" / "examples.csv").exists()
    again = command("analyze", "--from", "out/epochs.csv", "--claims", "out/claims.json", "--json")
    assert json.loads(again.out)["findings"] == json.loads(judged.out)["findings"]


def test_a_loop_of_ones_own_reports_the_metric_of_its_task(
    tmp_path: Path, search: Callable[..., Ended]
) -> None:
    ended = search("loop")
    assert ended.status == 0, ended.err
    assert "Validation MSE on the fresh seeds" in ended.out
    with LedgerReader.open(str(tmp_path / "indian-tune.db")) as ledger:
        study = ledger.study("sums")
        (record, *_) = next(iter(ledger.study_epochs(study.id).values()))
    assert record.metrics["validation_mse"] == record.metrics["train_loss"] > 1


@pytest.mark.parametrize("factory", ["skilled_problem", "skilled_loop"])
def test_arms_are_compared_by_the_metric_that_the_study_is_judged_by(
    factory: str, tmp_path: Path, search: Callable[..., Ended], command: Callable[..., Ended]
) -> None:
    compare = ("compare", "sums", "--a", "indian", "--b", "sgd", "--json")
    short = ("--metric", "skill", "--better", "higher", "--delta", "2.5")
    assert command(*compare, *short, "--register", "plan.json").status == 0
    ended = search(factory)
    assert ended.status == 0, ended.err
    with LedgerReader.open(str(tmp_path / "indian-tune.db")) as ledger:
        record = ledger.study("sums")
        task = record.spec["problem"]["facts"]["task"]
        protocol = dict(background(RegisteredStudy.open(ledger, record)).protocol)
    assert protocol["Judged in the search by"] == "validation skill"
    assert task["outcome"]["chance"] == 10.0
    planned = (*short[:2], "--registered", "plan.json")
    answer = json.loads(command(*compare, *planned).out)
    assert (answer["metric"], answer["exploratory"]) == ("validation_skill", [])
    answers = [
        json.loads(command(*compare, *metric).out)
        for metric in ((), ("--metric", "skill"), ("--metric", "validation_skill"))
    ]
    found = {(each["metric"], each["better"], each["delta"]) for each in answers}
    assert found == {("validation_skill", "higher", 2.5)}
    wrong = command(*compare, "--metric", "f1")
    assert wrong.status == 2
    assert "has no values of f1: choose another metric with --metric (train_loss, " in wrong.err
    assert "validation_skill" in wrong.err
    (curve, *_) = answers[0]["best_of"]
    assert (curve["metric"], curve["median"][-1] >= curve["median"][0]) == (
        "validation_skill",
        True,
    )
    said = " ".join(command(*compare[:-1]).out.split())
    assert f"Tuning of indian, median validation_skill: {curve['median'][0]:.4g} after one" in said
    assert "validation_error" not in said
    shown = command("show", "sums", "indian/0").out
    assert "score (validation skill) " in shown
    assert " 1 - " not in command("show", "sums").out
    replayed = command("replay", "sums", "--seeds", "2").out
    assert "Regret: 1 - validation skill of the configuration" in " ".join(replayed.split())
    turned = command(*compare, "--better", "lower")
    assert "in the source a higher validation_skill is better" in turned.err
    # Also once the test results are open, which could be meant as well.
    assert command("analyze", "sums").status == 0
    for asked in (planned, planned[2:], ("--metric", "validation_skill", *planned[2:])):
        answer = json.loads(command(*compare, *asked).out)
        assert (answer["metric"], answer["exploratory"]) == ("validation_skill", [])
    answer = json.loads(command(*compare, "--metric", "test_skill", *planned[2:]).out)
    assert answer["exploratory"] == [
        "metric = 'test_skill' differs from the registered value 'skill'"
    ]


def test_a_metric_that_raises_in_training_is_in_the_record_and_no_result(
    tmp_path: Path, search: Callable[..., Ended], command: Callable[..., Ended]
) -> None:
    ended = search("later")
    assert ended.status == 1
    with LedgerReader.open(str(tmp_path / "indian-tune.db")) as ledger:
        trials = ledger.trials(ledger.study("sums").id)
        # The last trial would fail alike, and is not begun.
        states = [trial.state for trial in trials]
        assert sorted(states) == [State.FAILED] * 3 + [State.WAITING]
        broken = "metric 'few' of the task raised AssertionError on outputs of shape"
        assert broken in str(trials[0].reason)
    assert broken in " ".join(command("show", "sums", "indian/0").out.split())
    said = command("status").out
    assert "See the cause:\n  indian-tune show sums indian/0\n" in said
    assert "No worker is running. Continue with:\n  indian-tune search" in said
    assert "--retry-failed" in said


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("constant", "its training labels are all equal: give labels that vary"),
        ("lacking", "metric 'own' of the task has no function, which only a Loop can do without"),
        ("raising", "metric 'own' of the task raised ZeroDivisionError on outputs of shape [4, 1]"),
    ],
)
def test_a_task_that_cannot_be_learned_is_refused_and_nothing_is_written(
    tmp_path: Path, search: Callable[..., Ended], factory: str, message: str
) -> None:
    ended = search(factory)
    assert ended.status == 2
    assert message in ended.err
    assert not (tmp_path / "indian-tune.db").exists()
