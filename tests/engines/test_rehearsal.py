"""What can be known before training is refused before the study is registered."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.engines.interrupt import Interrupt
from indian_tune.engines.local.inline import InlineEngine
from indian_tune.engines.session import open_session
from indian_tune.engines.settings import WorkerSettings
from indian_tune.errors import InputError
from indian_tune.ledger import State, storage_url
from indian_tune.study.file.spec import parse_study

if TYPE_CHECKING:
    from pathlib import Path

    from indian_tune.ledger import TrialRecord

MODULE = """
import torch
from torch import nn
from indian_tune.problems import Problem, Split, get_task

class Detached(nn.Linear):
    def forward(self, inputs):
        return super().forward(inputs).detach()


NETWORKS = {
    "plain": lambda: nn.Linear(3, 2),
    "normed": lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)),
    "detached": lambda: Detached(3, 2),
}

def score(outputs, labels, least):
    return outputs.mean() * (1.0 if len(labels) >= least else float("nan"))

def problem(network, examples=64, least=None):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(examples, 3, generator=generator)
    split = Split(inputs, (inputs[:, 0] > 0).long())
    task = get_task("classification")
    if least is not None:
        task = task.with_metric("own", lambda *given: score(*given, least), chance=1.0)
    return Problem(
        dataset="own", model=network, classes=2, train=split, test=split,
        build_model=lambda *, seed, dropout: NETWORKS[network](), task=task,
    )
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delitem(sys.modules, "rehearsed", raising=False)
    (tmp_path / "rehearsed.py").write_text(MODULE)
    return tmp_path


def own(tiny: dict[str, Any], **arguments: Any) -> dict[str, Any]:
    problem = {
        "factory": "rehearsed:problem",
        "arguments": arguments,
        "batch_size": 16,
        "validation_fraction": 0.25,
    }
    return {**tiny, "problem": problem}


def work(study: dict[str, Any], storage: str, folder: Path) -> list[TrialRecord]:
    """Search as the command does, and return the trials."""
    imports = (str(folder),)
    spec = parse_study(study, source="study.toml")
    with open_session(spec, storage_url(storage), None, imports=imports) as session:
        settings = WorkerSettings(
            storage=storage, study="tiny", artifacts=folder / "artifacts", imports=imports
        )
        InlineEngine(settings).run(Interrupt(), lambda: None)
        return session.ledger.trials(session.record.id)


FAULTS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "a catalog's data set without training images": (
        {"problem": {"validation_fraction": 0.9999999}},
        {"problem": {"validation_fraction": 0.25}},
        "gives 1438 of 1438 examples: it must give 1 to 1437",
    ),
    "a catalog's data set without validation images": (
        {"problem": {"validation_fraction": 1e-9}},
        {"problem": {"validation_fraction": 0.25}},
        "gives 0 of 1438 examples: it must give 1 to 1437",
    ),
    "an own data set without training examples": (
        {"own": {"network": "plain"}, "problem": {"validation_fraction": 0.9999}},
        {"own": {"network": "plain"}},
        "gives 64 of 64 examples: it must give 1 to 63",
    ),
    "a network that gives the optimizer no gradient": (
        {"own": {"network": "detached"}},
        {"own": {"network": "plain"}},
        r"training arms\[1\] = 'indian' in batches of 16",
    ),
    "a last batch of one example under batch normalisation": (
        {"own": {"network": "normed", "examples": 65}},
        {"own": {"network": "normed"}},
        "the last batch of which has 1 of 49 examples",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_train_is_refused_unregistered_and_the_corrected_study_runs(
    fault: str, tiny: dict[str, Any], storage: str, folder: Path
) -> None:
    tiny["protocol"] |= {"epochs": 1, "tune_epochs": 1, "confirm_seeds": 0}
    tiny["search"]["trials"] = 1

    def study(changes: dict[str, Any]) -> dict[str, Any]:
        base = own(tiny, **changes["own"]) if "own" in changes else tiny
        return {**base, "problem": {**base["problem"], **changes.get("problem", {})}}

    wrong, corrected, message = FAULTS[fault]
    with pytest.raises(InputError, match=message):
        work(study(wrong), storage, folder)
    assert not (folder / "study.db").exists()
    assert {trial.state for trial in work(study(corrected), storage, folder)} == {State.COMPLETE}


@pytest.mark.parametrize(
    ("least", "state", "reason"),
    # The second is NaN on the few examples of the rehearsal alone.
    [(99, State.DIVERGED, "validation_own not finite on seed 0"), (9, State.COMPLETE, None)],
)
def test_a_trial_whose_metric_is_nan_diverges_and_a_rehearsal_does_not_judge(
    least: int, state: State, reason: str | None, tiny: dict[str, Any], storage: str, folder: Path
) -> None:
    tiny["protocol"] |= {"epochs": 1, "tune_epochs": 1, "confirm_seeds": 0}
    tiny["search"]["trials"] = 1
    trials = work(own(tiny, network="plain", least=least), storage, folder)
    assert {(trial.state, trial.reason) for trial in trials} == {(state, reason)}
