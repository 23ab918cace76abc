"""`indian-tune slurm`: workers of a study as jobs of a Slurm cluster."""

from __future__ import annotations

from typing import Annotated

import typer

from indian_tune.cli.options import (
    AllowImport,
    Artifacts,
    DataDir,
    Lanes,
    ShrinkPacks,
    Storage,
    complete_study,
)


def slurm(
    study: Annotated[
        str,
        typer.Argument(
            metavar="STUDY",
            help="Study file, shipped study, or name of a registered study.",
            autocompletion=complete_study,
        ),
    ],
    workers: Annotated[int, typer.Option(help="Number of jobs; each job is one worker.", min=1)],
    time: Annotated[
        str,
        typer.Option(
            metavar="LIMIT",
            help="Time limit of a job, such as 90 (minutes), 4:00:00 or 2-00:00:00; 4:00 is 4 "
            "minutes.",
        ),
    ],
    gpus: Annotated[int, typer.Option(help="GPUs per job.", min=0, max=1)] = 0,
    partition: Annotated[
        str | None,
        typer.Option(help="Partition of the jobs.", show_default="the cluster's default"),
    ] = None,
    sbatch_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Any other option of sbatch, such as mem=8G or account=lab; repeatable.",
        ),
    ] = None,
    more: Annotated[
        bool, typer.Option("--more", help="Submit workers in addition to those in the queue.")
    ] = False,
    probe: Annotated[
        bool,
        typer.Option(help="First run a short job that checks what compute nodes can reach."),
    ] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the job script and submit nothing.")
    ] = False,
    storage: Storage = None,
    threads: Annotated[
        int,
        typer.Option(
            help="CPU threads and cores per job; more than 1 changes results in the last bits.",
            min=1,
        ),
    ] = 1,
    lanes: Lanes = None,
    shrink_packs: ShrinkPacks = False,
    data_dir: DataDir = None,
    artifacts: Artifacts = None,
    allow_import: AllowImport = False,
) -> None:
    """Submit workers of a study to a Slurm cluster, and register the study if it is new.

    If workers of the study are in the queue, nothing is submitted; --more submits more. A worker
    stops before its time limit and queues itself again.
    """
    from indian_tune.engines import JobRequest, short_limit
    from indian_tune.service.command import other_command
    from indian_tune.service.output import TRYING, notices, print_lines, results
    from indian_tune.service.slurm import SlurmRequest, dry_script, local_warning, submit
    from indian_tune.text import counted

    request = SlurmRequest(
        study,
        workers,
        JobRequest(time, partition, gpus, threads, tuple(sbatch_option or ())),
        (
            *([] if threads == 1 else ["--threads", str(threads)]),
            *([] if lanes is None else ["--lanes", str(lanes)]),
            *(["--shrink-packs"] if shrink_packs else []),
        ),
        storage=storage,
        data_dir=data_dir,
        artifacts=artifacts,
        allow_import=allow_import,
        more=more,
        probe=probe,
    )
    remarks = notices()

    def say(text: str) -> None:
        remarks.print(text, soft_wrap=True)

    if dry_run:
        script = dry_script(request)
        if read := short_limit(time):
            say(f"Warning: --time {read}")
        if local := local_warning(storage):
            say(f"Warning: {local}")
        typer.echo(script, nl=False)
        return
    record, submitted = submit(request, say, lambda: say(TRYING))
    status = other_command("status", record.name, storage=storage)
    if submitted is None:
        print_lines(results(), f"{record.name} has nothing left to train. See:", status)
        return
    array = submitted.array
    jobs = f"array {array.job} of {counted(array.workers, 'worker')}"
    if submitted.new:
        told = (
            f"Submitted {record.name} as {jobs}. Their logs are in {array.logs}. Show the "
            "progress with:"
        )
    else:
        told = (
            f"Nothing was submitted: {record.name} has {jobs} in the queue. --more adds workers, "
            f"and scancel {array.job} ends these. Show the progress with:"
        )
    print_lines(results(), told, status)
