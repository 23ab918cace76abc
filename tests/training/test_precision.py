from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
import torch

from indian_tune.errors import CheckpointError, InputError
from indian_tune.training import CheckpointFolder, EpochRecord, Precision, Provenance, Run, Trainer

if TYPE_CHECKING:
    from pathlib import Path

    from indian_tune.problems.problem import Problem

MakeRun = Callable[..., Run]
GPU = torch.device("cuda")


def train(problem: Problem, run: Run, precision: str) -> list[EpochRecord]:
    trainer = Trainer(problem, precision=Precision(precision))
    trainer.add(run)
    records = []
    while trainer.active:
        records += trainer.advance()
    return records


def test_bfloat16_learns_as_float32_does_with_other_last_digits(
    problem: Problem, make_run: MakeRun
) -> None:
    gentle = make_run(family="sgd", config={"gamma0": 0.01}, dropout=0.0, epochs=1)
    (short,), (full,) = (train(problem, gentle, name) for name in ("bfloat16", "float32"))
    assert short.metrics["train_loss"] != full.metrics["train_loss"]
    assert short.metrics["train_loss"] == pytest.approx(full.metrics["train_loss"], rel=0.02)
    run = make_run(dropout=0.0, epochs=12)
    records = train(problem, run, "bfloat16")
    assert records[-1].metrics["train_loss"] < 0.1
    assert train(problem, run, "bfloat16") == records


def test_float64_agrees_with_float32_to_its_digits(problem: Problem, make_run: MakeRun) -> None:
    run = make_run(epochs=1)
    (double,), (single,) = (train(problem, run, name) for name in ("float64", "float32"))
    assert double.metrics["train_loss"] != single.metrics["train_loss"]
    assert double.metrics["train_loss"] == pytest.approx(single.metrics["train_loss"], rel=1e-4)


def test_weights_and_optimizer_stay_in_float32_under_bfloat16(
    problem: Problem, make_run: MakeRun, tmp_path: Path
) -> None:
    folder = CheckpointFolder(tmp_path)
    trainer = Trainer(problem, precision=Precision("bfloat16"), checkpoints=folder)
    run = make_run()
    trainer.add(run)
    trainer.advance()
    trainer.save()
    saved = folder.load(run.key)
    assert saved is not None
    live = saved.state["live"]
    tensors = [*live["model"].values()]
    tensors += [state["velocity"] for state in live["optimizer"]["state"].values()]
    assert {tensor.dtype for tensor in tensors} == {torch.float32}
    # Were the weights themselves rounded to bfloat16, the last two bytes of each would be 0.
    assert any(tensor.bfloat16().float().ne(tensor).any() for tensor in tensors)


def test_a_checkpoint_of_another_precision_is_that_of_another_run(
    problem: Problem, make_run: MakeRun, tmp_path: Path
) -> None:
    trainer = Trainer(problem, checkpoints=CheckpointFolder(tmp_path))
    trainer.add(make_run())
    trainer.advance()
    trainer.save()
    other = Trainer(
        problem, checkpoints=CheckpointFolder(tmp_path), precision=Precision("bfloat16")
    )
    with pytest.raises(CheckpointError, match="precision is 'float32', not 'bfloat16'"):
        other.add(make_run())


def test_provenance_tells_the_precision_and_tf32_where_it_has_a_meaning(problem: Problem) -> None:
    provenance = Trainer(problem, precision=Precision("bfloat16", tf32=True)).provenance
    assert provenance == Provenance.of("cpu", Precision("bfloat16"))
    assert provenance.precision == "bfloat16"
    assert not provenance.tf32


@pytest.mark.parametrize("tf32", [False, True])
def test_on_a_gpu_tf32_is_as_asked_for_whatever_was_set_and_is_put_back(tf32: bool) -> None:
    def flags() -> list[bool]:
        return [torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32]

    before = flags()
    torch.backends.cuda.matmul.allow_tf32 = not tf32
    torch.backends.cudnn.allow_tf32 = not tf32
    try:
        with Precision("float32", tf32).arithmetic(GPU):
            assert flags() == [tf32, tf32]
            assert torch.backends.cudnn.deterministic
        assert flags() == [not tf32, not tf32]
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def test_a_precision_that_is_not_known_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="precision = 'float16' is not known"):
        Precision("float16")
