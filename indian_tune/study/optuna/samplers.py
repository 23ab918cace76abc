"""Samplers: a name in a study file → an Optuna sampler for one trial of one arm.

Every trial gets a sampler of its own, seeded from (study seed, arm, replicate, trial index). Hence
those that do not learn give a configuration that depends on nothing else, whoever asks and in
whatever order, and those that do never repeat each other's draws in parallel.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

from indian_tune.errors import InputError
from indian_tune.study.file.space import grid_points, sobol_points
from indian_tune.study.optuna.methods import MANY, Method, Option

if TYPE_CHECKING:
    from collections.abc import Mapping

    from optuna.samplers import BaseSampler

    from indian_tune.study.file.space import Space


@dataclass(frozen=True)
class Draw:
    """The trial that a sampler is made for.

    Attributes:
        space: of the arm.
        study_seed: of the study.
        arm: its name.
        index: of the trial within its search.
        cell: its point of a grid; by default the one of that index.
        replicate: which search of the arm, from 0.
    """

    space: Space
    study_seed: int
    arm: str
    index: int
    cell: Mapping[str, float] | None = None
    replicate: int = 0

    @property
    def seed(self) -> int:
        """Of the trial's own sampler."""
        return derived_seed(*self.search, self.index)

    @property
    def search(self) -> tuple[int | str, ...]:
        """The key of what is drawn in the search; that of the first one is a lone search's."""
        key = (self.study_seed, self.arm)
        return (*key, "replicate", self.replicate) if self.replicate else key


@dataclass(frozen=True)
class Sampler(Method):
    """Who proposes configurations.

    Attributes:
        learns: whether it looks at the other trials of the arm; others need not be read.
        several_objectives: whether it can follow more than one.
        constrains: whether it looks for what fulfils the constraints of a trial.
        enumerates: whether it visits every combination of the listed values of a space, which
            fixes the number of trials.
    """

    KEY = "search.sampler"
    WORD = "sampler"
    ENTRY_POINTS = "indian_tune.samplers"
    DECLARED: ClassVar = {
        "learns": Option(bool, True),
        "several_objectives": Option(bool, True),
        "constrains": Option(bool, False),
    }

    learns: bool = True
    several_objectives: bool = True
    constrains: bool = False
    enumerates: bool = False

    def make(self, draw: Draw) -> BaseSampler:
        """Return the sampler that gives one trial its configuration.

        Raises:
            InputError: it does not take its options, or an own class cannot be used.
        """
        return cast("BaseSampler", self.build(draw, seed=draw.seed))

    def try_out(self, space: Space, objectives: int) -> None:
        """Draw from a space, without and with a trial that has finished.

        Raises:
            InputError: it does not take its options, cannot draw, or does not draw by its seed.
        """
        import optuna

        from indian_tune.study.optuna.sampling import distributions
        from indian_tune.study.optuna.unsaved_trial import unsaved_trial

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = optuna.storages.InMemoryStorage()
        minimize = optuna.study.StudyDirection.MINIMIZE
        storage.create_new_study([minimize] * objectives, "trial run")
        searched = distributions(space, grid=self.enumerates)
        pruner = optuna.pruners.NopPruner()

        def propose(*others: optuna.trial.FrozenTrial) -> optuna.trial.FrozenTrial:
            sampler = self.make(Draw(space, 0, "trial run", len(others)))
            with self.blamed("drawing a configuration"):
                return unsaved_trial(
                    storage, "trial run", searched, sampler, pruner, others, number=len(others)
                )

        first = propose()
        if propose().params != first.params:
            raise InputError(
                f"{self.KEY} = {self.name!r} draws different configurations from the same seed: "
                "give its constructor an argument seed, and draw from that seed only"
            )
        first.state, first.values = optuna.trial.TrialState.COMPLETE, [0.5] * objectives
        propose(first)


def derived_seed(*key: int | str) -> int:
    """Return a 32-bit seed that is a stable function of its key."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in key)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])


def _grid(draw: Draw) -> BaseSampler:
    from indian_tune.study.optuna.sampling import IndexedSampler

    where = f"arm {draw.arm!r}"
    return IndexedSampler(draw.cell or grid_points(draw.space, where)[draw.index])


def _sobol(draw: Draw) -> BaseSampler:
    from indian_tune.study.optuna.sampling import IndexedSampler

    seed = derived_seed(*draw.search)
    return IndexedSampler(sobol_points(draw.space, seed, 1, start=draw.index)[0])


def _optuna(name: str, draw: Draw, **settings: Any) -> BaseSampler:
    import optuna

    return cast("BaseSampler", getattr(optuna.samplers, name)(seed=draw.seed, **settings))


SAMPLERS = {
    sampler.name: sampler
    for sampler in (
        Sampler("grid", _grid, learns=False, enumerates=True),
        Sampler("random", partial(_optuna, "RandomSampler"), learns=False),
        Sampler("qmc", _sobol, learns=False),
        Sampler(
            "tpe",
            partial(_optuna, "TPESampler"),
            {
                "n_startup_trials": Option(int, 10, 0, MANY),
                "n_ei_candidates": Option(int, 24, 1, 10_000),
                "multivariate": Option(bool),
                "constant_liar": Option(bool, True),
            },
            constrains=True,
        ),
        Sampler(
            "gp",
            partial(_optuna, "GPSampler"),
            {
                "n_startup_trials": Option(int, 10, 1, MANY),
                "deterministic_objective": Option(bool, False),
            },
            constrains=True,
        ),
        Sampler(
            "cmaes",
            partial(_optuna, "CmaEsSampler", warn_independent_sampling=False),
            {
                "n_startup_trials": Option(int, 1, 0, MANY),
                "popsize": Option(int, None, 4, 10_000),
                "consider_pruned_trials": Option(bool, False),
                "use_separable_cma": Option(bool, False),
                "with_margin": Option(bool, False),
                "lr_adapt": Option(bool, False),
            },
            several_objectives=False,
        ),
    )
}
