"""Pruners: a name in a study file → an Optuna pruner for the tune phase of an arm."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from indian_tune.errors import InputError
from indian_tune.study.optuna.methods import MANY, Method, Option

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

    from indian_tune.study.file.space import Space


@dataclass(frozen=True)
class Pruner(Method):
    """Who stops trials.

    Attributes:
        judges: whether it compares trials over their epochs, or over their seeds, which then
            train one after another; ``None`` if it stops none. It judges by one objective.
        least: how many of these it needs.
    """

    KEY = "search.pruner"
    WORD = "pruner"
    ENTRY_POINTS = "indian_tune.pruners"
    DECLARED: ClassVar = {
        "judges": Option(str, "epochs", choices=("epochs", "seeds")),
        "least": Option(int, 1, 1, MANY),
    }

    judges: Literal["epochs", "seeds"] | None = "epochs"
    least: int = 1

    def make(self, *, epochs: int) -> BasePruner:
        """Return Optuna's pruner.

        Args:
            epochs: length of a tune run, which is the largest resource.

        Raises:
            InputError: it does not take its options, or an own class cannot be used.
        """
        return cast("BasePruner", self.build(epochs))

    def try_out(self, space: Space, epochs: int) -> None:
        """Judge a trial with two results beside one that has finished.

        Raises:
            InputError: it does not take its options, or cannot judge.
        """
        import optuna

        from indian_tune.study.optuna.sampling import distributions

        pruner = self.make(epochs=epochs)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            study_name="trial run", sampler=optuna.samplers.RandomSampler(seed=0), pruner=pruner
        )
        finished, trial = study.ask(distributions(space)), study.ask(distributions(space))
        steps = (0, 1) if self.judges == "seeds" else (1, 2)
        for step in steps:
            finished.report(0.5, step)
        study.tell(finished, 0.5)
        for step in steps:
            trial.report(0.7, step)
            with self.blamed("judging a trial"):
                answer = pruner.prune(study, study.trials[-1])
            if answer not in (True, False):
                raise InputError(
                    f"{self.KEY} = {self.name!r}: its prune() must return True or False, got "
                    f"{answer!r}"
                )


def _optuna(name: str, epochs: int, **settings: Any) -> BasePruner:
    import optuna

    del epochs
    return cast("BasePruner", getattr(optuna.pruners, name)(**settings))


def _hyperband(epochs: int, **settings: Any) -> BasePruner:
    import optuna

    return optuna.pruners.HyperbandPruner(max_resource=epochs, **settings)


def _patient(epochs: int, *, patience: int, min_delta: float, **settings: Any) -> BasePruner:
    import optuna

    median = _optuna("MedianPruner", epochs, **settings)
    return optuna.pruners.PatientPruner(median, patience=patience, min_delta=min_delta)


_CURVES = {
    # Trials that must have finished before the median or the percentile of their curves is one.
    "n_startup_trials": Option(int, 4, 0, MANY),
    "n_warmup_steps": Option(int, 0, 0, MANY),
    "interval_steps": Option(int, 1, 1, MANY),
    "n_min_trials": Option(int, 1, 1, MANY),
}

PRUNERS = {
    pruner.name: pruner
    for pruner in (
        Pruner("none", partial(_optuna, "NopPruner"), judges=None),
        Pruner("median", partial(_optuna, "MedianPruner"), _CURVES, least=2),
        Pruner(
            "percentile",
            partial(_optuna, "PercentilePruner"),
            {"percentile": Option(float, 25.0, 0, 100), **_CURVES},
            least=2,
        ),
        Pruner(
            "hyperband",
            _hyperband,
            {
                "min_resource": Option(int, 1, 1, MANY),
                "reduction_factor": Option(int, 3, 2, MANY),
                "bootstrap_count": Option(int, 0, 0, MANY),
            },
            least=2,
        ),
        Pruner(
            "wilcoxon",
            partial(_optuna, "WilcoxonPruner"),
            {
                "p_threshold": Option(float, 0.1, 0, 1),
                "n_startup_steps": Option(int, 2, 0, MANY),
            },
            judges="seeds",
            least=2,
        ),
        Pruner(
            "patient",
            _patient,
            {
                "patience": Option(int, 2, 0, MANY),
                "min_delta": Option(float, 0.0, 0, MANY),
                **_CURVES,
            },
            least=2,
        ),
    )
}
