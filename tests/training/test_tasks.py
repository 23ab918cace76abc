"""Tasks other than classification: measured by numbers that are known, and trained in every way."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from indian_tune.errors import InputError
from indian_tune.outcome import ACCURACY
from indian_tune.problems import Problem, Split, Task, get_task, tasks
from indian_tune.problems.randomness import generator
from indian_tune.problems.task import MetricError
from indian_tune.problems.tasks.regression import Regression
from indian_tune.problems.tasks.tokens import Tokens
from indian_tune.training import CheckpointFolder, Packing, Run, Trainer
from indian_tune.training.evaluation import correctness, evaluate
from indian_tune.training.feed import Feed
from indian_tune.training.flatness import FlatnessSettings, measure_flatness
from indian_tune.training.footprint import footprint

if TYPE_CHECKING:
    from pathlib import Path

    from indian_tune.training import EpochRecord

CPU = torch.device("cpu")
TOKENS = 7
LOOP = Packing(execution="loop")


class Given(nn.Module):
    """Returns fixed outputs for the first inputs, whatever it gets."""

    def __init__(self, outputs: Tensor) -> None:
        super().__init__()
        self.outputs = outputs
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.outputs[: len(inputs)]


class Next(nn.Module):
    """A logit for every token and place."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(TOKENS, 8)
        self.dense = nn.Linear(8, TOKENS)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.dense(self.words(tokens))
        return logits


def numbers(width: int = 0) -> Problem:
    """Numbers to predict from rows of a table: [N], or [N, width]."""

    def split(name: str, count: int) -> Split:
        rows = torch.randn(count, 4, generator=generator(name))
        labels = torch.stack([rows.sum(1) + k for k in range(max(width, 1))], 1)
        return Split(rows, labels if width else labels[:, 0])

    return Problem(
        dataset="rows",
        model="net",
        classes=max(width, 1),
        train=split("train", 48),
        validation=split("validation", 20),
        test=split("test", 20),
        build_model=lambda seed, dropout: nn.Sequential(
            nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, max(width, 1))
        ),
        task="regression",
    )


def text() -> Problem:
    """The next token is the one after; places that are padding do not count."""

    def split(name: str, count: int) -> Split:
        inputs = torch.randint(0, TOKENS, (count, 5), generator=generator(name))
        labels = (inputs + 1) % TOKENS
        labels[::2, 3:] = -100
        return Split(inputs, labels)

    return Problem(
        dataset="text",
        model="next",
        classes=TOKENS,
        train=split("train", 48),
        validation=split("validation", 20),
        test=split("test", 20),
        build_model=lambda seed, dropout: Next(),
        task="tokens",
    )


PROBLEMS = {"numbers": numbers(), "several": numbers(2), "text": text()}


def runs(count: int = 2) -> list[Run]:
    config = {"gamma0": 0.1, "alpha": 0.5, "beta": 0.5}
    return [Run(f"r{s}", s, 3, "indian", config, batch_size=20, dropout=0.0) for s in range(count)]


def trained(problem: Problem, todo: list[Run], **how: Any) -> dict[str, list[EpochRecord]]:
    trainer = Trainer(problem, **how)
    for run in todo:
        trainer.add(run)
    found: dict[str, list[EpochRecord]] = {run.key: [] for run in todo}
    while trainer.active:
        for record in trainer.advance():
            found[record.key].append(record)
    return found


def without_times(records: list[EpochRecord]) -> list[EpochRecord]:
    return [replace(record, seconds=0.0) for record in records]


def measured(outputs: Tensor, labels: Tensor, task: Task | str, classes: int) -> dict[str, float]:
    split = Split(torch.zeros(len(labels), 1), labels)
    problem = Problem("d", "m", classes, split, split, lambda seed, dropout: nn.Linear(1, 1))
    return evaluate(Given(outputs), Feed(split, problem, CPU), task=task)


def test_regression_is_measured_by_what_numpy_computes() -> None:
    random = np.random.default_rng(0)
    outputs, labels = random.normal(size=(30, 1)), 3 + random.normal(size=30)
    found = measured(torch.tensor(outputs), torch.tensor(labels), "regression", 1)
    away = outputs[:, 0] - labels
    assert list(found) == ["loss", "mse", "mae", "r2"]
    assert found["loss"] == found["mse"] == pytest.approx((away**2).mean(), rel=1e-12)
    assert found["mae"] == pytest.approx(abs(away).mean(), rel=1e-12)
    assert found["r2"] == pytest.approx(1 - (away**2).mean() / labels.var(), rel=1e-9)
    mean = torch.full((30, 1), labels.mean(), dtype=torch.float64)
    assert measured(mean, torch.tensor(labels), "regression", 1)["r2"] == pytest.approx(0, abs=1e-9)


def test_numbers_of_several_outputs_share_one_r2() -> None:
    labels = torch.tensor([[0.0, 10.0], [2.0, 30.0], [4.0, 50.0]])
    found = measured(labels + torch.tensor([1.0, 0.0]), labels, "regression", 2)
    assert found["mse"] == pytest.approx(0.5)
    assert found["r2"] == pytest.approx(1 - 3 / (8 + 800))
    assert math.isnan(measured(labels, torch.ones(3, 2), "regression", 2)["r2"])


def test_tokens_are_measured_over_those_that_count() -> None:
    logits = torch.zeros(2, 3, 4)
    labels = torch.tensor([[0, -100, -100], [1, 2, -100]])
    found = measured(logits, labels, "tokens", 4)
    assert list(found) == ["loss", "bits", "perplexity"]
    assert found == pytest.approx({"loss": math.log(4), "bits": 2.0, "perplexity": 4.0})
    logits[1, 2] = 1e6 * torch.tensor([1.0, -1.0, 0.0, 0.0])
    assert measured(logits, labels, "tokens", 4) == found, "what is ignored counts"
    known = labels.masked_fill(labels == -100, 3)
    assert measured(logits, known, Tokens(ignored=3), 4) == found


def test_only_what_is_right_or_wrong_has_examples_that_are_right() -> None:
    for name, problem in PROBLEMS.items():
        model = problem.build_model(seed=0, dropout=0.0)
        feed = Feed(problem.test, problem, CPU)
        assert correctness(model, feed, task=problem.task) is None, name


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_pack_learns_what_each_run_learns_alone(name: str) -> None:
    problem, todo = PROBLEMS[name], runs()
    outcome = get_task(problem.task).outcome
    alone = {run.key: trained(problem, [run], packing=LOOP)[run.key] for run in todo}
    packed = trained(problem, todo, packing=Packing(2, "grouped", execution="stacked"))
    for key, records in alone.items():
        for record, other in zip(records, packed[key], strict=True):
            value = other.metrics[f"validation_{outcome}"]
            assert value == pytest.approx(record.metrics[f"validation_{outcome}"], rel=1e-4)
        first, last = records[0].metrics, records[-1].metrics
        assert last["train_loss"] < first["train_loss"]
        assert f"test_{outcome}" in records[-1].sealed
        assert records[-1].test_correct is None


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_run_that_goes_on_from_a_checkpoint_is_the_same_to_the_bit(
    name: str, tmp_path: Path
) -> None:
    problem, (run,) = PROBLEMS[name], runs(1)
    whole = trained(problem, [run], packing=LOOP)[run.key]
    first = Trainer(problem, checkpoints=CheckpointFolder(tmp_path), packing=LOOP)
    first.add(run)
    begun = first.advance()
    first.save()
    second = Trainer(problem, checkpoints=CheckpointFolder(tmp_path), packing=LOOP)
    assert second.add(run) == 1
    while second.active:
        begun += second.advance()
    assert without_times(begun) == without_times(whole)


@pytest.mark.parametrize("name", PROBLEMS)
def test_footprint_and_flatness_are_of_the_loss_of_the_task(name: str) -> None:
    problem = PROBLEMS[name]
    inputs = problem.train.inputs
    counted = footprint(
        problem.build_model,
        shape=tuple(inputs.shape[1:]),
        whole=inputs.dtype == torch.int64,
        family="sgd",
        config={"gamma0": 0.1},
        batch_size=5,
        dropout=0.0,
        task=problem.task,
        labels=problem.train.labels[:1],
    )
    assert counted.gradients == counted.parameters > 0
    model = problem.build_model(seed=0, dropout=0.0).double()
    feed = Feed(problem.train, problem, CPU, torch.float64)
    found = measure_flatness(model, feed, FlatnessSettings(probes=2, ascents=1), problem.task)
    assert found.loss == pytest.approx(evaluate(model, feed, task=problem.task)["loss"])


def test_a_metric_of_ones_own_is_recorded_and_may_judge() -> None:
    def within(outputs: Tensor, labels: Tensor) -> Tensor:
        return (outputs.squeeze(1) - labels).abs() < 1

    task = Regression().with_metric("within", within, greater_is_better=True, best=1.0, chance=0.3)
    assert (task.outcome, list(task.metrics)[-1]) == ("within", "within")
    assert task.judged(0.3).chance == pytest.approx(0.7)
    records = trained(replace(numbers(), task=task), runs(1))["r0"]
    assert all(0 <= record.metrics["validation_within"] <= 1 for record in records)
    beside = Regression().with_metric(
        "mean", lambda outputs, labels: (outputs - labels[:, None]).mean()
    )
    assert beside.outcome == "mse"
    labels = torch.tensor([1.0, 2.0])
    assert measured(torch.zeros(2, 1), labels, beside, 1)["mean"] == -1.5
    with pytest.raises(InputError, match="a metric cannot have the name 'mse'"):
        task.with_metric("mse", within)
    with pytest.raises(InputError, match="a metric cannot have the name 3"):
        task.with_metric(3, within)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="metric 'other' must be a function, got 3"):
        task.with_metric("other", 3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"greater_is_better": True, "chance": 0.3}, r"chance = 0\.3 .* best = 0\.0, .*=1\.0"),
        (
            {"greater_is_better": True, "best": 1.0, "chance": 1},
            r"chance = 1\.0 must be below best = 1\.0",
        ),
        ({"chance": -2.0}, r"chance = -2\.0 must be above 0, .*: add a constant"),
        ({"chance": 0.0}, r"chance = 0\.0 must be above 0"),
        ({"chance": math.nan}, "chance = nan must be a finite number"),
        ({"chance": "0.1"}, r"chance = '0\.1' must be a finite number"),
        ({"chance": True}, "chance = True must be a finite number"),
        ({"greater_is_better": "yes"}, "greater_is_better = 'yes' must be True or False"),
        ({"best": "1"}, "best = '1' must be a finite number"),
        ({"best": math.inf}, "best = inf must be a finite number"),
        ({"best": 1.0}, "best = 1.0 is of a metric that is to be large: give greater_is_better"),
        ({"title": 3}, "title = 3 must be a text"),
    ],
)
def test_the_arguments_of_a_metric_are_checked(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=f"metric 'own': {said}"):
        Regression().with_metric("own", lambda outputs, labels: outputs.mean(), **given)


def test_a_metric_with_values_below_0_may_be_judged_by() -> None:
    task = Regression().with_metric(
        "own", lambda outputs, labels: outputs.mean(), greater_is_better=True, chance=-2.3
    )
    assert task.judged(-2.3).chance == 2.3


def test_a_metric_that_raises_or_returns_no_numbers_is_named() -> None:
    def broken(outputs: Tensor, labels: Tensor) -> Tensor:
        return outputs / float(os.environ["NO_SUCH_SCALE"])

    labels = torch.tensor([0.0, 1.0])
    task = Regression().with_metric("broken", broken)
    with pytest.raises(MetricError, match="metric 'broken' of the task raised KeyError on outputs"):
        measured(torch.zeros(2, 1), labels, task, 1)
    wrong = Regression().with_metric("wide", lambda outputs, labels: outputs)
    with pytest.raises(MetricError, match=r"values of shape \[2, 1\]: it must be a number, or one"):
        measured(torch.zeros(2, 1), labels, wrong, 1)


def test_a_task_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "counts.py").write_text(COUNTS, encoding="utf-8")
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(tmp_path)])
    problem = replace(numbers(), task="counts")
    train, test = (Split(s.inputs, s.labels.abs().round()) for s in (problem.train, problem.test))
    records = trained(replace(problem, train=train, validation=test, test=test), runs(1))["r0"]
    assert list(records[0].metrics)[:2] == ["train_loss", "train_deviance"]
    assert records[-1].metrics["train_deviance"] < records[0].metrics["train_deviance"]
    with pytest.raises(InputError, match=r"task = 'cuonts' is not known.*counts"):
        get_task("cuonts")


COUNTS = """
from dataclasses import dataclass
import torch
from torch.nn import functional
from indian_tune.problems import Metric, Task

def deviance(outputs, labels):
    return functional.poisson_nll_loss(outputs.double()[:, 0], labels, reduction="sum", full=True)

@dataclass(frozen=True)
class Counts(Task):
    outcome: str = "deviance"
    name = "counts"

    def declared(self):
        return {"loss": Metric("loss", deviance), "deviance": Metric("deviance", deviance)}

    def loss(self, outputs, labels):
        return functional.poisson_nll_loss(outputs[:, 0], labels, full=True)

    def output_shapes(self, labels, classes):
        return ((len(labels), 1),)

    def label_fault(self, labels, classes):
        return None if bool((labels >= 0).all()) else "has counts below 0"

    def baseline(self, labels, classes):
        return {"loss": 3.0, "deviance": 3.0}

TASK = Counts()
"""


@dataclass(frozen=True)
class _NoTask:
    name: str = "tokens"


def test_options_of_a_task_are_checked() -> None:
    assert get_task("regression", outcome="mae") == Regression(outcome="mae")
    assert get_task("tokens", ignored=0) == Tokens(ignored=0)
    assert get_task("classification").judged() == ACCURACY
    with pytest.raises(InputError, match=r"outcome = 'maee' is not known. Did you mean 'mae'"):
        get_task("regression", outcome="maee")
    with pytest.raises(InputError, match=r"option of task 'tokens' = 'ignore' is not known"):
        get_task("tokens", ignore=0)
    beside = get_task("regression").with_metric("mean", lambda outputs, labels: outputs.mean())
    with pytest.raises(InputError, match="outcome = 'mean' needs `chance`"):
        get_task(beside, outcome="mean")


def test_a_split_without_a_token_that_counts_has_no_metrics() -> None:
    found = measured(torch.zeros(1, 2, 3), torch.full((1, 2), -100), "tokens", 3)
    assert all(math.isnan(value) for value in found.values())


def test_what_is_no_task_is_refused() -> None:
    with pytest.raises(InputError, match=r"task must be a name \(classification, regression, tok"):
        get_task(_NoTask())  # type: ignore[arg-type]
