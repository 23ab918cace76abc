"""What runs in Ray's actors: the runs of one trial, an epoch a step. It knows no database."""

from __future__ import annotations

import functools
import json
import logging
import shutil
import tempfile
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from indian_tune.engines.runs import kept_folder, problem_of, trainer_of
from indian_tune.imports import imports_allowed
from indian_tune.study.spec import parse_study
from ray import tune
from ray.tune.result import SHOULD_CHECKPOINT

if TYPE_CHECKING:
    from indian_tune.problems import Problem
    from indian_tune.study.spec import StudySpec
    from indian_tune.training import EpochRecord, Run, Trainer

logger = logging.getLogger(__name__)

# Keys of a trial's configuration, as the driver fills it in.
SPEC, RUNS, RECORDED, TOGETHER, THREADS, DATA_DIR, RESUME, IMPORTS, KEEP = (
    *("spec", "runs", "recorded", "together", "threads", "data_dir", "resume_from", "imports"),
    "keep_in",
)
# Keys of a result, as the driver reads it.
RECORDS, COMPLETE, BROKE, PROVENANCE = "records", "complete", "broke", "provenance"

# The last record of every run, beside its checkpoint.
_LAST_RECORDS = "records.json"

# As in a worker of ours: more often would slow short epochs down.
CHECKPOINT_SECONDS = 5.0


class TrialTrainable(tune.Trainable):
    """Trains the runs of one trial of the ledger; an actor is used for one trial after another.

    An exception of the model is a result like others (its traceback): how often a trial is tried
    is the ledger's business. Ray's own retries are for nodes and actors that are lost.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Begin the first trial of this actor."""
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another trial in this actor."""
        self.cleanup()
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train one epoch."""
        try:
            with imports_allowed(self._config[IMPORTS]):
                return self._step()
        except BaseException as error:
            if hasattr(error, "ray_terminate_msg"):
                # Ray itself ends this actor.
                raise
            return {BROKE: traceback.format_exc(), "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write the checkpoints of the trial's runs."""
        if self._trainer is not None:
            self._trainer.save(even_if_not_due=True)
            last = {key: asdict(record) for key, record in self._last.items()}
            (self._folder / _LAST_RECORDS).write_text(json.dumps(last), encoding="utf-8")
        shutil.copytree(self._folder, checkpoint_dir, dirs_exist_ok=True)

    def load_checkpoint(self, checkpoint: dict[str, Any] | str | None) -> None:
        """Take up the checkpoints that another actor has written."""
        assert isinstance(checkpoint, str)
        shutil.copytree(checkpoint, self._folder, dirs_exist_ok=True)
        self._resumed = True

    def cleanup(self) -> None:
        """Remove this actor's copy of the checkpoints."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _begin(self, config: dict[str, Any]) -> None:
        self._config = config
        self._folder = Path(tempfile.mkdtemp(prefix="indian-tune-"))
        self._trainer: Trainer | None = None
        self._resumed = False

    def _start(self) -> Trainer:
        """Make the trainer, once Ray has handed over a checkpoint if it has one."""
        import torch

        from indian_tune.training import CheckpointFolder, Run, keep_freed_memory, spare_compiler

        config = self._config
        torch.set_num_threads(config[THREADS])
        keep_freed_memory()
        spare_compiler()
        if not self._resumed and config[RESUME] is not None:
            tune.Checkpoint(config[RESUME]).to_directory(str(self._folder))
        self._waiting = [Run(**run) for run in config[RUNS]]
        self._done: dict[str, int] = {}
        self._last = self._last_records()
        self._saved_at = time.monotonic()
        spec, problem = _study(config[SPEC], config[DATA_DIR])
        return trainer_of(spec, problem, _device(), CheckpointFolder(self._folder))

    def _step(self) -> dict[str, Any]:
        if self._trainer is None:
            self._trainer = self._start()
        complete, owed = self._take_up(self._trainer)
        records = owed or self._advance(self._trainer)
        self._last.update({record.key: record for record in records})
        self._keep(self._trainer, records)
        due = time.monotonic() - self._saved_at > CHECKPOINT_SECONDS
        if due:
            self._saved_at = time.monotonic()
        return {
            RECORDS: [asdict(record) for record in records],
            COMPLETE: complete,
            # In a list: Ray takes the dictionaries in a result apart.
            PROVENANCE: [asdict(self._trainer.provenance)],
            SHOULD_CHECKPOINT: due,
            "done": not self._waiting and not self._trainer.active,
        }

    def _take_up(self, trainer: Trainer) -> tuple[list[str], list[EpochRecord]]:
        """Add the runs that are next.

        Returns:
            Those whose end alone is still to be recorded; and records that the driver never got:
            Ray may stop an actor after an epoch was checkpointed and before its result arrived.
        """
        complete, owed = [], []
        while self._waiting and (self._config[TOGETHER] or not trainer.active):
            run: Run = self._waiting.pop(0)
            done = self._done[run.key] = trainer.add(run)
            if done > self._config[RECORDED][run.key]:
                owed.append(self._last[run.key])
            elif done >= run.epochs:
                complete.append(run.key)
        return complete, owed

    def _keep(self, trainer: Trainer, records: list[EpochRecord]) -> None:
        """Keep the weights of runs at their end."""
        if self._config[KEEP] is not None:
            ends = {run["key"]: run["epochs"] for run in self._config[RUNS]}
            for record in records:
                if record.epoch == ends[record.key] and not record.diverged:
                    trainer.keep(record.key, kept_folder(Path(self._config[KEEP])))

    def _last_records(self) -> dict[str, EpochRecord]:
        from indian_tune.training import EpochRecord

        path = self._folder / _LAST_RECORDS
        if not path.exists():
            return {}
        known = json.loads(path.read_text(encoding="utf-8"))
        return {key: EpochRecord(**record) for key, record in known.items()}

    def _advance(self, trainer: Trainer) -> list[EpochRecord]:
        if not trainer.active:
            return []
        # Runs whose checkpoints are not equally old catch up first.
        behind = min(self._done[key] for key in trainer.active)
        records = trainer.advance([key for key in trainer.active if self._done[key] == behind])
        self._done.update({record.key: record.epoch for record in records})
        return records


def _device() -> str:
    """Return the device that Ray has lent this actor."""
    import torch

    if not ray.get_gpu_ids():
        return "cpu"
    if not torch.cuda.is_available():
        # Ray counts logical GPUs, whether the hardware is there or not.
        logger.warning("Ray has lent a GPU, but torch finds no CUDA here: training on the CPU")
        return "cpu"
    # Ray shows an actor its own GPUs only, so the first one is the one.
    return "cuda:0"


@functools.lru_cache(maxsize=1)
def _study(text: str, data_dir: str | None) -> tuple[StudySpec, Problem]:
    """Read a study and load its problem, once for all trials of an actor."""
    spec = parse_study(json.loads(text), source="the study's record")
    return spec, problem_of(spec, None if data_dir is None else Path(data_dir))
