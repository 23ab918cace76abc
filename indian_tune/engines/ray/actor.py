"""Ray's actors: they train the runs of one trial and do not use the database."""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import gc
import json
import logging
import os
import pickle
import shutil
import sys
import tempfile
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray import tune
from ray.tune.result import SHOULD_CHECKPOINT

from indian_tune.engines.runs import kept_folder, problem_of, trainer_of
from indian_tune.engines.trainers import is_final
from indian_tune.engines.trials_in_hand import TrialsInHand
from indian_tune.imports import imports_allowed, in_hand
from indian_tune.study.file.spec import parse_study

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from indian_tune.problems import Loop, Problem
    from indian_tune.study.file.spec import StudySpec
    from indian_tune.training import EpochRecord, LoopTrainer, Trainer

logger = logging.getLogger(__name__)

# Keys of a trial's configuration, as the driver fills it in.
SPEC, RUNS, RECORDED, TOGETHER, THREADS, DATA_DIR, RESUME, IMPORTS, KEEP, TRIAL, SPLIT = (
    *("spec", "runs", "recorded", "together", "threads", "data_dir", "resume_from", "imports"),
    *("keep_in", "trial", "split"),
)
# Which attempt at the trial it is, and when it was begun, in ms since 1970.
ATTEMPT, BEGUN = "attempt", "begun"
# Lanes of its packs on a GPU: the seeds of a trial are trained side by side.
LANES = "lanes"
# Seconds that an epoch may take, if the study says so; seconds that anything else may, and an epoch
# by default; the file for the stacks of an actor that takes longer, ``None`` for its log; and
# whether the driver has given the trial up meanwhile.
LIMIT, DEFAULT_LIMIT, STACKS, GIVEN_UP = "epoch_timeout", "timeout", "stacks", "given_up"
# Seconds in which an actor goes on to the next epoch before it reports, as a report costs
# milliseconds in which nothing is trained.
AHEAD = "ahead"
# Keys of a result, as the driver reads it: of each epoch, the records, and the runs that turned out
# to be complete before it; a traceback, and whether another attempt would end the same way; what is
# trained with.
EPOCHS, RECORDS, COMPLETE = "epochs", "records", "complete"
BROKE, FINAL, PROVENANCE = "broke", "final", "provenance"

# The records of every run that its last result had, beside its checkpoint.
_LAST_RECORDS = "records.json"
# How its packs compute convolutions: another actor that continues it is not to choose again.
_CONVOLUTIONS = "convolutions"


class TrialTrainable(tune.Trainable):
    """Trains the runs of one trial of the ledger; an actor is used for one trial after another.

    An exception of the model is a result like others (its traceback): how often a trial is tried
    is the ledger's business. Ray's own retries are for nodes and actors that are lost.
    """

    def setup(self, config: dict[str, Any], in_hand: bytes | None = None) -> None:
        """Begin the first trial of this actor.

        Args:
            config: of the trial.
            in_hand: what the searching program has in hand, see ``WorkerSettings``.
        """
        self._packed = in_hand
        self._unpacked: dict[str, Any] | None = None
        # How packs of so many lanes compute convolutions, as measured here. Tried out once: another
        # trial may come out differently, and the bits with it.
        self._convolutions: dict[int, str] = {}
        # How many lanes the memory suffices for where it does not for so many.
        self._fitting: dict[int, int] = {}
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another trial in this actor."""
        self.cleanup()
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train one epoch, or as many as are to be reported together."""
        if self._config[GIVEN_UP]:
            return {"done": True}
        self._epochs: list[dict[str, Any]] = []
        try:
            with self._watched(), imports_allowed(self._config[IMPORTS]), in_hand(self._objects):
                return self._step()
        except BaseException as error:
            if hasattr(error, "ray_terminate_msg"):
                # Ray itself ends this actor.
                raise
            if _lost(error):
                # This process can compute nothing more: Ray starts another one for the trial.
                logger.error("this actor cannot use the GPU any more: %s", error)
                logging.shutdown()
                os._exit(1)
            return {
                EPOCHS: self._epochs,
                BROKE: traceback.format_exc(),
                FINAL: is_final(error),
                "done": True,
            }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write the checkpoints of the trial's runs."""
        if self._in_hand is not None:
            self._in_hand.save()
            last = {key: [asdict(each) for each in records] for key, records in self._last.items()}
            (self._folder / _LAST_RECORDS).write_text(json.dumps(last), encoding="utf-8")
            shape = self._in_hand.trainer.pack_shape
            if shape is not None:
                (self._folder / _CONVOLUTIONS).write_text(shape.convolutions, encoding="utf-8")
        shutil.copytree(self._folder, checkpoint_dir, dirs_exist_ok=True)

    def load_checkpoint(self, checkpoint: dict[str, Any] | str | None) -> None:
        """Take up the checkpoints that another actor has written."""
        assert isinstance(checkpoint, str)
        shutil.copytree(checkpoint, self._folder, dirs_exist_ok=True)
        self._resumed = True

    def cleanup(self) -> None:
        """Remove this actor's copy of the checkpoints."""
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _objects(self) -> dict[str, Any]:
        """What the searching program has in hand, by reference."""
        if self._unpacked is None:
            # Written by the driver.
            self._unpacked = {} if self._packed is None else pickle.loads(self._packed)  # noqa: S301
        return self._unpacked

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """End this process, and write its stacks, if the block makes no progress.

        A thread of faulthandler's does it, which needs no interpreter: a model may hold that.
        """
        path = self._config[STACKS]
        with contextlib.ExitStack() as stack:
            assert sys.__stderr__ is not None
            self._stacks = sys.__stderr__
            if path is not None:
                self._stacks = stack.enter_context(Path(path).open("w", encoding="utf-8"))
                stack.callback(Path(path).unlink, missing_ok=True)
            stack.callback(faulthandler.cancel_dump_traceback_later)
            self._expect_within(max(self._config[LIMIT] or 0.0, self._config[DEFAULT_LIMIT]))
            yield

    def _expect_epoch(self, _epochs: Mapping[int, int], runs: int) -> None:
        self._expect_within(self._config[LIMIT] or self._config[DEFAULT_LIMIT] * runs)

    def _expect_within(self, seconds: float) -> None:
        faulthandler.dump_traceback_later(seconds, exit=True, file=self._stacks)

    def _begin(self, config: dict[str, Any]) -> None:
        self._config = config
        self._folder = Path(tempfile.mkdtemp(prefix="indian-tune-"))
        self._in_hand: TrialsInHand | None = None
        self._resumed = False

    def _start(self) -> TrialsInHand:
        """Take the trial in hand, once Ray has handed over a checkpoint if it has one."""
        from indian_tune.training import CheckpointFolder, Packing, Run, start_torch

        config = self._config
        start_torch(config[THREADS])
        if not self._resumed and config[RESUME] is not None:
            tune.Checkpoint(config[RESUME]).to_directory(str(self._folder))
        self._last = self._last_records()
        spec, problem = _study(config[SPEC], config[DATA_DIR], config[SPLIT])
        checkpoints = CheckpointFolder(self._folder)
        lanes, begun_with = config[LANES], self._folder / _CONVOLUTIONS
        convolutions = self._convolutions.get(lanes)
        if begun_with.exists():
            convolutions = begun_with.read_text(encoding="utf-8")

        def make() -> Trainer | LoopTrainer:
            packing = Packing(self._fitting.get(lanes, lanes), convolutions)
            return trainer_of(spec, problem, lent_device(), checkpoints, packing)

        in_hand = TrialsInHand(make, self._expect_epoch)
        shape = in_hand.trainer.pack_shape
        if convolutions is None and shape is not None:
            # `make` uses it, too: fewer lanes later are no reason to measure again.
            convolutions = shape.convolutions
            self._convolutions[lanes], self._fitting[lanes] = convolutions, shape.lanes
        in_hand.take(
            config[TRIAL],
            [Run(**run) for run in config[RUNS]],
            together=config[TOGETHER],
            kept_in=None if config[KEEP] is None else kept_folder(Path(config[KEEP])),
        )
        return in_hand

    def _step(self) -> dict[str, Any]:
        if self._in_hand is None:
            self._in_hand = self._start()
        in_hand, trial = self._in_hand, self._config[TRIAL]
        until = time.monotonic() + self._config[AHEAD]
        trained: dict[str, list[EpochRecord]] = {}
        while True:
            for record in self._advance(in_hand):
                trained.setdefault(record.key, []).append(record)
            is_open = in_hand.is_open(trial)
            due = is_open and (in_hand.checkpoint_due() or self._catches_up(in_hand))
            if due or not is_open or time.monotonic() >= until:
                break
        self._last |= trained
        return {
            EPOCHS: self._epochs,
            # In a list: Ray takes the dictionaries in a result apart.
            PROVENANCE: [asdict(in_hand.trainer.provenance)],
            SHOULD_CHECKPOINT: due,
            "done": not is_open,
        }

    def _advance(self, in_hand: TrialsInHand) -> list[EpochRecord]:
        """Train one epoch, and note it for the result; or what a checkpoint is ahead of it."""
        trial = self._config[TRIAL]
        complete: list[str] = []
        owed: list[EpochRecord] = []
        records, again = None, False
        while records is None:
            for key, done in in_hand.begin(trial):
                recorded = self._config[RECORDED][key]
                if done > recorded and not again:
                    # Ray may stop an actor after an epoch was checkpointed and before its result
                    # came.
                    owed += [record for record in self._last[key] if record.epoch > recorded]
                elif not in_hand.is_open(trial, key):
                    complete.append(key)
            records, again = owed or self._train(in_hand), True
        for epoch in sorted({record.epoch for record in records}) or [0]:
            now = [asdict(record) for record in records if record.epoch == epoch]
            self._epochs.append({RECORDS: now, COMPLETE: complete})
        return records

    def _train(self, in_hand: TrialsInHand) -> list[EpochRecord] | None:
        """Train one epoch; ``None`` where the memory does not suffice and fewer lanes may do.

        The runs are then to begin again from their checkpoints.
        """
        from indian_tune.training import is_out_of_memory

        try:
            return in_hand.advance()[self._config[TRIAL]]
        except RuntimeError as error:
            shape = in_hand.trainer.pack_shape
            if shape is None or shape.lanes == 1 or not is_out_of_memory(error):
                raise
        # Now that nothing holds the tensors of what has failed.
        import torch

        gc.collect()
        torch.cuda.empty_cache()
        self._fitting[self._config[LANES]] = shape.lanes // 2
        in_hand.restart()
        return None

    def _catches_up(self, in_hand: TrialsInHand) -> bool:
        """Whether the trial lost an actor, and what was recorded before is trained again.

        Another death until it gets further would count, so it must not lose that work again.
        """
        return self._config[ATTEMPT] > 1 and in_hand.repeats(
            self._config[TRIAL], self._config[RECORDED]
        )

    def _last_records(self) -> dict[str, list[EpochRecord]]:
        from indian_tune.training import EpochRecord

        path = self._folder / _LAST_RECORDS
        if not path.exists():
            return {}
        known = json.loads(path.read_text(encoding="utf-8"))
        # An earlier version has written one record without a list.
        lists = {key: rows if isinstance(rows, list) else [rows] for key, rows in known.items()}
        return {key: [EpochRecord(**row) for row in rows] for key, rows in lists.items()}


def _lost(error: BaseException) -> bool:
    """Whether an exception says that this process cannot use its GPU any more."""
    import torch

    from indian_tune.training import is_out_of_memory

    return isinstance(error, torch.AcceleratorError) and not is_out_of_memory(error)


def lent_device() -> str:
    """Return the device that Ray has lent this actor."""
    import torch

    if not ray.get_gpu_ids():
        return "cpu"
    if not torch.cuda.is_available():
        # Ray counts logical GPUs, whether the hardware is there or not.
        logger.warning("Ray assigned a GPU, but torch finds no CUDA: training on the CPU")
        return "cpu"
    # Ray shows an actor its own GPUs only, so the first one is the one.
    return "cuda:0"


@functools.lru_cache(maxsize=1)
def _study(text: str, data_dir: str | None, split: int) -> tuple[StudySpec, Problem | Loop]:
    """Read a study and load its problem, once for all trials of an actor on the same data."""
    spec = parse_study(json.loads(text), source="the study's record")
    return spec, problem_of(spec, None if data_dir is None else Path(data_dir), split)
