"""Trains loops of one's own beside the package's own loop: an epoch of each run at a time.

The run that a loop is called with is in :mod:`indian_tune.training.own_loop`; what it keeps for the
trainer is private there, because every public name of it is shown to users.
"""

from __future__ import annotations

import contextlib
import logging
import random
from dataclasses import asdict, dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from indian_tune.errors import CheckpointError, InputError
from indian_tune.problems.randomness import key_hash, seeded_global_generator
from indian_tune.training.checkpoint import Checkpoint
from indian_tune.training.float32 import shortens_products
from indian_tune.training.own_loop import LoopRun
from indian_tune.training.own_report import NEEDED_FOR
from indian_tune.training.provenance import Provenance

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from indian_tune.problems.loop import Loop
    from indian_tune.training.checkpoint import CheckpointFolder
    from indian_tune.training.packing import PackShape
    from indian_tune.training.run import EpochRecord, Run

log = logging.getLogger(__name__)

NO_NETWORK = (
    "protocol.keep_checkpoints = True needs the network in the checkpoints of the loop: call "
    "run.epochs(model=model, optimizer=optimizer), or remove that key"
)
EXECUTION = "own loop, which decides what repeats to the last bit"


@dataclass
class _Held:
    """A run of the trainer."""

    run: Run
    live: LoopRun
    epoch: int = 0
    diverged: bool = False
    saved_epoch: int = 0


@dataclass(frozen=True)
class Rehearsal:
    """What a run showed that was tried.

    Attributes:
        in_time: whether its first epoch ended in time, if it was trained.
        seeds_alike: whether its function seeds torch's generator with the same number whatever the
            run's seed is.
        error: what the code after its loop raised; ``None`` for nothing.
        unread: what its configuration holds and the function has not read: names of
            hyperparameters, ``batch_size`` and ``dropout``.
        network: whether its checkpoints hold a network, whose weights can be kept.
    """

    in_time: bool
    seeds_alike: bool
    error: Exception | None
    unread: frozenset[str]
    network: bool


class LoopTrainer:
    """Trains runs by a loop of one's own, an epoch of each at a time; see :class:`Trainer`.

    Args:
        loop: what trains.
        device: where to train, ``cpu`` or ``cuda`` with or without an index.
        checkpoints: where runs are saved and resumed from; ``None`` for neither.
        objectives: what trials are judged by, which every report must have.
    """

    def __init__(
        self,
        loop: Loop,
        *,
        device: torch.device | str = "cpu",
        checkpoints: CheckpointFolder | None = None,
        objectives: Sequence[str] = (),
    ) -> None:
        self._loop = loop
        self._device = torch.device(device)
        self._checkpoints = checkpoints
        needed = [NEEDED_FOR[name] for name in objectives if name in NEEDED_FOR]
        self._required = tuple(dict.fromkeys(["train_loss", *needed]))
        self._runs: dict[str, _Held] = {}
        # What the function that ran last has seeded torch's generator with, if it has.
        self._own_seed: int | None = None

    def __del__(self) -> None:
        self._abandon()

    @property
    def active(self) -> tuple[str, ...]:
        """Keys of the runs that have epochs left, in the order in which they were added."""
        return tuple(
            key
            for key, held in self._runs.items()
            if not held.diverged and held.epoch < held.run.epochs
        )

    @property
    def provenance(self) -> Provenance:
        """What the runs are computed with, as far as is known."""
        known = Provenance.of(self._device, execution=EXECUTION)
        return replace(known, precision="own loop", tf32=shortens_products())

    @property
    def pack_shape(self) -> PackShape | None:
        """``None``: runs are never packed."""
        return None

    def add(self, run: Run) -> int:
        """Take up a run, and let its function come to its first epoch.

        Returns:
            Number of epochs done already.

        Raises:
            InputError: the key is held already.
            LoopError: the loop does what it must not; or whatever it raises.
        """
        if run.key in self._runs:
            raise InputError(f"run {run.key!r} is already being trained: remove it first")
        saved = None if self._checkpoints is None else self._checkpoints.load(run.key)
        if saved is not None and saved.epoch > run.epochs:
            saved = None
        folder = self._checkpoints

        def discard() -> None:
            if folder is not None:
                folder.discard(run.key)

        live = LoopRun(run, self._loop, self._device, self._required, saved, discard)
        try:
            self._resume(live, "initial weights", run.seed)
        except BaseException:
            # The others continue.
            live.abandon()
            raise
        self._runs[run.key] = _Held(run, live, epoch=live._epoch, saved_epoch=live._epoch)
        return live._epoch

    def advance(self, keys: Iterable[str] | None = None) -> list[EpochRecord]:
        """Train one epoch of every active run, or of some of them.

        Args:
            keys: which runs; all that are held if ``None``. One that is not active is passed over.

        Returns:
            A record per run that was trained, in turn.

        Raises:
            InputError: no such run is held.
            LoopError: a loop does what it must not; or whatever it raises.
        """
        chosen = list(self._runs) if keys is None else list(keys)
        active = self.active
        return [self._advance(self._held(key)) for key in chosen if key in active]

    def rehearse(self, run: Run, seconds: float | None) -> Rehearsal:
        """Follow a run up to its first epoch or the report of it, and let go of it.

        The report needs a test result, as on the fresh seeds: a mistake in what measures it would
        otherwise appear when everything has been tuned. Nothing of it is kept or shown.

        Args:
            run: whose key is not held.
            seconds: how long the epoch may take; ``None`` to train none.

        Raises:
            LoopError: the loop does what it must not; or whatever it raises.
        """
        # The record with the test result is dropped with the run.
        self.add(replace(run, opens_test=seconds is not None))
        live, own_seed = self._runs.pop(run.key).live, self._own_seed
        in_time = seconds is None or self._resume(live, "epoch", run.seed, 1, seconds=seconds)
        error = _closed(live) if in_time else None
        alike = False
        if seconds is not None and own_seed is not None:
            # A function may well seed it from the run's seed: only another seed tells.
            self.add(replace(run, seed=run.seed + 1))
            _closed(self._runs.pop(run.key).live)
            alike = self._own_seed == own_seed
        return Rehearsal(in_time, alike, error, live._config.unread, bool(_networks(live)))

    def save(self, keys: Iterable[str] | None = None) -> None:
        """Write the checkpoints of runs whose records are safe, and that say what these hold.

        Raises:
            CheckpointError: a file cannot be written.
        """
        if self._checkpoints is None:
            return
        for key in list(self._runs) if keys is None else keys:
            held = self._held(key)
            live = held.live
            if held.diverged or held.epoch == held.saved_epoch or not live._objects:
                continue
            state = {"provenance": asdict(self.provenance), **live._state()}
            self._checkpoints.save(key, Checkpoint(held.epoch, state))
            held.saved_epoch = held.epoch

    def save_weights(self, key: str, folder: CheckpointFolder) -> None:
        """Write the weights of every network that the loop has in its checkpoints, by name.

        Raises:
            CheckpointError: it has none there, or the file cannot be written.
        """
        held = self._held(key)
        networks = _networks(held.live)
        if not networks:
            raise CheckpointError(f"run {key!r}: {NO_NETWORK}")
        states = {name: network.state_dict() for name, network in networks.items()}
        folder.save(key, Checkpoint(held.epoch, states))

    def remove(self, key: str) -> None:
        """End a run's loop and let go of it; its checkpoints stay.

        Raises:
            InputError: no such run is held.
        """
        held = self._held(key)
        del self._runs[key]
        error = _closed(held.live)
        if error is not None:
            log.warning("run %s after its end: %s: %s", key, type(error).__name__, error)

    def _advance(self, held: _Held) -> EpochRecord:
        live, began = held.live, perf_counter()
        while True:
            before = live._epoch
            try:
                self._resume(live, "epoch", held.run.seed, before + 1)
            except BaseException:
                self._abandon()
                raise
            record = live._record
            if record is not None and record.epoch == live._epoch:
                break
            # The epoch only served to take up the checkpoint.
        held.epoch, held.diverged = record.epoch, record.diverged
        return replace(record, seconds=perf_counter() - began)

    def _resume(self, live: LoopRun, *key: int | str, seconds: float | None = None) -> bool:
        word = key_hash(*key) % 2**32
        random.seed(word)
        np.random.seed(word)
        with seeded_global_generator(*key, device=self._device):
            given = torch.initial_seed()
            there = live.resume(seconds)
            now = torch.initial_seed()
        self._own_seed = None if now == given else now
        return there

    def _abandon(self) -> None:
        for held in self.__dict__.get("_runs", {}).values():
            with contextlib.suppress(Exception):
                held.live.abandon()

    def _held(self, key: str) -> _Held:
        try:
            return self._runs[key]
        except KeyError:
            keys = ", ".join(map(repr, self._runs)) or "none"
            raise InputError(f"run {key!r} is not being trained; these are: {keys}") from None


def _networks(live: LoopRun) -> dict[str, nn.Module]:
    return {name: each for name, each in live._objects.items() if isinstance(each, nn.Module)}


def _closed(live: LoopRun) -> Exception | None:
    """End a run's loop; return what the code after it raised, as its record is made by then."""
    try:
        live.close()
    except Exception as error:  # noqa: BLE001 - only told
        return error
    return None
