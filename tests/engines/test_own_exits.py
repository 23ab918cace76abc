"""A model that ends its process, or raises what is no Exception, is never taken for success."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import tomllib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock

import pytest

from indian_tune.engines.interrupt import interruptible
from indian_tune.engines.local import processes
from indian_tune.engines.local.inline import InlineEngine
from indian_tune.engines.local.processes import ProcessEngine
from indian_tune.engines.session import open_session
from indian_tune.engines.settings import WorkerSettings
from indian_tune.errors import EngineError
from indian_tune.ledger import LedgerReader, State, storage_url
from indian_tune.study.file.spec import parse_study

if TYPE_CHECKING:
    from pathlib import Path

LOADING = "pass  # raises KeyboardInterrupt while a worker loads the data"
MODEL = f"""
LOADING = {LOADING!r}
"""
MODEL += """
import os
import sys
from multiprocessing import parent_process
from pathlib import Path

import torch
from torch import nn

from indian_tune.problems import Problem, Split


class Net(nn.Module):
    steps = 0

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 3)

    def forward(self, x):
        Net.steps += self.training
        if self.training and Net.steps == 4:
            try:
                Path("ended").touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                exec(os.environ["END"])
        return self.linear(x)


def make():
    if os.environ["END"] == LOADING and parent_process() and not Path("ended").exists():
        Path("ended").touch()
        raise KeyboardInterrupt
    if Path("gone").exists():
        raise ValueError("the data are gone")
    inputs = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
    part = Split(inputs, inputs[:, :3].argmax(1))
    return Problem(
        dataset="toy", model="linear", classes=3, train=part, test=part,
        build_model=lambda *, seed, dropout: Net(),
    )
"""

STUDY = """
name = "ends"
[problem]
factory = "ending:make"
batch_size = 16
validation_fraction = 0.25
[protocol]
epochs = 2
confirm_seeds = 0
[search]
trials = 2
sampler = "random"
[[arms]]
name = "sgd"
optimizer = "sgd"
"""

RAISES = ("raise SystemExit(0)", "raise KeyboardInterrupt", "raise GeneratorExit")
ENDS = ("os._exit(0)", "os._exit(3)")


def searched(
    folder: Path, end: str, *options: str, study: str = STUDY
) -> tuple[int, str, list[State]]:
    """Search a study whose model ends once as it is told to; return status, log and states."""
    (folder / "ending.py").write_text(MODEL)
    (folder / "ends.toml").write_text(study)
    done = subprocess.run(
        [sys.executable, "-m", "indian_tune", "search", "ends.toml", "--allow-import", *options],
        cwd=folder,
        env={**os.environ, "END": end},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (folder / "ended").exists()
    with LedgerReader.open(f"sqlite:///{folder / 'indian-tune.db'}") as ledger:
        states = [trial.state for trial in ledger.trials(ledger.study("ends").id)]
    return done.returncode, done.stderr, states


@pytest.mark.slow
@pytest.mark.parametrize(
    "end",
    [
        *(ENDS[0], LOADING),
        *(pytest.param(end, marks=pytest.mark.night) for end in (ENDS[1], RAISES[0])),
    ],
)
def test_a_worker_that_ends_early_is_replaced_whatever_its_exit_status(
    tmp_path: Path, end: str
) -> None:
    status, log, states = searched(tmp_path, end, "--workers", "1")
    assert (status, states) == (0, [State.COMPLETE] * 2), log
    assert "ends: starting 1 worker" in log
    if end == LOADING:
        assert "user code ended a worker: it raised KeyboardInterrupt()" in log
        assert "a worker died with exit status 1 and is replaced; it held no trial" in log
        assert "Traceback" not in log
    elif end in ENDS:
        assert "a worker died with exit status" in log
        assert "it held sgd/0" in log
        told = subprocess.run(
            [sys.executable, "-m", "indian_tune", "status", "ends"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert "Lost workers" in told
    else:
        assert "sgd/0: an attempt failed, it will be tried again: SystemExit: 0" in log


@pytest.mark.parametrize(
    ("status", "said", "advice"),
    [
        (0, "a worker that held sgd/0 ended by itself (exit status 0)", "such as os._exit(0)"),
        (-9, "a worker died with exit status -9 and is replaced; it held sgd/0", "free memory or"),
    ],
)
def test_a_worker_that_ends_by_itself_is_not_said_to_lack_memory(
    status: int,
    said: str,
    advice: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = WorkerSettings("sqlite:///none.db", "ends", tmp_path)
    engine = ProcessEngine([settings])
    loss = processes._Loss("sgd/0", epochs=0, joined=True, reason=None)
    monkeypatch.setattr(processes, "_note_lost", lambda *_: loss)
    monkeypatch.setattr(engine, "_start", lambda _: None)
    dead: Any = MagicMock(process=SimpleNamespace(exitcode=status), begun=time.monotonic())
    for _ in range(processes.DEATHS_PER_MINUTE - 1):
        engine._replace(dead, settings)
    assert caplog.messages[0].startswith(said)
    with pytest.raises(EngineError, match=f"with exit status {status}, .*{re.escape(advice)}"):
        engine._replace(dead, settings)


@pytest.mark.slow
def test_a_worker_that_cannot_be_replaced_ends_the_search_with_the_command_that_goes_on(
    tmp_path: Path,
) -> None:
    end = "Path('gone').touch(); os._exit(3)"
    status, log, states = searched(tmp_path, end, "--workers", "1")
    assert status == 1, log
    assert not any(state.finished for state in states)
    assert "failed with ValueError: the data are gone" in log
    assert "a replacement worker could not start" in log
    assert "Continue with:\n  indian-tune search" in log


@pytest.mark.parametrize("end", RAISES)
def test_what_a_model_raises_is_a_failed_attempt_in_this_process_too(
    tmp_path: Path, end: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "ending.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("END", end)
    monkeypatch.delitem(sys.modules, "ending", raising=False)
    imports = (str(tmp_path),)
    storage = storage_url(f"sqlite:///{tmp_path / 'study.db'}")
    spec = parse_study(tomllib.loads(STUDY), source="ends.toml")
    with open_session(spec, storage, None, imports=imports) as session:
        settings = WorkerSettings(str(storage), "ends", tmp_path / "artifacts", imports=imports)
        # As the command does: with Python's own handler, a KeyboardInterrupt would be the user's.
        with interruptible(lambda: None) as interrupt:
            InlineEngine(settings).run(interrupt, lambda: None)
        states = [trial.state for trial in session.ledger.trials(session.id)]
    assert (tmp_path / "ended").exists()
    assert states == [State.COMPLETE] * 2
    assert "sgd/0: an attempt failed, it will be tried again" in caplog.text


@pytest.mark.parametrize(
    "end", [ENDS[0], pytest.param(ENDS[1], marks=[pytest.mark.slow, pytest.mark.night])]
)
def test_a_search_in_this_process_that_its_model_ends_is_no_success(
    tmp_path: Path, end: str
) -> None:
    status, log, states = searched(tmp_path, end, "--engine", "inline", "--json")
    assert status == 1
    assert f"user code ended this process early, with {end}: raise an exception" in log
    assert State.RUNNING in states


@pytest.mark.slow
@pytest.mark.parametrize(
    "end", [ENDS[0], *(pytest.param(end, marks=pytest.mark.night) for end in RAISES)]
)
def test_ray_takes_no_end_of_an_actor_for_success(tmp_path: Path, end: str) -> None:
    status, log, states = searched(tmp_path, end, "--engine", "ray", "--workers", "1")
    assert (status, states) == (0, [State.COMPLETE] * 2), log
