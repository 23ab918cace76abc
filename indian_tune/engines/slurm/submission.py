"""Submits an array of workers exactly once: probe, record the intent, submit, record the job.

What is intended stands in the record before it is submitted, under a name that no other array has.
Whoever dies in between leaves an intention whose jobs are found again in the queue by that name.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from indian_tune.engines import process_info
from indian_tune.engines.slurm.arrays import (
    DROPPED,
    INTENDED,
    SLURM,
    SUBMITTED,
    WorkerArray,
    worker_arrays,
)
from indian_tune.engines.slurm.cluster import SubmissionError
from indian_tune.engines.slurm.script import (
    array_options,
    probe_options,
    probe_script,
    worker_script,
)
from indian_tune.errors import EngineError, InputError
from indian_tune.study.faults import AFTER_INTENT, AFTER_SUBMIT, fault_point

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from indian_tune.engines.slurm.cluster import Cluster
    from indian_tune.engines.slurm.script import JobRequest
    from indian_tune.ledger import Ledger, StudyRecord

LOGS = "slurm"
PREFIX = "indian-tune"
LOOK_SECONDS = 1.0
PROBE_MINUTES = 5
# How long a file that a compute node has written may take to be seen here.
SHARED_SECONDS = 10.0


@dataclass(frozen=True)
class Fleet:
    """The workers to be submitted.

    Attributes:
        workers: how many.
        request: what the job of each asks for.
        notice: seconds before its time limit at which a worker is told to leave.
        artifacts: folder of the checkpoints, absolute.
        words: of the worker's command after ``indian-tune``.
        variables: of the jobs' scripts; ``None`` for one that comes with the environment only.
        secret: variables that come with the environment only.
        data_dir: folder of the data sets; ``None`` for the default.
    """

    workers: int
    request: JobRequest
    notice: int
    artifacts: Path
    words: tuple[str, ...]
    variables: Mapping[str, str | None]
    secret: Mapping[str, str]
    data_dir: Path | None = None

    @property
    def logs(self) -> Path:
        """Folder of the jobs' scripts and logs."""
        return self.artifacts / LOGS

    def script(self, name: str) -> str:
        """Return the script of the workers' jobs under a name."""
        options = array_options(self.request, name, self.workers, self.notice, self.logs)
        return worker_script(options, self.variables, self.words, self.notice)


@dataclass(frozen=True)
class Submitted:
    """What became of a fleet.

    Attributes:
        array: of workers that is in the queue.
        new: whether this call submitted it.
    """

    array: WorkerArray
    new: bool


def submit_workers(
    ledger: Ledger,
    study: StudyRecord,
    fleet: Fleet,
    cluster: Cluster,
    say: Callable[[str], None],
    *,
    more: bool = False,
    probe: bool = True,
) -> Submitted:
    """Submit an array of workers, unless one of the study is in the queue.

    Args:
        ledger: open for writing.
        study: that they work on.
        fleet: the workers.
        cluster: that they run on.
        say: is told what is waited for.
        more: whether they are submitted beside those in the queue.
        probe: whether a job looks at a compute node first.

    Raises:
        InputError: the cluster refuses the jobs, or a compute node lacks what a worker needs.
        EngineError: another process is submitting workers of the study, or Slurm does not answer.
    """
    fleet.logs.mkdir(parents=True, exist_ok=True)
    with _alone(fleet.logs / f"{study.name}.lock", study.name) as lock:
        queued = _queued(ledger, study, cluster)
        if queued and not more:
            return Submitted(queued[-1], new=False)
        if probe:
            _probe(study, fleet, cluster, say)
        return Submitted(_submit(ledger, study, fleet, cluster, lock), new=True)


@contextmanager
def _alone(file: Path, study: str) -> Iterator[int]:
    """Be the only process that submits workers of a study; yield the descriptor of the lock.

    It is held until all processes that inherited it have ended, too.
    """
    lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise EngineError(
                f"another process is submitting workers of study {study!r} ({file} is locked): "
                "wait until it has ended"
            ) from error
        except OSError as error:
            raise EngineError(
                f"{file} cannot be locked ({error.strerror}): with --artifacts, choose a folder "
                "on a shared file system that supports locks"
            ) from error
        yield lock
    finally:
        os.close(lock)


def _queued(ledger: Ledger, study: StudyRecord, cluster: Cluster) -> list[WorkerArray]:
    """Return the arrays whose jobs wait or run; settle what became of those only intended."""
    arrays = [array for array in worker_arrays(ledger, study.id) if not array.dropped]
    jobs = {job.name: job.id for job in cluster.jobs([array.name for array in arrays])}
    for array in arrays:
        if array.job is None:
            _record_outcome(ledger, study, array.name, jobs.get(array.name))
    return [array for array in worker_arrays(ledger, study.id) if array.name in jobs]


def _record_outcome(ledger: Ledger, study: StudyRecord, name: str, job: str | None) -> None:
    step = {"step": DROPPED} if job is None else {"step": SUBMITTED, "job": job}
    ledger.record_event(study.id, SLURM, {"name": name, **step})


def _submit(
    ledger: Ledger, study: StudyRecord, fleet: Fleet, cluster: Cluster, lock: int
) -> WorkerArray:
    name = f"{PREFIX}-{study.name}-{secrets.token_hex(4)}"
    script = fleet.logs / f"{name}.sh"
    script.write_text(fleet.script(name), encoding="utf-8")
    intended = {
        **{"name": name, "step": INTENDED, "workers": fleet.workers, "logs": str(fleet.logs)},
        **{"time": fleet.request.time, "host": process_info.host()},
    }
    ledger.record_event(study.id, SLURM, intended)
    fault_point(AFTER_INTENT)
    options = array_options(fleet.request, name, fleet.workers, fleet.notice, fleet.logs)
    try:
        job: str | None = cluster.submit(script, options, fleet.secret, held=(lock,))
    except SubmissionError as error:
        # Its answer may have been lost on the way.
        job = next((job.id for job in cluster.jobs([name])), None)
        if job is None:
            _record_outcome(ledger, study, name, None)
            raise InputError(_refused(str(error))) from error
    fault_point(AFTER_SUBMIT)
    _record_outcome(ledger, study, name, job)
    return next(array for array in worker_arrays(ledger, study.id) if array.name == name)


def _refused(words: str) -> str:
    return (
        f"Slurm refused the job ({words}): change --partition, --time, --gpus, --workers or "
        "--sbatch-option"
    )


def _probe(study: StudyRecord, fleet: Fleet, cluster: Cluster, say: Callable[[str], None]) -> None:
    """Let a job look at a compute node.

    Raises:
        InputError: a worker there would not find what it needs.
    """
    name = f"{PREFIX}-probe-{study.name}-{secrets.token_hex(4)}"
    answer, script = fleet.logs / f"{name}.json", fleet.logs / f"{name}.sh"
    options = probe_options(fleet.request, name, PROBE_MINUTES, fleet.logs)
    data_dir = [] if fleet.data_dir is None else [str(fleet.data_dir)]
    words = [study.name, str(answer), str(fleet.request.gpus), *data_dir]
    answer.touch()
    script.write_text(probe_script(options, fleet.variables, words), encoding="utf-8")
    try:
        job = cluster.submit(script, options, fleet.secret)
    except SubmissionError as error:
        raise InputError(_refused(str(error))) from error
    log = fleet.logs / f"{name}-{job}.log"
    try:
        _wait(name, job, cluster, say)
        found = _answer(answer)
    except BaseException:
        cluster.cancel(job)
        raise
    if found is None:
        raise InputError(
            f"probe job {job} left no answer in {answer}: compute nodes must reach this folder "
            "and the Python that runs here through a shared file system. Choose the folder with "
            f"--artifacts ({_last_line(log)})"
        )
    if found["problem"] is not None:
        problem = " ".join(found["problem"].split())
        raise InputError(f"on compute node {found['host']}: {problem}")
    for file in (answer, script, log):
        file.unlink(missing_ok=True)


def _wait(name: str, job: str, cluster: Cluster, say: Callable[[str], None]) -> None:
    """Wait until the probe has left the queue."""
    said = None
    while jobs := cluster.jobs([name]):
        (state, reason) = (jobs[0].state, jobs[0].reason)
        waits = state == "PENDING" and reason not in ("None", "Priority", "Resources")
        told = f": {reason}" if waits else ""
        if told != said:
            say(
                f"Probe job {job} checks a compute node first{told}. Ctrl-C cancels it; "
                "--no-probe skips it."
            )
            said = told
        time.sleep(LOOK_SECONDS)


def _answer(file: Path) -> dict[str, str | None] | None:
    """Return what the probe found, ``None`` if it wrote nothing."""
    deadline = time.monotonic() + SHARED_SECONDS
    while not (text := file.read_text(encoding="utf-8")):
        if time.monotonic() > deadline:
            return None
        time.sleep(LOOK_SECONDS)
    found: dict[str, str | None] = json.loads(text)
    return found


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    written: Sequence[str] = [line for line in lines if line.strip()]
    return f"its log ends with: {written[-1]}" if written else f"there is no log in {log}"
