"""Ask-and-tell: the runs of a study, trained in blocks of the user's own program."""

from __future__ import annotations

import importlib.util
import math
import re
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

import indian_tune
from indian_tune import Arm, Loop, Study
from indian_tune.errors import InputError, UnfinishedError
from indian_tune.ledger import LedgerReader, State
from indian_tune.training import LoopError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from indian_tune.service.asking import AskedStudy
    from indian_tune.training import LoopRun

SMALL: dict[str, Any] = {
    "protocol": {"epochs": 2, "confirm_seeds": [1000, 1001]},
    "search": {"trials": 2, "sampler": "random"},
}


def made(train: Callable[[Any], None] | None = None) -> Loop:
    return Loop(train, "points", "line", 2, data=torch.arange(8.0), test=torch.tensor(0.25))


def fit(run: LoopRun) -> None:
    """Draw weights and batches from torch's global generator."""
    model = nn.Linear(1, 1)
    optimizer = run.optimizer(model.parameters())
    for _ in run.epochs(model=model, optimizer=optimizer):
        for x in run.data[torch.randperm(8)].split(4):
            optimizer.zero_grad()
            loss = (model(x[:, None] / 8) - 1).square().mean()
            loss.backward()
            optimizer.step()
        run.report(train_loss=loss, error=0.25, test_error=run.sealed(float))


def study(problem: Callable[[], Loop] = made, **changes: Any) -> Study:
    sections: dict[str, Any] = {name: {**SMALL[name], **changes.get(name, {})} for name in SMALL}
    return Study("small", [Arm("sgd"), Arm("adam")], problem, **sections)


def asked(folder: Path, **changes: Any) -> AskedStudy:
    return indian_tune.register(study(**changes), storage=str(folder / "asked.db"))


def test_registering_warns_once_of_a_study_that_can_get_no_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = replace(
        study(), arms=[Arm("indian"), Arm("indian", {"alpha": 0.5, "beta": 0.1}, "rate")]
    )
    for registered in (False, True):
        indian_tune.register(wrong, storage=str(tmp_path / "asked.db"))
        told = capsys.readouterr().err
        assert ("claims.half_budget = false" in told, "as_name='NEW-NAME'" in told) == (
            (False, False) if registered else (True, True)
        )


def trained(asked: AskedStudy, train: Callable[[LoopRun], None] = fit) -> int:
    """Train all that is left; return how many runs that were."""
    count = 0
    while True:
        with asked.trial(devices="cpu") as run:
            if run is None:
                return count
            train(run)
            count += 1


def record(storage: str) -> list[Any]:
    """Return what was trained and came out, and what Optuna was told."""
    rows: list[Any] = []
    with LedgerReader.open(storage) as ledger:
        found = ledger.study("small")
        for trial in ledger.trials(found.id):
            rows.append((trial.phase, trial.index, trial.state, trial.config, trial.value))
            rows += [(run.seed, run.state, ledger.epochs(run.id)) for run in ledger.runs(trial.id)]
    return rows


@pytest.mark.parametrize("seeds", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_blocks_leave_the_record_of_a_search(seeds: int, tmp_path: Path) -> None:
    changes = {"protocol": {"tune_seeds": seeds}}
    here = asked(tmp_path, **changes)
    assert trained(here) == 2 * (2 * seeds + 2)
    assert here.finished
    there = str(tmp_path / "searched.db")
    indian_tune.search(
        study(lambda: made(fit), **changes), storage=there, engine="inline", progress=False
    )
    assert record(str(tmp_path / "asked.db")) == record(there)
    assert trained(here) == 0
    assert here.verdict().label


def test_pruning_ends_the_epochs_of_a_block(tmp_path: Path) -> None:
    search = {"trials": 3, "pruner": {"name": "percentile", "percentile": 1, "n_startup_trials": 1}}
    here = asked(tmp_path, protocol={"epochs": 3}, search=search)
    epochs: list[int] = []

    def worse_and_worse(run: LoopRun) -> None:
        assert run.config
        epochs.append(0)
        for _ in run.epochs():
            epochs[-1] += 1
            run.report(train_loss=0.5, error=len(epochs) / 100, test_error=run.sealed(float))

    trained(here, worse_and_worse)
    assert min(epochs) < 3
    states = set(here.frame("trials")["trial_state"])
    assert states == {"complete", "pruned"}


def test_an_exception_fails_the_attempt_and_passes_on(tmp_path: Path) -> None:
    here = asked(tmp_path)
    with pytest.raises(ZeroDivisionError):
        trained(here, lambda run: print(run.seed // 0))
    with LedgerReader.open(str(tmp_path / "asked.db")) as ledger:
        first = ledger.trials(ledger.study("small").id)[0]
        (broke,) = ledger.events(first.study_id, "broke")
    assert (first.state, "ZeroDivisionError" in broke.data["reason"]) == (State.WAITING, True)
    assert trained(here) == 8


def test_failed_trials_end_the_loop_with_an_exception_and_can_be_retried(tmp_path: Path) -> None:
    here = asked(tmp_path)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            trained(here, lambda run: print(run.seed // 0))
    with pytest.raises(UnfinishedError) as stuck:
        trained(here)
    told = str(stuck.value)
    assert "1 trial of study 'small' failed (sgd/0)" in told
    for option in ("retry_failed=True", "freeze_anyway=True"):
        assert re.search(rf"\n  indian_tune.register\(study, storage='.*', {option}\)", told)
    passed = indian_tune.register(study(), storage=here.storage, freeze_anyway=True)
    with pytest.raises(UnfinishedError, match=r"failed \(sgd/0\)"):
        trained(passed)
    assert passed.finished
    assert passed.status().completion.failed == ("sgd/0",)
    # All trials are equally good: the first becomes the winner, and has two fresh seeds.
    assert trained(indian_tune.register(study(), storage=here.storage, retry_failed=True)) == 3
    assert passed.status().completion.failed == ()


def test_changed_code_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "asked_for.py"
    text = "from indian_tune import Loop\n\n\ndef made():\n    "
    text += 'return Loop(None, "points", "line", 2, data=[1.0], test=0.25)'
    for line in ("", "  # changed"):
        file.write_text(f"{text}{line}\n", encoding="utf-8")
        found = importlib.util.spec_from_file_location("asked_for", file)
        assert found is not None
        assert found.loader is not None
        module = importlib.util.module_from_spec(found)
        found.loader.exec_module(module)
        asked(tmp_path, problem=module.made)
        told = capsys.readouterr().err
        assert ("Warning: the code of" in told) == bool(line)
    assert "is not what it was when study 'small' was registered" in told


def test_ctrl_c_gives_the_run_back_and_the_next_block_goes_on(tmp_path: Path) -> None:
    here = asked(tmp_path, protocol={"epochs": 3})
    kept: list[int] = []

    def interrupted(run: LoopRun) -> None:
        model = nn.Linear(1, 1)
        assert run.config
        for epoch in run.epochs(model=model):
            kept.append(epoch)
            if len(kept) == 2:
                raise KeyboardInterrupt
            run.report(train_loss=0.5, error=0.25, test_error=run.sealed(float))

    with pytest.raises(KeyboardInterrupt):
        trained(here, interrupted)
    with LedgerReader.open(str(tmp_path / "asked.db")) as ledger:
        first = ledger.trials(ledger.study("small").id)[0]
        assert (first.state, first.attempts) == (State.WAITING, 0)
        assert [len(ledger.epochs(run.id)) for run in ledger.runs(first.id)] == [1]
        assert all(worker.left_at is not None for worker in ledger.workers(first.study_id))
    trained(here, interrupted)
    assert here.finished
    assert not here.frame("epochs").duplicated(["arm", "phase", "trial", "seed", "epoch"]).any()


def test_no_thread_or_process_stays_behind(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    here = asked(tmp_path)
    with here.trial(devices="cpu") as run:
        assert run is not None
        fit(run)
    assert {each for each in threading.enumerate() if each.is_alive()} <= before


def early(run: LoopRun) -> None:
    for _ in run.epochs():
        run.report(train_loss=0.5, error=0.25, test_error=run.sealed(float))
        break


FAULTS: dict[str, tuple[Callable[[LoopRun], None], str]] = {
    "does nothing": (lambda run: None, "returned without calling run.epochs"),
    "returns early": (early, "returned in epoch 1 of 2"),
    "reports nothing": (lambda run: list(run.epochs()).clear(), "epoch 1 ended without a report"),
    "reads test data": (lambda run: print(run.test), "run.test, which is sealed"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_a_block_must_not_do_is_said_in_one_sentence(fault: str, tmp_path: Path) -> None:
    train, message = FAULTS[fault]
    with pytest.raises(LoopError, match=re.escape(message)):
        trained(asked(tmp_path), train)
    with LedgerReader.open(str(tmp_path / "asked.db")) as ledger:
        (broke,) = ledger.events(ledger.study("small").id, "broke")
    assert message.split(",")[0] in broke.data["reason"]


def test_a_value_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    def diverging(run: LoopRun) -> None:
        for _ in run.epochs():
            run.report(train_loss=math.nan, error=0.25, test_error=run.sealed(float))

    here = asked(tmp_path)
    with here.trial(devices="cpu") as run:
        assert run is not None
        diverging(run)
    assert here.frame("trials")["trial_state"].tolist()[0] == "diverged"


def test_what_cannot_be_asked_for_is_refused_and_nothing_written(tmp_path: Path) -> None:
    pruned = {"search": {"pruner": "median"}, "protocol": {"tune_seeds": 2, "epochs": 8}}
    with pytest.raises(InputError, match="compares trials at equal epochs of all their 2 seeds"):
        asked(tmp_path, **pruned)
    with pytest.raises(InputError, match="with indian-tune's training loop: run it with search"):
        indian_tune.register("quickstart", storage=str(tmp_path / "asked.db"))
    assert list(tmp_path.iterdir()) == []


def test_a_loop_without_a_function_is_not_searched(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"a Loop without a train function.*register\(study\).trial"
    ):
        indian_tune.search(study(), storage=str(tmp_path / "a.db"), engine="inline", progress=False)
    assert list(tmp_path.iterdir()) == []


def test_blocks_and_searches_of_two_threads_do_not_train_side_by_side(tmp_path: Path) -> None:
    here, refused = asked(tmp_path), []

    def block() -> None:
        with here.trial(devices="cpu"):
            pass

    def other() -> None:
        for act in (block, lambda: asked(tmp_path)):
            with pytest.raises(InputError) as told:
                act()
            refused.append(str(told.value))

    with here.trial(devices="cpu") as run:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert run is not None
        fit(run)
    assert len([text for text in refused if "another search trains" in text]) == 2
    assert trained(here)
