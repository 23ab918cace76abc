"""`indian-tune worker`: join a study that another command has registered."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from indian_tune.cli.again import command_line
from indian_tune.cli.options import (
    AllowImport,
    Artifacts,
    DataDir,
    Lanes,
    ShrinkPacks,
    Storage,
    complete_study,
)
from indian_tune.service.command import other_command, recorded_command
from indian_tune.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indian_tune.ledger import LedgerReader, StudyRecord


def worker(
    study: Annotated[
        str,
        typer.Argument(
            metavar="STUDY", help="Name of a registered study.", autocompletion=complete_study
        ),
    ],
    storage: Storage = None,
    device: Annotated[
        str, typer.Option(help="cpu, cuda:N, or a list such as cuda:0,cuda:1.")
    ] = "cpu",
    workers: Annotated[
        int | None,
        typer.Option(help="Worker processes.", min=1, show_default="one per device named"),
    ] = None,
    threads: Annotated[
        int, typer.Option(help="CPU threads; more than 1 changes results in the last bits.", min=1)
    ] = 1,
    lanes: Lanes = None,
    shrink_packs: ShrinkPacks = False,
    data_dir: DataDir = None,
    artifacts: Artifacts = None,
    allow_import: AllowImport = False,
) -> None:
    """Train trials of a registered study until it is finished or you press Ctrl-C.

    Start it on any machine that can reach the database and the checkpoint folder. The exit status
    is 1 when a trial is unfinished or has failed.

    SIGUSR1 stops it like Ctrl-C. The exit status is then 75 if epochs were recorded: a scheduler
    that sends SIGUSR1 before a time limit can start it again.
    """
    again = command_line(worker, dict(locals()))

    import logging
    import sys

    from indian_tune.cli.app import INTERRUPTED, log_with_times
    from indian_tune.engines.devices import worker_devices
    from indian_tune.engines.interrupt import end_at_once, interruptible
    from indian_tune.engines.local.processes import ProcessEngine
    from indian_tune.engines.own_code import folders
    from indian_tune.engines.rehearsal import check_writable
    from indian_tune.engines.session import note_start, recorded_folder
    from indian_tune.engines.settings import WorkerSettings
    from indian_tune.engines.slurm.script import LEFT_IN_TIME
    from indian_tune.errors import EngineError, LedgerError, StorageError, UnfinishedError
    from indian_tune.ledger import Ledger, LedgerReader, Phase, storage_url
    from indian_tune.service.output import notices, print_lines
    from indian_tune.service.searching import check_finished
    from indian_tune.study.completion import completion, search_command

    url = storage_url(storage)
    count = workers or len(device.split(","))
    devices = worker_devices(device, count, threads, ("--device", "--threads"))
    remarks = notices()
    with Ledger.open(url, create=False) as ledger:
        record = ledger.study(study)
        now = completion(ledger, record)
        idle = now.finished() or now.stuck()
        folder = artifacts or recorded_folder(ledger, record)
        moved = None
        if not idle:
            check_writable(folder, "--artifacts")
            moved = note_start(ledger, record, folder, joins=True)
        search = search_command(ledger, record.id)
        before = _epochs(ledger, record)
    if moved is not None:
        remarks.print(f"Warning: {moved}", soft_wrap=True)
    if not idle:
        settings = WorkerSettings(
            storage=url.render_as_string(hide_password=False),
            study=record.name,
            artifacts=folder,
            data_dir=data_dir,
            device=devices[0],
            lanes=lanes,
            shrink=shrink_packs,
            threads=threads,
            imports=folders() if allow_import else None,
        )
        # Its log is its only output.
        log = logging.getLogger("indian_tune")
        log.setLevel(min(logging.INFO, log.getEffectiveLevel()))
        if not sys.stderr.isatty():
            # Of several machines, lines are put side by side by their time.
            log_with_times()
        leaving = partial(remarks.print, "Stopping after this epoch.")
        with interruptible(leaving, again.line, notice=True) as interrupt:
            remarks.print(
                f"Working on {record.name} with {_places(devices)}: {counted(now.left(), 'trial')} "
                f"left, checkpoints in {folder.absolute()}. Ctrl-C stops after the current epoch."
            )
            try:
                # In processes of their own, which can be replaced when a model ends them or hangs.
                each = [replace(settings, device=device) for device in devices]
                ProcessEngine(each).run(interrupt, lambda: None)
            except KeyboardInterrupt:
                if not interrupt.requested:
                    raise
            except (EngineError, LedgerError) as error:
                # The worker's own process has told what failed; this says how to continue.
                raise type(error)(f"{error}\nContinue with:\n{again.line}") from error
        if interrupt.requested:
            left = (
                f"Stopped working on {record.name}; its unfinished trials are kept, and another "
                "worker can take them over now. Continue with:"
            )
            print_lines(remarks, left, again)
            status = INTERRUPTED
            if interrupt.by_notice:
                status = LEFT_IN_TIME
                try:
                    with LedgerReader.open(url) as reader:
                        none_recorded = _epochs(reader, record) == before
                except StorageError as error:
                    # The next worker will see whether it is back.
                    remarks.print(f"Warning: {error}", soft_wrap=True)
                else:
                    if none_recorded:
                        raise UnfinishedError(
                            f"this worker recorded no epoch of {record.name}, and the next one "
                            "would not either: give its job a longer time limit"
                        )
            if interrupt.requests > 1:
                end_at_once(status)
            raise typer.Exit(status)
        with LedgerReader.open(url) as reader:
            now = completion(reader, record)
    search = search or str(other_command("search", record.name, storage=storage))
    check_finished(
        now,
        Phase.CONFIRM,
        storage,
        go_on=again,
        retry=recorded_command(search, "--retry-failed", storage=storage),
        freeze=recorded_command(search, "--freeze-anyway", storage=storage),
    )
    remarks.print(f"{record.name} is finished: nothing is left to train.")


def _places(devices: Sequence[str]) -> str:
    """Return how many workers there are and on what, in words; one on its device alone."""
    used = ", ".join(dict.fromkeys(devices))
    return used if len(devices) == 1 else f"{counted(len(devices), 'worker')} on {used}"


def _epochs(ledger: LedgerReader, study: StudyRecord) -> int:
    """Return how many epochs of a study are recorded."""
    return sum(part.epochs_done for part in ledger.progress(study.id))
