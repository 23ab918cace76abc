from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from indian_tune.errors import InputError
from indian_tune.problems import Split, get_task, metric_trial
from tests.problems.test_own import FACTORY, made, sound

__all__ = ["made"]

if TYPE_CHECKING:
    from collections.abc import Callable

    from indian_tune.problems import Problem

INPUTS = torch.randn(400, 5, generator=torch.Generator().manual_seed(0))
NUMBERS = INPUTS.sum(1)
# Sorted: the first examples are of one class.
CLASSES = (INPUTS[:, 0] > 1).long().sort()[0]
TOKENS = (INPUTS.abs() * 3).long().clamp(max=6)


def rmse(outputs: Tensor, labels: Tensor) -> Tensor:
    return (outputs[:, 0] - labels).square().mean().sqrt()


def explained(outputs: Tensor, labels: Tensor) -> Tensor:
    return 1 - (outputs[:, 0] - labels).square().sum() / (labels - labels.mean()).square().sum()


def mean_loss(outputs: Tensor, labels: Tensor) -> Tensor:
    return cross_entropy(outputs.flatten(0, -2), labels.flatten())


def rounded(outputs: Tensor, labels: Tensor) -> Tensor:
    return (outputs[:, 0].bfloat16() - labels.bfloat16()).square().mean()


def on_a_few(outputs: Tensor, labels: Tensor) -> Tensor:
    if len(labels) not in (4, 64):
        raise ValueError("another number of examples")
    return outputs.mean()


METRICS: list[tuple[str, Callable[..., Any], bool]] = [
    ("regression", rmse, False),
    ("regression", explained, False),
    ("regression", lambda outputs, labels: (outputs[:, 0] - labels).abs().median(), False),
    ("regression", lambda outputs, labels: (outputs[:, 0] - labels).square().mean(), True),
    ("regression", lambda outputs, labels: (outputs[:, 0] - labels).mean().item(), True),
    ("regression", lambda outputs, labels: (outputs[:, 0] - labels).abs() / labels.std(), True),
    ("regression", lambda outputs, labels: torch.tensor(torch.nan), True),
    ("regression", rounded, True),
    ("regression", on_a_few, True),
    ("classification", lambda outputs, labels: f1_score(labels, outputs.argmax(1)), False),
    ("classification", lambda outputs, labels: roc_auc_score(labels, outputs[:, 1]), False),
    ("classification", lambda outputs, labels: accuracy_score(labels, outputs.argmax(1)), True),
    ("classification", mean_loss, True),
    ("tokens", lambda outputs, labels: mean_loss(outputs, labels).exp(), False),
    ("tokens", mean_loss, True),
]


def tried(
    task: str, function: Callable[..., Any], scale: float = 1.0, *, registered: bool = False
) -> None:
    labels = {"regression": NUMBERS * scale, "classification": CLASSES, "tokens": TOKENS}[task]
    # An untrained network may give the same outputs for all examples.
    shape = {"regression": (4, 1), "classification": (4, 2), "tokens": (4, 5, 7)}[task]
    outputs = torch.zeros(shape).index_fill(-1, torch.tensor([0]), 0.1)
    made = get_task(task).with_metric("own", function)
    metric_trial.try_metrics(
        made, outputs, labels[:4], Split(INPUTS, labels), "here", registered=registered
    )


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
@pytest.mark.parametrize(("task", "function", "mean"), METRICS)
def test_only_a_metric_that_is_a_mean_over_examples_can_be_averaged_over_batches(
    task: str, function: Callable[..., Any], mean: bool
) -> None:
    if mean:
        tried(task, function)
        tried(task, function, 1e6)
        return
    with pytest.raises(InputError, match="here: metric 'own' of the task is not a mean over exam"):
        tried(task, function)


def test_a_metric_must_leave_the_labels_of_the_data_set_as_they_are() -> None:
    def masking(outputs: Tensor, labels: Tensor) -> Tensor:
        labels[labels == 0] = 1
        return (outputs.argmax(-1) == labels).double().mean(-1)

    before = TOKENS.clone()
    with pytest.raises(InputError, match=r"here: metric 'own' of the task changes the labels that"):
        tried("tokens", masking)
    assert torch.equal(TOKENS, before)


def test_missing_labels_may_be_nan_for_a_metric_that_leaves_them_as_they_are(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def known(outputs: Tensor, labels: Tensor) -> Tensor:
        return (outputs[:, 0] - labels).nan_to_num().abs()

    labels = NUMBERS.where(torch.arange(400) % 3 > 0, torch.nan)
    task = get_task("regression").with_metric("own", known, chance=2.0)
    few, split = torch.zeros(4, 1), Split(INPUTS, labels)
    # Of a registered study, what would be refused is a warning.
    metric_trial.try_metrics(task, few, labels[:4], split, "here", registered=True)
    assert caplog.messages == []


def test_the_metric_of_a_registered_study_is_kept_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tried("regression", rmse, registered=True)
    (message,) = caplog.messages
    assert "the MSE ranks models as the RMSE does" in message


def test_a_factory_s_metric_is_tried(made: Callable[..., Problem]) -> None:
    part = Split(INPUTS, NUMBERS)
    task = get_task("regression").with_metric("rmse", rmse, chance=2.0)

    def problem() -> Problem:
        return sound(
            train=part, test=part, classes=1, task=task, build_model=lambda **_: nn.Linear(5, 1)
        )

    with pytest.raises(InputError, match=f"^problem.factory = '{FACTORY}': metric 'rmse' of the"):
        made(problem)
    made(problem, registered=True)
