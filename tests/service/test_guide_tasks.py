"""The examples of tasks in the guide run as they stand, but for shorter."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import indian_tune
from indian_tune.ledger import LedgerReader, State

GUIDE = Path(__file__).parents[2] / "studies" / "README.md"
PYTHON = GUIDE.parent / "guides" / "python.md"


def example(word: str, guide: Path = GUIDE) -> str:
    """Return the guide's block of Python that holds a word."""
    blocks = re.findall(r"```python\n(.*?)```", guide.read_text(encoding="utf-8"), re.DOTALL)
    (block,) = (block for block in blocks if word in block)
    return str(block)


@pytest.mark.parametrize(
    ("name", "metric", "chance"), [("diabetes", "mse", 0.6), ("letters", "bits", 4.4)]
)
def test_an_example_is_searched_and_judged_by_the_metric_of_its_task(
    name: str,
    metric: str,
    chance: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code = example(f'Study("{name}"')
    assert '"trials": 4' in code
    code = code.replace('"trials": 4', '"trials": 2')
    exec(compile(code, name, "exec"), {"__name__": name})
    with LedgerReader.open(str(tmp_path / "indian-tune.db")) as ledger:
        study = ledger.study(name)
        assert {trial.state for trial in ledger.trials(study.id)} == {State.COMPLETE}
        ends = [
            rows[-1].metrics[f"validation_{metric}"]
            for rows in ledger.study_epochs(study.id).values()
        ]
        outcome = study.spec["problem"]["facts"]["task"]["outcome"]
    assert outcome["chance"] == pytest.approx(chance, rel=0.1)
    assert 0 < min(ends) < outcome["chance"]


def test_a_regression_takes_25_lines_at_most() -> None:
    assert len(example('Study("diabetes"').splitlines()) <= 25


def test_the_guide_s_metric_of_ones_own_is_one() -> None:
    names: dict[str, object] = {}
    exec(compile(example("with_metric("), "guide", "exec"), names)
    assert getattr(names["task"], "outcome") == "within"  # noqa: B009


def test_the_guide_s_network_with_a_mask_splits_its_input() -> None:
    code = example("both.unbind(1)")
    assert len(re.findall(r"\S.*", code)) <= 10
    tokens = torch.arange(20).view(4, 5)
    mask = (tokens % 5 < 3).long()
    given = {"tokens": tokens, "mask": mask, "labels": tokens[:, 0]}
    names: dict[str, Any] = {"torch": torch, "nn": torch.nn, "Split": indian_tune.Split, **given}
    exec(compile(code, "guide", "exec"), names)

    def model(input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=(input_ids * attention_mask).sum(1))

    network = names["Masked"](model)
    assert torch.equal(network(names["train"].inputs), (tokens * mask).sum(1))


def test_the_guide_s_class_weights_are_those_of_the_loss() -> None:
    names: dict[str, Any] = {}
    exec(compile(example("Weighted(", GUIDE.parent / "guides/python.md"), "guide", "exec"), names)
    task = names["Weighted"]()
    outputs, labels = torch.tensor([[1.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1])
    each = torch.nn.functional.cross_entropy(outputs, labels, reduction="none")
    mean = (each[0] + 5 * each[1]) / 6
    torch.testing.assert_close(task.loss(outputs, labels), mean)
    # Packs train by these, and flatness is measured by the sum.
    lanes = task.lane_losses(torch.stack([outputs] * 2), torch.stack([labels] * 2))
    torch.testing.assert_close(lanes, mean.expand(2))
    torch.testing.assert_close(task.summed_loss(outputs, labels), 2 * mean)


def test_the_guide_shows_default_ranges(capsys: pytest.CaptureFixture[str]) -> None:
    code = example("default_space", GUIDE.parent / "guides/python.md")
    exec(compile(code, "guide", "exec"), {})
    assert "'beta1': {'low': 0.8, 'high': 0.99}" in capsys.readouterr().out


def test_the_guide_s_loop_reports_a_metric_that_is_to_be_large_and_the_largest_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = example('Study("own-metric"', PYTHON)
    exec(compile(code, "guide", "exec"), {"__name__": "own_metric"})
    results = indian_tune.open_study("own-metric")
    runs = results.frame("runs")
    f1 = runs[runs["phase"] == "tune"].groupby("arm")["validation_macro_f1"]
    ranking = results.ranking.set_index("arm")
    assert ((1 - f1.max()) - ranking["tune_error"]).abs().max() < 1e-9
    assert (f1.max() > f1.min()).all()
    assert 0.5 < f1.max().max() <= 1
