"""Workers of a study as jobs of Slurm: what `indian-tune slurm` does."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from indian_tune.engines import (
    Cluster,
    Fleet,
    JobRequest,
    artifacts_folder,
    check_writable,
    job_variables,
    limit_seconds,
    note_start,
    notice_seconds,
    open_session,
    short_limit,
    study_folder,
    submit_workers,
)
from indian_tune.errors import InputError, StorageError, StudyFileError, alternatives
from indian_tune.ledger import (
    STORAGE_VARIABLE,
    Ledger,
    LedgerReader,
    reached_only_here,
    sqlite_file,
    storage_url,
)
from indian_tune.service.calls import recorded_command
from indian_tune.service.command import without_password
from indian_tune.service.searching import SearchRequest, warn_before_registering
from indian_tune.service.studies import find_study
from indian_tune.study.completion import completion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import URL

    from indian_tune.engines import Submitted
    from indian_tune.ledger import StudyRecord
    from indian_tune.service.studies import FoundStudy

_SERVER = (
    "use a PostgreSQL server that all of them can reach, --storage "
    "postgresql+psycopg://USER@HOST/DATABASE"
)


@dataclass(frozen=True)
class SlurmRequest:
    """What is asked of Slurm; the names are those of the command's options.

    Attributes:
        study: path of a study file, name of a shipped study or of a registered one.
        workers: jobs, each of which is a worker.
        job: what each of them asks for.
        worker_options: options of each worker beside those that say where everything is.
        storage: database; ``None`` for the default.
        data_dir: folder of the data sets; ``None`` for the default.
        artifacts: folder of the checkpoints; ``None`` for one where we stand.
        allow_import: lets code run that the study names.
        more: submits workers beside those that are in the queue.
        probe: whether a job looks at a compute node first.
    """

    study: str
    workers: int
    job: JobRequest
    worker_options: tuple[str, ...] = ()
    storage: str | None = None
    data_dir: Path | None = None
    artifacts: Path | None = None
    allow_import: bool = False
    more: bool = False
    probe: bool = True


def dry_script(request: SlurmRequest) -> str:
    """Return the script that would be submitted; nothing is registered, written or submitted.

    Raises:
        InputError: something cannot be used.
    """
    found = _found(request)
    url = _absolute(storage_url(request.storage))
    name = request.study if found is None else found.spec.name
    if found is None:
        # Not a file, so one that is registered.
        with LedgerReader.open(url) as ledger:
            ledger.study(name)
    try:
        folder = request.artifacts or study_folder(url, name)
    except StorageError:
        # A script can be read also where the database cannot be reached.
        folder = artifacts_folder(url)
    fleet = _fleet(request, url, folder.absolute(), name, found, longest_epoch=0.0)
    return fleet.script(f"indian-tune-{name}")


def submit(
    request: SlurmRequest, say: Callable[[str], None], trying: Callable[[], None]
) -> tuple[StudyRecord, Submitted | None]:
    """Register a study if it is not, and submit its workers if none are in the queue.

    Args:
        request: what is asked.
        say: is told what is waited for, and warnings.
        trying: called before own code is run for the first time.

    Returns:
        The study, and what is in the queue; ``None`` where the study has nothing left to do.

    Raises:
        InputError: something cannot be used, and nothing was submitted.
        EngineError: Slurm does not answer, or another process is submitting.
    """
    cluster = Cluster()
    notice_seconds(request.job.time, 0.0)
    if read := short_limit(request.job.time):
        say(f"Warning: --time {read}")
    url = _absolute(storage_url(request.storage))
    _check_partition(request.job, cluster, url)
    found = _found(request)
    name = request.study if found is None else found.spec.name
    artifacts = (request.artifacts or study_folder(url, name)).absolute()
    check_writable(artifacts, "--artifacts")
    with _registered(request, url, found, say, trying) as (ledger, study):
        now = completion(ledger, study)
        if now.finished() or now.stuck():
            return study, None
        longest = ledger.longest_epoch(study.id)
        fleet = _fleet(request, url, artifacts, study.name, found, longest)
        command = None
        if found is not None:
            search = SearchRequest(
                request.study,
                storage=request.storage,
                data_dir=request.data_dir,
                artifacts=artifacts,
                allow_import=request.allow_import,
            )
            command = recorded_command(search, found)
        moved = note_start(ledger, study, artifacts, command)
        if moved is not None:
            say(f"Warning: {moved}")
        submitted = submit_workers(
            ledger, study, fleet, cluster, say, more=request.more, probe=request.probe
        )
        return study, submitted


@contextmanager
def _registered(
    request: SlurmRequest,
    url: URL,
    found: FoundStudy | None,
    say: Callable[[str], None],
    trying: Callable[[], None],
) -> Iterator[tuple[Ledger, StudyRecord]]:
    """Open the study for writing; register it if it is given by its file or shipped."""
    if found is None:
        with Ledger.open(url, create=False) as ledger:
            yield ledger, ledger.study(request.study)
        return
    with open_session(
        found.spec,
        url,
        request.data_dir,
        imports=found.imports(allowed=request.allow_import),
        on_own_code=trying,
        trains=True,
        on_new=partial(warn_before_registering, lambda text: say(f"Warning: {text}")),
    ) as session:
        yield session.ledger, session.record


def _found(request: SlurmRequest) -> FoundStudy | None:
    """Return the study that a file or the package has; ``None`` if the database must have it."""
    try:
        return find_study(request.study)
    except StudyFileError:
        path = Path(request.study)
        if path.exists() or path.suffix:
            raise
        return None


def _absolute(url: URL) -> URL:
    """Return an address that means the same in any folder."""
    file = sqlite_file(url)
    return url if file is None else url.set(database=str(file.absolute()))


def _fleet(
    request: SlurmRequest,
    url: URL,
    artifacts: Path,
    study: str,
    found: FoundStudy | None,
    longest_epoch: float,
) -> Fleet:
    address = url.render_as_string(hide_password=False)
    data_dir = None if request.data_dir is None else request.data_dir.absolute()
    words = [
        *("worker", study, "--device", "cuda:0" if request.job.gpus else "cpu"),
        *("--artifacts", str(artifacts)),
        *([] if data_dir is None else ["--data-dir", str(data_dir)]),
        *(["--allow-import"] if request.allow_import else []),
        *request.worker_options,
    ]
    imports = None if found is None else found.imports(allowed=request.allow_import)
    return Fleet(
        workers=request.workers,
        request=request.job,
        notice=notice_seconds(request.job.time, longest_epoch),
        artifacts=artifacts,
        words=tuple(words),
        # But for the folder that jobs begin in.
        variables=job_variables(address, without_password(address), (imports or ())[1:]),
        secret={STORAGE_VARIABLE: address},
        data_dir=data_dir,
    )


def _check_partition(job: JobRequest, cluster: Cluster, url: URL) -> None:
    """Check that the partition exists, allows the time, and can use the database.

    Raises:
        InputError: it does not.
        StorageError: the database is a file, and jobs may run on other machines than this one.
    """
    partitions = cluster.partitions()
    names = [] if job.partition is None else job.partition.split(",")
    for name in names:
        if name not in [each.name for each in partitions]:
            known = alternatives(name, [each.name for each in partitions])
            raise InputError(f"--partition = {name!r} is not known.{known}")
    used = [each for each in partitions if (each.name in names if names else each.default)]
    for partition in used:
        most, asked = limit_seconds(partition.limit), limit_seconds(job.time)
        if most is not None and asked is not None and asked > most:
            raise InputError(
                f"--time = {job.time!r} is more than partition {partition.name} allows: give at "
                f"most {partition.limit}"
            )
    hosts = {host.partition(".")[0] for partition in used for host in partition.hosts}
    reason = reached_only_here(url)
    if reason is not None and hosts != {socket.gethostname().partition(".")[0]}:
        raise StorageError(f"{reason}, but the jobs run on other machines: {_SERVER}")


def local_warning(storage: str | None) -> str | None:
    """Return a warning where jobs on other machines than this one could not use the database."""
    reason = reached_only_here(_absolute(storage_url(storage)))
    return reason and (
        f"{reason}, and jobs on other machines could not use it (the submission is refused unless "
        f"all run on this one): {_SERVER}"
    )
