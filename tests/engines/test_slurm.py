"""Workers as jobs of a real Slurm cluster of one node: submitted once, and queued again."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.engine import make_url

from indian_tune.engines.interrupt import Interrupt
from indian_tune.engines.local.inline import InlineEngine
from indian_tune.engines.own_code import folders
from indian_tune.engines.session import open_session
from indian_tune.engines.settings import WorkerSettings
from indian_tune.engines.slurm.arrays import worker_arrays
from indian_tune.engines.slurm.limits import limit_seconds
from indian_tune.engines.slurm.script import LEFT_IN_TIME
from indian_tune.ledger import Ledger, LedgerReader, State, storage_url
from indian_tune.study.completion import completion
from indian_tune.study.faults import AFTER_INTENT, AFTER_SUBMIT, VARIABLE
from indian_tune.study.file.spec import load_study
from tests.conftest import ROOT, to_toml
from tests.engines.test_same_record import outcomes_of
from tests.one_node_slurm import OneNodeSlurm, one_node_slurm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import PostgresServer
    from tests.engines.conftest import Metrics

pytestmark = pytest.mark.slow

# Whose training takes its time, so that there is something to disturb.
MODEL = """
import os
import time

import torch
from torch import nn

from indian_tune.problems import Problem, Split

SECONDS = float(os.environ["PACE_SECONDS"]) if "SLURM_JOB_ID" in os.environ else 0


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))

    def forward(self, x):
        if self.training:
            time.sleep(SECONDS)
        return self.layers(x)


def make():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(96, 6, generator=generator)
    other = torch.randn(32, 6, generator=generator)
    return Problem(
        dataset="toy", model="layers", classes=3,
        train=Split(inputs, inputs[:, :3].argmax(1)), test=Split(other, other[:, :3].argmax(1)),
        build_model=lambda *, seed, dropout: Net(),
    )
"""
STUDY: dict[str, Any] = {
    "name": "tiny",
    "problem": {"factory": "paced:make", "batch_size": 16, "validation_fraction": 0.25},
    "protocol": {"epochs": 4, "tune_epochs": 4, "confirm_seeds": 2},
    "search": {"trials": 6, "sampler": "random", "seed": 7},
    "arms": [
        {"name": "indian", "optimizer": "indian"},
        {"name": "sgd", "optimizer": "sgd"},
    ],
}
# Seconds of one of the five steps of an epoch.
PACE = 0.1
# How many workers are kept in the queue.
WORKERS = 3
COMMON = ("--allow-import", "--artifacts", "artifacts", "--time", "10")


@pytest.fixture(scope="module")
def slurm() -> Iterator[OneNodeSlurm]:
    """A running cluster."""
    with one_node_slurm() as cluster:
        yield cluster


class Submitter:
    """Somebody who submits workers in a folder that holds a study and its code."""

    def __init__(self, cluster: OneNodeSlurm, folder: Path, storage: str) -> None:
        self.folder, self.storage = folder, storage
        self.environment = {
            **os.environ,
            "SLURM_CONF": str(cluster.settings),
            "PYTHONPATH": str(ROOT),
            "INDIAN_TUNE_STORAGE": storage,
            "PACE_SECONDS": str(PACE),
            "COLUMNS": "200",
        }

    def write(self, study: dict[str, Any]) -> None:
        (self.folder / "paced.py").write_text(MODEL, encoding="utf-8")
        (self.folder / "study.toml").write_text(to_toml(study), encoding="utf-8")

    def __call__(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command; return how it ended."""
        return subprocess.run(
            [sys.executable, "-m", "indian_tune", *words],
            cwd=self.folder,
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            check=False,
        )

    def submit(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Submit workers of the study; a later option takes the place of an earlier one."""
        given = ("slurm", "study.toml", "--workers", str(WORKERS), *COMMON, *words)
        return self(*given, **variables)

    def status(self) -> dict[str, Any]:
        shown: dict[str, Any] = json.loads(self("status", "tiny", "--json").stdout)
        return shown

    @staticmethod
    def until(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.fixture
def submitter(slurm: OneNodeSlurm, tmp_path: Path) -> Iterator[Submitter]:
    made = Submitter(slurm, tmp_path, f"sqlite:///{tmp_path / 'study.db'}")
    made.write(STUDY)
    yield made
    slurm.end_jobs()


def disturb(cluster: OneNodeSlurm, kind: str, job: str) -> bool:
    """Disturb a job; return whether it was still there."""
    if kind == "cancel":
        return cluster.done("scancel", job)
    if kind == "requeue":
        # As preemption does it.
        return cluster.done("scontrol", "requeue", job)
    # Slurm signals at once, since less is left than the notice.
    run_time = limit_seconds(described(cluster, job).get("RunTime", "0"))
    assert run_time is not None
    return cluster.done("scontrol", "update", f"JobId={job}", f"TimeLimit={run_time // 60 + 2}")


def described(cluster: OneNodeSlurm, job: str) -> dict[str, str]:
    """Return what Slurm knows of a job."""
    words = cluster.run("scontrol", "show", "job", "--oneliner", job, check=False).split()
    return dict(word.partition("=")[::2] for word in words)


def release(cluster: OneNodeSlurm) -> None:
    """Let jobs that were queued again begin now, with the time that they had."""
    listed = cluster.run("squeue", "--array", "--noheader", "--states=PD", "--format=%F_%K %r %l")
    for line in listed.splitlines():
        job, reason, limit = line.split()
        if reason == "BeginTime" or limit != "10:00":
            cluster.done("scontrol", "update", f"JobId={job}", "StartTime=now", "TimeLimit=10")


def at_work(cluster: OneNodeSlurm) -> list[str]:
    """Return the running jobs whose workers have begun since the jobs last started."""
    found = []
    for job in cluster.running():
        shown = described(cluster, job)
        log = Path(shown.get("StdOut", "/absent"))
        begun = log.read_text().count("Working on") if log.exists() else 0
        if begun > int(shown.get("Restarts", 0)):
            found.append(job)
    return found


@pytest.mark.postgres
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("trials", "disturbances"), [(6, 5), pytest.param(40, 50, marks=pytest.mark.night)]
)
def test_a_study_whose_jobs_are_disturbed_leaves_the_record_of_one_that_nothing_disturbed(
    trials: int,
    disturbances: int,
    slurm: OneNodeSlurm,
    postgres: PostgresServer,
    tmp_path: Path,
    metrics: Callable[..., Metrics],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study = {**STUDY, "search": {**STUDY["search"], "trials": trials}}
    submitter = Submitter(slurm, tmp_path, postgres.new_database())
    submitter.write(study)
    monkeypatch.chdir(tmp_path)
    alone = f"sqlite:///{tmp_path / 'alone.db'}"
    spec = load_study(tmp_path / "study.toml")
    with open_session(spec, storage_url(alone), None, imports=folders()):
        settings = WorkerSettings(alone, "tiny", tmp_path / "alone", imports=folders())
        InlineEngine(settings).run(Interrupt(), lambda: None)

    done = submitter.submit()
    assert done.returncode == 0, done.stderr
    assert "Submitted tiny as array" in done.stdout
    choose = random.Random(0)
    kinds: list[str] = []
    # One of each kind first, so that none is missing among a few.
    drawn = ["cancel", "requeue", "timeout"]
    # In the first half of the study, so that it does not end before the last of them.
    every = max(1, trials * 2 * 4 // (2 * disturbances + 2))
    with Ledger.open(submitter.storage) as ledger:
        record = ledger.study("tiny")
        while not completion(ledger, record).finished():
            release(slurm)
            if not slurm.run("squeue", "--noheader", "--name", _name(ledger)):
                again = submitter.submit("--no-probe")
                assert again.returncode == 0, again.stderr
            epochs = sum(part.epochs_done for part in ledger.progress(record.id))
            if len(kinds) < disturbances and epochs >= every * (len(kinds) + 1):
                jobs = at_work(slurm)
                if jobs:
                    kind = drawn[len(kinds)] if len(kinds) < 3 else choose.choice(drawn)
                    if disturb(slurm, kind, choose.choice(jobs)):
                        kinds.append(kind)
            time.sleep(0.1)
        trials_done = ledger.trials(record.id)
    assert len(kinds) == disturbances
    assert {trial.state for trial in trials_done} == {State.COMPLETE}
    assert outcomes_of(submitter.storage) == outcomes_of(alone)
    assert metrics(submitter.storage) == metrics(alone)
    # Told before its limit, a worker has left in time, and Slurm was asked to queue it again.
    logs = "".join(file.read_text() for file in (tmp_path / "artifacts/slurm").glob("*.log"))
    assert logs.count("DUE TO JOB REQUEUE") >= kinds.count("requeue")
    assert logs.count("Stopping after this epoch") >= kinds.count("timeout")
    # A worker that was told to leave has itself queued again, and no other job of its array.
    assert logs.count("DUE TO JOB REQUEUE") <= kinds.count("requeue") + kinds.count("timeout")


def queued(cluster: OneNodeSlurm) -> set[str]:
    """Return the arrays that wait or run."""
    return set(cluster.run("squeue", "--noheader", "--format=%F").split())


def test_workers_are_submitted_once_and_shown(slurm: OneNodeSlurm, submitter: Submitter) -> None:
    first = submitter.submit("--no-probe", PACE_SECONDS="5")
    assert first.returncode == 0, first.stderr
    (array,) = queued(slurm)
    told = f"Submitted tiny as array {array} of 3 workers."
    assert told in first.stdout
    again = submitter.submit()
    assert again.returncode == 0, again.stderr
    assert (
        f"Nothing was submitted: tiny has array {array} of 3 workers in the queue" in again.stdout
    )
    assert queued(slurm) == {array}

    shown = submitter("status", "tiny")
    assert re.search(rf"^{array} +3 .* (3 running|pending)", shown.stdout, re.MULTILINE)
    (told_of,) = submitter.status()["slurm"]
    assert (told_of["job"], told_of["workers"]) == (array, 3)
    assert sum(told_of["states"].values()) == 3

    more = submitter.submit("--no-probe", "--more", "--workers", "1", PACE_SECONDS="5")
    assert "of 1 worker" in more.stdout
    assert len(queued(slurm)) == 2
    slurm.end_jobs()
    states = [each["states"] for each in submitter.status()["slurm"]]
    assert states == [{}, {}]
    assert "no longer queued" in submitter("status", "tiny").stdout
    # Elsewhere Slurm is not there to be asked.
    assert "not known on this machine" in submitter("status", "tiny", PATH="/nowhere").stdout


@pytest.mark.parametrize("fault", [AFTER_INTENT, AFTER_SUBMIT])
def test_what_a_crash_left_is_found_again_and_not_submitted_twice(
    fault: str, slurm: OneNodeSlurm, submitter: Submitter, tmp_path: Path
) -> None:
    crash = f"{fault}:{tmp_path / 'crashed'}"
    ended = submitter.submit("--no-probe", PACE_SECONDS="5", **{VARIABLE: crash})
    assert ended.returncode == -signal.SIGKILL
    before = queued(slurm)
    assert len(before) == (fault == AFTER_SUBMIT)
    again = submitter.submit("--no-probe", PACE_SECONDS="5")
    assert again.returncode == 0, again.stderr
    assert ("Nothing was submitted" in again.stdout) == (fault == AFTER_SUBMIT)
    (array,) = queued(slurm)
    assert before <= {array}
    with LedgerReader.open(submitter.storage) as ledger:
        arrays = worker_arrays(ledger, ledger.study("tiny").id)
    assert [each.dropped for each in arrays] == [True, False][fault == AFTER_SUBMIT :]
    assert arrays[-1].job == array


def test_of_two_who_submit_at_the_same_time_one_does(
    slurm: OneNodeSlurm, submitter: Submitter
) -> None:
    with ThreadPoolExecutor(2) as both:
        ended = list(both.map(lambda _: submitter.submit(PACE_SECONDS="5"), range(2)))
    (array,) = queued(slurm)
    submitted = [each for each in ended if f"Submitted tiny as array {array}" in each.stdout]
    assert len(submitted) == 1
    (other,) = [each for each in ended if each not in submitted]
    refused = "another process is submitting workers of study 'tiny'" in other.stderr
    assert refused or "Nothing was submitted" in other.stdout


REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "partition": (
        ("--partition", "shrot"),
        "--partition = 'shrot' is not known. Did you mean 'short'",
    ),
    "limit": (("--partition", "short", "--time", "1:00:00"), "give at most 10:00"),
    "epoch": (("--time", "2"), "--time = '2' is too short: a worker is told to stop 120 s before"),
    "format": (("--time", "4h"), "--time = '4h' is not a time limit: write minutes"),
    "gpu": (("--gpus", "1"), "Slurm refused the job"),
    "sqlite": (("--partition", "wide"), "use a PostgreSQL server that all of them can reach"),
    "option": (("--sbatch-option", "array=1-9"), "array is set by this command; remove it"),
    "unknown": (("--sbatch-option", "no-such=1"), "Slurm refused the job"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_submitted_is_refused_in_a_sentence(
    name: str, slurm: OneNodeSlurm, submitter: Submitter
) -> None:
    words, told = REFUSED[name]
    ended = submitter.submit(*words)
    assert (ended.returncode, ended.stdout) == (2, ""), ended.stderr
    assert told in ended.stderr
    assert queued(slurm) == set()


def test_a_limit_that_is_shorter_than_the_study_s_longest_epoch_is_refused(
    submitter: Submitter,
) -> None:
    searched = ("search", "study.toml", "--phase", "tune", "--allow-import", "--workers", "1")
    done = submitter(*searched)
    assert done.returncode == 0, done.stderr
    with closing(sqlite3.connect(submitter.folder / "study.db")) as connection:
        connection.execute("UPDATE ledger_epoch SET seconds = 400")
        connection.commit()
    ended = submitter.submit("--no-probe")
    assert ended.returncode == 2
    assert "the longest epoch of the study took 400 s" in ended.stderr
    assert "Give at least 0:21:00" in ended.stderr


@pytest.mark.postgres
def test_a_database_that_compute_nodes_do_not_reach_is_found_before_workers_are_submitted(
    slurm: OneNodeSlurm, submitter: Submitter, postgres: PostgresServer
) -> None:
    address = postgres.new_database()
    folder = Path(str(make_url(address).query["host"]))
    with slurm.hidden(folder):
        ended = submitter.submit(INDIAN_TUNE_STORAGE=address)
    assert ended.returncode == 2, ended.stdout
    assert f"Error: on compute node {socket.gethostname()}: database" in ended.stderr
    assert ended.stderr.endswith(
        "with --storage, choose a database that every compute node can reach\n"
    )
    with LedgerReader.open(address) as ledger:
        assert worker_arrays(ledger, ledger.study("tiny").id) == []
    assert queued(slurm) == set()
    # Reached now, so that the same command continues.
    assert submitter.submit(INDIAN_TUNE_STORAGE=address).returncode == 0


def test_a_folder_that_compute_nodes_do_not_share_is_found_before_workers_are_submitted(
    slurm: OneNodeSlurm, submitter: Submitter
) -> None:
    (submitter.folder / "artifacts").mkdir()
    with slurm.hidden(submitter.folder / "artifacts"):
        ended = submitter.submit()
    assert ended.returncode == 2, ended.stdout
    assert "compute nodes must reach this folder" in ended.stderr
    assert queued(slurm) == set()


class TestSignalsOfASchedulerToAWorker:
    """What a job's script relies on; no cluster is needed for it."""

    @pytest.fixture
    def worker(self, tmp_path: Path) -> Iterator[Callable[[float], subprocess.Popen[str]]]:
        """Start a worker whose steps take so many seconds, and wait until it is at work."""
        storage = f"sqlite:///{tmp_path / 'study.db'}"
        (tmp_path / "paced.py").write_text(MODEL, encoding="utf-8")
        (tmp_path / "study.toml").write_text(to_toml(STUDY), encoding="utf-8")
        started: list[subprocess.Popen[str]] = []

        def start(pace: float) -> subprocess.Popen[str]:
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(tmp_path)
                spec = load_study(tmp_path / "study.toml")
                with open_session(spec, storage_url(storage), None, imports=folders()):
                    pass
            words = ("worker", "tiny", "--storage", storage, "--allow-import")
            process = subprocess.Popen(
                [sys.executable, "-m", "indian_tune", *words],
                cwd=tmp_path,
                env={**os.environ, "SLURM_JOB_ID": "1", "PACE_SECONDS": str(pace)},
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            started.append(process)
            assert process.stderr is not None
            for line in process.stderr:
                if "taken, attempt 1" in line:
                    break
            return process

        yield start
        for process in started:
            process.kill()
            process.wait()
            assert process.stderr is not None
            process.stderr.close()

    @staticmethod
    def epochs(folder: Path) -> int:
        with LedgerReader.open(str(folder / "study.db")) as ledger:
            study = ledger.study("tiny")
            return sum(part.epochs_done for part in ledger.progress(study.id))

    def test_it_leaves_when_it_is_given_notice(
        self, worker: Callable[[float], subprocess.Popen[str]], tmp_path: Path
    ) -> None:
        process = worker(0.1)
        Submitter.until(lambda: self.epochs(tmp_path) > 0)
        process.send_signal(signal.SIGUSR1)
        _, told = process.communicate()
        assert process.returncode == LEFT_IN_TIME, told
        assert "Stopping after this epoch." in told
        assert self.released(tmp_path)

    def test_it_is_not_to_be_started_again_if_no_epoch_ended(
        self, worker: Callable[[float], subprocess.Popen[str]], tmp_path: Path
    ) -> None:
        process = worker(30.0)
        process.send_signal(signal.SIGUSR1)
        assert process.stderr is not None
        assert any("Stopping after this epoch." in line for line in process.stderr)
        process.send_signal(signal.SIGUSR1)
        _, told = process.communicate()
        assert process.returncode == 1, told
        assert "this worker recorded no epoch of tiny" in told
        assert "give its job a longer time limit" in told
        assert self.epochs(tmp_path) == 0

    def test_it_ends_its_epoch_when_all_its_processes_are_terminated(
        self, worker: Callable[[float], subprocess.Popen[str]], tmp_path: Path
    ) -> None:
        process = worker(0.1)
        os.killpg(process.pid, signal.SIGTERM)
        _, told = process.communicate()
        assert process.returncode == 130, told
        assert "is replaced" not in told
        assert self.epochs(tmp_path) > 0
        assert self.released(tmp_path)

    def test_its_process_that_trains_is_replaced_when_it_alone_is_terminated(
        self, worker: Callable[[float], subprocess.Popen[str]], tmp_path: Path
    ) -> None:
        process = worker(0.1)
        with LedgerReader.open(str(tmp_path / "study.db")) as ledger:
            (joined,) = ledger.workers(ledger.study("tiny").id)
        os.kill(joined.pid, signal.SIGTERM)
        assert process.stderr is not None
        assert any(
            "ended by itself (exit status 0) and is replaced" in line for line in process.stderr
        )
        assert self.released(tmp_path)

    @staticmethod
    def released(folder: Path) -> bool:
        """Whether the first worker has left, and its trial waits or was taken by the next."""
        with LedgerReader.open(str(folder / "study.db")) as ledger:
            study = ledger.study("tiny")
            first = ledger.workers(study.id)[0]
            held = [trial for trial in ledger.trials(study.id) if trial.worker_id == first.id]
            given_back = all(trial.state is not State.RUNNING for trial in held)
            return first.left_at is not None and given_back


def _name(ledger: Ledger) -> str:
    return worker_arrays(ledger, ledger.study("tiny").id)[-1].name
