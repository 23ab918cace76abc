"""Workers as jobs of a real Slurm cluster of one node: submitted once, and queued again."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.engines.interrupt import Interrupt
from indian_tune.engines.local.inline import InlineEngine
from indian_tune.engines.own_code import folders
from indian_tune.engines.session import open_session
from indian_tune.engines.settings import WorkerSettings
from indian_tune.engines.slurm.arrays import SLURM, worker_arrays
from indian_tune.ledger import Ledger, LedgerReader, State, storage_url
from indian_tune.study.completion import completion
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

SECONDS = float(os.environ.get("PACE_SECONDS", "0"))


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


@pytest.fixture
def submitter(slurm: OneNodeSlurm, tmp_path: Path) -> Iterator[Submitter]:
    made = Submitter(slurm, tmp_path, f"sqlite:///{tmp_path / 'study.db'}")
    made.write(STUDY)
    yield made
    slurm.run("scancel", "--state=PENDING", "--me", check=False)
    slurm.run("scancel", "--me", check=False)


def disturb(cluster: OneNodeSlurm, kind: str, job: str) -> None:
    if kind == "cancel":
        cluster.run("scancel", job, check=False)
    elif kind == "requeue":
        # As preemption does it.
        cluster.run("scontrol", "requeue", job, check=False)
    else:
        # Slurm signals at once, since less is left than the notice.
        cluster.run("scontrol", "update", f"JobId={job}", "TimeLimit=1", check=False)


def release(cluster: OneNodeSlurm) -> None:
    """Let jobs that were queued again begin now, with the time that they had."""
    listed = cluster.run("squeue", "--array", "--noheader", "--states=PD", "--format=%A %r %l")
    for line in listed.splitlines():
        job, reason, limit = line.split()
        if reason == "BeginTime" or limit != "10:00":
            settings = ("StartTime=now", "TimeLimit=10")
            cluster.run("scontrol", "update", f"JobId={job}", *settings, check=False)


def at_work(cluster: OneNodeSlurm) -> list[str]:
    """Return the running jobs whose workers have begun since the jobs last started."""
    found = []
    for job in cluster.running():
        words = cluster.run("scontrol", "show", "job", "--oneliner", job, check=False).split()
        shown = dict(word.partition("=")[::2] for word in words)
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
    every = max(1, (trials * 2 * 4) // (disturbances + 1))
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
                    disturb(slurm, kind, choose.choice(jobs))
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
    assert logs.count("Leaving after this epoch") >= kinds.count("timeout")


def _name(ledger: Ledger) -> str:
    return worker_arrays(ledger, ledger.study("tiny").id)[-1].name
