"""Replaying searches against the learning curves of a finished study, on a virtual clock."""

from __future__ import annotations

import itertools
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from indian_tune.comparison.intervals import paired_difference, unpaired_difference
from indian_tune.engines import CurveTable, Interrupt, SimulatedEngine, VirtualClock
from indian_tune.errors import InputError
from indian_tune.ledger import Ledger, LedgerReader, Phase
from indian_tune.study.controller import Controller
from indian_tune.study.file.spec import parse_study
from indian_tune.study.optuna.in_memory import InMemoryProjection
from indian_tune.study.registered_study import RegisteredStudy
from indian_tune.study.registration import register

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from indian_tune.comparison.intervals import Difference
    from indian_tune.study.file.spec import StudySpec

LEVEL = 0.05
_WORKER = "simulated"


@dataclass(frozen=True)
class Search:
    """One replayed search of all arms.

    Attributes:
        regret: score of the chosen configuration above the lowest of the table, mean over arms.
        epochs: that were replayed.
        seconds: on the virtual clock.
    """

    regret: float
    epochs: int
    seconds: float


@dataclass(frozen=True)
class Method:
    """A sampler with a pruner, and what its searches came to.

    Attributes:
        sampler: as a study file names it.
        pruner: likewise.
        searches: one per seed, in their order.
    """

    sampler: str
    pruner: str
    searches: Sequence[Search]

    @property
    def regret(self) -> Difference:
        """Mean regret over seeds with its t interval."""
        return paired_difference(self._regrets, LEVEL)

    def worse_than(self, best: Method) -> Difference:
        """Return by how much the mean regret exceeds another's, with Welch's interval."""
        return unpaired_difference(self._regrets, best._regrets, LEVEL)

    @property
    def epochs(self) -> float:
        """Mean over seeds."""
        return statistics.fmean(search.epochs for search in self.searches)

    @property
    def seconds(self) -> float:
        """Mean over seeds, on the virtual clock."""
        return statistics.fmean(search.seconds for search in self.searches)

    @property
    def _regrets(self) -> Any:
        return np.array([search.regret for search in self.searches])


@dataclass(frozen=True)
class Replay:
    """What replaying found.

    Attributes:
        study: whose table it was.
        objective: the score; lower is better.
        trials: of each arm in a search.
        workers: that ran trials side by side.
        table: how many configurations each arm has in the table.
        methods: by their mean regret, lowest first.
        distances: of the configurations that were asked for from those that answered.
    """

    study: str
    objective: str
    trials: int
    workers: int
    table: dict[str, int]
    methods: Sequence[Method]
    distances: Sequence[float]

    @property
    def held(self) -> float:
        """Share of the configurations that the table holds."""
        return sum(distance == 0 for distance in self.distances) / len(self.distances)

    @property
    def median_distance(self) -> float:
        """Of all of them."""
        return statistics.median(self.distances)


def replay(
    storage: str | None,
    study: str,
    samplers: Sequence[str] | None,
    pruners: Sequence[str] | None,
    *,
    seeds: int,
    workers: int,
    trials: int | None = None,
    on_method: Callable[[Method], None] = lambda _method: None,
) -> Replay:
    """Run other searches against the table of a finished study, and rank their methods.

    Args:
        storage: of the study.
        study: its name.
        samplers: names as in a study file; that of the study if ``None`` or none.
        pruners: likewise; each goes with each sampler.
        seeds: searches of each, at least 2.
        workers: that run trials side by side.
        trials: of each arm; as many as the study has if ``None``.
        on_method: called with each method when its searches are done.

    Raises:
        InputError: the table is incomplete or cannot be searched so.
    """
    with LedgerReader.open(storage) as ledger:
        source = RegisteredStudy.open(ledger, study)
        if source.spec.protocol.objectives is not None:
            raise InputError(
                f"study {study!r} has several objectives, but a replay ranks searches by one: use "
                "a study with protocol.objective"
            )
        table = CurveTable.of(source)
    search = source.spec.search
    pairs = itertools.product(
        dict.fromkeys(samplers or [search.sampler.name]),
        dict.fromkeys(pruners or [search.pruner.name]),
    )
    specs = {
        pair: [_spec(source.spec, table, *pair, seed, trials) for seed in range(seeds)]
        for pair in pairs
    }
    methods = []
    with tempfile.TemporaryDirectory(prefix="indian-tune-replay-") as folder:
        for n, (pair, searched) in enumerate(specs.items()):
            # Optuna looks at every study of a database to make one: a database for each method.
            address = f"sqlite:///{Path(folder) / f'{n}.db'}"
            method = Method(*pair, [_search(address, spec, table, workers) for spec in searched])
            methods.append(method)
            on_method(method)
    return Replay(
        study=study,
        objective=source.spec.protocol.score,
        trials=next(iter(specs.values()))[0].search.trials,
        workers=workers,
        table={arm: table.size(arm) for arm in table.arms},
        methods=sorted(methods, key=lambda method: method.regret.estimate),
        distances=table.distances,
    )


def _spec(
    source: StudySpec, table: CurveTable, sampler: str, pruner: str, seed: int, trials: int | None
) -> StudySpec:
    """Return the study of one search: the tune phase of the source under another method."""
    raw = source.canonical()
    protocol = raw["protocol"]
    search = {
        "sampler": sampler,
        "pruner": pruner,
        "seed": seed,
        "trials": source.search.trials if trials is None else trials,
    }
    return parse_study(
        {
            "name": f"replay-{seed}",
            "problem": {**raw["problem"], "split": "study"},
            "protocol": {
                **protocol,
                "tune_seeds": len(source.protocol.tuning_seeds),
                "confirm_seeds": 0,
                "finalists": 0,
            },
            "search": search,
            "arms": [arm for arm in raw["arms"] if arm["name"] in table.arms],
        },
        source=f"replay of study {source.name!r}",
    )


def _search(address: str, spec: StudySpec, table: CurveTable, workers: int) -> Search:
    clock = VirtualClock()
    with Ledger.open(address, clock=clock) as ledger:
        study = register(ledger, spec)
        projection = InMemoryProjection.beside(study)
        projection.create()
        ledger.join(study.id, _WORKER + spec.name, host="", pid=0, started="", device=_WORKER)
        controller = Controller(study, _WORKER + spec.name, until=Phase.TUNE, projection=projection)
        SimulatedEngine(controller, table.curves, workers, clock).run(Interrupt(), lambda: None)
        names = {arm.id: arm.name for arm in ledger.arms(study.id)}
        chosen = {names[arm]: trial.value for (arm, _), trial in ledger.leaders(study.id).items()}
        epochs = sum(part.epochs_done for part in ledger.progress(study.id))
    regrets = []
    for arm in table.arms:
        value = chosen.get(arm)
        # Where every trial diverged, nothing better than chance was found.
        regrets.append((spec.chance if value is None else value) - table.best(arm))
    return Search(statistics.fmean(regrets), epochs, clock.seconds)
