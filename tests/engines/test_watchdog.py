"""Progress keeps a lease, not life: what hangs is given up, whoever holds the interpreter."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from indian_tune.engines import keeper
from indian_tune.ledger import ArmPlan, Ledger, LedgerReader, Phase, State
from indian_tune.ledger.slots import BROKE
from indian_tune.study.file.spec import parse_study
from indian_tune.study.registration import epoch_timeout, register
from tests.engines.test_interrupt import HOLD, IGNORE, hanging
from tests.engines.test_own_exits import STUDY, searched

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HANG = "import time\nwhile True: time.sleep(1)"
# More than an epoch of the toy takes on a machine that is busy with other tests.
LIMITED = STUDY.replace("epochs = 2", "epochs = 2\nepoch_timeout = 10")
ARMS = [ArmPlan("indian", "indian", 1)]

PROGRAM = """
import sys
from indian_tune.engines import watchdog
watchdog.LEAST_SECONDS, watchdog.ORPHAN_SECONDS = float(sys.argv[2]), 1.0
with watchdog.watched(driver=int(sys.argv[1]) if sys.argv[1] else None) as watch:
    watch.at("epoch 3 of indian/4", {4: "indian/4"})
    print("ready", flush=True)
    exec(sys.argv[3])
"""


def program(
    does: str, stack: ExitStack, *, driver: int | None = None, least: float = 1.0
) -> subprocess.Popen[str]:
    """Start a worker without a study, and wait until it is watched."""
    process = stack.enter_context(
        subprocess.Popen(
            [
                *(sys.executable, "-c", PROGRAM),
                *("" if driver is None else str(driver), str(least), does),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=[] if driver is None else [driver],
        )
    )
    stack.callback(process.kill)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def told_by(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Wait until a program has ended; return what else it has written."""
    assert process.stdout is not None
    assert process.stderr is not None
    return process.stdout.read(), process.stderr.read()


@pytest.fixture
def driver() -> tuple[int, int]:
    """A pipe whose writing end is a driver's life."""
    return os.pipe()


@pytest.mark.parametrize("does", [HOLD, IGNORE], ids=["gil", "ignore"])
def test_a_worker_that_hangs_is_killed_and_its_stack_is_kept(
    does: str, driver: tuple[int, int]
) -> None:
    with ExitStack() as stack:
        process = program(does, stack, driver=driver[0])
        _, told = told_by(process)
        assert process.wait(60) == -signal.SIGKILL
        assert 'File "<string>"' in told
        assert "epoch 3 of indian/4 made no progress for 1 s" in told
        assert told.rstrip().endswith("(protocol.epoch_timeout): its worker was killed")


@pytest.mark.parametrize("does", [HOLD, IGNORE], ids=["gil", "ignore"])
def test_a_worker_whose_driver_is_gone_is_killed_whatever_it_does(
    does: str, driver: tuple[int, int]
) -> None:
    with ExitStack() as stack:
        process = program(does, stack, driver=driver[0], least=600.0)
        os.close(driver[1])
        assert process.wait(60) == -signal.SIGKILL


def test_what_hangs_in_a_process_with_other_work_is_interrupted_and_nothing_killed() -> None:
    does = (
        "from indian_tune.engines.interrupt import Stalled\nimport time\n"
        "try: time.sleep(300)\nexcept Stalled as error: print(error)"
    )
    with ExitStack() as stack:
        out, told = told_by(program(does, stack))
    assert "epoch 3 of indian/4 made no progress" in out
    assert told == ""


@pytest.mark.slow
def test_what_cannot_be_interrupted_is_told_and_nothing_killed() -> None:
    with ExitStack() as stack:
        process = program(HOLD, stack)
        assert process.stderr is not None
        told = process.stderr.readline()
        assert "made no progress" in told
        assert "It cannot be interrupted; press Ctrl-C twice to end it." in told
        assert process.poll() is None


def test_a_signal_of_others_interrupts_nothing() -> None:
    does = "import os, signal\nos.kill(os.getpid(), signal.SIGURG)\nprint('on', flush=True)"
    with ExitStack() as stack:
        out, _ = told_by(program(does, stack, least=600.0))
    assert out == "on\n"


def test_a_keeper_that_is_gone_is_replaced() -> None:
    does = (
        "import psutil, time\n"
        "(keeper,) = psutil.Process().children()\nkeeper.kill()\n"
        "while watch._keeper.poll() is None: time.sleep(0.01)\n"
        "watch.beat()\n"
        "(keeper,) = psutil.Process().children()\nprint('on', flush=True)"
    )
    with ExitStack() as stack:
        out, told = told_by(program(does, stack, least=600.0))
    assert (out, told) == ("on\n", "")


@pytest.fixture
def hears(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hears]:
    """Make a keeper in this process, whose seconds the test counts and who kills nobody."""
    with tempfile.TemporaryFile() as stacks, ExitStack() as stack:
        monkeypatch.setattr(keeper, "STACK_SECONDS", 0.0)
        # The keeper listens on its standard input.
        before, (reading, writing) = os.dup(0), os.pipe()
        for descriptor in (before, reading, writing):
            stack.callback(os.close, descriptor)
        stack.callback(os.dup2, before, 0)
        os.dup2(reading, 0)
        made = Hears(stacks.fileno(), writing)
        monkeypatch.setattr(keeper, "kill_tree", made.killed.append)
        yield made


class Hears:
    """A keeper of a worker whose process there is not."""

    def __init__(self, stacks: int, writing: int) -> None:
        self.writing = writing
        self.killed: list[int] = []
        self.keeper = keeper.Keeper(
            2**22 + 1, kill=True, stacks=stacks, driver=None, least=1.5, orphan=60.0
        )

    def told(self, message: dict[str, Any], *, seconds: float) -> bool:
        """Tell it something, let time go by, and return whether it has killed the worker."""
        self.keeper._take(message)
        self.keeper._pass(seconds)
        self.keeper._judge()
        return bool(self.killed)


def test_progress_and_rest_are_no_hanging(hears: Hears) -> None:
    at = {"trials": None, "runs": 1, "limit": None}
    for epoch in range(12):
        assert not hears.told({"at": f"epoch {epoch}", **at}, seconds=1.4)
    assert not hears.told({"at": None}, seconds=3600.0)
    assert not hears.told({"at": "epoch 12", **at}, seconds=1.4)
    assert not hears.told({"at": "epoch 13", **at, "limit": 20.0}, seconds=19.0)
    assert hears.told({"at": "epoch 14", **at}, seconds=1.6)


WORKER = """
import ctypes
import sys
from datetime import timedelta
from indian_tune.engines.heartbeat import joined
from indian_tune.engines.watchdog import watched
from indian_tune.ledger import Ledger, Phase
from indian_tune.training.run import EpochRecord
with Ledger.open(sys.argv[1]) as ledger, watched() as watch:
    ledger.lease = timedelta(seconds=12)
    study = ledger.study("study")
    with joined(ledger, study, "cpu", watch) as worker:
        lease = ledger.claim(study.id, Phase.TUNE, worker)
        (run,) = ledger.begin(lease, {}, 0, seeds=[0], epochs=2, provenance={})
        watch.at("epoch 1 of indian/0", {lease.trial.id: "indian/0"})
        print("claimed", flush=True)
        ctypes.PyDLL(None).sleep(18)
        print("released", flush=True)
        record = EpochRecord(key="key", epoch=1, step=1, metrics={}, sealed={}, seconds=6.0)
        assert ledger.record_pack([(lease, {run.id: record})]) == []
        ledger.release(lease)
"""


@pytest.mark.slow
def test_an_epoch_that_holds_the_interpreter_keeps_its_lease(storage: str) -> None:
    with Ledger.open(storage) as ledger:
        study = ledger.register("study", {}, "hash", ARMS)
        ledger.lease = timedelta(seconds=12)
        ledger.join(study.id, "other", host=socket.gethostname(), pid=1, started="0", device="cpu")
        with subprocess.Popen(
            [sys.executable, "-c", WORKER, storage], stdout=subprocess.PIPE, text=True
        ) as worker:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "claimed\n"
            deadline = time.monotonic() + 17
            while time.monotonic() < deadline:
                assert ledger.claim(study.id, Phase.TUNE, "other") is None
                time.sleep(0.1)
            assert worker.stdout.readline() == "released\n"
        assert worker.returncode == 0
        (trial,) = ledger.trials(study.id)
        assert (trial.state, trial.attempts) == (State.WAITING, 0)


def test_what_a_worker_gives_up_is_an_attempt_and_the_third_one_fails(storage: str) -> None:
    arms = [ArmPlan("indian", "indian", 2)]
    told = "File ...\nepoch 1 of indian/0 made no progress for 600 s"
    with Ledger.open(storage) as ledger:
        study = ledger.register("study", {}, "hash", arms)
        found = []
        for name in ("first", "second", "third"):
            ledger.join(study.id, name, host="here", pid=1, started="0", device="cpu")
            leases = [ledger.claim(study.id, Phase.TUNE, name) for _ in range(2)]
            hangs, other = (lease.trial.id for lease in leases if lease is not None)
            for lease in leases:
                assert lease is not None
                ledger.begin(lease, {}, 0, seeds=[0], epochs=2, provenance={})
            # Done twice, as after an answer that was lost.
            found += [ledger.give_up(name, told, {hangs: "indian/0"}, ends=True) for _ in range(2)]
            assert ledger.trial(other).state is State.WAITING
            assert ledger.trial(other).attempts == 0
        assert found == [{1: State.WAITING}, {}, {1: State.WAITING}, {}, {1: State.FAILED}, {}]
        assert ledger.trial(1).reason == "epoch 1 of indian/0 made no progress for 600 s"
        assert ledger.runs(1)[0].error == told
        losses = [event.data for event in ledger.events(study.id, "worker lost")]
        assert [loss["worker"] for loss in losses] == ["first", "second", "third"]
        assert losses[0]["trials"] == ["indian/0"]
        assert not [worker for worker in ledger.workers(study.id) if worker.left_at is None]


def test_a_worker_that_goes_on_before_it_is_killed_is_left_alone(
    storage: str, hears: Hears
) -> None:
    with Ledger.open(storage) as ledger:
        study = ledger.register("study", {}, "hash", [ArmPlan("indian", "indian", 1)])
        ledger.join(study.id, "slow", host="here", pid=1, started="0", device="cpu")
        assert ledger.claim(study.id, Phase.TUNE, "slow") is not None
        told = {"storage": storage, "study": study.id, "worker": "slow", "lease": 60.0}
        hears.told({"joined": told}, seconds=0.0)
        at = {"trials": [[1, "indian/0"]], "runs": 1, "limit": 1.0}
        for moved in (True, False):
            if moved:
                line = json.dumps({"at": "epoch 2 of indian/0", **at}).encode() + b"\n"
                os.write(hears.writing, line)
            assert hears.told({"at": "epoch 1 of indian/0", **at}, seconds=2.0) is not moved
            assert ledger.trial(1).state is (State.RUNNING if moved else State.WAITING)


def test_a_loss_names_only_trials_that_the_worker_still_held(storage: str) -> None:
    with Ledger.open(storage) as ledger:
        study = ledger.register("study", {}, "hash", [ArmPlan("indian", "indian", 2)])
        ledger.join(study.id, "one", host="here", pid=1, started="0", device="cpu")
        leases = [ledger.claim(study.id, Phase.TUNE, "one") for _ in range(2)]
        assert leases[0] is not None
        ledger.release(leases[0])
        both = {1: "indian/0", 2: "indian/1"}
        assert ledger.give_up("one", "hangs", both, ends=True) == {2: State.WAITING}
        (loss,) = ledger.events(study.id, "worker lost")
    assert loss.data["trials"] == ["indian/1"]


def broken_attempts(folder: Path) -> list[str]:
    """Return what is recorded of every attempt that ended early."""
    with LedgerReader.open(f"sqlite:///{folder / 'indian-tune.db'}") as ledger:
        events = ledger.events(ledger.study("ends").id, BROKE)
    return [event.data["traceback"] for event in events]


@pytest.mark.slow
def test_a_hanging_epoch_is_one_attempt_and_another_process_trains_it(tmp_path: Path) -> None:
    status, log, states = searched(tmp_path, HOLD, "--workers", "1", study=LIMITED)
    assert (status, states) == (0, [State.COMPLETE] * 2), log
    assert "epoch 1 of sgd/0 made no progress for 10 s" in log
    assert "its worker was killed and is replaced" in log
    (told,) = broken_attempts(tmp_path)
    assert "ending.py" in told


@pytest.mark.slow
def test_a_hanging_epoch_in_this_process_is_given_up_and_reported(tmp_path: Path) -> None:
    status, log, states = searched(tmp_path, HANG, "--engine", "inline", study=LIMITED)
    assert (status, states) == (1, [State.WAITING] * 2), log
    assert "epoch 1 of sgd/0 made no progress for 10 s" in log
    assert "no process was killed" in log
    assert "indian-tune search ends.toml" in log
    assert "Where it was:\n  indian-tune show ends sgd/0\n" in log
    (told,) = broken_attempts(tmp_path)
    assert "ending.py" in told


@pytest.mark.slow
@pytest.mark.night
def test_a_hanging_epoch_on_ray_is_one_attempt_and_another_actor_trains_it(
    tmp_path: Path,
) -> None:
    options = ("--engine", "ray", "--workers", "1")
    status, log, states = searched(tmp_path, HOLD, *options, study=LIMITED)
    assert (status, states) == (0, [State.COMPLETE] * 2), log
    (told,) = broken_attempts(tmp_path)
    assert "ending.py" in told
    assert "an epoch of sgd/0 made no progress for 10 s" in told


@pytest.mark.slow
def test_a_worker_of_a_killed_search_ends_itself(tmp_path: Path) -> None:
    with ExitStack() as stack:
        search = hanging(tmp_path, IGNORE, stack, "--workers", "1")
        started = psutil.Process(search.pid).children(recursive=True)
        search.kill()
        search.wait()
        deadline = time.monotonic() + 60
        while any(child.is_running() and child.status() != "zombie" for child in started):
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_the_timeout_of_a_registered_study_may_be_changed_and_changes_no_digest(
    storage: str, tiny: dict[str, Any]
) -> None:
    registered = parse_study(tiny, source="study.toml")
    for seconds in (None, 30.0, 1000.5, None):
        protocol = tiny["protocol"] | ({} if seconds is None else {"epoch_timeout": seconds})
        spec = parse_study(tiny | {"protocol": protocol}, source="study.toml")
        with Ledger.open(storage) as ledger:
            study = register(ledger, spec)
            assert epoch_timeout(study) == seconds
            assert study.record.spec_hash == registered.digest
