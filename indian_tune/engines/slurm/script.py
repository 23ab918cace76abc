"""The script of a job that is a worker, and the options with which it is submitted."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from indian_tune.errors import InputError
from indian_tune.ledger import STORAGE_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# How a worker ends that was told to leave before its time limit and has got on: EX_TEMPFAIL.
LEFT_IN_TIME = 75
# What is left of a worker's notice when it is told to leave at once.
AT_ONCE_SECONDS = 30
# Options that this module sets itself, or for which the command has an option of its own.
_OWN = {
    **dict.fromkeys(("job-name", "J", "array", "a", "requeue", "no-requeue", "signal"), ""),
    **dict.fromkeys(("open-mode", "output", "o", "error", "e", "chdir", "D", "export"), ""),
    **dict.fromkeys(("ntasks", "n", "nodes", "N", "wrap", "parsable", "wait", "W"), ""),
    **{"time": "--time", "t": "--time", "partition": "--partition", "p": "--partition"},
    **{"gres": "--gpus", "gpus": "--gpus", "G": "--gpus", "cpus-per-task": "--threads"},
    "c": "--threads",
}


@dataclass(frozen=True)
class JobRequest:
    """What a worker's job asks the cluster for.

    Attributes:
        time: its limit, as Slurm writes it.
        partition: where it runs; ``None`` for the default.
        gpus: how many GPUs it has, 0 or 1.
        cpus: how many processor cores it has.
        options: more options of ``sbatch``, such as ``mem=8G``.
    """

    time: str
    partition: str | None = None
    gpus: int = 0
    cpus: int = 1
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for option in self.options:
            name, _, value = option.partition("=")
            if not name or name != name.strip("- ") or "\n" in value:
                raise InputError(
                    f"--sbatch-option = {option!r} must be NAME=VALUE, or NAME alone, without "
                    "dashes: such as mem=8G or exclusive"
                )
            if name in _OWN:
                instead = f"give {_OWN[name]} instead" if _OWN[name] else "remove it"
                raise InputError(
                    f"--sbatch-option = {option!r}: {name} is set by this command; {instead}"
                )

    def sbatch_options(self) -> list[str]:
        """Return the options of ``sbatch`` that all jobs have."""
        return [
            "--ntasks=1",
            f"--cpus-per-task={self.cpus}",
            *([f"--gres=gpu:{self.gpus}"] if self.gpus else []),
            *([f"--partition={self.partition}"] if self.partition is not None else []),
            *("--" + option for option in self.options),
            "--export=ALL",
        ]


def array_options(
    request: JobRequest, name: str, workers: int, notice: int, logs: Path
) -> list[str]:
    """Return the options of ``sbatch`` for an array of workers.

    Args:
        request: what each job asks for.
        name: of the jobs.
        workers: how many jobs.
        notice: seconds before the limit at which a worker is told to leave.
        logs: folder of the jobs' logs.
    """
    return [
        f"--job-name={name}",
        f"--array=0-{workers - 1}",
        f"--time={request.time}",
        *request.sbatch_options(),
        *("--requeue", f"--signal=B:USR1@{notice}", "--open-mode=append"),
        f"--output={_literal(logs)}/{name}-%A_%a.log",
    ]


def probe_options(request: JobRequest, name: str, minutes: int, logs: Path) -> list[str]:
    """Return the options of ``sbatch`` for a job that only looks at a compute node."""
    return [
        *(f"--job-name={name}", f"--time={minutes}"),
        *request.sbatch_options(),
        *("--no-requeue", f"--output={_literal(logs)}/{name}-%j.log"),
    ]


def worker_script(
    options: Sequence[str], variables: Mapping[str, str | None], words: Sequence[str], notice: int
) -> str:
    """Return the script of a worker's job.

    Args:
        options: of ``sbatch``.
        variables: of the environment; ``None`` for one that the caller must set.
        words: of the command after ``indian-tune``.
        notice: see :func:`array_options`.
    """
    return "\n".join(
        [
            *_head(options, variables),
            "# Before the time limit, Slurm signals this shell. The worker then leaves after its",
            "# epoch, or at once if its epoch takes too long, and the job is queued again.",
            f"""trap 'kill -USR1 "$worker"; (sleep {notice - AT_ONCE_SECONDS}; """
            """kill -USR1 "$worker") 2>/dev/null &' USR1""",
            "# When the job is cancelled or preempted, Slurm signals the worker, too.",
            "trap : TERM",
            f"{_python('indian_tune')} {shlex.join(words)} &",
            "worker=$!",
            'while kill -0 "$worker" 2>/dev/null; do wait "$worker"; done',
            'wait "$worker"',
            "status=$?",
            f"# {LEFT_IN_TIME}: it was told to leave, and has got on since it began.",
            f'if [ "$status" -eq {LEFT_IN_TIME} ]; then',
            '    exec scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"',
            "fi",
            'exit "$status"',
            "",
        ]
    )


def probe_script(
    options: Sequence[str], variables: Mapping[str, str | None], words: Sequence[str]
) -> str:
    """Return the script of a job that only looks at a compute node; see :func:`worker_script`."""
    command = f"exec {_python('indian_tune.engines.slurm.probe')} {shlex.join(words)}"
    return "\n".join([*_head(options, variables), command, ""])


def _head(options: Sequence[str], variables: Mapping[str, str | None]) -> list[str]:
    exports = [
        f': "${{{name}:?is the address of the database, with its password}}"'
        if value is None
        else f"export {name}={shlex.quote(value)}"
        for name, value in variables.items()
    ]
    return ["#!/bin/bash", *(f"#SBATCH {shlex.quote(option)}" for option in options), "", *exports]


def _python(module: str) -> str:
    # -P: nothing in the current folder may hide a module of Python's.
    return f"{shlex.quote(sys.executable)} -P -m {module}"


def _literal(folder: Path) -> str:
    """Return a folder as Slurm's patterns of file names have it."""
    return str(folder).replace("%", "%%")


def job_variables(storage: str, shown: str, folders: Sequence[str]) -> dict[str, str | None]:
    """Return the variables that a script sets.

    Args:
        storage: address of the database.
        shown: the same without its password.
        folders: in which modules of the study's own code are looked for.
    """
    variables: dict[str, str | None] = {STORAGE_VARIABLE: storage if shown == storage else None}
    if folders:
        before = os.environ.get("PYTHONPATH")
        variables["PYTHONPATH"] = os.pathsep.join([*folders, *([before] if before else [])])
    return variables
