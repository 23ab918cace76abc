"""Replaying searches against the learning curves of a finished study, on a virtual clock."""

from __future__ import annotations

import itertools
import math
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
from indian_tune.service.output import Shown, duration, number, table
from indian_tune.service.study_status import choose_study
from indian_tune.study.controller import Controller
from indian_tune.study.description import score_name
from indian_tune.study.file.spec import parse_study
from indian_tune.study.optuna.in_memory import InMemoryProjection
from indian_tune.study.registered_study import RegisteredStudy
from indian_tune.study.registration import register
from indian_tune.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    from rich.console import Console, RenderableType

    from indian_tune.comparison.intervals import Difference
    from indian_tune.study.file.spec import StudySpec

LEVEL = 0.05
_WORKER = "simulated"


@dataclass(frozen=True)
class Search:
    """One replayed search of all arms.

    Attributes:
        regret: score of the chosen configuration above the lowest of its table, mean over arms.
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
class Replay(Shown):
    """What replaying found.

    Attributes:
        study: whose table it was.
        objective: the score; lower is better.
        score: the same in words.
        trials: of each arm in a search.
        workers: that ran trials side by side.
        table: how many configurations each arm has in all tables together.
        tables: how many tables there are; the seeds take them in turn.
        methods: by their mean regret, lowest first.
        distances: of the configurations that were asked for from those that answered.
    """

    study: str
    objective: str
    score: str
    trials: int
    workers: int
    table: dict[str, int]
    tables: int
    methods: Sequence[Method]
    distances: Sequence[float]

    def __repr__(self) -> str:
        seeds = counted(len(self.methods[0].searches), "seed")
        return f"<Replay {self.study!r}: {counted(len(self.methods), 'method')}, {seeds}>"

    @property
    def held(self) -> float:
        """Share of the configurations that the table holds."""
        return sum(distance == 0 for distance in self.distances) / len(self.distances)

    @property
    def median_distance(self) -> float:
        """Of all of them."""
        return statistics.median(self.distances)

    @property
    def ranking(self) -> pd.DataFrame:
        """The methods by their mean regret, lowest first; bounds are those of 95 % intervals."""
        import pandas as pd

        first = self.methods[0]
        rows = []
        for method in self.methods:
            worse = None if method is first else method.worse_than(first)
            rows.append(
                {
                    "sampler": method.sampler,
                    "pruner": method.pruner,
                    **_columns("regret", method.regret),
                    **_columns("worse_than_first", worse),
                    "epochs": method.epochs,
                    "seconds": method.seconds,
                }
            )
        return pd.DataFrame(rows)

    def frame(self) -> pd.DataFrame:
        """Return a row per replayed search; searches of one seed have the same table."""
        import pandas as pd

        return pd.DataFrame(
            {"sampler": method.sampler, "pruner": method.pruner, "seed": seed, **vars(search)}
            for method in self.methods
            for seed, search in enumerate(method.searches)
        )

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        first = self.methods[0]
        return {
            "study": self.study,
            "objective": self.objective,
            "trials": self.trials,
            "workers": self.workers,
            "table": self.table,
            "tables": self.tables,
            "held": self.held,
            "median_distance": self.median_distance,
            "methods": [
                {
                    "sampler": method.sampler,
                    "pruner": method.pruner,
                    "regret": _bounds(method.regret),
                    "worse_than_first": None
                    if method is first
                    else _bounds(method.worse_than(first)),
                    "epochs": method.epochs,
                    "seconds": method.seconds,
                    "searches": [vars(search) for search in method.searches],
                }
                for method in self.methods
            ],
        }

    def shown(self) -> RenderableType:
        """Return it for people."""
        from rich.console import Group

        rows = table(
            *("sampler", "pruner", "regret", "worse than first", "epochs", "time"),
            title=f"{self.study}: samplers and pruners, least regret first",
            right=("regret", "worse than first", "epochs", "time"),
        )
        first = self.methods[0]
        for method in self.methods:
            rows.add_row(
                method.sampler,
                method.pruner,
                with_interval(method.regret),
                "–" if method is first else with_interval(method.worse_than(first)),
                f"{method.epochs:.0f}",
                duration(method.seconds),
            )
        return Group(rows, *self._notes())

    def _show(self, console: Console) -> None:
        console.print(self.shown())

    def _notes(self) -> list[str]:
        arms = ", ".join(f"{arm} {count}" for arm, count in self.table.items())
        seeds = len(self.methods[0].searches)
        split = (
            f" in {self.tables} tables, one per search of the study, as each search drew its own "
            "validation part; the seeds take them in turn"
        )
        return [
            f"Regret: {self.score} of the configuration that a search "
            "chose, minus the lowest one in the table; mean over "
            f"{counted(len(self.table), 'arm')} and {counted(seeds, 'seed')}. In brackets: "
            "95 % interval over seeds for this row.",
            f"Each search: {counted(self.trials, 'trial')} per arm, "
            f"{counted(self.workers, 'worker')}. Epochs and time: means per search; times use the "
            "recorded seconds of the epochs.",
            f"Configurations in the table: {arms}{split if self.tables > 1 else ''}. For a "
            f"configuration that is not in the table, the nearest one is used: "
            f"{100 * self.held:.0f} % of the proposed ones are in the table, and the median "
            f"distance is {number(self.median_distance)} where each range has length 1.",
        ]


def with_interval(difference: Difference) -> str:
    """Return a difference with its interval; without a spread there is none."""
    if not difference.settled:
        return f"{difference.estimate:.4f} (–)"
    return f"{difference.estimate:.4f} ({difference.low:.4f}, {difference.high:.4f})"


def _columns(name: str, difference: Difference | None) -> dict[str, float]:
    bounds = (math.nan,) * 3 if difference is None else _bounds(difference).values()
    return dict(zip((name, f"{name}_low", f"{name}_high"), bounds, strict=True))


def _bounds(difference: Difference) -> dict[str, float]:
    return {"estimate": difference.estimate, "low": difference.low, "high": difference.high}


def replay(
    study: str | None = None,
    *,
    storage: str | None = None,
    samplers: Sequence[str] | None = None,
    pruners: Sequence[str] | None = None,
    seeds: int = 20,
    workers: int = 1,
    trials: int | None = None,
    on_method: Callable[[Method], None] | None = None,
) -> Replay:
    """Run other searches against the table of a finished study, and rank their methods.

    Trains nothing and writes nothing to the database. Printed it shows what `indian-tune replay`
    does.

    Args:
        study: its name; may be left out if there is only one.
        storage: the database; ``None`` for the default.
        samplers: names as in a study file; that of the study if ``None`` or none.
        pruners: likewise; each goes with each sampler.
        seeds: searches of each, at least 2.
        workers: that run trials side by side.
        trials: of each arm; as many as the study has if ``None``.
        on_method: called with each method when its searches are done.

    Raises:
        InputError: the table is incomplete or cannot be searched so.
    """
    counts: tuple[tuple[str, Any, int], ...] = (("seeds", seeds, 2), ("workers", workers, 1))
    for key, count, least in counts:
        if not isinstance(count, int) or count < least:
            raise InputError(f"{key} = {count!r} must be a whole number of at least {least}")
    for key, names in (("samplers", samplers), ("pruners", pruners)):
        if isinstance(names, str):
            raise InputError(f"{key} = {names!r} must be a list of names: write [{names!r}]")
    with LedgerReader.open(storage) as ledger:
        source = RegisteredStudy.open(ledger, choose_study(ledger, study))
        name = source.record.name
        if source.spec.protocol.objectives is not None:
            raise InputError(
                f"study {name!r} has several objectives, but a replay ranks searches by one: use "
                "a study with protocol.objective"
            )
        tables = CurveTable.of(source)
    search = source.spec.search
    pairs = itertools.product(
        dict.fromkeys(samplers or [search.sampler.name]),
        dict.fromkeys(pruners or [search.pruner.name]),
    )
    arms = tables[0].arms
    specs = {
        pair: [_spec(source.spec, arms, *pair, seed, trials) for seed in range(seeds)]
        for pair in pairs
    }
    methods = []
    with tempfile.TemporaryDirectory(prefix="indian-tune-replay-") as folder:
        for n, (pair, searched) in enumerate(specs.items()):
            # Optuna looks at every study of a database to make one: a database for each method.
            address = f"sqlite:///{Path(folder) / f'{n}.db'}"
            turns = zip(searched, itertools.cycle(tables), strict=False)
            method = Method(*pair, [_search(address, *turn, workers) for turn in turns])
            methods.append(method)
            if on_method is not None:
                on_method(method)
    return Replay(
        study=name,
        objective=source.spec.protocol.score,
        score=score_name(source.spec),
        trials=next(iter(specs.values()))[0].search.trials,
        workers=workers,
        table={arm: sum(table.size(arm) for table in tables) for arm in arms},
        tables=len(tables),
        methods=sorted(methods, key=lambda method: method.regret.estimate),
        distances=[distance for table in tables for distance in table.distances],
    )


def _spec(
    source: StudySpec,
    arms: Sequence[str],
    sampler: str,
    pruner: str,
    seed: int,
    trials: int | None,
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
            "arms": [arm for arm in raw["arms"] if arm["name"] in arms],
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
