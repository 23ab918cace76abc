"""A worker that is cut off from the database for longer than its lease lasts, and comes back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.engines.interrupt import Interrupt
from indian_tune.engines.local.inline import InlineEngine
from indian_tune.ledger import LedgerReader, State
from tests.conftest import postgres_server
from tests.engines.test_chaos import assert_sound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from indian_tune.engines.settings import WorkerSettings
    from indian_tune.study.file.spec import StudySpec
    from tests.conftest import PostgresServer
    from tests.engines.conftest import Metrics

# Addresses that are reserved for tests of networks (RFC 2544).
NETWORK = "198.18.77.0/24"
SETTINGS = {"fsync": "off"}
LEASE_SECONDS = 4
# Far above what a busy machine needs, and below what would hold up a whole suite.
PATIENCE_SECONDS = 240.0
# Defaults of minutes would make a long test; what stands in the address goes before them.
IMPATIENT = "?tcp_user_timeout=2000&connect_timeout=2"
# The command with short leases.
WORKER = f"""
import sys
from datetime import timedelta
from indian_tune.cli import main
from indian_tune.ledger import Ledger
Ledger.lease = timedelta(seconds={LEASE_SECONDS})
sys.argv[0] = "indian-tune"
if __name__ == "__main__":
    main()
"""


class Link:
    """A network namespace with a cable of its own to this host.

    Args:
        number: of the link.
    """

    def __init__(self, number: int) -> None:
        self.name = f"it{os.getpid()}-{number}"
        self._host_end = f"{self.name}h"
        self.host = f"198.18.77.{4 * number + 1}"
        self._inside = f"198.18.77.{4 * number + 2}"

    def lay(self) -> None:
        ip("netns", "add", self.name)
        ip("link", "add", self._host_end, "type", "veth", "peer", "eth0", "netns", self.name)
        ip("addr", "add", f"{self.host}/30", "dev", self._host_end)
        ip("link", "set", self._host_end, "up")
        ip("-n", self.name, "addr", "add", f"{self._inside}/30", "dev", "eth0")
        ip("-n", self.name, "link", "set", "eth0", "up")

    def cut(self) -> None:
        ip("link", "set", self._host_end, "down")

    def repair(self) -> None:
        ip("link", "set", self._host_end, "up")

    def remove(self) -> None:
        ip("netns", "delete", self.name)


def ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


@pytest.fixture
def links() -> Iterator[tuple[Link, Link]]:
    """Two cables, where network namespaces may be made."""
    if shutil.which("ip") is None:
        reason = "the program ip is missing: install the package iproute2"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    made = Link(0), Link(1)
    with ExitStack() as stack:
        try:
            for link in made:
                link.lay()
                stack.callback(link.remove)
        except OSError as error:
            pytest.skip(f"network namespaces are not permitted here: {error}")
        yield made


@pytest.fixture
def server(links: tuple[Link, Link]) -> Iterator[PostgresServer]:
    with postgres_server(
        {**SETTINGS, "listen_addresses": f"{links[0].host},{links[1].host}"}
    ) as made:
        made.admit(NETWORK)
        made.start()
        yield made


@pytest.fixture
def tiny(tiny: dict[str, Any]) -> dict[str, Any]:
    """With runs that take seconds, so that a cable can be cut in the middle of one."""
    tiny["problem"]["batch_size"] = 8
    tiny["protocol"] |= {"epochs": 8, "tune_epochs": 8}
    return tiny


@pytest.fixture
def undisturbed(
    tmp_path: Path,
    tiny: dict[str, Any],
    settings_for: Callable[..., WorkerSettings],
    register: Callable[[str, dict[str, Any]], StudySpec],
    metrics: Callable[..., Metrics],
) -> Metrics:
    """The record of this longer study when one worker trains it without interruption."""
    storage = f"sqlite:///{tmp_path / 'undisturbed.db'}"
    register(storage, tiny)
    InlineEngine(settings_for(storage)).run(Interrupt(), lambda: None)
    return metrics(storage)


@contextmanager
def worker(link: Link, storage: str, artifacts: Path) -> Iterator[subprocess.Popen[str]]:
    """Run `indian-tune worker` at the other end of a cable."""
    # A file: the worker's own process reads it, too.
    program = artifacts.with_name("worker.py")
    program.write_text(WORKER)
    command = ["ip", "netns", "exec", link.name, sys.executable, str(program), "worker", "tiny"]
    command += ["--storage", storage, "--artifacts", str(artifacts)]
    log = artifacts.with_name(f"{link.name}.log")
    with log.open("w") as stderr, subprocess.Popen(command, stderr=stderr, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until(condition: Callable[[], bool], *processes: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in processes)
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.timeout(600)
def test_a_worker_that_comes_back_too_late_is_refused_and_counts_nothing_twice(
    links: tuple[Link, Link],
    server: PostgresServer,
    tiny: dict[str, Any],
    undisturbed: Metrics,
    tmp_path: Path,
    settings_for: Callable[..., WorkerSettings],
    register: Callable[[str, dict[str, Any]], StudySpec],
    metrics: Callable[[str], Metrics],
) -> None:
    storage = server.new_database()
    register(storage, tiny)
    artifacts = settings_for(storage).artifacts
    lost, other = links
    database = storage.partition("?")[0].rpartition("/")[2]

    def address(link: Link) -> str:
        return f"postgresql+psycopg://tester@{link.host}/{database}{IMPATIENT}"

    with LedgerReader.open(storage) as ledger, ExitStack() as stack:
        study = ledger.study("tiny")
        first = stack.enter_context(worker(lost, address(lost), artifacts))

        def midway() -> bool:
            done = [run.epochs_done for run in ledger.study_runs(study.id)]
            return bool(done) and 2 <= done[-1] < 6

        wait_until(midway, first)
        lost.cut()
        (held,) = ledger.trials(study.id, states=(State.RUNNING,))
        second = stack.enter_context(worker(other, address(other), artifacts))

        def taken_over() -> bool:
            return any(
                event.kind == "taken over" and event.trial_id == held.id
                for event in ledger.events(study.id)
            )

        wait_until(taken_over, first, second)
        lost.repair()
        assert [process.wait(PATIENCE_SECONDS) for process in (first, second)] == [0, 0]
        workers = {worker.id for worker in ledger.workers(study.id)}
        (event,) = [event for event in ledger.events(study.id) if event.kind == "taken over"]
    assert {event.data["from"], event.data["by"]} == workers
    assert held.worker_id == event.data["from"]
    told = (tmp_path / f"{lost.name}.log").read_text()
    assert "another worker took it over" in told
    assert "trying again" in told
    assert "Traceback" not in told
    assert_sound(storage, {"indian": 2, "sgd": 2, "confirm": 4})
    assert metrics(storage) == undisturbed
