"""The trial loop: which runs are next, which are behind, and when a trial ends."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from indian_tune.training import CheckpointFolder, EpochRecord, LoopTrainer, Run, Trainer

# A checkpoint costs a disk's flush, which would slow short epochs down after each of them. One that
# is cheap is written often: what a death costs is trained again, and the next one must not find the
# trial no further.
LEAST_CHECKPOINT_SECONDS, MOST_CHECKPOINT_SECONDS = 1.0, 5.0
CHECKPOINT_SHARE = 0.02


@dataclass
class _Runs:
    """The runs of one trial.

    Attributes:
        open: those that have not ended, by key.
        together: whether they advance side by side, or one after the other.
        kept_in: where the final weights are to stay; ``None`` for nowhere.
        done: epochs done by those that are in the trainer.
        ended: keys of those that have ended, and are still in the trainer.
    """

    open: dict[str, Run]
    together: bool
    kept_in: CheckpointFolder | None
    done: dict[str, int] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)

    @property
    def next(self) -> Run | None:
        """The run to begin now, if any."""
        if self.done and not self.together:
            return None
        return next((run for key, run in self.open.items() if key not in self.done), None)

    @property
    def behind(self) -> list[str]:
        """The runs to advance: those least along, so that a report compares equal epochs."""
        least = min(self.done.values(), default=0)
        return [key for key, done in self.done.items() if done == least]


class TrialsInHand:
    """Trains trials side by side. It knows no database: a trial is whatever id it is given.

    All engines train here, and an epoch is trained in :meth:`advance` alone.

    Args:
        make_trainer: called at once, and again by :meth:`restart`.
        on_epoch: called before every epoch, of a run or of a pack, with the epoch's number in each
            trial, and the number of runs.
    """

    def __init__(
        self,
        make_trainer: Callable[[], Trainer | LoopTrainer],
        on_epoch: Callable[[Mapping[int, int], int], None] | None = None,
    ) -> None:
        self._make_trainer = make_trainer
        self._on_epoch = on_epoch or (lambda _epochs, _runs: None)
        from indian_tune.training import GlobalState

        self.trainer = make_trainer()
        # As the study's own code has left it when it was imported.
        self._state = GlobalState()
        self._trials: dict[int, _Runs] = {}
        self._saved_at = time.monotonic()
        self._save_every = LEAST_CHECKPOINT_SECONDS

    @property
    def running(self) -> int:
        """How many runs have epochs left and are in the trainer."""
        return sum(len(runs.done) for runs in self._trials.values())

    def is_open(self, trial: int, key: str | None = None) -> bool:
        """Whether a run of a trial, or any run of it, has not ended."""
        runs = self._trials[trial].open
        return bool(runs) if key is None else key in runs

    def take(
        self, trial: int, runs: Sequence[Run], *, together: bool, kept_in: CheckpointFolder | None
    ) -> None:
        """Take a trial in hand; :meth:`begin` begins its runs.

        Args:
            trial: its id; must not be in hand.
            runs: those that have not ended.
            together: whether they advance side by side, or one after the other.
            kept_in: where the final weights are to stay; ``None`` for nowhere.
        """
        assert trial not in self._trials
        self._trials[trial] = _Runs({run.key: run for run in runs}, together, kept_in)

    def begin(self, trial: int) -> Iterator[tuple[str, int]]:
        """Put the runs that are next into the trainer.

        Yields:
            Key and epochs done of each. One that is at its end already has another follow it.
        """
        runs = self._trials[trial]
        while (run := runs.next) is not None:
            self._state.restore("A trial")
            done = self.trainer.add(run)
            if done < run.epochs:
                runs.done[run.key] = done
            else:
                del runs.open[run.key]
                runs.ended.append(run.key)
            yield run.key, done

    def advance(self, trials: Iterable[int] | None = None) -> dict[int, list[EpochRecord]]:
        """Train one epoch of the runs of each trial that are least along.

        The weights of runs at their end are kept before anybody can record that end: none is then
        without. Runs that have ended stay in the trainer, and are checkpointed there, until
        :meth:`release_ended`.

        Args:
            trials: which; all that are in hand if ``None``.

        Returns:
            The records of each trial. After an exception, see :meth:`restart`.
        """
        chosen = {id_: self._trials[id_] for id_ in (self._trials if trials is None else trials)}
        epochs = {
            key: {id_: runs.done[key] + 1} for id_, runs in chosen.items() for key in runs.behind
        }
        # Runs that are not packed are trained one after the other anyway.
        looped = self.trainer.pack_shape is None
        records = []
        for keys in [[key] for key in epochs] if looped else filter(None, [list(epochs)]):
            self._on_epoch({id_: n for key in keys for id_, n in epochs[key].items()}, len(keys))
            self._state.restore("A trial", randomness=False)
            records += self.trainer.advance(keys)
        by_trial: dict[int, list[EpochRecord]] = {}
        for trial, runs in chosen.items():
            own = by_trial[trial] = [record for record in records if record.key in runs.done]
            for record in own:
                self._note(runs, record)
        return by_trial

    def _note(self, runs: _Runs, record: EpochRecord) -> None:
        at_end = record.epoch == runs.open[record.key].epochs
        if at_end and not record.diverged and runs.kept_in is not None:
            self.trainer.save_weights(record.key, runs.kept_in)
        if at_end or record.diverged:
            del runs.open[record.key], runs.done[record.key]
            runs.ended.append(record.key)
        else:
            runs.done[record.key] = record.epoch

    def release_ended(self, trial: int) -> None:
        """Let go of the runs of a trial whose end is recorded."""
        runs = self._trials[trial]
        for key in runs.ended:
            self.trainer.remove(key)
        runs.ended.clear()

    def remove(self, trial: int) -> None:
        """Let go of a trial; its checkpoints stay."""
        self.release_ended(trial)
        for key in self._trials.pop(trial).done:
            self.trainer.remove(key)

    def restart(self) -> None:
        """Make a new trainer, as is needed after an exception; every trial is to begin again."""
        # First, as both together may not fit into a GPU's memory.
        del self.trainer
        self.trainer = self._make_trainer()
        for runs in self._trials.values():
            runs.done.clear()
            runs.ended.clear()

    def checkpoint_due(self) -> bool:
        """Whether the last checkpoints are old enough for new ones."""
        return time.monotonic() - self._saved_at > self._save_every

    def repeats(self, trial: int, recorded: Mapping[str, int]) -> bool:
        """Whether a run of a trial trains epochs that are recorded already.

        Args:
            trial: in hand.
            recorded: epochs of its runs, by key.
        """
        done = self._trials[trial].done
        return any(done[key] <= epochs for key, epochs in recorded.items() if key in done)

    def save(self) -> None:
        """Write the checkpoints of all runs in the trainer."""
        began = time.monotonic()
        self.trainer.save()
        self._saved_at = time.monotonic()
        pause = (self._saved_at - began) / CHECKPOINT_SHARE
        self._save_every = min(max(pause, LEAST_CHECKPOINT_SECONDS), MOST_CHECKPOINT_SECONDS)
