"""Gets configurations from the sampler: trial by trial, or a generation at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optuna.trial import TrialState

from indian_tune.ledger import Phase
from indian_tune.study import faults
from indian_tune.study.faults import fault_point
from indian_tune.study.file.first import as_family, first_point
from indian_tune.study.file.space import constants
from indian_tune.study.optuna.reconcile import catch_up
from indian_tune.study.optuna.samplers import Draw
from indian_tune.study.optuna.sampling import IndexedSampler, distributions
from indian_tune.study.optuna.shown_trial import SLOT
from indian_tune.study.optuna.view import consecutive, numbered, under_way
from indian_tune.study.space_history import SpaceHistory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

    from indian_tune.ledger import Lease, Ledger, TrialRecord
    from indian_tune.study.optuna.projection import ProjectedTrial, Projection
    from indian_tune.study.registered_study import RegisteredStudy


class Suggester:
    """Gives the tune trials of a study their configurations.

    Without generations an adaptive sampler sees whatever has been reported so far. With
    generations (``search.generation``) a configuration is a function of the study's seed, the
    search, the trial's index and the results of earlier generations: trials of its own generation
    are seen as still running, those of lower index with their configurations.

    Args:
        study: open for writing.
        projection: of the same study.
        pruner: of the same study.
    """

    def __init__(
        self, study: RegisteredStudy[Ledger], projection: Projection, pruner: BasePruner
    ) -> None:
        self._study = study
        self._spec = study.spec
        self._projection = projection
        self._pruner = pruner
        self._spaces = SpaceHistory(study)

    def suggest(self, lease: Lease, arm: str) -> tuple[Mapping[str, float], ProjectedTrial]:
        """Return the configuration of a leased trial that has none, and its Optuna trial.

        Raises:
            LeaseLostError: another worker holds the trial now.
        """
        part = self._study.record.search_name(arm, lease.trial.replicate)
        if self._spec.search.generation is not None:
            return self._suggest_generation(lease, arm, self._spec.search.generation)
        if lease.again:
            # An earlier worker may have died after Optuna's write and before ours.
            found = self._projection.find(part, lease.trial.id)
            if found is not None:
                return self._whole(arm, found), self._projection.known(part, found._trial_id)
        others: Sequence[FrozenTrial] = ()
        if self._spec.search.sampler.learns:
            others = consecutive(self._projection.trials(part))
        return self._sample(lease.trial, arm, others, number=len(others))

    def _suggest_generation(
        self, lease: Lease, arm: str, size: int
    ) -> tuple[Mapping[str, float], ProjectedTrial]:
        catch_up(self._study, self._projection, lease.trial)
        ledger = self._study.ledger
        part = self._study.record.search_name(arm, lease.trial.replicate)
        trials = ledger.trials(
            self._study.id,
            phase=Phase.TUNE,
            arm_id=lease.trial.arm_id,
            replicate=lease.trial.replicate,
        )
        first = lease.trial.index // size * size
        seen = self._projection.peers(part, optuna_numbers(trials[:first]))
        siblings = trials[first : first + size]
        # Asked for before the study was extended, or by a worker that died over it.
        linked = {
            shown.number: shown for shown in self._projection.peers(part, optuna_numbers(siblings))
        }
        stray = {
            shown.user_attrs[SLOT]: shown
            for shown in self._projection.trials(part, states=(TrialState.RUNNING,))
        }
        asked: dict[int, tuple[Mapping[str, float], int]] = {}
        for trial in siblings:
            if trial.config is None and not trial.state.finished:
                shown = stray.get(trial.id)
                if shown is None:
                    _, projected = self._sample(trial, arm, seen, number=trial.index)
                    fault_point(faults.AFTER_ASK)
                    shown = self._projection.trial(projected.id)
                asked[trial.id] = (self._whole(arm, shown), shown._trial_id)
                seen.append(under_way(numbered(shown, trial.index)))
            elif trial.index in linked:
                seen.append(under_way(linked[trial.index]))
        ledger.configure(lease, asked)
        config, optuna_id = asked[lease.trial.id]
        return config, self._projection.known(part, optuna_id)

    def _sample(
        self, trial: TrialRecord, arm: str, others: Sequence[FrozenTrial], *, number: int
    ) -> tuple[Mapping[str, float], ProjectedTrial]:
        space = self._spaces.of(arm, trial.index)
        search = self._spec.search
        enumerates = search.sampler.enumerates
        searched = distributions(space, grid=enumerates)
        cell = self._spaces.grid_point(arm, trial.index) if enumerates else None
        point = first_point(self._spec.arm(arm), space, trial.index, self._winners_for(arm, trial))
        sampler: BaseSampler
        if point is None:
            draw = Draw(space, search.seed, arm, trial.index, cell, trial.replicate)
            sampler = search.sampler.make(draw)
        else:
            sampler = IndexedSampler(point)
        part = self._study.record.search_name(arm, trial.replicate)
        with search.sampler.blamed("drawing a configuration"):
            unsaved = self._projection.sample(
                part, searched, sampler, self._pruner, others, number=number
            )
        projected = self._projection.add(
            part, trial.id, unsaved.params, searched, system_attrs=unsaved.system_attrs
        )
        return {**constants(space), **unsaved.params}, projected

    def _winners_for(self, arm: str, trial: TrialRecord) -> dict[str, dict[str, float]]:
        """Return the winners of other arms that this trial may try, in its arm's coordinates."""
        section = self._spec.arm(arm)
        if trial.index >= len(section.first or ()):
            return {}
        ledger, winners = self._study.ledger, {}
        leaders = ledger.leaders(self._study.id)
        for source in ledger.arms(self._study.id):
            best = leaders.get((source.id, trial.replicate))
            if source.name in section.waits_for and best is not None:
                config = as_family(section.optimizer, source.optimizer, best.config or {})
                winners[source.name] = {"dropout": self._spec.problem.dropout, **config}
        return winners

    def _whole(self, arm: str, shown: FrozenTrial) -> Mapping[str, float]:
        return {**constants(self._spec.space(arm)), **shown.params}


def optuna_numbers(trials: Sequence[TrialRecord]) -> dict[int, int]:
    """Return the numbers under which trials of an arm are seen: their indices, by Optuna's ids."""
    return {
        trial.optuna_trial_id: trial.index for trial in trials if trial.optuna_trial_id is not None
    }
