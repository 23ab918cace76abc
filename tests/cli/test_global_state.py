"""What one trial's code switches for the whole process does not reach the next trial."""

from __future__ import annotations

import gc
import io
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from indian_tune.training.float32 import read_float32
from indian_tune.training.global_state import GlobalState
from indian_tune.training.loop import Loop
from indian_tune.training.precision import Precision

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Ended

SWITCHES: dict[str, Callable[[Path], object]] = {
    "grad mode": lambda _: torch.set_grad_enabled(False),
    "default dtype": lambda _: torch.set_default_dtype(torch.float64),
    "default device": lambda _: torch.set_default_device("meta"),
    "threads": lambda _: torch.set_num_threads(torch.get_num_threads() + 1),
    "deterministic algorithms": lambda _: torch.use_deterministic_algorithms(True),
    "deterministic algorithms, warning only": lambda _: torch.use_deterministic_algorithms(
        True, warn_only=True
    ),
    "TF32 of products": lambda _: setattr(torch.backends.cuda.matmul, "allow_tf32", True),
    "TF32 of cuDNN": lambda _: setattr(torch.backends.cudnn, "allow_tf32", False),
    "precision of products": lambda _: torch.set_float32_matmul_precision("medium"),
    "new TF32 of products": lambda _: setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32"),
    "new TF32 of convolutions": lambda _: setattr(
        torch.backends.cudnn.conv,  # type: ignore[attr-defined]
        "fp32_precision",
        "ieee",
    ),
    "new TF32 of all": lambda _: setattr(torch.backends, "fp32_precision", "tf32"),
    "cuDNN": lambda _: setattr(torch.backends.cudnn, "benchmark", True),
    "warning filters": lambda _: warnings.simplefilter("ignore"),
    "warning filters reset": lambda _: warnings.resetwarnings(),
    "signal handler": lambda _: signal.signal(signal.SIGUSR2, lambda *_: None),
    "signal ignored": lambda _: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    "anomaly": lambda _: torch.autograd.set_detect_anomaly(True),
    "autocast": lambda _: torch.set_autocast_enabled("cpu", True),
    "autocast of GPUs": lambda _: torch.set_autocast_enabled("cuda", True),
    "dtype of autocast": lambda _: torch.set_autocast_dtype("cpu", torch.float16),
    "denormal numbers": lambda _: torch.set_flush_denormal(True),
    "oneDNN": lambda _: setattr(torch.backends.mkldnn, "enabled", False),
    "attention": lambda _: torch.backends.cuda.enable_flash_sdp(False),
    "hooks": lambda _: nn.modules.module.register_module_forward_hook(lambda *_: None),
    "garbage": lambda _: gc.disable(),
    "logging": lambda _: logging.disable(),
    "sockets": lambda _: socket.setdefaulttimeout(1.0),
    "output": lambda _: setattr(sys, "stdout", io.StringIO()),
    "errors": lambda _: np.seterr(all="raise"),
    "folder": lambda path: os.chdir(path),
    "environment": lambda _: os.environ.update(A_SWITCH="on"),
}


@pytest.mark.parametrize("name", SWITCHES)
def test_a_switch_is_changed_back_and_reported(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "indian_tune")
    before = GlobalState()
    SWITCHES[name](tmp_path)
    assert GlobalState()._values != before._values
    before.restore("Trial a/0")
    assert GlobalState()._values == before._values
    # A switch may import a part of torch, which adds filters of warnings.
    assert 1 <= len(caplog.messages) <= 2
    assert all(message.startswith("Trial a/0 changed ") for message in caplog.messages)
    caplog.clear()
    before.restore("Trial a/0")
    assert not caplog.messages


def test_what_another_thread_of_the_program_may_have_changed_is_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ends = threading.Event()
    other = threading.Thread(target=ends.wait)
    other.start()
    before, after = GlobalState(), GlobalState()
    try:
        os.environ["OF_A_THREAD"] = "on"
        ends.set()
        other.join()
        # It ran when this began, and may have done it; not what comes later.
        for _ in range(2):
            before.restore("A trial", randomness=False)
            assert os.environ["OF_A_THREAD"] == "on"
        assert not caplog.messages
        hook = nn.modules.module.register_module_forward_hook(lambda *_: None)
        after.restore("A trial", randomness=False)
        hook.remove()
        (told,) = caplog.messages
        assert told.startswith("A trial, or another thread of the program, changed the hooks of")
        os.environ["OF_A_TRIAL"] = "on"
        before.restore("A trial", randomness=False)
        assert "OF_A_TRIAL" not in os.environ
    finally:
        os.environ.pop("OF_A_THREAD", None)


@pytest.mark.parametrize("tf32", [False, True])
def test_a_model_may_use_the_new_switches_of_precision(
    tf32: bool, caplog: pytest.LogCaptureFixture
) -> None:
    before = GlobalState()
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
    mixed = read_float32()
    with pytest.raises(RuntimeError, match="mix of the legacy and new APIs"):
        torch.get_float32_matmul_precision()
    with Precision(tf32=tf32).arithmetic(torch.device("cuda")):
        assert torch.backends.cuda.matmul.allow_tf32 == tf32
        assert torch.backends.cudnn.allow_tf32 == tf32
        assert torch.get_float32_matmul_precision() == ("high" if tf32 else "highest")
    assert read_float32().items() >= mixed.items()
    GlobalState().restore("a trial of a study whose code leaves it so when it is imported")
    assert not caplog.messages
    before.restore("a trial")
    assert torch.get_float32_matmul_precision() == "highest"
    assert len(caplog.messages) == 1


def test_global_generators_start_again() -> None:
    before = GlobalState()
    drawn = random.random(), np.random.random()
    before.restore("a trial", randomness=False)
    assert (random.random(), np.random.random()) != drawn
    before.restore("a trial")
    assert (random.random(), np.random.random()) == drawn


def test_a_model_that_switches_leaves_the_record_of_later_trials_as_it_is(
    command: Callable[..., Ended],
    tmp_path: Path,
    tiny_toml: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "tiny.toml").write_text(tiny_toml, encoding="utf-8")
    tables = {}
    real = Loop.advance
    for switches in (False, True):
        calls = 0

        def advance(self: Any, lives: Any, *, switches: bool = switches) -> Any:
            nonlocal calls
            calls += 1
            done = real(self, lives)
            if switches and calls == 1:
                torch.set_default_dtype(torch.float64)
                torch.set_grad_enabled(False)
            return done

        monkeypatch.setattr(Loop, "advance", advance)
        file = f"{switches}.db"
        ended = command("search", "tiny.toml", "--engine", "inline", "--storage", file)
        assert ended.status == 0, ended.err
        assert ("changed the default dtype" in caplog.text) == switches
        out = f"out-{switches}"
        command("export", "tiny", "--format", "csv", "--out", out, "--storage", file)
        tables[switches] = pd.read_csv(tmp_path / out / "epochs.csv").drop(columns="seconds")
    pd.testing.assert_frame_equal(tables[False], tables[True])


def test_the_compiler_is_imported_before_the_first_epoch() -> None:
    code = (
        "import sys, torch\n"
        "from indian_tune.training.startup import import_compiler_for, start_torch\n"
        "from indian_tune.optim import Indian\n"
        "start_torch(1)\n"
        "weights = [torch.nn.Parameter(torch.zeros(1))]\n"
        "import_compiler_for(Indian(weights))\n"
        "print('torch._dynamo' in sys.modules)\n"
        "optimizer = torch.optim.SGD(weights, lr=0.1)\n"
        "import_compiler_for(optimizer)\n"
        "before = set(sys.modules)\n"
        "weights[0].grad = torch.ones(1)\n"
        "optimizer.step()\n"
        "print(len(set(sys.modules) - before))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = done.stdout.split()
    assert first == "False"
    assert int(second) < 5
