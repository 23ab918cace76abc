"""A whole search on GPUs, of which there are none, as a user runs it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.engines.interrupt import Interrupt
from indian_tune.engines.local.inline import InlineEngine
from indian_tune.errors import StorageError
from indian_tune.ledger import LOST, LedgerReader
from indian_tune.training import Trainer
from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from indian_tune.engines.settings import WorkerSettings
    from indian_tune.problems import Problem
    from indian_tune.study.file.spec import StudySpec
    from tests.engines.conftest import Metrics

LANES = 2
LIST = "#!/bin/sh\necho 'GPU 0: Simulated (UUID: GPU-a)'\necho 'GPU 1: Simulated (UUID: GPU-b)'\n"
SITE = "from tests.engines import simulated_cuda\n\nsimulated_cuda.install()\n"


@pytest.fixture
def two_gpus(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine with two GPUs."""
    folder = tmp_path / "machine"
    folder.mkdir()
    (folder / "nvidia-smi").write_text(LIST)
    (folder / "nvidia-smi").chmod(0o755)
    (folder / "sitecustomize.py").write_text(SITE)
    given = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    return given | {
        "SIMULATED_GPUS": "2",
        "INDIAN_TUNE_KERNELS": "torch",
        "PYTHONPATH": f"{folder}:{ROOT}",
        "PATH": f"{folder}:{os.environ['PATH']}",
    }


@pytest.mark.slow
def test_packs_on_two_gpus_leave_the_record_of_packs_on_a_cpu_although_a_worker_is_killed(
    tmp_path: Path,
    two_gpus: dict[str, str],
    tiny: dict[str, Any],
    write_study: Callable[[dict[str, Any]], Path],
    settings_for: Callable[[str], WorkerSettings],
    register: Callable[[str, dict[str, Any]], StudySpec],
    metrics: Callable[[str], Metrics],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Without convolutions: of these, packs choose the way that is fastest.
    tiny["problem"] |= {"model": "mlp", "widths": [16], "dropout": 0.25}
    del tiny["problem"]["width"]
    tiny["protocol"] |= {"epochs": 10, "tune_epochs": 10}
    tiny["search"]["trials"] = 6
    there, here = (f"sqlite:///{tmp_path / name}.db" for name in ("gpus", "cpu"))
    told = ["--storage", there, "--artifacts", str(tmp_path / "kept"), "--lanes", str(LANES)]
    command = [sys.executable, "-m", "indian_tune", "search", str(write_study(tiny)), *told]
    with subprocess.Popen(command, env=two_gpus, stderr=subprocess.PIPE, text=True) as search:
        killed = kill_a_worker(there, search)
        _, said = search.communicate(timeout=120)
    assert (search.returncode, "is replaced" in said) == (0, True), said
    with LedgerReader.open(there) as ledger:
        study = ledger.study("tiny").id
        workers = ledger.workers(study)
        runs = [run for trial in ledger.trials(study) for run in ledger.runs(trial.id)]
        (lost,) = ledger.events(study, LOST)
    assert {worker.device for worker in workers} == {"cuda:0", "cuda:1"}
    assert len(workers) == 3
    assert lost.data["worker"] in {worker.id for worker in workers if worker.pid == killed}
    described = [run.provenance or {} for run in runs]
    assert {(each["device"], each["execution"]) for each in described} == {
        ("cuda", f"stacked, {LANES} slots, grouped")
    }

    init = Trainer.__init__

    def stacked(self: Trainer, problem: Problem, **options: Any) -> None:
        packing = replace(options["packing"], execution="stacked")
        init(self, problem, **options | {"packing": packing})

    monkeypatch.setattr(Trainer, "__init__", stacked)
    register(here, tiny)
    InlineEngine(replace(settings_for(here), lanes=LANES)).run(Interrupt(), lambda: None)
    assert metrics(there) == metrics(here)


def kill_a_worker(storage: str, search: subprocess.Popen[str]) -> int | None:
    """Kill a worker when an epoch is recorded; return its process."""
    while search.poll() is None:
        time.sleep(0.05)
        # As long as there is no database, or nothing in it.
        with contextlib.suppress(StorageError), LedgerReader.open(storage) as ledger:
            study = ledger.find_study("tiny")
            if study is None or not any(part.epochs_done for part in ledger.progress(study.id)):
                continue
            pid = ledger.workers(study.id)[-1].pid
            os.kill(pid, signal.SIGKILL)
            return pid
    return None
