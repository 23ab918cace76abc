"""A Slurm cluster of one node, this machine, in a folder of its own; nothing else uses it."""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scontrol", "scancel", "sinfo")
START_SECONDS = 60.0
SETTINGS = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthInfo=socket={folder}/munge.sock
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=bf_interval=1
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobRequeue=1
KillWait=30
ReturnToService=2
SlurmdParameters=config_overrides
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=2000
PartitionName=main Nodes={host} Default=YES MaxTime=1-00:00:00
PartitionName=short Nodes={host} MaxTime=10
NodeName=far NodeHostname=far NodeAddr=127.0.0.1 Port=9 CPUs=1 State=DOWN
PartitionName=wide Nodes={host},far
"""


class OneNodeSlurm:
    """The cluster; its commands find it by ``SLURM_CONF``.

    Args:
        folder: of its files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._daemons: list[subprocess.Popen[bytes]] = []
        self.settings = folder / "slurm.conf"
        for name in ("state", "spool"):
            (folder / name).mkdir()
        with contextlib.ExitStack() as free:
            found = [free.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
            ports = [each.getsockname()[1] for each in found]
        self.settings.write_text(
            SETTINGS.format(
                host=socket.gethostname().partition(".")[0],
                user=getpass.getuser(),
                folder=folder,
                ports=ports,
            )
        )
        key = folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)

    def start(self) -> None:
        """Start the daemons, and wait until the node can be used."""
        folder = self._folder
        named = [f"--{name}={folder}/munge.{name}" for name in ("socket", "pid-file", "log-file")]
        self._start(
            *("munged", "--foreground", "--force", f"--key-file={folder}/munge.key"),
            *(f"--seed-file={folder}/munge.seed", *named[1:], f"--socket={folder}/munge.sock"),
        )
        self._until("munge", lambda: (folder / "munge.sock").exists())
        self._start("slurmctld", "-D", "-f", str(self.settings))
        # Its own view of the file system, in which a test can hide what compute nodes do not share.
        private = ("unshare", "--mount") if os.geteuid() == 0 else ()
        self._start(*private, "slurmd", "-D", "-f", str(self.settings))
        self._until("node", lambda: "idle" in self.run("sinfo", "--noheader", check=False))

    def stop(self) -> None:
        """End all jobs and the daemons."""
        with contextlib.suppress(AssertionError):
            self.end_jobs()
        for daemon in reversed(self._daemons):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def end_jobs(self) -> None:
        """Cancel and kill all jobs, and wait until none is left."""
        mine = f"--user={getpass.getuser()}"
        self.run("scancel", mine, check=False)
        self.run("scancel", "--signal=KILL", "--full", mine, check=False)
        self._until("end", lambda: not self.run("squeue", "--noheader", check=False))

    def run(self, *words: str, check: bool = True) -> str:
        """Run a command of Slurm's; return what it printed."""
        done = subprocess.run(
            words,
            env={**os.environ, "SLURM_CONF": str(self.settings)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout.strip()

    def done(self, *words: str) -> bool:
        """Run a command of Slurm's; return whether it did what it was asked."""
        environment = {**os.environ, "SLURM_CONF": str(self.settings)}
        return not subprocess.run(
            words, env=environment, capture_output=True, check=False
        ).returncode

    def running(self) -> list[str]:
        """Return the jobs of arrays that run, as ARRAY_TASK: the id of one is that of its array."""
        listed = self.run("squeue", "--array", "--noheader", "--states=R", "--format=%F_%K %j")
        jobs = [line.split() for line in listed.splitlines()]
        return sorted(job for job, name in jobs if "probe" not in name)

    @contextlib.contextmanager
    def hidden(self, folder: Path) -> Iterator[None]:
        """Let an empty folder take the place of one on the compute node within the block."""
        if os.geteuid() != 0:
            pytest.skip("only root can give the compute node a file system of its own")
        inside = ("nsenter", "--mount", f"--target={self._daemons[-1].pid}")
        subprocess.run((*inside, "mount", "-t", "tmpfs", "none", folder), check=True)
        try:
            yield
        finally:
            subprocess.run((*inside, "umount", "--lazy", folder), check=True)

    def _start(self, *words: str) -> None:
        self._daemons.append(
            subprocess.Popen(
                words,
                env={**os.environ, "SLURM_CONF": str(self.settings)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )

    def _until(self, what: str, there: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not there():
            logs = "\n".join(f"{file}:\n{file.read_text()}" for file in self._folder.glob("*.log"))
            assert time.monotonic() < deadline, f"no {what} in time\n{logs[-4000:]}"
            time.sleep(0.1)


@contextlib.contextmanager
def one_node_slurm() -> Iterator[OneNodeSlurm]:
    """Start the cluster; skip the test where its programs are missing or cannot run."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        reason = f"{', '.join(missing)} missing: install the packages slurm-wlm and munge"
        # Where the tests judge a change, nothing that can be installed may be left out.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    with tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        cluster = OneNodeSlurm(Path(name))
        try:
            try:
                cluster.start()
            except AssertionError as error:
                # Such as in a container that may not trace processes or make mounts.
                pytest.skip(f"Slurm's daemons do not start on this machine: {error}")
            yield cluster
        finally:
            cluster.stop()
