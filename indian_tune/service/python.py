"""The functions that `import indian_tune` offers: the main jobs, from a program or a notebook."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from indian_tune.engines import folders
from indian_tune.errors import InputError
from indian_tune.imports import imports_allowed
from indian_tune.ledger import LedgerReader
from indian_tune.optim.hyperparameters import labelled
from indian_tune.service.arguments import check_arguments
from indian_tune.service.calls import python_again, recorded_command
from indian_tune.service.finding import find_or_tell
from indian_tune.service.following import FinishedTrial, check_function
from indian_tune.service.phase_name import PhaseName
from indian_tune.service.python_display import PythonDisplay
from indian_tune.service.python_words import PythonWords
from indian_tune.service.searching import SearchRequest, check_finished, run_search
from indian_tune.service.study_status import StudyStatus, brief, choose_study, look

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import pandas as pd
    from torch import Tensor
    from torch.optim import Optimizer

    from indian_tune.analysis import Verdict
    from indian_tune.analysis.figures.exhibit import Exhibit
    from indian_tune.engines import EngineOptions
    from indian_tune.ledger import StudyRecord
    from indian_tune.planning.plan import Plan
    from indian_tune.service.studies import AnyStudy, Factory
    from indian_tune.service.verdict_files import Analysis

Rows = Literal["trials", "runs", "epochs"]


@dataclass(frozen=True)
class Results:
    """A registered study, finished or not; every look reads the record as it is then.

    Attributes:
        study: its name.
        storage: address of the database; ``None`` for the default.
        imports: folders from which :meth:`optimizer` may import code that the study names; ``None``
            allows nothing.
    """

    study: str
    storage: str | None = field(default=None, repr=False)
    imports: Sequence[str] | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        return f"<Results {self.study!r}: {brief(self.study, self.storage)}>"

    @contextmanager
    def _opened(self) -> Iterator[tuple[LedgerReader, StudyRecord]]:
        with PythonWords(), LedgerReader.open(self.storage) as ledger:
            yield ledger, ledger.study(self.study)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.status().finished

    def status(self) -> StudyStatus:
        """Return how far it is."""
        return status(self.study, storage=self.storage)

    def frame(self, rows: Rows = "trials") -> pd.DataFrame:
        """Return the record as a data frame; test metrics are in it once they were opened.

        Args:
            rows: ``trials``, ``runs`` (as they ended) or ``epochs``; hyperparameters are columns
                such as ``config.alpha``.

        Raises:
            InputError: there are no such rows.
        """
        from indian_tune.ledger.frames import epoch_frame, run_frame, trial_frame
        from indian_tune.study import RegisteredStudy

        known = ("trials", "runs", "epochs")
        if rows not in known:
            raise InputError(f"rows = {rows!r} must be {', '.join(map(repr, known))}")
        with self._opened() as (ledger, record):
            objective = RegisteredStudy.open(ledger, record).spec.protocol.score
            if rows == "trials":
                return trial_frame(ledger, record.id, objective=objective)
            make = run_frame if rows == "runs" else epoch_frame
            sealed = ledger.unsealed(record.id)
            return make(ledger, record.id, sealed=sealed, objective=objective)

    @property
    def ranking(self) -> pd.DataFrame:
        """The arms, best first: errors are shares, hyperparameters columns ``config.alpha``.

        Of a task that is no classification the errors are the metric that it is judged by.
        """
        from indian_tune.service.ranking import ranking_frame

        return ranking_frame(self.status().ranked)

    def best(self, arm: str | None = None) -> dict[str, Any]:
        """Return the best configuration of an arm: what was searched or set in its space.

        A schedule has its name; in frames, exports and Optuna it has its number in the list of
        ``studies/README.md``, from 0.

        Args:
            arm: its name; ``None`` for the arm that leads the ranking.

        Raises:
            InputError: there is no such arm, or none of its trials is complete.
        """
        return labelled(self._winner(arm)[1])

    @PythonWords()
    def optimizer(
        self,
        params: Iterable[Any],
        arm: str | None = None,
        *,
        steps: int | None = None,
        allow_import: bool = False,
    ) -> Optimizer:
        """Return a new PyTorch optimizer with the best configuration of an arm.

        Every ``step()`` also steps the schedule of the arm. ``dropout``, ``batch_size``,
        ``clip_norm`` and ``ema_decay`` belong to the training loop: see :meth:`best`.

        Args:
            params: parameters or groups, as torch's optimizers take them.
            arm: its name; ``None`` for the arm that leads the ranking.
            steps: of the whole run; needed for a schedule that has an end.
            allow_import: lets an optimizer of your own be imported, as it may after a search or
                an ``open_study`` with ``allow_import=True``.

        Raises:
            InputError: there is no such arm, none of its trials is complete, ``steps`` is missing,
                or the optimizer cannot be imported.
        """
        from indian_tune.service.winner import winner_optimizer

        optimizer, best = self._winner(arm)
        imports = folders() if allow_import and self.imports is None else self.imports
        with imports_allowed(imports):
            return winner_optimizer(optimizer, best, params, steps)

    @PythonWords()
    def weights(
        self,
        arm: str,
        seed: int | None = None,
        *,
        network: str | None = None,
        artifacts: str | Path | None = None,
    ) -> dict[str, Tensor]:
        """Return the trained weights of a winner, for ``model.load_state_dict``.

        Args:
            arm: its name.
            seed: the fresh seed of the run; ``None`` for the first.
            network: its name in a loop's ``run.epochs``; ``None`` for the only one, or ``model``.
            artifacts: folder of the checkpoints; ``None`` for the one that the search used.

        Raises:
            InputError: there is no such run or network, or the study keeps none
                (``protocol.keep_checkpoints``).
        """
        from indian_tune.engines import kept_weights, recorded_folder
        from indian_tune.study import RegisteredStudy

        with self._opened() as (ledger, record):
            self._known(arm, [each.name for each in ledger.arms(record.id)])
            folder = Path(artifacts) if artifacts is not None else recorded_folder(ledger, record)
            return kept_weights(RegisteredStudy.open(ledger, record), folder, arm, seed, network)

    def _known(self, arm: str, names: Sequence[str]) -> None:
        if arm not in names:
            raise InputError(f"arm = {arm!r} is not in the study. Allowed: {', '.join(names)}")

    def _winner(self, arm: str | None) -> tuple[str, dict[str, Any]]:
        """Return the optimizer and the best configuration of an arm."""
        now = self.status()
        names = [result.name for result in now.ranked]
        arm = names[0] if arm is None else arm
        self._known(arm, names)
        chosen = now.ranked[names.index(arm)]
        if chosen.config is None:
            from indian_tune.service.ranking import why_no_winner

            raise InputError(why_no_winner(chosen, now.ranked, self.study, finished=now.finished))
        return chosen.optimizer, dict(chosen.config)

    def analysis(self) -> Analysis:
        """Judge the finished study; this opens its test results, which is recorded.

        Raises:
            InputError: the study is not finished, or has nothing to judge.
        """
        return analyze(self.study, storage=self.storage)

    def verdict(self) -> Verdict:
        """Return the verdict of :meth:`analysis`."""
        return self.analysis().verdict

    def figures(self) -> list[Exhibit]:
        """Return the figures of :meth:`analysis`, each with its matplotlib figure and numbers."""
        return self.analysis().figures()

    def _repr_html_(self) -> str:
        """Show the ranking in a notebook."""
        head = f"<p>Study {self.study}: {'finished' if self.finished else 'not finished'}</p>"
        return head + self.ranking.to_html(index=False, float_format="{:.4g}".format)


@PythonWords()
def search(
    study: AnyStudy,
    problem: Factory | None = None,
    *,
    storage: str | None = None,
    as_name: str | None = None,
    phase: str = "all",
    retry_failed: bool = False,
    freeze_anyway: bool = False,
    extend: int = 0,
    extend_space: bool = False,
    engine: str | EngineOptions = "optuna",
    threads_per_worker: int = 1,
    data_dir: str | Path | None = None,
    artifacts: str | Path | None = None,
    log: str | Path | None = None,
    allow_import: bool = False,
    progress: bool = True,
    on_trial: Callable[[FinishedTrial], object] | None = None,
    **engine_options: Any,
) -> Results:
    """Tune every arm of a study, train the winners on fresh seeds, and rank them.

    Does and records what `indian-tune search` does; the same call continues where one stopped.

    Args:
        study: path of a study file, name of a shipped one, text of TOML, or a :class:`Study`.
        problem: a function that returns the ``Problem`` or ``Loop`` to be trained, in place of the
            study's own.
        storage: a file, ``sqlite:///FILE`` or ``postgresql+psycopg://…``; ``None`` for the default.
        as_name: registers the study under another name.
        phase: ``all``, ``tune``, ``freeze``, ``match`` or ``confirm``.
        retry_failed: tries failed trials again.
        freeze_anyway: chooses the winners among the others where trials have failed.
        extend: tune trials to add to every arm first.
        extend_space: searches on beyond the ends of ranges at which winners lie.
        engine: ``optuna`` (worker processes), ``inline`` (this process), ``ray``, or another's name
            or options.
        threads_per_worker: CPU threads of a worker.
        data_dir: folder of the data sets.
        artifacts: folder of the checkpoints.
        log: folder in which a process of its own writes TensorBoard's event files meanwhile.
        allow_import: lets code run that the study names.
        progress: whether to show how far it is, on standard error or in the notebook.
        on_trial: called here with every trial that ends meanwhile; what it raises stops the search.
        **engine_options: such as ``workers=2`` or ``devices="cuda:0"``.

    Returns:
        The study's results.

    Raises:
        InputError: something cannot be used; nothing was written.
        UnfinishedError: trials have failed, or are left.
        KeyboardInterrupt: the user has stopped it; everything is kept.
    """
    check_arguments(engine, engine_options)
    check_function(on_trial)
    request = SearchRequest(
        study,
        problem,
        storage=storage,
        as_name=as_name,
        phase=PhaseName.named(phase),
        retry_failed=retry_failed,
        freeze_anyway=freeze_anyway,
        extend=extend,
        extend_space=extend_space,
        engine=engine,
        options=engine_options,
        threads_per_worker=threads_per_worker,
        data_dir=None if data_dir is None else Path(data_dir),
        artifacts=None if artifacts is None else Path(artifacts),
        log=None if log is None else Path(log),
        allow_import=allow_import,
        on_trial=on_trial,
    )

    def again(**changes: Any) -> Any:
        return python_again(request, **changes)

    ended = run_search(
        request,
        PythonDisplay(again, quiet=not progress),
        again,
        lambda found: recorded_command(request, found),
    )
    if ended.interrupted:
        raise KeyboardInterrupt(
            f"stopped; all results are kept in {ended.address}. Continue with:\n{again().line}"
        )
    check_finished(
        ended.now,
        ended.until,
        storage,
        go_on=again(),
        retry=again(retry_failed=True, phase=PhaseName.ALL),
        freeze=again(freeze_anyway=True) if request.phase is not PhaseName.TUNE else None,
    )
    return Results(ended.now.study, storage, ended.imports)


@PythonWords()
def open_study(
    study: str | None = None, *, storage: str | None = None, allow_import: bool = False
) -> Results:
    """Return the results of a registered study, finished or not.

    Args:
        study: its name; may be left out if there is only one.
        storage: the database; ``None`` for the default.
        allow_import: lets code run that the study names, see :meth:`Results.optimizer`.

    Raises:
        InputError: there is no such study, or several and no name.
        StorageError: there is no such database.
    """
    with LedgerReader.open(storage) as ledger:
        imports = folders() if allow_import else None
        return Results(choose_study(ledger, study).name, storage, imports)


@PythonWords()
def status(study: str | None = None, *, storage: str | None = None) -> StudyStatus:
    """Return how far a study is, who works on it, and how its arms rank.

    Args:
        study: its name; may be left out if there is only one.
        storage: the database; ``None`` for the default.

    Raises:
        InputError: there is no such study, or several and no name.
    """
    with LedgerReader.open(storage) as ledger:
        return look(ledger, choose_study(ledger, study))


@PythonWords()
def analyze(
    study: str | None = None,
    *,
    storage: str | None = None,
    out: str | Path | None = None,
    figures: Sequence[str] = (),
) -> Analysis:
    """Answer with evidence whether tuning (α, β) regularizes.

    Opens the test results of a finished study, and records that it did.

    Args:
        study: its name; may be left out if there is only one.
        storage: the database; ``None`` for the default.
        out: folder for the report, the verdict and the data behind them; ``None`` for none.
        figures: further formats of figures in that folder: ``png``, ``pdf``.

    Raises:
        InputError: the study is not finished, or the folder holds a verdict already.
    """
    from indian_tune.service.own_study import from_study
    from indian_tune.service.verdict_files import check_out, write_analysis

    folder = None if out is None else Path(out)
    if folder is not None:
        check_out(folder)
    found = from_study(storage, study)
    if folder is not None:
        write_analysis(folder, found, list(figures))
    return found


@PythonWords()
def plan(
    study: AnyStudy,
    problem: Factory | None = None,
    *,
    workers: int | None = None,
    devices: str = "auto",
    threads_per_worker: int = 1,
    timing: bool = True,
    assume_gpu: str | None = None,
    sd: float | None = None,
    pilot: str | None = None,
    storage: str | None = None,
    data_dir: str | Path | None = None,
    allow_import: bool = False,
) -> Plan:
    """Estimate what a study costs and what it can show, without running or writing anything.

    Printed it shows what `indian-tune plan` does.

    Args:
        study: see :func:`search`.
        problem: see :func:`search`.
        workers: worker processes; ``None`` for one per GPU, or per CPU core.
        devices: ``auto``, ``cpu``, or a list such as ``cuda:0,cuda:1``.
        threads_per_worker: CPU threads of a worker.
        timing: whether to time a few training steps on the devices, or an epoch of a loop of one's
            own.
        assume_gpu: estimate times on a GPU that is not at hand, such as ``H100``, by a model;
            nothing is timed then.
        sd: assumed standard deviation of paired differences, as a share of accuracy.
        pilot: finished study in ``storage`` to take the standard deviations from.
        storage: the database; ``None`` for the default.
        data_dir: folder of the data sets.
        allow_import: lets code run that the study names.

    Raises:
        InputError: something cannot be used.
    """
    from indian_tune.service.plan_report import ShownPlan
    from indian_tune.service.planning import PlanRequest, make

    if sd is not None and pilot is not None:
        raise InputError(f"sd = {sd} and pilot = {pilot!r} cannot be combined: give one")
    found = find_or_tell(study, problem, storage)
    request = PlanRequest(
        workers=workers,
        devices=devices,
        threads_per_worker=threads_per_worker,
        timing=timing,
        assume_gpu=assume_gpu,
        sd=sd,
        pilot=pilot,
        storage=storage,
        data_dir=None if data_dir is None else Path(data_dir),
        allow_import=allow_import,
    )
    return ShownPlan(**vars(make(found, request)))
