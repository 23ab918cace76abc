"""`indian-tune worker`: join a study that another command has registered."""

from __future__ import annotations

from typing import Annotated

import typer

from indian_tune.cli.options import AllowImport, Artifacts, DataDir, ShrinkPacks, Slots, Storage


def worker(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="Name of a registered study.")],
    storage: Storage = None,
    device: Annotated[str, typer.Option(help="cpu or cuda:N.")] = "cpu",
    threads: Annotated[
        int, typer.Option(help="CPU threads; other than 1 changes the last bits.", min=1)
    ] = 1,
    slots: Slots = None,
    shrink_packs: ShrinkPacks = False,
    data_dir: DataDir = None,
    artifacts: Artifacts = None,
    allow_import: AllowImport = False,
) -> None:
    """Work on a registered study until it is done; leaves on Ctrl-C or SIGTERM.

    Start it on any machine that reaches the database and the folder of the checkpoints.
    """
    from indian_tune.cli.output import INTERRUPTED, notices
    from indian_tune.engines.devices import confine, device_slots
    from indian_tune.engines.inline import InlineEngine
    from indian_tune.engines.interrupt import interruptible
    from indian_tune.engines.own_code import folders
    from indian_tune.engines.session import artifacts_folder
    from indian_tune.engines.settings import WorkerSettings
    from indian_tune.ledger import LedgerReader, storage_url

    url = storage_url(storage)
    with LedgerReader.open(url) as ledger:
        name = ledger.study(study).name
    (slot,) = device_slots(device, 1, threads)
    settings = WorkerSettings(
        storage=url.render_as_string(hide_password=False),
        study=name,
        artifacts=artifacts or artifacts_folder(url),
        data_dir=data_dir,
        device=slot,
        seen_as=None if slot == "cpu" else confine(slot),
        slots=slots,
        shrink=shrink_packs,
        threads=threads,
        imports=folders() if allow_import else None,
    )
    remarks = notices()
    remarks.print(f"Working on {name} with {slot}; Ctrl-C leaves after this epoch.")
    with interruptible(lambda: remarks.print("Leaving after this epoch.")) as interrupt:
        InlineEngine(settings).run(interrupt, lambda: None)
    if interrupt.requested:
        remarks.print(f"Left {name}; what was begun is kept and can be taken over at once.")
        raise typer.Exit(INTERRUPTED)
    remarks.print(f"{name} is done.")
