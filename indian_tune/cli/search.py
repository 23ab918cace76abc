"""`indian-tune search`: run a study, or go on with it."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
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
from indian_tune.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import Console

    from indian_tune.engines import Engine, Session
    from indian_tune.service.command import Command
    from indian_tune.service.progress import SearchProgress
    from indian_tune.study.file.spec import StudySpec


class PhaseName(StrEnum):
    """Which part of a study to work on."""

    ALL = "all"
    TUNE = "tune"
    FREEZE = "freeze"
    MATCH = "match"
    CONFIRM = "confirm"


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
        typer.Option("--as", metavar="NEW-NAME", help="Register the file under another name."),
    ] = None,
    phase: Annotated[
        PhaseName,
        typer.Option(
            help="Work on one phase only; match (the levels of response-matched controls) and "
            "confirm freeze first if need be."
        ),
    ] = PhaseName.ALL,
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="Try failed trials again; cells of a grid always are."),
    ] = False,
    freeze_anyway: Annotated[
        bool,
        typer.Option(
            "--freeze-anyway",
            help="Choose the winners among the others where tune trials have failed, and levels "
            "where match trials have; the record tells that these were passed over.",
        ),
    ] = False,
    extend: Annotated[
        int, typer.Option(metavar="N", help="Add N tune trials to every arm first.", min=0)
    ] = 0,
    extend_space: Annotated[
        bool,
        typer.Option(
            "--extend-space", help="Search on beyond the ends at which winners lie, as new trials."
        ),
    ] = False,
    engine: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="optuna: one worker process per device; ray: Ray Tune; inline: this process; or "
            "one of an installed package.",
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
        typer.Option(help="CPU threads of a worker; other than 1 changes the last bits.", min=1),
    ] = 1,
    lanes: Lanes = None,
    shrink_packs: ShrinkPacks = False,
    data_dir: DataDir = None,
    artifacts: Artifacts = None,
    ray_address: Annotated[
        str | None,
        typer.Option(
            help="Ray cluster to join: auto, ray://HOST:PORT or HOST:PORT.",
            show_default="one of its own, on this machine",
        ),
    ] = None,
    gpus_per_trial: Annotated[
        float | None,
        typer.Option(help="GPUs of a Ray trial; a fraction shares one.", show_default="0"),
    ] = None,
    ray_storage: Annotated[
        str | None,
        typer.Option(
            help="Folder or address that every Ray node reaches.", show_default="in --artifacts"
        ),
    ] = None,
    allow_import: AllowImport = False,
    as_json: Json = False,
) -> None:
    """Tune every arm of a study, confirm the winners on fresh seeds, and rank them.

    Ctrl-C stops at the next epoch and keeps everything; the same command goes on. Ends with 1 when
    a trial is left or has failed.
    """
    options = dict(locals())
    again = partial(command_line, search, options)

    from indian_tune.cli.conclusion import check_finished, conclude
    from indian_tune.engines import (
        WorkerSettings,
        artifacts_folder,
        check_writable,
        engine_options,
        folders,
        note_start,
        open_session,
    )
    from indian_tune.errors import EngineError, InputError, LedgerError
    from indian_tune.ledger import Phase, storage_url
    from indian_tune.service.output import (
        INTERRUPTED,
        TRYING,
        headed,
        notices,
        print_json,
        print_lines,
        results,
    )
    from indian_tune.service.progress import SearchProgress
    from indian_tune.service.ranking import ranking_json
    from indian_tune.service.shipped import find_study_file
    from indian_tune.study.completion import completion
    from indian_tune.study.file.spec import load_study
    from indian_tune.study.freeze import freeze
    from indian_tune.study.ranking import rank
    from indian_tune.study.registration import renamed

    asked = engine_options(
        engine,
        _engine_option_values(
            engine_option or (),
            workers=workers,
            devices=devices,
            lanes=lanes,
            shrink_packs=shrink_packs or None,
            ray_address=ray_address,
            gpus_per_trial=gpus_per_trial,
            ray_storage=ray_storage,
        ),
    )
    file = find_study_file(study)
    spec = load_study(file)
    if as_name is not None:
        spec = renamed(spec, as_name)
    if phase is PhaseName.MATCH and not spec.matched_arms:
        raise InputError(
            f"--phase match: study {spec.name!r} has no such phase, since no arm of it has "
            "response_of: choose another, or leave --phase out"
        )
    imports = folders(file.parent) if allow_import else None
    url = storage_url(storage)
    folder = artifacts or artifacts_folder(url)
    check_writable(folder, "--artifacts")
    tuned = Phase.FINAL if spec.protocol.finalists else Phase.TUNE
    last = {PhaseName.TUNE: tuned, PhaseName.FREEZE: tuned, PhaseName.MATCH: Phase.MATCH}
    until = last.get(phase, Phase.CONFIRM)
    runner = asked.make(
        WorkerSettings(
            storage=url.render_as_string(hide_password=False),
            study=spec.name,
            artifacts=folder,
            data_dir=data_dir,
            threads=threads_per_worker,
            imports=imports,
            until=until,
            freeze_anyway=freeze_anyway,
        )
    )
    remarks = notices()
    interrupted = False
    with open_session(
        spec,
        url,
        data_dir,
        extend_by=extend,
        space_extension=extend_space,
        retry_failed=retry_failed,
        imports=imports,
        on_own_code=lambda: remarks.print(TRYING),
    ) as session:
        spec = session.spec
        if phase in (PhaseName.FREEZE, PhaseName.MATCH, PhaseName.CONFIRM):
            _check_tuned(session, again(phase=PhaseName.TUNE))
        if phase is PhaseName.CONFIRM:
            _check_matched(session, again(phase=PhaseName.MATCH))
        moved = note_start(session.ledger, session.record, folder, str(again(**_anywhere(options))))
        if phase is PhaseName.FREEZE:
            freeze(session, anyway=freeze_anyway)
        _announce(remarks, spec, session)
        if moved is not None:
            remarks.print(f"Warning: {moved}", soft_wrap=True)

        def tell() -> None:
            now = completion(session.ledger, session.record)
            print_json(
                {
                    "study": spec.name,
                    "storage": session.ledger.address,
                    "finished": now.finished(until),
                    "failed": now.failed,
                    "arms": ranking_json(rank(session.ledger, session.record)),
                }
            )

        now = completion(session.ledger, session.record)
        if now.finished(until):
            part = "" if until is Phase.CONFIRM else f"The {until} phase of "
            remarks.print(f"{part}{spec.name} is finished: nothing is left to train.")
        elif not now.stuck(until) or freeze_anyway:
            remarks.print(headed(spec.name, f": starting {runner.place}"))
            progress = SearchProgress(remarks, session)
            try:
                interrupted = _run(runner, progress, remarks, session, again, storage)
            except (EngineError, LedgerError):
                if as_json:
                    tell()
                raise
            now = completion(session.ledger, session.record)
        address = session.ledger.address
        if as_json:
            tell()
        elif not interrupted:
            conclude(results(), session, rank(session.ledger, session.record), storage)
    if interrupted:
        print_lines(remarks, f"Stopped; everything is kept in {address}. Go on with:", again())
        raise typer.Exit(INTERRUPTED)
    # Trials that wait again may be of any phase.
    beyond = phase is not PhaseName.TUNE
    check_finished(
        now,
        until,
        storage,
        go_on=again(),
        retry=again(retry_failed=True, **({"phase": PhaseName.ALL} if beyond else {})),
        freeze=again(freeze_anyway=True) if beyond else None,
    )


def _run(
    runner: Engine,
    progress: SearchProgress,
    remarks: Console,
    session: Session,
    again: Callable[..., Command],
    storage: str | None,
) -> bool:
    """Work on a study; return whether the user has stopped it. A second request ends the process.

    Raises:
        EngineError: the workers cannot be kept going.
        LedgerError: the record cannot be kept.
    """
    from indian_tune.engines import end_at_once, interruptible
    from indian_tune.errors import EngineError, LedgerError, StorageError
    from indian_tune.service.output import INTERRUPTED, print_lines
    from indian_tune.study.completion import completion

    silent = False

    def stopping() -> None:
        remarks.print("Stopping after this epoch; Ctrl-C again stops at once.")

    with interruptible(stopping, again().line) as interrupt:
        try:
            with progress:
                runner.run(interrupt, progress.tick)
                progress.show()
        except KeyboardInterrupt:
            if not interrupt.requested:
                raise
        except (EngineError, LedgerError) as error:
            failed = bool(completion(session.ledger, session.record).failed)
            shown = _where(session, error.__cause__, storage)
            raise type(error)(
                f"{error}{shown}\nGo on with:\n{again(retry_failed=failed).line}"
            ) from error
        except StorageError as error:
            if not interrupt.requested:
                raise
            silent = True
            remarks.print(f"Warning: {error}", soft_wrap=True)
    if silent or interrupt.requests > 1:
        # Nothing more is asked of a database that may not answer.
        address = session.ledger.address
        print_lines(remarks, f"Stopped; everything is kept in {address}. Go on with:", again())
        end_at_once(INTERRUPTED)
    return interrupt.requested


def _where(session: Session, cause: BaseException | None, storage: str | None) -> str:
    """Return how to see where a trial of this process was that has been given up, if one has."""
    from indian_tune.engines import Stalled
    from indian_tune.ledger.slots import BROKE
    from indian_tune.service.command import other_command
    from indian_tune.study.completion import trial_path

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
    path = trial_path(session.record.search_name(arms[trial.arm_id], trial.replicate), trial)
    show = other_command("show", session.name, path, storage=storage)
    return f". Where it was:\n{show.line}"


def _anywhere(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return those options that must differ for the command to mean the same in any folder."""
    from pathlib import Path

    changes: dict[str, Any] = {"phase": PhaseName.ALL}
    for name in ("study", "data_dir", "ray_storage"):
        value = options[name]
        # A shipped study is given by its name, and what Ray uses may be an address.
        if value is None or "://" in str(value) or (name == "study" and not Path(value).exists()):
            continue
        changes[name] = str(Path(value).absolute())
    return changes


def _check_tuned(session: Session, again: Command) -> None:
    """Refuse to go past a tune phase that is not over."""
    from indian_tune.errors import InputError
    from indian_tune.ledger import Phase

    phases = (Phase.TUNE, Phase.FINAL)
    left = sum(session.ledger.open_trials(session.id, phase) for phase in phases)
    if left:
        raise InputError(
            f"study {session.name!r} has {counted(left, 'tune trial')} left, and winners are "
            f"chosen among all. Run this first:\n{again.line}"
        )


def _check_matched(session: Session, again: Command) -> None:
    """Refuse to confirm controls whose levels are not chosen."""
    from indian_tune.errors import InputError

    if not session.ledger.has_levels(session.id):
        controls = ", ".join(session.spec.matched_arms)
        raise InputError(
            f"the level of {controls} is not chosen yet in study {session.name!r}. Run this "
            f"first:\n{again.line}"
        )


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
            raise InputError(f"--engine-option = {pair!r}: {name} is given twice; leave one out")
        given[name] = value
    return given


def _announce(console: Console, spec: StudySpec, session: Session) -> None:
    from indian_tune.cli.doctor import in_words
    from indian_tune.ledger import Phase
    from indian_tune.service.output import headed
    from indian_tune.study.levels import LEVELS

    protocol = spec.protocol
    # As registered, with what it was extended by.
    trials = sum(
        part.total for part in session.ledger.progress(session.id) if part.phase is Phase.TUNE
    )
    finals = f"{protocol.finalists} finalists each, " if protocol.finalists else ""
    levels = ""
    if spec.matched_arms:
        levels = (
            f"{len(LEVELS)} levels of {', '.join(spec.matched_arms)} × "
            f"{counted(len(protocol.matching_seeds), 'seed')} × "
            f"{counted(protocol.tuning_epochs, 'epoch')}, "
        )
    searches = f"{spec.replicates} searches each, " if spec.replicates > 1 else ""
    halves = " and those of half the budget" if spec.claims.half_budget else ""
    design = (
        f": {spec.problem.network_name} on {spec.problem.data_name}, "
        f"{counted(len(spec.arms), 'arm')}, {searches}{counted(trials, 'trial')} × "
        f"{counted(len(protocol.tuning_seeds), 'seed')} × "
        f"{counted(protocol.tuning_epochs, 'epoch')} ({spec.search.sampler}), "
        f"{finals}{levels}then the winners{halves} on "
        f"{counted(len(protocol.confirming_seeds), 'fresh seed')} × "
        f"{counted(protocol.epochs, 'epoch')}"
    )
    console.print(headed(spec.name, design))
    for change in session.changes:
        console.print(f"Warning: {change}")
    if session.repairs:
        console.print(f"Repaired after a crash: {in_words(session.repairs)}")
