"""Slurm's own commands: which partitions there are, what is queued, and how a job is submitted."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from indian_tune.errors import EngineError, InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# How long a command of Slurm's may take to answer; a busy controller takes its time.
ANSWER_SECONDS = 60.0
# Variables that hide a part of what is asked for.
_FILTERS = ("SQUEUE_", "SINFO_")


@dataclass(frozen=True)
class Partition:
    """A partition of the cluster.

    Attributes:
        name: of the partition.
        default: whether jobs that name none go there.
        limit: the longest time that a job may take, as Slurm shows it.
        hosts: names of the machines of its nodes.
    """

    name: str
    default: bool
    limit: str
    hosts: frozenset[str]


@dataclass(frozen=True)
class Job:
    """A job in the queue; of an array, one of its tasks.

    Attributes:
        name: of the job.
        id: of the job; that of the whole array for a task.
        state: such as ``PENDING`` or ``RUNNING``.
        reason: why it waits.
    """

    name: str
    id: str
    state: str
    reason: str


class SubmissionError(InputError):
    """Slurm refused a job."""


class Cluster:
    """The cluster that Slurm's commands on this machine speak to."""

    def __init__(self) -> None:
        """Find the commands.

        Raises:
            InputError: they are not here.
        """
        if shutil.which("sbatch") is None:
            raise InputError(
                "sbatch is not on the PATH: run this on a machine from which Slurm jobs can be "
                "submitted, or load Slurm's module first"
            )

    def partitions(self) -> list[Partition]:
        """Return the partitions, hidden ones too."""
        found: dict[str, Partition] = {}
        for line in self._ask("sinfo", "--all", "--noheader", "--format=%P|%l|%n").splitlines():
            name, limit, host = line.split("|", 2)
            plain = name.removesuffix("*")
            before = found.get(plain, Partition(plain, name != plain, limit, frozenset()))
            hosts = before.hosts | {host}
            found[plain] = Partition(plain, before.default, limit, hosts)
        return list(found.values())

    def jobs(self, names: Sequence[str]) -> list[Job]:
        """Return the jobs of these names that wait or run, each task of an array by itself."""
        if not names:
            return []
        listed = self._ask(
            *("squeue", "--all", "--array", "--noheader"),
            *(f"--name={','.join(names)}", "--format=%j|%F|%T|%r"),
        )
        return [Job(*line.split("|", 3)) for line in listed.splitlines()]

    def submit(
        self,
        script: Path,
        options: Sequence[str],
        environment: Mapping[str, str],
        held: Sequence[int] = (),
    ) -> str:
        """Submit a job; return its id.

        Args:
            script: of the job.
            options: of ``sbatch``; here they come before what the environment says.
            environment: variables of the job beside those of this process.
            held: file descriptors that the command keeps open, whatever becomes of this process.

        Raises:
            SubmissionError: Slurm refuses it, in its own words.
        """
        words = ["sbatch", "--parsable", *options, str(script)]
        try:
            done = subprocess.run(  # noqa: S603 - a fixed command, its options one by one
                words,
                env={**os.environ, **environment},
                pass_fds=held,
                capture_output=True,
                text=True,
                timeout=ANSWER_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise SubmissionError(f"sbatch did not answer within {ANSWER_SECONDS:.0f} s") from error
        if done.returncode:
            raise SubmissionError(_words(done.stderr))
        # On some clusters the name of the cluster follows.
        return done.stdout.strip().partition(";")[0]

    def cancel(self, job: str) -> None:
        """Cancel a job, if it is still there."""
        self._ask("scancel", "--quiet", job)

    def _ask(self, *words: str) -> str:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(_FILTERS)
        }
        try:
            done = subprocess.run(  # noqa: S603 - fixed commands
                words,
                env=environment,
                capture_output=True,
                text=True,
                timeout=ANSWER_SECONDS,
                check=True,
            )
        except OSError as error:
            raise EngineError(f"{words[0]} cannot be run: {error.strerror}") from error
        except subprocess.TimeoutExpired as error:
            raise EngineError(
                f"{words[0]} did not answer within {ANSWER_SECONDS:.0f} s: try again when the "
                "Slurm controller answers"
            ) from error
        except subprocess.CalledProcessError as error:
            told = f"{words[0]} failed: {_words(error.stderr)}"
            if "configuration source" in told:
                told += ". Run this on a machine of the Slurm cluster, such as a login node"
            raise EngineError(told) from error
        return done.stdout


def _words(text: str) -> str:
    """Return what a command of Slurm's wrote, as one phrase."""
    lines = [line.partition("error: ")[2] or line for line in text.strip().splitlines()]
    return "; ".join(line.strip().rstrip(".") for line in lines) or "it gave no reason"
