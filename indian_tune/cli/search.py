"""`indian-tune search`: run a study, or continue with it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from indian_tune.cli.again import command_line
from indian_tune.cli.options import (
    AllowImport,
    Artifacts,
    DataDir,
    Json,
    Lanes,
    ShrinkPacks,
    Storage,
)
from indian_tune.service.phase_name import PhaseName
from indian_tune.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import Console

    from indian_tune.engines import Session
    from indian_tune.ledger import Phase
    from indian_tune.service.command import Command
    from indian_tune.service.progress import SearchProgress
    from indian_tune.study.file.spec import StudySpec


def _engine_names() -> list[str]:
    from indian_tune.engines import engine_names

    return engine_names()


def search(
    study: Annotated[
        str,
        typer.Argument(metavar="STUDY", help="Study file, or the name of a shipped one."),
    ],
    storage: Storage = None,
    as_name: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="NEW-NAME",
            help="Register the study under another name, with other fresh seeds unless its file "
            "lists them.",
        ),
    ] = None,
    phase: Annotated[
        PhaseName,
        typer.Option(
            help="Run one phase only. match (tunes the controls) and confirm choose the winners "
            "first if needed."
        ),
    ] = PhaseName.ALL,
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed",
            help="Run failed trials again (failed grid points are always run again).",
        ),
    ] = False,
    freeze_anyway: Annotated[
        bool,
        typer.Option(
            "--freeze-anyway",
            help="Choose winners (and levels of controls) although some trials failed, among the "
            "rest; this is recorded.",
        ),
    ] = False,
    extend: Annotated[
        int, typer.Option(metavar="N", help="First add N tune trials to every arm.", min=0)
    ] = 0,
    extend_space: Annotated[
        bool,
        typer.Option(
            "--extend-space",
            help="Widen ranges that have a winner at an end. Every arm gets search.trials more "
            "trials, or N with --extend N; of a grid, the new points are added.",
        ),
    ] = False,
    engine: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="optuna: worker processes; ray: Ray Tune, where only the seeds of a trial are "
            "packed unless you give --lanes; inline: this process; or an engine of an installed "
            "package.",
            autocompletion=_engine_names,
        ),
    ] = "optuna",
    engine_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="Option of an engine of an installed package; repeatable."
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Worker processes.", show_default="one per GPU, or per CPU core"),
    ] = None,
    devices: Annotated[
        str | None,
        typer.Option(help="auto, cpu, or a list such as cuda:0,cuda:1.", show_default="auto"),
    ] = None,
    threads_per_worker: Annotated[
        int,
        typer.Option(
            help="CPU threads per worker; more than 1 changes results in the last bits.", min=1
        ),
    ] = 1,
    lanes: Lanes = None,
    shrink_packs: ShrinkPacks = False,
    data_dir: DataDir = None,
    artifacts: Artifacts = None,
    log: Annotated[
        Path | None,
        typer.Option(
            "--log",
            metavar="FOLDER",
            help="Folder for TensorBoard event files, written during the search.",
        ),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(
            help="Ray cluster to join: auto, ray://HOST:PORT or HOST:PORT.",
            show_default="a new one on this machine",
        ),
    ] = None,
    gpus_per_trial: Annotated[
        float | None,
        typer.Option(
            help="GPUs per Ray trial (per worker, with --lanes); a fraction to share one.",
            show_default="0",
        ),
    ] = None,
    ray_storage: Annotated[
        str | None,
        typer.Option(
            help="Folder or address, reachable from every node, for Ray's checkpoints.",
            show_default="in --artifacts",
        ),
    ] = None,
    allow_import: AllowImport = False,
    as_json: Json = False,
) -> None:
    """Tune every arm of a study, train the winners on fresh seeds, and rank them.

    Ctrl-C stops after the epoch and keeps all results; the same command continues. The exit status
    is 1 when a trial is unfinished or has failed.
    """
    options = dict(locals())
    again = partial(command_line, search, options)

    from indian_tune.cli.app import INTERRUPTED
    from indian_tune.service.output import notices, print_lines
    from indian_tune.service.searching import SearchRequest, check_finished, run_search

    request = SearchRequest(
        study,
        storage=storage,
        as_name=as_name,
        phase=phase,
        retry_failed=retry_failed,
        freeze_anyway=freeze_anyway,
        extend=extend,
        extend_space=extend_space,
        engine=engine,
        options=_engine_option_values(
            engine_option or (),
            workers=workers,
            devices=devices,
            lanes=lanes,
            shrink_packs=shrink_packs or None,
            ray_address=ray_address,
            gpus_per_trial=gpus_per_trial,
            ray_storage=ray_storage,
        ),
        threads_per_worker=threads_per_worker,
        data_dir=data_dir,
        artifacts=artifacts,
        log=log,
        allow_import=allow_import,
    )
    shown = _Shown(again, storage, as_json=as_json)
    ended = run_search(request, shown, again, lambda _: str(again(**_anywhere(options))))
    if ended.interrupted:
        stopped = f"Stopped; all results are kept in {ended.address}. Continue with:"
        print_lines(notices(), stopped, again())
        raise typer.Exit(INTERRUPTED)
    # Trials that wait again may be of any phase.
    beyond = phase is not PhaseName.TUNE
    check_finished(
        ended.now,
        ended.until,
        storage,
        go_on=again(),
        retry=again(retry_failed=True, **({"phase": PhaseName.ALL} if beyond else {})),
        freeze=again(freeze_anyway=True) if beyond else None,
    )


class _Shown:
    """A search on a terminal: results on standard output, all else on standard error."""

    def __init__(
        self, again: Callable[..., Command], storage: str | None, *, as_json: bool
    ) -> None:
        from indian_tune.service.output import notices

        self._again = again
        self._storage = storage
        self._as_json = as_json
        self._remarks = notices()

    def trying(self) -> None:
        """Say that own code is run."""
        from indian_tune.service.output import TRYING

        self._remarks.print(TRYING)

    def opened(self, session: Session, warning: str | None) -> None:
        """Say what is searched."""
        from indian_tune.engines.session import recorded_folder
        from indian_tune.ledger import sqlite_file

        _announce(self._remarks, session.spec, session)
        if sqlite_file(session.ledger.url) is None:
            folder = recorded_folder(session.ledger, session.record)
            self._remarks.print(
                f"Checkpoints: {folder}; workers on other machines need a folder that all share "
                "(--artifacts)",
                soft_wrap=True,
            )
        if warning is not None:
            self.warn(warning)

    def nothing_left(self, session: Session, until: Phase) -> None:
        """Say that the study is finished."""
        from indian_tune.ledger import Phase

        part = "" if until is Phase.CONFIRM else f"The {until} phase of "
        self._remarks.print(f"{part}{session.name} is finished: nothing is left to train.")

    def progress(self, session: Session, place: str) -> SearchProgress:
        """Say where it runs, and show how far it is."""
        from indian_tune.service.output import headed
        from indian_tune.service.progress import SearchProgress

        self._remarks.print(headed(session.name, f": starting {place}"))
        return SearchProgress(self._remarks, session)

    def stopping(self) -> None:
        """Say what the first Ctrl-C does."""
        self._remarks.print("Stopping after this epoch; Ctrl-C again stops at once.")

    def warn(self, text: str) -> None:
        """Show a warning."""
        self._remarks.print(f"Warning: {text}", soft_wrap=True)

    def stopped_now(self, session: Session) -> None:
        """End the process at once: a database that may not answer is asked nothing more."""
        from indian_tune.cli.app import INTERRUPTED
        from indian_tune.engines import end_at_once
        from indian_tune.service.output import print_lines

        stopped = f"Stopped; all results are kept in {session.ledger.address}. Continue with:"
        print_lines(self._remarks, stopped, self._again())
        end_at_once(INTERRUPTED)

    def ended(self, session: Session, until: Phase, *, interrupted: bool, broken: bool) -> None:
        """Show what came out."""
        from indian_tune.cli.conclusion import conclude
        from indian_tune.service.output import print_json, results
        from indian_tune.service.ranking import ranking_json
        from indian_tune.study.completion import completion
        from indian_tune.study.ranking import rank

        if self._as_json:
            now = completion(session.ledger, session.record)
            print_json(
                {
                    "study": session.name,
                    "storage": session.ledger.address,
                    "finished": now.finished(until),
                    "failed": now.failed,
                    "arms": ranking_json(rank(session.ledger, session.record)),
                }
            )
        elif not interrupted and not broken:
            conclude(results(), session, rank(session.ledger, session.record), self._storage)


def _anywhere(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return those options that must differ for the command to mean the same in any folder."""
    changes: dict[str, Any] = {"phase": PhaseName.ALL}
    for name in ("study", "data_dir", "log", "ray_storage"):
        value = options[name]
        # A shipped study is given by its name, and what Ray uses may be an address.
        if value is None or "://" in str(value) or (name == "study" and not Path(value).exists()):
            continue
        changes[name] = str(Path(value).absolute())
    return changes


def _engine_option_values(pairs: Sequence[str], **named: Any) -> dict[str, Any]:
    """Return the options of an engine that were given, by name.

    Args:
        pairs: as ``--engine-option`` was given.
        **named: those that have options of their own; ``None`` where one was not given.
    """
    from indian_tune.errors import InputError

    given = {name: value for name, value in named.items() if value is not None}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise InputError(f"--engine-option = {pair!r} must be NAME=VALUE")
        if name in given:
            raise InputError(f"--engine-option = {pair!r}: {name} is given twice: remove one")
        given[name] = value
    return given


def _announce(console: Console, spec: StudySpec, session: Session) -> None:
    from indian_tune.cli.doctor import in_words
    from indian_tune.ledger import Phase
    from indian_tune.service.output import headed
    from indian_tune.study.levels import LEVELS

    protocol = spec.protocol
    # As registered, with what it was extended by.
    tune = [part for part in session.ledger.progress(session.id) if part.phase is Phase.TUNE]
    trials = sum(part.total for part in tune)
    most = max((part.total // spec.replicates for part in tune), default=0)
    finalists = min(protocol.finalists, most)
    finals = f"{counted(finalists, 'finalist')} each, " if finalists else ""
    levels = ""
    if spec.matched_arms:
        levels = (
            f"{len(LEVELS)} levels of {', '.join(spec.matched_arms)} × "
            f"{counted(len(protocol.matching_seeds), 'seed')} × "
            f"{counted(protocol.tuning_epochs, 'epoch')}, "
        )
    searches = f"{spec.replicates} searches each, " if spec.replicates > 1 else ""
    halves = " and those of half the budget" if spec.claims.half_budget else ""
    method = str(spec.search.sampler)
    if spec.search.pruner.judges:
        method += f", pruner {spec.search.pruner}"
    if spec.search.generation is not None and spec.search.generation > 1:
        method += f", generations of {spec.search.generation}"
    design = (
        f": {spec.problem.network_name} on {spec.problem.data_name}, "
        f"{counted(len(spec.arms), 'arm')}, {searches}{counted(trials, 'trial')} × "
        f"{counted(len(protocol.tuning_seeds), 'seed')} × "
        f"{counted(protocol.tuning_epochs, 'epoch')} ({method}), "
        f"{finals}{levels}then the winners{halves} on "
        f"{counted(len(protocol.confirming_seeds), 'fresh seed')} × "
        f"{counted(protocol.epochs, 'epoch')}"
    )
    console.print(headed(spec.name, design))
    for change in session.changes:
        console.print(f"Warning: {change}")
    if session.repairs:
        console.print(f"Repaired after a crash: {in_words(session.repairs)}")
