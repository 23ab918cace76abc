"""What can be known before training is refused before the study is registered."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.engines import rehearsal
from indian_tune.engines.interrupt import Interrupt
from indian_tune.engines.local.inline import InlineEngine
from indian_tune.engines.session import open_session
from indian_tune.engines.settings import WorkerSettings
from indian_tune.errors import InputError
from indian_tune.ledger import Phase, State, storage_url
from indian_tune.study.file.spec import parse_study

if TYPE_CHECKING:
    from indian_tune.ledger import TrialRecord

MODULE = """
import time
from dataclasses import replace
import torch
from torch import nn
from indian_tune import Loop
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

def problem(network, examples=64, least=None, scale=1.0):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(examples, 3, generator=generator)
    split = Split(inputs, (inputs[:, 0] > 0).long())
    task = get_task("classification")
    if least is not None:
        task = task.with_metric("own", lambda *given: score(*given, least), chance=1.0)
    return Problem(
        dataset="own", model=network, classes=2, train=split, test=split,
        build_model=lambda *, seed, dropout: NETWORKS[network](), task=task, scale=scale,
    )

WRONG = {
    "a name": lambda: {"train_loss": 0.5, "val_error": 0.5},
    "a type": lambda: {"train_loss": [0.5], "error": 0.5},
    "an exception": lambda: 1 / 0,
    "a wait": lambda: time.sleep(9),
    "a wrong argument": lambda: len(3),
    "nothing": lambda: {"train_loss": 0.5, "error": 0.5},
}

def problem_of_loader(batch_size):
    made = problem("plain")
    data = torch.utils.data.TensorDataset(made.train.inputs, made.train.labels)
    return replace(made, train=torch.utils.data.DataLoader(data, batch_size))

SEEDS = {"fixed": lambda run: 42, "own": lambda run: run.seed, "none": None}

def seeding_loop(seeds):
    def train(run):
        if SEEDS[seeds] is not None:
            torch.manual_seed(SEEDS[seeds](run))
        optimizer = run.optimizer([nn.Parameter(torch.zeros(1))])
        for number in run.epochs():
            optimizer.step()
            error = 0.5
            run.report(train_loss=0.5, error=error)
            last = number == run.total_epochs
        return last + error
    return Loop(train, "own", "none", 2)

def reading_loop(reads):
    def train(run):
        optimizer = run.optimizer([nn.Parameter(torch.zeros(1))])
        for number in run.epochs():
            if reads:
                run.batch_size, run.dropout
            optimizer.step()
            run.report(train_loss=0.5, error=0.5)
    return Loop(train, "own", "none", 2)

def configured_loop(reads):
    def train(run):
        run.config["gamma0"]
        for number in run.epochs():
            if reads:
                run.config["weight_decay"], run.batch_size, run.dropout
            run.report(train_loss=0.5, error=0.5)
    return Loop(train, "own", "none", 2)

def loop(wrong, epoch=1):
    def train(run):
        optimizer = run.optimizer([nn.Parameter(torch.zeros(1))])
        for number in run.epochs():
            optimizer.step()
            run.report(**WRONG[wrong if number == epoch else "nothing"]())
    return Loop(train, "own", "none", 2)

def scheduled_loop():
    def train(run):
        run.optimizer([nn.Parameter(torch.zeros(1))])
    return Loop(train, "own", "none", 2)

def untrained(test=None, outcome="mse", own=None, chance=None):
    task = get_task("regression", outcome=outcome)
    if own is not None:
        task = task.with_metric("own", lambda outputs, labels: outputs.mean(), chance=own)
    return Loop(None, "own", "none", 1, test=test, task=task, chance=chance)
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
        "the last of 49 examples in batches of 16 is alone in its batch; choose another "
        "batch_size, such as 17, which leaves 15",
    ),
    "batches of one example under batch normalisation": (
        {"own": {"network": "normed"}, "problem": {"batch_size": 1}},
        {"own": {"network": "normed"}},
        "every batch has one example; choose another batch_size, such as 2, which leaves 2",
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


def looped(tiny: dict[str, Any], **arguments: Any) -> dict[str, Any]:
    tiny["protocol"] |= {"epochs": 2, "tune_epochs": 2, "confirm_seeds": 0}
    tiny["search"]["trials"] = 1
    return {**tiny, "problem": {"factory": "rehearsed:loop", "arguments": arguments}}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            "a name",
            "calling its loop for arms.1. = 'indian' .* run.report = 'val_error' is not kno",
        ),
        ("a type", r"run.report\(train_loss=…\) got list, which is not a number"),
        ("an exception", "failed with ZeroDivisionError"),
    ],
)
def test_a_loop_is_refused_whose_first_report_is_wrong(
    wrong: str, message: str, tiny: dict[str, Any], storage: str, folder: Path
) -> None:
    with pytest.raises(InputError, match=message):
        work(looped(tiny, wrong=wrong), storage, folder)
    assert not (folder / "study.db").exists()


def rehearsed(study: dict[str, Any], storage: str, folder: Path) -> None:
    spec = parse_study(study, source="study.toml")
    with open_session(spec, storage_url(storage), None, imports=(str(folder),)):
        pass


@pytest.mark.parametrize(("seeds", "told"), [("fixed", True), ("own", False), ("none", False)])
def test_a_loop_that_seeds_all_runs_alike_or_fails_after_its_loop_is_told_of_once(
    seeds: str,
    told: bool,
    tiny: dict[str, Any],
    storage: str,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    study = looped(tiny)
    study["problem"] = {"factory": "rehearsed:seeding_loop", "arguments": {"seeds": seeds}}
    rehearsed(study, storage, folder)
    *alike, after = caplog.messages
    assert [text.partition(" (")[0] for text in alike] == told * [
        "train of problem.factory = 'rehearsed:seeding_loop' seeds torch's generator itself"
    ]
    assert after.startswith(
        "in the trial run before registration, which ends early, the code after"
    )
    assert "raised UnboundLocalError: " in after


@pytest.mark.parametrize("reads", [False, True])
@pytest.mark.parametrize("name", ["reading_loop", "configured_loop"])
def test_what_a_space_has_and_a_loop_never_reads_is_told(
    name: str,
    reads: bool,
    tiny: dict[str, Any],
    storage: str,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    study = looped(tiny)
    study["problem"] = {"factory": f"rehearsed:{name}", "arguments": {"reads": reads}}
    decay = {"weight_decay": {"low": 1e-4, "high": 0.1}}
    study["arms"] = [
        {"name": "a", "optimizer": "sgd", "space": {**decay, "dropout": {"choices": [0.1, 0.2]}}},
        {"name": "b", "optimizer": "sgd", "space": {**decay, "batch_size": 16}},
    ]
    rehearsed(study, storage, folder)
    unread = [("a", "dropout", "run.dropout"), ("b", "batch_size", "run.batch_size")]
    if name == "configured_loop":
        # Of the other arms no epoch is trained.
        unread.append(("a", "weight_decay", "run.config['weight_decay']"))
    assert sorted(caplog.messages) == (not reads) * sorted(
        f"the space of arm {arm!r} has {key}, which the loop did not read when it was tried "
        f"({read}), so it seems to have no effect: read it in the loop, or remove it from the space"
        for arm, key, read in unread
    )


@pytest.mark.parametrize(("test", "seeds"), [(None, 2), (0.25, 2), (None, 0)])
def test_a_loop_without_the_test_data_that_analyze_needs_is_told_of(
    test: float | None,
    seeds: int,
    tiny: dict[str, Any],
    storage: str,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    study = looped(tiny, chance=1.0, **({} if test is None else {"test": test}))
    study["problem"]["factory"] = "rehearsed:untrained"
    study["protocol"]["confirm_seeds"] = seeds
    rehearsed(study, storage, folder)
    assert [text.partition(": give")[0] for text in caplog.messages] == (
        test is None and seeds > 0
    ) * [
        "problem.factory = 'rehearsed:untrained' returns a Loop without test data, so the runs on "
        "fresh seeds have no test_error, and analyze will refuse the study"
    ]


@pytest.mark.parametrize(
    ("objective", "arguments", "told"),
    [
        ("validation_loss", {"own": 9.0}, "tells only the own at chance level, chance = 9,"),
        ("train_loss", {"outcome": "r2", "chance": 0.0}, "tells only the r2 at chance level, chan"),
        ("validation_error", {"own": 9.0}, None),
        ("validation_loss", {"chance": 4.0}, None),
    ],
)
def test_a_study_judged_by_the_loss_whose_loop_tells_no_loss_at_chance_is_told_of(
    objective: str,
    arguments: dict[str, Any],
    told: str | None,
    tiny: dict[str, Any],
    storage: str,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    study = looped(tiny, **arguments)
    study["problem"]["factory"] = "rehearsed:untrained"
    study["protocol"]["objective"] = objective
    rehearsed(study, storage, folder)
    assert len(caplog.messages) == (told is not None)
    assert told is None or told in caplog.text


def test_a_schedule_without_its_length_is_refused_at_the_line_of_the_loop_that_needs_it(
    tiny: dict[str, Any], storage: str, folder: Path
) -> None:
    study = looped(tiny)
    study["problem"] = {"factory": "rehearsed:scheduled_loop"}
    arm = {**study["arms"][0], "space": {**study["arms"][0].get("space", {}), "schedule": "cosine"}}
    study["arms"] = [arm]
    with pytest.raises(InputError, match=r"by run.optimizer\(params, steps=") as said:
        rehearsed(study, storage, folder)
    line = 1 + MODULE.splitlines().index("        run.optimizer([nn.Parameter(torch.zeros(1))])")
    assert f"({folder / 'rehearsed.py'}, line {line})" in str(said.value)
    arm["space"]["schedule_steps"] = 40
    with pytest.raises(InputError, match=r"returned without calling run.epochs") as said:
        rehearsed(study, storage, folder)
    # No line of the loop is at fault, and none of the package's is named.
    assert "indian_tune" not in str(said.value)
    assert "line" not in str(said.value)


def test_what_is_odd_in_the_data_is_told_once(
    tiny: dict[str, Any], storage: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rehearsed(own(tiny, network="plain", scale=100.0), storage, folder)
    (message,) = caplog.messages
    assert message.startswith("problem.factory = 'rehearsed:problem': its training inputs, norm")


@pytest.mark.parametrize(
    ("searched", "size", "told"), [(False, 8, True), (False, 16, False), (True, 8, False)]
)
def test_the_batch_size_of_a_loader_that_is_not_used_is_told(
    searched: bool,
    size: int,
    told: bool,
    tiny: dict[str, Any],
    storage: str,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    study = own(tiny)
    study["problem"] |= {
        "factory": "rehearsed:problem_of_loader",
        "arguments": {"batch_size": size},
    }
    if searched:
        for arm in study["arms"]:
            arm["space"] = {**arm.get("space", {}), "batch_size": {"choices": [16, 32]}}
    rehearsed(study, storage, folder)
    assert caplog.messages == told * [
        "batch size 16 (that of your DataLoader, 8, is not used: set problem.batch_size)"
    ]


def test_a_first_epoch_that_takes_long_is_not_waited_for(
    tiny: dict[str, Any], storage: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal, "FIRST_REPORT_SECONDS", 0.01)
    spec = parse_study(looped(tiny, wrong="a wait"), source="study.toml")
    with open_session(spec, storage_url(storage), None, imports=(str(folder),)) as session:
        assert session.ledger.open_trials(session.record.id, Phase.TUNE) == 2


@pytest.mark.parametrize(
    ("wrong", "attempts"), [("a name", 1), ("a wrong argument", 1), ("an exception", 3)]
)
def test_an_error_that_another_attempt_meets_again_fails_a_trial_at_once(
    wrong: str, attempts: int, tiny: dict[str, Any], storage: str, folder: Path
) -> None:
    trials = work(looped(tiny, wrong=wrong, epoch=2), storage, folder)
    assert {(trial.state, trial.attempts) for trial in trials} == {(State.FAILED, attempts)}
    assert all("Error: " in str(trial.reason) for trial in trials)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a /proc, which takes no files")
def test_a_file_system_that_takes_no_files_is_refused_whatever_permissions_say() -> None:
    with pytest.raises(InputError, match=r"--artifacts = '/proc/x': /proc is not writable \("):
        rehearsal.check_writable(Path("/proc/x"), "--artifacts")
