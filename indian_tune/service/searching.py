"""Searching a study: what `indian-tune search` and :func:`indian_tune.search` have in common."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from indian_tune.engines import (
    EngineOptions,
    PreparedEngine,
    Stalled,
    WorkerSettings,
    check_writable,
    engine_options,
    interruptible,
    note_start,
    open_session,
    study_folder,
    training_alone,
)
from indian_tune.errors import (
    DatabaseLostError,
    EngineError,
    InputError,
    LedgerError,
    StorageError,
    UnfinishedError,
    check_platform,
)
from indian_tune.ledger import Phase, sqlite_file, storage_url
from indian_tune.service.command import other_command
from indian_tune.service.finding import find_or_tell
from indian_tune.service.following import TrialFollower
from indian_tune.service.logging_process import logged
from indian_tune.service.phase_name import PhaseName
from indian_tune.study.completion import completion, path_of
from indian_tune.study.freeze import freeze
from indian_tune.study.registration import renamed
from indian_tune.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from indian_tune.engines import Engine, Session
    from indian_tune.service.following import FinishedTrial
    from indian_tune.service.studies import AnyStudy, Factory, FoundStudy
    from indian_tune.study import Completion, StudySpec


@dataclass(frozen=True)
class SearchRequest:
    """What is asked of a search; the names are those of the command's options.

    Attributes:
        study: see :func:`indian_tune.service.studies.find_study`.
        problem: a function in hand that makes what is trained; ``None`` for the study's own.
        storage: database; ``None`` for the default.
        as_name: registers the study under another name.
        phase: works on one phase only.
        retry_failed: tries failed trials again.
        freeze_anyway: chooses the winners among the others where trials have failed.
        extend: tune trials to add to every arm.
        extend_space: searches on beyond the ends at which winners lie.
        engine: its name, or its options as an object.
        options: of the engine, by name.
        threads_per_worker: CPU threads of a worker.
        data_dir: folder of the data sets; ``None`` for the default.
        artifacts: folder of the checkpoints; ``None`` for one beside the database.
        log: folder of TensorBoard's event files; ``None`` for none.
        allow_import: lets code run that the study names, and the caller has not in hand.
        on_trial: called with every trial that ends meanwhile; ``None`` for nothing.
    """

    study: AnyStudy
    problem: Factory | None = None
    storage: str | None = None
    as_name: str | None = None
    phase: PhaseName = PhaseName.ALL
    retry_failed: bool = False
    freeze_anyway: bool = False
    extend: int = 0
    extend_space: bool = False
    engine: str | EngineOptions = "optuna"
    options: Mapping[str, Any] = field(default_factory=dict)
    threads_per_worker: int = 1
    data_dir: Path | None = None
    artifacts: Path | None = None
    log: Path | None = None
    allow_import: bool = False
    on_trial: Callable[[FinishedTrial], object] | None = None


class Call(Protocol):
    """How a search is called again, to be shown."""

    @property
    def line(self) -> str:
        """The call on a line of its own."""
        ...


class Display(Protocol):
    """What is told of a search while it runs."""

    def trying(self) -> None:
        """Own code is run for the first time."""

    def opened(self, session: Session, warning: str | None) -> None:
        """The study is registered and open."""

    def nothing_left(self, session: Session, until: Phase) -> None:
        """Nothing is left to train."""

    def progress(self, session: Session, place: str) -> AbstractContextManager[Progress]:
        """Workers are started; returns what shows how far they are."""
        ...

    def stopping(self) -> None:
        """The user has asked once to stop."""

    def warn(self, text: str) -> None:
        """Something is odd."""

    def stopped_now(self, session: Session) -> None:
        """The user has asked twice to stop, and nothing more is asked of the database."""

    def ended(self, session: Session, until: Phase, *, interrupted: bool, broken: bool) -> None:
        """The search has ended, well or not; the study is still open."""


class Progress(Protocol):
    """Shows how far a search is."""

    def tick(self) -> None:
        """Show it if it was shown long enough ago."""

    def show(self) -> None:
        """Show it now."""


@dataclass(frozen=True)
class Ended:
    """How a search ended.

    Attributes:
        now: how far the study is.
        until: the last phase that was asked for.
        address: of the database, to be shown.
        interrupted: whether the user has stopped it.
        imports: folders from which code was imported that the study names; ``None`` if it may not.
    """

    now: Completion
    until: Phase
    address: str
    interrupted: bool
    imports: tuple[str, ...] | None


def run_search(
    request: SearchRequest,
    display: Display,
    again: Callable[..., Call],
    recorded: Callable[[FoundStudy], str | None],
) -> Ended:
    """Register a study or take it up again, and work on it until it is done or stopped.

    Args:
        request: what is asked.
        display: what is told meanwhile.
        again: returns how to call this again, with changes by the names of the request.
        recorded: returns the command by which anybody continues, for the record.

    Raises:
        InputError: something cannot be used, and nothing was written; or a phase is not due.
        EngineError: the workers cannot be kept going.
        LedgerError: the record cannot be kept.
    """
    check_platform()
    phase = request.phase
    asked = request.engine
    if not isinstance(asked, EngineOptions):
        asked = engine_options(asked, request.options)
    found = find_or_tell(request.study, request.problem, request.storage, request.extend)
    spec = found.spec
    if request.as_name is not None:
        spec = renamed(spec, request.as_name)
    if phase is PhaseName.MATCH and not spec.matched_arms:
        raise InputError(
            f"--phase match: study {spec.name!r} has no such phase, because none of its arms has "
            "response_of: choose another, or remove --phase"
        )
    imports = found.imports(allowed=request.allow_import)
    url = storage_url(request.storage)
    folder = request.artifacts or study_folder(url, spec.name)
    # A folder that was not named lies beside the database, whose own message is clearer.
    beside_database = request.artifacts is None and sqlite_file(url) is not None
    check_writable(folder, "--artifacts", probe=not beside_database)
    if request.log is not None:
        check_writable(request.log, "--log")
    tuned = Phase.FINAL if spec.protocol.finalists else Phase.TUNE
    last = {PhaseName.TUNE: tuned, PhaseName.FREEZE: tuned, PhaseName.MATCH: Phase.MATCH}
    until = last.get(phase, Phase.CONFIRM)
    runner = asked.make(
        WorkerSettings(
            storage=url.render_as_string(hide_password=False),
            study=spec.name,
            artifacts=folder,
            data_dir=request.data_dir,
            threads=request.threads_per_worker,
            imports=imports,
            until=until,
            freeze_anyway=request.freeze_anyway,
            in_hand=_packed(found, request.engine),
        )
    )
    interrupted = False
    trains = phase is not PhaseName.FREEZE
    with (
        training_alone() if trains and asked.TRAINS_HERE else nullcontext(),
        # Such as importing torch, which takes as long as to open the study.
        runner.prepared() if trains and isinstance(runner, PreparedEngine) else nullcontext(),
        found.at_hand(),
        open_session(
            spec,
            url,
            request.data_dir,
            extend_by=request.extend,
            space_extension=request.extend_space,
            retry_failed=request.retry_failed,
            imports=imports,
            on_own_code=display.trying,
            trains=trains,
            on_new=partial(warn_before_registering, display.warn),
        ) as session,
    ):
        if phase in (PhaseName.FREEZE, PhaseName.MATCH, PhaseName.CONFIRM):
            _check_tuned(session, again(phase=PhaseName.TUNE))
        if phase is PhaseName.CONFIRM:
            _check_matched(session, again(phase=PhaseName.MATCH))
        moved = note_start(session.ledger, session.record, folder, recorded(found))
        if phase is PhaseName.FREEZE:
            freeze(session, anyway=request.freeze_anyway)
        display.opened(session, moved)
        now = completion(session.ledger, session.record)
        with logged(session.ledger, session.record, request.log, display.warn):
            if now.finished(until):
                display.nothing_left(session, until)
            elif not now.stuck(until) or request.freeze_anyway:
                try:
                    interrupted = _work(runner, display, session, again, request)
                except (EngineError, LedgerError):
                    with suppress(StorageError):
                        display.ended(session, until, interrupted=False, broken=True)
                    raise
                now = completion(session.ledger, session.record)
        display.ended(session, until, interrupted=interrupted, broken=False)
        return Ended(now, until, session.ledger.address, interrupted, imports)


def warn_before_registering(warn: Callable[[str], None], spec: StudySpec) -> None:
    """Say why a study could get no verdict, or an EXPLORATORY one, while it can still be changed.

    Args:
        warn: shows a warning.
        spec: of the study, which is not registered yet.
    """
    from indian_tune.planning.cautions import verdict_warnings

    found = verdict_warnings(spec)
    for sentence in found:
        warn(sentence)
    if found:
        warn(
            f"study {spec.name!r} is registered as it is, and does not change afterwards. "
            "`indian-tune plan STUDY`, or `indian_tune.plan(study)` from Python, explains what a "
            "verdict needs; --as NEW-NAME registers a corrected study"
        )


def check_finished(
    now: Completion,
    until: Phase,
    storage: str | None,
    *,
    go_on: Call,
    retry: Call,
    freeze: Call | None,
) -> None:
    """Refuse to end as if all were well when trials are left or have failed.

    Args:
        now: how far the study is.
        until: the last phase that was asked for.
        storage: as ``--storage`` was given.
        go_on: the command that continues.
        retry: the one that tries failed trials again.
        freeze: the one that freezes winners and levels although trials have failed among which
            they are chosen; ``None`` where none were to be frozen.

    Raises:
        UnfinishedError: with the commands that continue.
    """
    if now.failed:
        show = other_command("show", now.study, now.failed[0], storage=storage)
        text = (
            f"{now.failures}. See the cause:\n"
            f"{show.line}\n"
            "Correct the cause, then run them again:\n"
            f"{retry.line}"
        )
        if now.withheld and freeze is not None:
            text += (
                f"\n{now.withheld.capitalize()} before that: the choice is among all trials. "
                f"To pass over those that failed:\n{freeze.line}"
            )
        raise UnfinishedError(text)
    if not now.finished(until):
        raise UnfinishedError(
            f"study {now.study!r} has {counted(now.left(until), 'trial')} left. Continue "
            f"with:\n{go_on.line}"
        )


def _packed(found: FoundStudy, engine: str | EngineOptions) -> bytes | None:
    """Return what the caller has in hand as it is sent to workers.

    Raises:
        InputError: it cannot be sent.
    """
    if not found.functions or engine == "inline":
        return None
    if engine not in ("optuna", "ray"):
        (reference,) = found.functions
        raise InputError(
            f"problem = {reference!r} is a function of this program, and engine = {engine!r} "
            'cannot send it to its workers: use engine="inline", "optuna" or "ray", or name the '
            "function in problem.factory and give allow_import=True"
        )
    return found.packed()


def _work(
    runner: Engine,
    display: Display,
    session: Session,
    again: Callable[..., Call],
    request: SearchRequest,
) -> bool:
    """Work on a study; return whether the user has stopped it. A second request ends it at once.

    Raises:
        EngineError: the workers cannot be kept going.
        LedgerError: the record cannot be kept.
        BaseException: what the caller's function has raised.
    """
    silent = False
    with interruptible(display.stopping, again().line) as interrupt:
        follower = TrialFollower(session, request.on_trial, interrupt, display.warn)
        try:
            with display.progress(session, runner.place) as progress:
                try:
                    runner.run(interrupt, follower.after(progress.tick))
                finally:
                    with suppress(StorageError):
                        follower.look()
                progress.show()
        except KeyboardInterrupt:
            if not interrupt.requested:
                raise
        except (EngineError, LedgerError) as error:
            failed, shown = False, ""
            # A worker may have ended because the database does not answer.
            with suppress(StorageError):
                failed = bool(completion(session.ledger, session.record).failed)
                shown = _where(session, error.__cause__, request.storage)
            raise type(error)(
                f"{error}{shown}\nContinue with:\n{again(retry_failed=failed).line}"
            ) from error
        except StorageError as error:
            if not interrupt.requested:
                lost = isinstance(error, DatabaseLostError)
                add = f"\nContinue with:\n{again().line}" if lost else ""
                raise type(error)(f"{error}{add}") from error
            silent = True
            display.warn(str(error))
    if follower.error is not None:
        raise follower.error
    if silent or interrupt.requests > 1:
        display.stopped_now(session)
    return interrupt.requested


def _where(session: Session, cause: BaseException | None, storage: str | None) -> str:
    """Return how to see where a trial of this process was that has been given up, if one has."""
    from indian_tune.ledger.slots import BROKE

    if not isinstance(cause, Stalled):
        return ""
    told = [
        event.trial_id
        for event in session.ledger.events(session.id, BROKE)
        if event.data["reason"].startswith(str(cause))
    ]
    if not told or told[-1] is None:
        return ""
    trial = session.ledger.trial(told[-1])
    arms = {arm.id: arm.name for arm in session.ledger.arms(session.id)}
    path = path_of(session.record, arms[trial.arm_id], trial)
    show = other_command("show", session.name, path, storage=storage)
    return f". Where it was:\n{show.line}"


def _check_tuned(session: Session, again: Call) -> None:
    """Refuse to go past a tune phase that is not over."""
    phases = (Phase.TUNE, Phase.FINAL)
    left = sum(session.ledger.open_trials(session.id, phase) for phase in phases)
    if left:
        raise InputError(
            f"study {session.name!r} has {counted(left, 'tune trial')} left, but winners are "
            "chosen among all of them. Run this first:\n"
            f"{again.line}"
        )


def _check_matched(session: Session, again: Call) -> None:
    """Refuse to confirm controls whose levels are not chosen."""
    if not session.ledger.has_levels(session.id):
        controls = ", ".join(session.spec.matched_arms)
        raise InputError(
            f"the level of {controls} is not chosen yet in study {session.name!r}. Run this "
            f"first:\n{again.line}"
        )


def no_progress() -> AbstractContextManager[Progress]:
    """Return what shows nothing."""

    class Silent:
        def tick(self) -> None:
            pass

        def show(self) -> None:
            pass

    return nullcontext(Silent())
