"""How runs are saved and continue from their checkpoints."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import torch

from indian_tune.errors import CheckpointError
from indian_tune.problems.models import build_model
from indian_tune.problems.problem import Problem, Split
from indian_tune.training import CheckpointFolder, Run, Trainer

if TYPE_CHECKING:
    from pathlib import Path

MakeRun = Callable[..., Run]


def save_one_epoch(problem: Problem, run: Run, root: Path) -> None:
    trainer = Trainer(problem, checkpoints=CheckpointFolder(root))
    trainer.add(run)
    trainer.advance()
    trainer.save()


class TestCheckpoints:
    def test_nothing_is_written_until_the_caller_says_that_records_are_safe(
        self, problem: Problem, make_run: MakeRun, tmp_path: Path
    ) -> None:
        trainer = Trainer(problem, checkpoints=CheckpointFolder(tmp_path))
        trainer.add(make_run(key="a"))
        trainer.add(make_run(key="b"))
        trainer.advance()
        assert list(tmp_path.iterdir()) == []
        trainer.save(["b"])
        assert [path.name for path in tmp_path.iterdir()] == ["b"]

    def test_a_run_that_has_not_moved_is_not_written_again(
        self, problem: Problem, make_run: MakeRun, tmp_path: Path
    ) -> None:
        trainer = Trainer(problem, checkpoints=CheckpointFolder(tmp_path))
        trainer.add(make_run(key="a"))
        trainer.save()
        assert list(tmp_path.iterdir()) == []
        trainer.advance()
        trainer.save()
        (path,) = (tmp_path / "a").iterdir()
        path.unlink()
        trainer.save()
        assert list((tmp_path / "a").iterdir()) == []

    def test_a_resumed_run_that_has_not_moved_is_not_written_again(
        self, problem: Problem, make_run: MakeRun, tmp_path: Path
    ) -> None:
        run = make_run(key="a")
        save_one_epoch(problem, run, tmp_path)
        (path,) = (tmp_path / "a").iterdir()
        resumed = Trainer(problem, checkpoints=CheckpointFolder(tmp_path))
        resumed.add(run)
        path.unlink()
        resumed.save()
        assert list((tmp_path / "a").iterdir()) == []

    def test_without_a_folder_saving_writes_nothing_and_training_goes_on(
        self,
        problem: Problem,
        make_run: MakeRun,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        trainer, other = Trainer(problem), Trainer(problem)
        trainer.add(make_run(epochs=2))
        other.add(make_run(epochs=2))
        trainer.advance()
        trainer.save()
        other.advance()
        assert list(tmp_path.iterdir()) == []
        ((record,), (expected,)) = (trainer.advance(), other.advance())
        assert (record.epoch, record.value("train_loss")) == (2, expected.value("train_loss"))

    def test_a_damaged_one_falls_back_and_the_record_is_still_the_same(
        self,
        problem: Problem,
        make_run: MakeRun,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        trainer = Trainer(problem, checkpoints=CheckpointFolder(tmp_path))
        trainer.add(make_run(key="a"))
        records = []
        for _ in range(3):
            records += trainer.advance()
            trainer.save()
        newest = max((tmp_path / "a").iterdir())
        newest.write_bytes(newest.read_bytes()[:-10])
        resumed = Trainer(problem, checkpoints=CheckpointFolder(tmp_path))
        with caplog.at_level(logging.WARNING):
            assert resumed.add(make_run(key="a")) == 2
        assert "damaged" in caplog.text
        assert resumed.advance() == records[2:]

    def test_a_run_can_be_extended(
        self, problem: Problem, make_run: MakeRun, tmp_path: Path
    ) -> None:
        first = Trainer(problem, checkpoints=CheckpointFolder(tmp_path))
        first.add(make_run(key="a", epochs=2))
        records = first.advance() + first.advance()
        first.save()
        longer = Trainer(problem, checkpoints=CheckpointFolder(tmp_path))
        assert longer.add(make_run(key="a", epochs=4)) == 2
        assert records[-1].test_correct is not None
        records[-1] = replace(records[-1], test_correct=None)
        records += longer.advance() + longer.advance()
        at_once = Trainer(problem)
        at_once.add(make_run(key="a", epochs=4))
        assert records == [record for _ in range(4) for record in at_once.advance()]

    def test_defaults_written_out_or_left_out_are_the_same_run(
        self, problem: Problem, make_run: MakeRun, tmp_path: Path
    ) -> None:
        save_one_epoch(problem, make_run(key="a", family="sgd"), tmp_path)
        config = {"gamma0": 0.2, "decay_power": 0.5}
        again = Trainer(problem, checkpoints=CheckpointFolder(tmp_path))
        assert again.add(make_run(key="a", family="sgd", config=config)) == 1

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"seed": 2}, "seed is 1, not 2"),
            ({"family": "adam"}, "family is 'sgd', not 'adam'"),
            ({"config": {"gamma0": 0.3}}, r"config is .*0\.2.*, not .*0\.3"),
            ({"batch_size": 8}, "batch_size is 16, not 8"),
            ({"dropout": 0.1}, r"dropout is 0\.3, not 0\.1"),
        ],
        ids=str,
    )
    def test_that_of_another_run_is_refused_and_kept(
        self,
        problem: Problem,
        make_run: MakeRun,
        tmp_path: Path,
        changed: dict[str, Any],
        message: str,
    ) -> None:
        run = make_run(key="a", family="sgd")
        save_one_epoch(problem, run, tmp_path)
        trainer = Trainer(problem, checkpoints=CheckpointFolder(tmp_path))
        with pytest.raises(CheckpointError, match=message):
            trainer.add(make_run(**{"key": "a", "family": "sgd"} | changed))
        assert trainer.active == ()
        assert trainer.add(run) == 1

    @pytest.mark.parametrize("missing", ["identity", "live", "model", "optimizer", "weight"])
    def test_one_of_a_wrong_structure_is_reported_and_the_run_starts_over(
        self,
        problem: Problem,
        make_run: MakeRun,
        tmp_path: Path,
        missing: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        run = make_run(key="a")
        save_one_epoch(problem, run, tmp_path)
        folder = CheckpointFolder(tmp_path)
        saved = folder.load("a")
        assert saved is not None
        state: Any = dict(saved.state)
        if missing == "identity":
            state["identity"] = [1]
        elif missing == "live":
            del state["live"]
        elif missing == "weight":
            # The other weights are restored before the wrong one is noticed.
            name = list(state["live"]["model"])[-1]
            state["live"]["model"][name] = torch.zeros(3, 1, 4)
        else:
            state["live"][missing] = torch.zeros(2)
        folder.save("a", replace(saved, state=state))
        trainer = Trainer(problem, checkpoints=folder)
        assert trainer.add(run) == 0
        assert "'a' does not fit the network or the optimizer" in caplog.text
        fresh = Trainer(problem)
        fresh.add(run)
        assert trainer.advance()[0].metrics == fresh.advance()[0].metrics

    def test_that_of_other_data_or_another_network_is_refused(
        self, problem: Problem, make_run: MakeRun, tmp_path: Path
    ) -> None:
        run = make_run(key="a")
        save_one_epoch(problem, run, tmp_path)
        part = Split(problem.train.inputs[1:], problem.train.labels[1:])
        wider = partial(build_model, "nin-small", classes=3, channels=1, size=8, width=2.0)
        normal = partial(
            build_model, "nin-small", classes=3, channels=1, size=8, init="normal", init_std=0.1
        )
        for other, message in (
            (replace(problem, train=part), "training images is"),
            (replace(problem, build_model=wider), "initial weights is"),
            (replace(problem, build_model=normal), "initial weights is"),
        ):
            with pytest.raises(CheckpointError, match=message):
                Trainer(other, checkpoints=CheckpointFolder(tmp_path)).add(run)

    def test_one_that_is_further_than_the_run_is_refused(
        self, problem: Problem, make_run: MakeRun, tmp_path: Path
    ) -> None:
        trainer = Trainer(problem, checkpoints=CheckpointFolder(tmp_path))
        trainer.add(make_run(key="a", epochs=3))
        for _ in range(3):
            trainer.advance()
        trainer.save()
        with pytest.raises(CheckpointError, match="3 epochs, more than epochs = 2"):
            Trainer(problem, checkpoints=CheckpointFolder(tmp_path)).add(
                make_run(key="a", epochs=2)
            )

    def test_going_on_with_other_means_is_reported(
        self,
        problem: Problem,
        make_run: MakeRun,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        run = make_run(key="a")
        save_one_epoch(problem, run, tmp_path)
        with caplog.at_level(logging.WARNING):
            Trainer(problem, checkpoints=CheckpointFolder(tmp_path)).add(run)
            assert caplog.text == ""
            monkeypatch.setattr(torch, "__version__", "99.0")
            Trainer(problem, checkpoints=CheckpointFolder(tmp_path)).add(run)
        assert "'a' continues with" in caplog.text
        assert "99.0" in caplog.text
