"""Loops of one's own, trained an epoch at a time: what they must not do, and how they resume."""

from __future__ import annotations

import re
import sys
import threading
from dataclasses import replace
from math import nan
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CyclicLR, LinearLR, OneCycleLR, ReduceLROnPlateau

from indian_tune.engines.trainers import is_final
from indian_tune.errors import InputError
from indian_tune.problems import Loop, get_task
from indian_tune.problems.task import MetricError
from indian_tune.training import (
    CheckpointFolder,
    EpochRecord,
    LoopError,
    LoopTrainer,
    Run,
)
from indian_tune.training.loop_trainer import Rehearsal
from indian_tune.training.own_checkpoint import check_objects
from indian_tune.training.own_report import StaleCheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from indian_tune.training import LoopRun

RUN = Run("r", 3, 4, "sgd", {"gamma0": 0.1}, 8, 0.0)
GOOD = {"train_loss": 0.5, "error": 0.25}


def loop(train: Callable[[Any], None], test: Any = None) -> Loop:
    return Loop(train, "points", "line", 2, data=torch.arange(8.0), test=test)


def fit(run: LoopRun) -> None:
    """Draw weights and batches from torch's global generator, as loops of others do."""
    model = nn.Linear(1, 1)
    optimizer = run.optimizer(model.parameters())
    for _ in run.epochs(model=model, optimizer=optimizer):
        step(run, model, optimizer)


def fit_and_name_late(run: LoopRun) -> None:
    """The same, and what a checkpoint holds is named at the end of an epoch only."""
    model = nn.Linear(1, 1)
    optimizer = run.optimizer(model.parameters())
    for _ in run.epochs():
        step(run, model, optimizer)
        run.checkpoint(model=model, optimizer=optimizer)


def step(run: LoopRun, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for x in run.data[torch.randperm(8)].split(4):
        optimizer.zero_grad()
        loss = (model(x[:, None] / 8) - 1).square().mean()
        loss.backward()
        optimizer.step()
    run.report(train_loss=loss, error=0.25)


def trained(trainer: LoopTrainer, run: Run = RUN) -> list[EpochRecord]:
    trainer.add(run)
    records = []
    while trainer.active:
        records += trainer.advance()
    trainer.remove(run.key)
    return records


def test_a_loop_is_recorded_as_a_problem_is() -> None:
    records = trained(LoopTrainer(loop(fit)))
    assert [each.epoch for each in records] == [1, 2, 3, 4]
    assert [each.step for each in records] == [2, 4, 6, 8]
    assert records[-1].metrics["validation_accuracy"] == 0.75
    assert records[-1].metrics["train_loss"] < records[0].metrics["train_loss"]
    assert "own loop" in LoopTrainer(loop(fit)).provenance.execution


@pytest.mark.parametrize("train", [fit, fit_and_name_late])
def test_an_interrupted_loop_goes_on_from_its_checkpoint(
    train: Callable[[LoopRun], None], tmp_path: Path
) -> None:
    whole = trained(LoopTrainer(loop(train)))
    folder = CheckpointFolder(tmp_path)
    first = LoopTrainer(loop(train), checkpoints=folder)
    first.add(RUN)
    early = first.advance() + first.advance()
    first.save()
    del first
    second = LoopTrainer(loop(train), checkpoints=folder)
    assert second.add(RUN) == (2 if train is fit else 0)
    late = second.advance() + second.advance()
    assert early + late == whole


def test_runs_take_turns_and_do_not_meet() -> None:
    both = LoopTrainer(loop(fit))
    other = replace(RUN, key="s", seed=4)
    both.add(RUN)
    both.add(other)
    records = [record for _ in range(4) for record in both.advance()]
    assert [each for each in records if each.key == "r"] == trained(LoopTrainer(loop(fit)))
    alone = trained(LoopTrainer(loop(fit)), other)
    assert [each for each in records if each.key == "s"] == alone


def test_a_loop_that_changes_its_keys_breaks_at_every_attempt(tmp_path: Path) -> None:
    def train(run: LoopRun) -> None:
        model = nn.Linear(1, 1)
        optimizer = run.optimizer(model.parameters())
        for epoch in run.epochs(model=model, optimizer=optimizer):
            optimizer.step()
            run.report(**GOOD, **({"loss": 1.0} if epoch > 1 else {}))

    for attempt in range(3):
        trainer = LoopTrainer(loop(train), checkpoints=CheckpointFolder(tmp_path))
        assert trainer.add(RUN) == min(attempt, 1)
        if attempt == 0:
            trainer.advance()
            trainer.save()
        with pytest.raises(LoopError, match="but error, loss, train_loss now: report the same"):
            trainer.advance()


def test_a_loop_may_make_its_optimizer_from_the_configuration() -> None:
    def train(run: LoopRun) -> None:
        for _ in run.epochs():
            run.report(train_loss=run.config["gamma0"], error=0.25)

    assert [each.step for each in trained(LoopTrainer(loop(train)))] == [0, 0, 0, 0]


def test_pruning_ends_the_loop_and_what_follows_it_runs() -> None:
    ended = []

    def train(run: LoopRun) -> None:
        assert run.config
        for _ in run.epochs():
            run.report(**GOOD)
        ended.append(run.seed)

    trainer = LoopTrainer(loop(train))
    trainer.add(RUN)
    trainer.advance()
    trainer.remove("r")
    assert ended == [3]


def test_a_loop_that_ignores_its_end_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    def train(run: LoopRun) -> None:
        assert run.config
        for _ in run.epochs():
            run.report(**GOOD)
        run.report(**GOOD)

    trainer = LoopTrainer(loop(train))
    trainer.add(RUN)
    trainer.advance()
    trainer.remove("r")
    assert "reports after run.epochs() had ended" in caplog.text


def test_a_run_that_breaks_before_its_first_epoch_leaves_the_others_alone() -> None:
    def train(run: LoopRun) -> None:
        if run.seed == 4:
            raise ValueError("no data")
        fit(run)

    trainer = LoopTrainer(loop(train))
    trainer.add(RUN)
    for _ in range(2):
        # As a worker does that tries it again.
        with pytest.raises(ValueError, match="no data"):
            trainer.add(replace(RUN, key="s", seed=4))
    assert trainer.active == ("r",)
    assert [record for _ in range(4) for record in trainer.advance()] == trained(
        LoopTrainer(loop(fit))
    )
    trainer.remove("r")


def test_no_thread_stays_behind_when_a_trainer_is_dropped() -> None:
    trainer = LoopTrainer(loop(fit))
    trainer.add(RUN)
    (thread,) = (each for each in threading.enumerate() if each.name == "loop r")
    del trainer
    thread.join(5)
    assert not thread.is_alive()


def test_the_test_data_open_on_the_fresh_seeds_alone() -> None:
    opened: list[str] = []

    def evaluate(data: str) -> float:
        opened.append(data)
        return 0.25

    def train(run: LoopRun) -> None:
        assert run.config
        for _ in run.epochs():
            value = run.sealed(evaluate)
            assert f"{value}" == str(value) == "sealed"
            run.report(**GOOD, test_error=value)

    records = trained(LoopTrainer(loop(train, test="loader")))
    assert opened == []
    with pytest.raises(LoopError, match=r"has test data, but run\.report\(\) lacks test_error"):
        trained(LoopTrainer(loop(fit, test="loader")))
    assert records[0].sealed == {}
    records = trained(LoopTrainer(loop(train, test="loader")), replace(RUN, opens_test=True))
    assert opened == ["loader"] * 4
    assert records[0].sealed == {"test_accuracy": 0.75}


def test_a_value_that_is_not_finite_ends_the_run_as_diverged() -> None:
    def train(run: LoopRun) -> None:
        assert run.config
        for epoch in run.epochs():
            run.report(train_loss=nan if epoch == 2 else 0.5, error=0.25)

    records = trained(LoopTrainer(loop(train)))
    assert [each.diverged for each in records] == [False, True]
    assert [each.not_finite for each in records] == ["", "train_loss"]


@pytest.mark.parametrize("name", ["test_loss", "test_error"])
def test_a_sealed_value_that_is_not_finite_is_refused_unless_the_run_diverged(name: str) -> None:
    def train(run: LoopRun, loss: float) -> None:
        assert run.config
        for _ in run.epochs():
            sealed = {"test_error": run.sealed(lambda _: 0.5), name: run.sealed(lambda _: nan)}
            run.report(train_loss=loss, error=0.25, **sealed)

    fresh = replace(RUN, opens_test=True)
    with pytest.raises(LoopError, match=rf"{name}=….*sealed value that is not finite, while"):
        trained(LoopTrainer(loop(lambda run: train(run, 0.5), test="loader")), fresh)
    (record,) = trained(LoopTrainer(loop(lambda run: train(run, nan), test="loader")), fresh)
    assert record.diverged
    assert len(trained(LoopTrainer(loop(lambda run: train(run, 0.5), test="loader")))) == 4


@pytest.mark.parametrize("opens_test", [False, True])
@pytest.mark.parametrize(
    "use",
    [
        float,
        round,
        bool,
        "{:.3f}".format,
        lambda value: 1 - value,
        lambda value: value / 2,
        lambda value: value < 0.5,
        lambda value: value == 0.25,
    ],
)
def test_a_sealed_value_cannot_be_used_in_any_phase(
    use: Callable[[Any], object], opens_test: bool
) -> None:
    def train(run: LoopRun) -> None:
        for _ in run.epochs():
            use(run.sealed(float))

    with pytest.raises(LoopError, match=r"^test results are sealed: give the value of run.sealed"):
        trained(LoopTrainer(loop(train, test=0.25)), replace(RUN, opens_test=opens_test))


def per_epoch(act: Callable[[LoopRun, int], None]) -> Callable[[LoopRun], None]:
    def train(run: LoopRun) -> None:
        assert run.config
        for epoch in run.epochs():
            act(run, epoch)

    return train


def twice(run: LoopRun, _: int) -> None:
    run.report(**GOOD)
    run.report(**GOOD)


class TrialPruned(Exception):  # noqa: N818 - Optuna's name
    """As Optuna's, which takes long to import."""


def pruned(*_: object) -> None:
    raise TrialPruned


def early(run: LoopRun) -> None:
    for _ in run.epochs():
        run.report(**GOOD)
        break


def after(run: LoopRun) -> None:
    for _ in range(4):
        run.report(**GOOD)


def unconfigured(run: LoopRun) -> None:
    for _ in run.epochs():
        run.report(**GOOD)


def stepless(run: LoopRun) -> None:
    run.optimizer(nn.Linear(1, 1).parameters())
    for _ in run.epochs():
        run.report(**GOOD)


FAULTS = {
    "never calls epochs": (lambda run: None, "returned without calling run.epochs()"),
    "never reports": (per_epoch(lambda run, _: None), "epoch 1 ended without a report"),
    "reports twice": (per_epoch(twice), "reports epoch 1 twice"),
    "returns early": (early, "returned in epoch 1 of 4, but runs are compared at equal lengths"),
    "looks for lr": (
        lambda run: run.config["lr"],
        "run.config['lr'] is not known: the step size is 'gamma0'. Known: gamma0, decay_power",
    ),
    "looks for dropout": (
        lambda run: run.config["dropout"],
        "run.config['dropout'] is not known: it is run.dropout",
    ),
    "raises TrialPruned": (
        per_epoch(pruned),
        "TrialPruned: run.epochs() ends by itself when a trial is pruned: choose a pruner as sea",
    ),
    "has its own range": (after, "reports outside run.epochs()"),
    "changes its keys": (
        per_epoch(lambda run, n: run.report(**GOOD, **({"loss": 1.0} if n > 1 else {}))),
        "reported error, train_loss before, but error, loss, train_loss now",
    ),
    "unknown key": (per_epoch(lambda run, _: run.report(acc=1)), "run.report = 'acc' is not known"),
    "no objective": (per_epoch(lambda run, _: run.report(train_loss=1)), "lacks error"),
    "a percentage": (
        per_epoch(lambda run, _: run.report(train_loss=1, error=25)),
        "divide a percentage by 100",
    ),
    "no number": (
        per_epoch(lambda run, _: run.report(train_loss="low", error=0)),
        "is not a number",
    ),
    "a number as text": (
        per_epoch(lambda run, _: run.report(train_loss="0.123", error=0)),
        "run.report(train_loss=…) got str, which is not a number (text is not converted)",
    ),
    "shown test result": (
        per_epoch(lambda run, _: run.report(**GOOD, test_error=0.1)),
        "test_error=run.sealed(evaluate)",
    ),
    "reads the test data": (per_epoch(lambda run, _: print(run.test)), "run.test, which is sealed"),
    "no test data": (per_epoch(lambda run, _: print(run.sealed(len))), "give it test="),
    "no optimizer": (
        unconfigured,
        "epoch 1 ended, but the loop used neither run.optimizer() nor run.config",
    ),
    "no step": (stepless, "epoch 4 ended without a step of the optimizer from run.optimizer()"),
    "no state": (lambda run: run.checkpoint(model=3), "must have state_dict and load_state_dict"),
}


def test_the_first_steps_may_be_skipped(caplog: pytest.LogCaptureFixture) -> None:
    """A gradient scaler skips steps until its scale has come down."""

    def train(run: LoopRun) -> None:
        model = nn.Linear(1, 1)
        optimizer = run.optimizer(model.parameters())
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
        for epoch in run.epochs():
            optimizer.zero_grad()
            # Too large once it is scaled, in the first two epochs.
            loss = model(torch.ones(1, 1)).sum() * (1e38 if epoch < 3 else 1.0)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            run.report(**GOOD)

    records = trained(LoopTrainer(loop(train)))
    assert [each.step for each in records] == [0, 0, 1, 2]
    (told,) = [each for each in caplog.messages if "without a step" in each]
    assert "epoch 1 ended" in told


@pytest.mark.parametrize("fault", FAULTS)
def test_what_a_loop_must_not_do_is_said_in_one_sentence(fault: str) -> None:
    train, message = FAULTS[fault]
    trainer = LoopTrainer(loop(train), objectives=["validation_error"])
    with pytest.raises(LoopError) as caught:
        trained(trainer)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("should_prune", "run.should_prune does not exist: run.epochs() ends by itself when a tr"),
        ("suggest_float", "run.suggest_float does not exist: give ranges in the space of an Arm"),
        ("lr", "run.lr does not exist: help('indian_tune.training.own_loop') lists"),
    ],
)
def test_what_users_of_optuna_look_for_is_explained(name: str, message: str) -> None:
    with pytest.raises(AttributeError) as caught:
        trained(LoopTrainer(loop(lambda run: getattr(run, name)())))
    assert str(caught.value).startswith(message)


OWN = {"dropout", "batch_size"}
DECAYS = {"decay_power", "weight_decay", "decoupled_weight_decay"}


@pytest.mark.parametrize(
    ("read", "unread"),
    [
        (lambda run: run.config["gamma0"], {*DECAYS, *OWN}),
        (lambda run: run.config.get("gamma0"), {*DECAYS, *OWN}),
        (lambda run: run.config.get("momentum", 0.0), {"gamma0", *DECAYS, *OWN}),
        (lambda run: {**run.config}, OWN),
        (lambda run: dict(run.config), OWN),
        (lambda run: run.config | {}, OWN),
        (lambda run: run.config.items(), OWN),
        (lambda run: run.optimizer([nn.Parameter(torch.zeros(1))]), OWN),
        (lambda run: (dict(run.config), run.dropout), {"batch_size"}),
    ],
)
def test_a_run_knows_what_its_loop_has_not_read(
    read: Callable[[LoopRun], Any], unread: set[str]
) -> None:
    def train(run: LoopRun) -> None:
        read(run)
        for _ in run.epochs():
            pass

    trainer = LoopTrainer(loop(train))
    assert trainer.rehearse(RUN, None).unread == unread


@pytest.mark.parametrize("key", ["data", "test"])
def test_an_iterator_cannot_be_the_data_of_all_runs(key: str) -> None:
    class Resettable:
        def __iter__(self) -> Resettable:
            return self

        def __next__(self) -> float:
            raise StopIteration

        def reset(self) -> None:
            """Begin again."""

    def made(value: Any) -> None:
        given: dict[str, Any] = {key: value}
        Loop(fit, "points", "line", 2, **given)

    for allowed in (range(3), [1, 2], Resettable()):
        made(allowed)
    for iterator in (iter([1]), (each for each in "ab"), ([1], iter([1]))):
        with pytest.raises(InputError, match=rf"^{key} of Loop contains an iterator \(\w+\), whi"):
            made(iterator)


def test_a_rehearsal_finds_mistakes_in_what_measures_on_the_test_data() -> None:
    def train(run: LoopRun) -> None:
        model = nn.Linear(1, 1)
        optimizer = run.optimizer(model.parameters())
        for _ in run.epochs():
            optimizer.step()
            run.report(**GOOD, test_error=run.sealed(lambda data: data / 0))

    trainer = LoopTrainer(loop(train, test=1.0))
    trainer.rehearse(RUN, None)
    with pytest.raises(ZeroDivisionError):
        trainer.rehearse(RUN, 9.0)


@pytest.mark.parametrize(
    ("better", "value", "message"),
    [
        (
            True,
            87.8,
            "error=87.8) is better than best = 1.0 of metric 'f1': divide a percentage by",
        ),
        (True, 1 + 1e-7, None),
        (True, -3.0, None),
        (
            False,
            -0.5,
            "error=-0.5) is below 0, the best value of metric 'f1', which is to be small",
        ),
        (False, -1e-7, None),
    ],
)
def test_a_metric_of_ones_own_is_not_better_than_its_best_value(
    better: bool, value: float, message: str | None
) -> None:
    best: dict[str, Any] = {"best": 1.0} if better else {}
    task = get_task("classification").with_metric(
        "f1", greater_is_better=better, chance=0.1, **best
    )
    made = replace(loop(per_epoch(lambda run, _: run.report(train_loss=1, error=value))), task=task)
    if message is None:
        assert trained(LoopTrainer(made))[0].metrics["validation_f1"] == value
        return
    with pytest.raises(LoopError, match=re.escape(message)):
        trained(LoopTrainer(made))


def test_a_sealed_value_that_is_better_than_the_best_one_stays_sealed() -> None:
    task = get_task("regression", outcome="r2")
    made = replace(
        loop(
            per_epoch(lambda run, _: run.report(**GOOD, test_error=run.sealed(lambda _: 87.8))),
            test="loader",
        ),
        task=task,
    )
    with pytest.raises(LoopError, match=r"test_error=sealed\) is better than best = 1\.0"):
        trained(LoopTrainer(made), replace(RUN, opens_test=True))


def test_a_checkpoint_that_does_not_fit_is_removed(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    trainer = LoopTrainer(loop(fit), checkpoints=folder)
    trainer.add(RUN)
    trainer.advance()
    trainer.save()

    def wider(run: LoopRun) -> None:
        model = nn.Linear(2, 1)
        for _ in run.epochs(model=model, optimizer=run.optimizer(model.parameters())):
            run.report(**GOOD)

    other = LoopTrainer(loop(wider), checkpoints=folder)
    with pytest.raises(StaleCheckpointError, match="does not match the objects of the loop") as bad:
        other.add(RUN)
    assert not folder.has("r")
    # Another attempt begins again, and may succeed.
    assert not is_final(bad.value)
    assert is_final(LoopError("run.report"))
    assert is_final(MetricError("raises"))
    assert not is_final(ValueError("once"))


def test_a_rehearsal_ends_with_the_first_report() -> None:
    epochs = []

    def train(run: LoopRun) -> None:
        for epoch in run.epochs():
            epochs.append((epoch, run.config["gamma0"]))
            run.report(**GOOD)

    trainer = LoopTrainer(loop(train))
    found = trainer.rehearse(RUN, 9.0)
    assert replace(found, unread=frozenset()) == Rehearsal(True, False, None, frozenset(), False)
    assert [epoch for epoch, _ in epochs] == [1]
    assert trainer.active == ()
    waiting = threading.Event()

    def wait(run: LoopRun) -> None:
        for _ in run.epochs():
            waiting.wait()

    late = LoopTrainer(loop(wait))
    assert not late.rehearse(RUN, 0.01).in_time
    waiting.set()


COSINE = replace(RUN, config={"gamma0": 0.1, "schedule": 3.0})


def scheduled(steps: Any, rates: list[float]) -> Callable[[LoopRun], None]:
    def train(run: LoopRun) -> None:
        model = nn.Linear(1, 1)
        optimizer = run.optimizer(model.parameters(), steps=steps)
        for _ in run.epochs():
            step(run, model, optimizer)
            rates.append(optimizer.param_groups[0]["lr"])

    return train


def test_a_loop_gives_its_schedule_the_steps_of_its_run(caplog: pytest.LogCaptureFixture) -> None:
    rates: list[float] = []
    trained(LoopTrainer(loop(scheduled(np.int64(8), rates))), COSINE)
    assert rates[1] == pytest.approx(0.05)
    assert rates[3] == pytest.approx(0.0)
    # A schedule without an end has no use for them.
    trained(LoopTrainer(loop(scheduled(3, []))))
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("steps", "config", "message"),
    [
        (None, {}, r"give its number of steps, as schedule_steps or, .* run.optimizer\(params, st"),
        (
            0,
            {},
            r"run.optimizer\(steps=0\) must be a whole number above 0, .* calls of optimizer.step",
        ),
        (8.0, {}, r"run.optimizer\(steps=8.0\) must be a whole number above 0"),
        (8, {"schedule_steps": 22.0}, "differs from schedule_steps = 22 in the arm's space: remov"),
    ],
)
def test_what_is_no_length_of_a_schedule_is_refused(
    steps: Any, config: dict[str, float], message: str
) -> None:
    run = replace(COSINE, config={**COSINE.config, **config})
    with pytest.raises((LoopError, InputError), match=message):
        trained(LoopTrainer(loop(scheduled(steps, []))), run)


@pytest.mark.parametrize(
    ("length", "told"),
    [
        (5, "a run has taken 2 steps after epoch 1 of 4, so about 8 in all, but the cosine sched"),
        # By the first epoch alone it could be right.
        (7, "a run of 4 epochs took 8 steps, but the cosine schedule of sgd ends after 7: give"),
        (8, None),
    ],
)
def test_a_schedule_that_does_not_end_with_its_run_is_a_warning(
    length: int, told: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    run = replace(COSINE, config={**COSINE.config, "schedule_steps": float(length)})
    same = loop(scheduled(None, []))
    for _ in range(2):
        trained(LoopTrainer(same), run)
    assert len(caplog.messages) == (told is not None)
    for message in caplog.messages:
        assert message.startswith(str(told))
        assert "with gradient accumulation they are fewer than the batches" in message
        assert "remove schedule_steps" in message
    if told is not None:
        # Another study of this process is told of it as well.
        trained(LoopTrainer(loop(scheduled(None, []))), run)
        assert len(caplog.messages) == 2


@pytest.mark.parametrize("decay", [{}, {"decay_power": 0.0}])
def test_a_scheduler_that_the_schedule_of_the_arm_overwrites_is_a_warning(
    decay: dict[str, float], caplog: pytest.LogCaptureFixture
) -> None:
    def train(run: LoopRun) -> None:
        model = nn.Linear(1, 1)
        optimizer = run.optimizer(model.parameters())
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        for _ in run.epochs():
            step(run, model, optimizer)
            scheduler.step()

    trained(LoopTrainer(loop(train)), replace(RUN, config={**RUN.config, **decay}))
    assert [text.partition(",")[0] for text in caplog.messages] == (not decay) * [
        "the loop changes the step size of sgd"
    ]


@pytest.mark.parametrize(
    ("one_cycle", "warned"),
    [
        (lambda optimizer, _: OneCycleLR(optimizer, 0.1, total_steps=16), True),
        (lambda optimizer, run: OneCycleLR(optimizer, run.config["gamma0"], total_steps=16), False),
        (lambda optimizer, run: CyclicLR(optimizer, run.config["gamma0"] / 9, 0.1), False),
        (lambda optimizer, _: LinearLR(optimizer), False),
    ],
)
def test_a_scheduler_that_replaces_the_searched_step_size_is_a_warning(
    one_cycle: Callable[[Any, LoopRun], Any], warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def train(run: LoopRun) -> None:
        model = nn.Linear(1, 1)
        optimizer = run.optimizer(model.parameters())
        scheduler = one_cycle(optimizer, run)
        for _ in run.epochs():
            step(run, model, optimizer)
            scheduler.step()

    run = replace(RUN, family="adam", config={"gamma0": 0.01, "beta1": 0.9, "beta2": 0.99})
    for _ in range(2):
        # A factory gives a new loop with the same function.
        trained(LoopTrainer(loop(train)), run)
    assert [text.partition(",")[0] for text in caplog.messages] == warned * [
        "a scheduler of the loop replaces the step size of adam"
    ]


class Holder:
    """Has the state of a scheduler among its own."""

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler

    def state_dict(self) -> dict[str, Any]:
        return {"best": 0.5, "parts": [self.scheduler.state_dict()]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.scheduler.load_state_dict(state["parts"][0])


@pytest.mark.parametrize("plateau", [False, True])
@pytest.mark.parametrize(
    ("more", "late", "warned"),
    [
        (lambda _: {}, False, True),
        (lambda _: {}, True, True),
        (lambda scheduler: {"scheduler": scheduler}, False, False),
        (lambda scheduler: {"holder": Holder(scheduler)}, True, False),
        (lambda _: None, False, False),
    ],
)
def test_a_scheduler_that_is_in_no_checkpoint_is_a_warning(
    more: Callable[[Any], dict[str, Any] | None],
    late: bool,
    warned: bool,
    plateau: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def train(run: LoopRun) -> None:
        model = nn.Linear(1, 1)
        optimizer = run.optimizer(model.parameters())
        scheduler: Any = (ReduceLROnPlateau if plateau else LinearLR)(optimizer)
        named = more(scheduler)
        objects = {} if named is None else {"model": model, "optimizer": optimizer, **named}
        for _ in run.epochs(**{} if late else objects):
            step(run, model, optimizer)
            scheduler.step(*plateau * [0.5])
            if late:
                run.checkpoint(**objects)

    for _ in range(2):
        trained(LoopTrainer(loop(train)), replace(RUN, config={**RUN.config, "decay_power": 0.0}))
    assert [text.partition(":")[0] for text in caplog.messages] == warned * [
        "the scheduler of the loop is not in run.epochs(…), nor in run.checkpoint(…)"
    ]


@pytest.mark.parametrize(
    ("evaluates", "layers", "named"),
    [
        (False, (nn.BatchNorm1d(1), nn.Dropout()), "BatchNorm1d, Dropout"),
        (True, (nn.BatchNorm1d(1), nn.Dropout()), ""),
        (False, (nn.Dropout(0.0),), ""),
    ],
)
def test_measuring_in_training_mode_is_a_warning(
    evaluates: bool, layers: tuple[nn.Module, ...], named: str, caplog: pytest.LogCaptureFixture
) -> None:
    def train(run: LoopRun) -> None:
        model = nn.Sequential(nn.Linear(1, 1), *layers)
        optimizer = run.optimizer(model.parameters())

        def measure(data: torch.Tensor) -> float:
            model.train(not evaluates)
            return float(model(data).detach().mean() * 0)

        for _ in run.epochs():
            optimizer.step()
            run.report(train_loss=0.5, error=0.5, test_error=run.sealed(measure))

    for _ in range(2):
        trained(LoopTrainer(loop(train, torch.ones(4, 1))), replace(RUN, opens_test=True))
    assert len(caplog.messages) == bool(named)
    assert not named or f"training mode ({named}), so" in caplog.text


def test_a_loop_may_catch_the_error_of_a_name_that_its_arm_does_not_have() -> None:
    def train(run: LoopRun) -> None:
        with pytest.raises(KeyError) as caught:
            run.config["momentum"]
        assert str(caught.value).startswith("run.config['momentum'] is not known: the step size")
        for _ in run.epochs():
            pass

    assert "gamma0" in LoopTrainer(loop(train)).rehearse(RUN, None).unread


def test_names_that_a_configuration_never_has_are_explained_by_get_too() -> None:
    def train(run: LoopRun) -> None:
        assert run.config.get("momentum", 0.5) == 0.5
        run.config.get("dropout", 0.5)

    with pytest.raises(LoopError, match=r"run.config\['dropout'\] is not known: it is run.dropout"):
        trained(LoopTrainer(loop(train)))


def test_a_scheduler_with_milestones_can_be_in_a_checkpoint(tmp_path: Path) -> None:
    def train(run: LoopRun) -> None:
        model = nn.Linear(1, 1)
        optimizer = run.optimizer(model.parameters())
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2])
        for _ in run.epochs(model=model, optimizer=optimizer, scheduler=scheduler):
            step(run, model, optimizer)
            scheduler.step()

    constant = replace(RUN, config={**RUN.config, "decay_power": 0.0})
    whole = trained(LoopTrainer(loop(train)), constant)
    first = LoopTrainer(loop(train), checkpoints=CheckpointFolder(tmp_path))
    first.add(constant)
    early = first.advance() + first.advance()
    first.save()
    second = LoopTrainer(loop(train), checkpoints=CheckpointFolder(tmp_path))
    assert second.add(constant) == 2
    assert early + second.advance() + second.advance() == whole


def test_a_keras_model_is_no_checkpoint_without_its_optimizer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Keras takes seconds to import; ``tests/optim/on_keras.py`` has a model of its own."""
    optimizer = type("Adam", (), {})
    model = type("Model", (nn.Linear,), {})
    keras = SimpleNamespace(Model=model, optimizers=SimpleNamespace(Optimizer=optimizer))
    monkeypatch.setitem(sys.modules, "keras", keras)
    compiled, plain = model(1, 1), model(1, 1)
    compiled.optimizer, plain.optimizer = optimizer(), None
    state = torch.optim.SGD(plain.parameters(), 0.1)
    check_objects({"model": plain})
    check_objects({"model": compiled, "optimizer": state})
    told = r"ModelState\(model\), which holds weights and optimizer"
    with pytest.raises(LoopError, match=rf"\(model=…\) got a Keras model, whose .*{told}"):
        check_objects({"model": compiled})
    with pytest.raises(LoopError, match=rf"\(optimizer=…\) got an Adam: give .*{told}"):
        check_objects({"model": compiled, "optimizer": compiled.optimizer})
