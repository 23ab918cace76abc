from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import isnan
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from indian_tune.errors import HyperparameterError, InputError
from indian_tune.problems.models import dropout_layers
from indian_tune.problems.problem import Problem, Split
from indian_tune.training import CheckpointFolder, Provenance, Run, Trainer, device
from indian_tune.training.evaluation import evaluate
from indian_tune.training.execution import CHECK_EVERY
from indian_tune.training.feed import Feed, fixed_subset
from indian_tune.training.live import LiveRun

if TYPE_CHECKING:
    from pathlib import Path

MakeRun = Callable[..., Run]
CPU = torch.device("cpu")


def numbered(problem: Problem, build: Callable[..., nn.Module], count: int) -> Problem:
    """A problem whose image i is all i."""
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)
    split = Split(inputs=images, labels=torch.arange(count) % 3)
    return replace(
        problem, train=split, mean=(0.0,), std=(1.0,), scale=1.0, model="own", build_model=build
    )


class Watching(nn.Module):
    """Notes which images it is trained on, by their first pixel."""

    def __init__(self, seen: list[int]) -> None:
        super().__init__()
        self.seen = seen
        self.dense = nn.Linear(64, 3)

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.seen += images[:, 0, 0, 0].int().tolist()
        logits: Tensor = self.dense(images.flatten(1) / 1e3)
        return logits


def order_seen(problem: Problem, run: Run, count: int = 50) -> list[int]:
    """The order in which a run visits ``count`` images."""
    seen: list[int] = []
    trainer = Trainer(numbered(problem, lambda **_: Watching(seen), count))
    trainer.add(run)
    while trainer.active:
        trainer.advance()
    return seen


class TestTraining:
    def test_runs_learn_and_every_epoch_has_a_record(
        self, problem: Problem, make_run: MakeRun
    ) -> None:
        trainer = Trainer(problem)
        assert trainer.add(make_run(dropout=0.0, epochs=12)) == 0
        records = []
        while trainer.active:
            records += trainer.advance()
        assert [record.epoch for record in records] == list(range(1, 13))
        assert [record.step for record in records] == [5 * epoch for epoch in range(1, 13)]
        assert {record.key for record in records} == {"indian run"}
        assert not any(record.diverged for record in records)
        assert records[-1].metrics["train_loss"] < 0.1
        assert records[-1].sealed["test_accuracy"] > 0.9
        assert all(record.seconds > 0 for record in records)

    def test_every_image_is_visited_once_an_epoch_in_an_order_of_seed_and_epoch(
        self, problem: Problem, make_run: MakeRun
    ) -> None:
        run = make_run(epochs=2, batch_size=16)
        seen = order_seen(problem, run)
        first, second = seen[:50], seen[50:]
        assert sorted(first) == sorted(second) == list(range(50))
        assert first != second
        assert order_seen(problem, run) == seen
        assert order_seen(problem, replace(run, seed=2)) != seen

    def test_the_same_seed_has_the_same_order_and_weights_under_every_optimizer(
        self, problem: Problem, make_run: MakeRun
    ) -> None:
        runs = [make_run(family=family, epochs=2) for family in ("indian", "sgd", "adam")]
        assert len({tuple(order_seen(problem, run)) for run in runs}) == 1
        first, *others = (LiveRun(run, problem, CPU).model.state_dict() for run in runs)
        for other in others:
            assert all(torch.equal(first[name], other[name]) for name in first)

    def test_an_epoch_is_what_plain_torch_makes_of_the_same_batches_and_masks(
        self, problem: Problem, make_run: MakeRun
    ) -> None:
        run = make_run(family="sgd", epochs=1)
        trainer = Trainer(problem)
        trainer.add(run)
        (record,) = trainer.advance()
        model = problem.build_model(seed=run.seed, dropout=run.dropout)
        optimizer = torch.optim.SGD(model.parameters(), run.config["gamma0"])
        seen = torch.tensor(order_seen(problem, run, len(problem.train)))
        for step, pick in enumerate(torch.split(seen, run.batch_size)):
            images = (problem.train.inputs[pick] / 255 - problem.mean[0]) / problem.std[0]
            for layer in dropout_layers(model):
                layer.seek(run.seed, step)
            for group in optimizer.param_groups:
                group["lr"] = run.config["gamma0"] / (step + 1) ** 0.5
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images), problem.train.labels[pick])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        expected = evaluate(model, Feed(problem.train, problem, CPU))
        assert record.metrics["train_loss"] == pytest.approx(expected["loss"], rel=1e-5)

    def test_a_network_that_comes_in_evaluation_mode_is_trained_in_training_mode(
        self, problem: Problem, make_run: MakeRun
    ) -> None:
        seen: list[int] = []
        trainer = Trainer(numbered(problem, lambda **_: Watching(seen).eval(), 50))
        trainer.add(make_run())
        trainer.advance()
        assert len(seen) == 50

    def test_runs_may_differ_in_all_they_are_made_of(
        self, problem: Problem, make_run: MakeRun
    ) -> None:
        trainer = Trainer(problem)
        trainer.add(make_run(key="a", epochs=1))
        trainer.add(make_run(key="b", family="adam", epochs=2, batch_size=70, dropout=0.0))
        active, records = [], []
        for _ in range(3):
            active.append(trainer.active)
            records.append([(each.key, each.epoch, each.step) for each in trainer.advance()])
        assert active == [("a", "b"), ("b",), ()]
        assert records == [[("a", 1, 5), ("b", 1, 1)], [("b", 2, 2)], []]

    def test_some_runs_can_advance_without_the_others(
        self, problem: Problem, make_run: MakeRun
    ) -> None:
        trainer = Trainer(problem)
        for key in ("a", "b", "c"):
            trainer.add(make_run(key=key, epochs=2))
        assert [(r.key, r.epoch) for r in trainer.advance(["c", "a"])] == [("c", 1), ("a", 1)]
        assert [(r.key, r.epoch) for r in trainer.advance()] == [("a", 2), ("b", 1), ("c", 2)]
        assert [(r.key, r.epoch) for r in trainer.advance(["a", "b"])] == [("b", 2)]

    def test_a_removed_run_makes_room_for_another_under_its_key(
        self, problem: Problem, make_run: MakeRun
    ) -> None:
        trainer = Trainer(problem)
        trainer.add(make_run(key="a"))
        trainer.advance()
        trainer.remove("a")
        assert trainer.active == ()
        assert trainer.add(make_run(key="a", seed=5)) == 0
        assert [record.epoch for record in trainer.advance()] == [1]

    def test_provenance_is_that_of_the_device(self, problem: Problem) -> None:
        assert Trainer(problem).provenance == Provenance.of("cpu", execution="loop, by hand")


class TestMetrics:
    def test_they_are_those_of_the_network_after_the_epoch(
        self, problem: Problem, make_run: MakeRun, tmp_path: Path
    ) -> None:
        folder = CheckpointFolder(tmp_path)
        trainer = Trainer(problem, checkpoints=folder)
        run = make_run()
        trainer.add(run)
        (record,) = trainer.advance()
        trainer.save()
        saved = folder.load(run.key)
        assert saved is not None
        model = problem.build_model(seed=0, dropout=0.0)
        model.load_state_dict(saved.state["live"]["model"])
        assert problem.validation is not None
        expected = {
            f"{name}_{metric}": value
            for name, split in (
                ("train", problem.train),
                ("validation", problem.validation),
                ("test", problem.test),
            )
            for metric, value in evaluate(model, Feed(split, problem, CPU)).items()
        }
        assert list(record.metrics) == list(expected)[:4]
        # The trainer measures by hand on a CPU, which rounds otherwise.
        assert {**record.metrics, **record.sealed} == pytest.approx(expected, rel=1e-5)

    def test_which_test_images_are_right_is_told_at_the_end(
        self, problem: Problem, make_run: MakeRun
    ) -> None:
        trainer = Trainer(problem)
        run = make_run(epochs=2)
        trainer.add(run)
        (first,), (last,) = trainer.advance(), trainer.advance()
        assert first.test_correct is None
        assert last.test_correct is not None
        assert len(last.test_correct) == len(problem.test)
        assert last.test_correct.count("1") / len(problem.test) == last.sealed["test_accuracy"]

    def test_training_metrics_can_be_of_a_fixed_subset(
        self, problem: Problem, make_run: MakeRun
    ) -> None:
        subset = replace(problem, test=fixed_subset(problem.train, 20))
        trainer = Trainer(subset, train_eval_size=20)
        trainer.add(make_run())
        (record,) = trainer.advance()
        assert record.metrics["train_loss"] == record.sealed["test_loss"]
        assert record.metrics["train_accuracy"] == record.sealed["test_accuracy"]
        whole = Trainer(subset)
        whole.add(make_run())
        (record_of_whole,) = whole.advance()
        assert record_of_whole.metrics["train_loss"] != record.metrics["train_loss"]
        assert record_of_whole.sealed["test_loss"] == record.sealed["test_loss"]

    def test_without_a_validation_part_its_metrics_are_none(
        self, problem: Problem, make_run: MakeRun
    ) -> None:
        trainer = Trainer(replace(problem, validation=None))
        trainer.add(make_run())
        (record,) = trainer.advance()
        assert list(record.metrics) == ["train_loss", "train_accuracy"]
        assert record.sealed["test_loss"] > 0


class TestDivergence:
    def test_a_run_whose_loss_is_not_finite_ends_with_a_record_of_nan(
        self, problem: Problem, make_run: MakeRun
    ) -> None:
        trainer = Trainer(problem)
        trainer.add(make_run(key="bad", family="sgd", config={"gamma0": 1e30}))
        trainer.add(make_run(key="good"))
        bad, good = trainer.advance()
        assert bad.diverged
        assert all(map(isnan, (*bad.metrics.values(), *bad.sealed.values())))
        assert not good.diverged
        assert trainer.active == ("good",)
        assert [record.key for record in trainer.advance()] == ["good"]

    def test_it_is_noticed_within_a_hundred_steps(
        self, problem: Problem, make_run: MakeRun
    ) -> None:
        calls: list[int] = []

        class Breaking(Watching):
            def forward(self, images: Tensor) -> Tensor:
                calls.append(1)
                return super().forward(images) * (float("nan") if len(calls) > 120 else 1.0)

        trainer = Trainer(numbered(problem, lambda **_: Breaking([]), 250))
        trainer.add(make_run(batch_size=1))
        (record,) = trainer.advance()
        assert record.diverged
        assert record.step == 200
        assert len(calls) == 200
        assert CHECK_EVERY == 100

    def test_weights_that_break_in_the_very_last_step_are_noticed_when_measured(
        self, problem: Problem, make_run: MakeRun
    ) -> None:
        trainer = Trainer(replace(problem, validation=None))
        trainer.add(make_run(batch_size=70, family="sgd", config={"gamma0": 1e38}))
        (record,) = trainer.advance()
        assert record.step == 1
        assert record.diverged
        assert isnan(record.metrics["train_loss"])
        assert isnan(record.sealed["test_accuracy"])
        assert "validation_loss" not in record.metrics

    def test_a_diverged_run_is_never_saved(
        self, problem: Problem, make_run: MakeRun, tmp_path: Path
    ) -> None:
        trainer = Trainer(problem, checkpoints=CheckpointFolder(tmp_path))
        run = make_run(family="sgd", config={"gamma0": 1e30})
        trainer.add(run)
        trainer.advance()
        trainer.save()
        assert CheckpointFolder(tmp_path).load(run.key) is None


class TestRefusals:
    def test_a_key_that_is_held_is_refused(self, problem: Problem, make_run: MakeRun) -> None:
        trainer = Trainer(problem)
        trainer.add(make_run(key="a"))
        with pytest.raises(InputError, match="'a' is already being trained"):
            trainer.add(make_run(key="a"))

    def test_a_key_that_is_not_held_is_refused(self, problem: Problem, make_run: MakeRun) -> None:
        trainer = Trainer(problem, checkpoints=CheckpointFolder("unused"))  # type: ignore[arg-type]
        trainer.add(make_run(key="a"))
        for use in (
            trainer.remove,
            lambda key: trainer.save([key]),
            lambda key: trainer.advance([key]),
        ):
            with pytest.raises(InputError, match="'b' is not being trained; these are: 'a'"):
                use("b")

    def test_a_configuration_that_is_not_valid_is_refused_before_anything_is_held(
        self, problem: Problem, make_run: MakeRun
    ) -> None:
        trainer = Trainer(problem)
        with pytest.raises(HyperparameterError, match="alpha"):
            trainer.add(make_run(config={"gamma0": 0.1, "alpha": -1.0, "beta": 0.1}))
        assert trainer.active == ()

    @pytest.mark.parametrize(
        ("error", "told"),
        [
            (RuntimeError("The NVIDIA driver on your system is too old"), True),
            (torch.AcceleratorError("CUDA error: no kernel image is available"), True),
            # Another process may do better.
            (torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered"), False),
            (torch.OutOfMemoryError("CUDA out of memory"), False),
        ],
    )
    def test_a_gpu_that_torch_cannot_compute_on_is_refused_with_the_reason(
        self, problem: Problem, monkeypatch: pytest.MonkeyPatch, error: Exception, told: bool
    ) -> None:
        def start(_: object) -> None:
            raise error

        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(device, "start_kernel", start)
        if told:
            with pytest.raises(InputError, match=f"device = 'cuda:0' cannot be used: {error}"):
                Trainer(problem, device="cuda:0")
        else:
            with pytest.raises(type(error)):
                Trainer(problem, device="cuda:0")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"device": "tpu"}, "device = 'tpu' is not known"),
            ({"device": "mps"}, "device = 'mps' is not known"),
            ({"device": "cuda:99"}, "device = 'cuda:99' does not exist"),
            ({"train_eval_size": 0}, "train_eval_size = 0"),
        ],
        ids=str,
    )
    def test_what_a_trainer_cannot_be_made_with_is_refused_by_name(
        self, problem: Problem, arguments: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(InputError, match=message):
            Trainer(problem, **arguments)
