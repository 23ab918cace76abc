"""Learning curves of a finished study, as a table in which other searches can be replayed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from indian_tune.errors import InputError
from indian_tune.ledger import Phase, State
from indian_tune.study.file.space import Constant, Grid, Range, bounds
from indian_tune.study.space_history import latest_spaces
from indian_tune.text import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from indian_tune.ledger import LedgerReader, TrialRecord
    from indian_tune.optim.hyperparameters import Value
    from indian_tune.study.assignment import Assignment
    from indian_tune.study.file.space import Parameter, Space
    from indian_tune.study.registered_study import RegisteredStudy
    from indian_tune.training.run import EpochRecord


@dataclass(frozen=True)
class TableRow:
    """One configuration of the table.

    Attributes:
        config: hyperparameters.
        curves: records by epoch, of one run per tune seed; that of a run which diverged ends so.
        value: score of the trial; lower is better.
    """

    config: Mapping[str, Value]
    curves: Sequence[Sequence[EpochRecord]]
    value: float


class CurveTable:
    """Tune trials of a finished study, by arm.

    A configuration that the table does not hold is answered with its nearest neighbour in the space
    of the arm, in which every range has length 1 (a logarithmic one on its scale) and two different
    choices are 1 apart.

    Args:
        rows: by the name of the arm; at least one for each.
        spaces: in which configurations are compared, by the name of the arm.
    """

    def __init__(self, rows: Mapping[str, Sequence[TableRow]], spaces: Mapping[str, Space]) -> None:
        self._rows = rows
        self._axes = {
            arm: [(n, p) for n, p in space.items() if not isinstance(p, Constant)]
            for arm, space in spaces.items()
        }
        self._points = {
            arm: np.array([self._place(arm, row.config) for row in listed], dtype=object)
            for arm, listed in rows.items()
        }
        self.distances: list[float] = []
        """Of the configurations that were asked for so far from those that answered."""

    @classmethod
    def of(cls, study: RegisteredStudy[LedgerReader]) -> list[CurveTable]:
        """Read the tables of a study: one, or one per search if each drew its own split.

        Scores on different validation parts cannot be compared, so they share no table.

        Raises:
            InputError: the study is not finished, or does not hold every curve to its end.
        """
        ledger, spec = study.ledger, study.spec
        trials = ledger.trials(study.id, phase=Phase.TUNE)
        _check_whole(study.name, trials, spec.search.pruner.name)
        runs: dict[int, list[int]] = {}
        for run in ledger.study_runs(study.id, Phase.TUNE):
            runs.setdefault(run.trial_id, []).append(run.id)
        epochs = ledger.study_epochs(study.id, Phase.TUNE)
        names = {arm.id: arm.name for arm in ledger.arms(study.id)}
        own_split = spec.problem.split == "replicate"
        tables: dict[int, dict[str, list[TableRow]]] = {}
        for trial in trials:
            assert trial.config is not None
            assert trial.value is not None
            curves = [epochs[run] for run in runs[trial.id]]
            rows = tables.setdefault(trial.replicate if own_split else 0, {})
            rows.setdefault(names[trial.arm_id], []).append(
                TableRow(trial.config, curves, trial.value)
            )
        latest = latest_spaces(ledger, study.record)
        return [
            cls(rows, {arm: latest.get(arm) or spec.space(arm) for arm in rows})
            for _, rows in sorted(tables.items())
        ]

    @property
    def arms(self) -> list[str]:
        """Names of the arms that the table has."""
        return list(self._rows)

    def best(self, arm: str) -> float:
        """Return the lowest score of an arm."""
        return min(row.value for row in self._rows[arm])

    def size(self, arm: str) -> int:
        """Return how many configurations of an arm the table has."""
        return len(self._rows[arm])

    def curves(self, assignment: Assignment) -> Sequence[Sequence[EpochRecord]]:
        """Return what the runs of a trial come to, one curve per run in their order."""
        row, distance = self.nearest(assignment.arm.name, assignment.config)
        self.distances.append(distance)
        return row.curves

    def nearest(self, arm: str, config: Mapping[str, Value]) -> tuple[TableRow, float]:
        """Return the row that answers a configuration, and its distance; of several the first.

        The distance is Euclidean.
        """
        points, asked = self._points[arm], self._place(arm, config)
        squares: NDArray[np.float64] = np.zeros(len(points))
        for axis, value in enumerate(asked):
            theirs = points[:, axis]
            if isinstance(value, float):
                squares += (theirs.astype(float) - value) ** 2
            else:
                squares += theirs != value
        place = int(np.argmin(squares))
        return self._rows[arm][place], math.sqrt(squares[place])

    def _place(self, arm: str, config: Mapping[str, Value]) -> list[object]:
        return [_coordinate(parameter, config[name]) for name, parameter in self._axes[arm]]


def _coordinate(parameter: Parameter, value: Value) -> object:
    """Return where a value lies on an axis: a number for a range, a text for a choice."""
    if not isinstance(parameter, Range | Grid):
        return str(value)
    log = parameter.log if isinstance(parameter, Range) else parameter.values[0] > 0
    low, high, place = (float(each) for each in (*bounds(parameter), value))
    if log:
        low, high, place = math.log(low), math.log(high), math.log(place)
    return (place - low) / (high - low) if high > low else 0.0


def _check_whole(name: str, trials: Sequence[TrialRecord], pruner: str) -> None:
    states = [trial.state for trial in trials]
    where = f"the table of study {name!r} is incomplete: "
    unfinished = sum(not state.finished for state in states)
    if unfinished:
        raise InputError(
            f"{where}{counted(unfinished, 'tune trial')} of {len(states)} not finished; run "
            "`indian-tune search` on its file until it ends"
        )
    if failed := states.count(State.FAILED):
        raise InputError(
            f"{where}{counted(failed, 'tune trial')} of {len(states)} failed; run `indian-tune "
            "search` on its file with --retry-failed"
        )
    if pruned := states.count(State.PRUNED):
        raise InputError(
            f"{where}{counted(pruned, 'tune trial')} of {len(states)} stopped early by pruner "
            f"{pruner!r}; search it under another name with search.pruner = 'none'"
        )
