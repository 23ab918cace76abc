"""Lightning's trainer in a loop of one's own: it reports, resumes and is pruned."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import indian_tune
from indian_tune.problems import Loop
from indian_tune.training import CheckpointFolder, EpochRecord, LoopError, LoopTrainer, Run

if TYPE_CHECKING:
    from collections.abc import Callable

    from indian_tune.training import LoopRun

pytestmark = [
    # To import Lightning takes seconds.
    pytest.mark.slow,
    # Its own remarks: of workers that load data, and of functions of torch.
    pytest.mark.filterwarnings("ignore:.*srun.*"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*"),
]

SCRIPT = Path(__file__).parent / "service/scripts/lightning_module.py"
RUN = Run("r", 3, 4, "sgd", {"gamma0": 0.1}, 4, 0.0)


def fit(run: LoopRun, schedule: bool | str = True, **options: Any) -> None:
    """Train a line of random weights, shuffled by torch's global generator."""
    import lightning

    from indian_tune.lightning import RunCallback

    class Line(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.frozen = nn.Linear(1, 1), nn.Dropout()

        def on_train_start(self) -> None:
            # It has a mode of its own from here on.
            self.frozen.eval()

        def configure_optimizers(self) -> Any:
            optimizer = run.optimizer(self.parameters())
            if not schedule:
                return optimizer
            if schedule == "plateau":
                plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
                return {
                    "optimizer": optimizer,
                    "lr_scheduler": {"scheduler": plateau, "monitor": "loss"},
                }
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)]

        def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
            assert [part.training for part in (self, self.layer, self.frozen)] == [1, 1, 0]
            loss: torch.Tensor = (self.layer(batch[0]) - 1).square().mean()
            self.log("loss", loss, on_step=False, on_epoch=True)
            return loss

        def on_train_epoch_end(self) -> None:
            self.log("error", self.layer.bias.detach().square().clamp(max=1))

        def validation_step(self, batch: list[torch.Tensor], _: int) -> None:
            self.log("weight", self.layer.weight.mean())

    metrics: dict[str, Any] = {"train_loss": "loss", "error": "error", "loss": "weight"}
    line = Line()

    def evaluate(data: torch.Tensor) -> float:
        assert not any(part.training for part in line.modules())
        assert not torch.is_grad_enabled()
        return float(data)

    metrics["test_error"] = evaluate
    metrics |= options.pop("metrics", {})
    data = TensorDataset(torch.arange(8.0)[:, None] / 8)
    lightning.Trainer(
        **{"max_epochs": run.total_epochs, **options},
        callbacks=RunCallback(run, **metrics),
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(line, DataLoader(data, run.batch_size, shuffle=True), DataLoader(data, 8))


def loop(train: Callable[[LoopRun], None]) -> Loop:
    return Loop(train, "points", "line", 2, test=torch.tensor(0.25))


def trained(trainer: LoopTrainer, run: Run = RUN) -> list[EpochRecord]:
    trainer.add(run)
    records = []
    while trainer.active:
        records += trainer.advance()
    trainer.remove(run.key)
    return records


@pytest.mark.parametrize("schedule", [True, False])
def test_a_trainer_that_was_interrupted_goes_on_to_the_bit(
    schedule: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def train(run: LoopRun) -> None:
        fit(run, schedule)

    whole = trained(LoopTrainer(loop(train)))
    assert [(each.epoch, each.step) for each in whole] == [(1, 2), (2, 4), (3, 6), (4, 8)]
    folder = CheckpointFolder(tmp_path)
    for interrupted in range(1, 4):
        first = LoopTrainer(loop(train), checkpoints=folder)
        assert first.add(RUN) == interrupted - 1
        assert first.advance() == whole[interrupted - 1 : interrupted]
        first.save()
        del first
    last = LoopTrainer(loop(train), checkpoints=folder)
    assert last.add(RUN) == 3
    assert last.advance() == whole[3:]
    last.save()
    assert LoopTrainer(loop(train), checkpoints=folder).add(RUN) == 4
    # The checkpoints of the trainer have its schedulers.
    trained(LoopTrainer(loop(train)), replace(RUN, config={**RUN.config, "decay_power": 0.0}))
    assert "not in run.epochs" not in caplog.text


def test_the_end_of_a_run_is_the_end_of_its_trainer() -> None:
    ended = []

    def train(run: LoopRun) -> None:
        fit(run, max_epochs=100)
        ended.append(run.seed)

    trainer = LoopTrainer(loop(train))
    trainer.add(RUN)
    trainer.advance()
    trainer.remove("r")
    assert ended == [3]
    assert len(trained(LoopTrainer(loop(train)))) == 4


def test_the_test_data_are_opened_where_the_run_opens_them() -> None:
    def train(run: LoopRun) -> None:
        fit(run)

    assert trained(LoopTrainer(loop(train)))[0].sealed == {}
    records = trained(LoopTrainer(loop(train)), replace(RUN, opens_test=True))
    assert records[0].sealed == {"test_accuracy": 0.75}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": {"error": "err"}}, r"error='err'\): the module did not log 'err'.*loss"),
        ({"check_val_every_n_epoch": 2}, r"check_val_every_n_epoch=2\) leaves epochs without"),
        ({"schedule": "plateau"}, "ReduceLROnPlateau .* would lose a step"),
        ({"max_epochs": 2}, "the loop returned in epoch 3 of 4"),
    ],
)
def test_what_cannot_be_reported_is_said_in_a_sentence(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(LoopError, match=message):
        trained(LoopTrainer(loop(lambda run: fit(run, **options))))


def test_a_search_that_was_killed_goes_on_with_nothing_lost_or_doubled(tmp_path: Path) -> None:
    # The program kills itself in the third epoch that it trains.
    text = SCRIPT.read_text(encoding="utf-8").replace(
        "    def validation_step(self, batch, _):\n",
        "    def on_train_epoch_start(self):\n"
        "        import os, signal\n"
        "        if self.trainer.current_epoch == 2 and not os.path.exists('killed'):\n"
        "            open('killed', 'w').close()\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n\n"
        "    def validation_step(self, batch, _):\n",
    )
    text = text.replace('"trials": 3', '"trials": 1').replace("(study)", '(study, engine="inline")')
    (tmp_path / "killed.py").write_text(text, encoding="utf-8")

    def run() -> tuple[int, bytes]:
        command = [sys.executable, "killed.py"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
        return done.returncode, done.stderr

    assert run()[0] == -signal.SIGKILL
    status, told = run()
    assert status == 0
    # The example keeps Lightning's own remarks away.
    assert [line for line in told.splitlines() if b"site-packages" in line] == []
    storage = str(tmp_path / "indian-tune.db")
    frame = indian_tune.open_study(storage=storage).frame("epochs")
    assert len(frame) == 2 * 3 * 3
    assert not frame.duplicated(["arm", "phase", "trial", "seed", "epoch"]).any()
