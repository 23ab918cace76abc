"""The Ray engine: Ray Tune places, moves and checkpoints the trials, on one machine or a cluster.

Which configuration, prune or not, when done: the controller decides it, as in every engine. Ray's
own record is not used; a study that was interrupted continues from the ledger.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psutil
from pydantic import Field, field_validator, model_validator

from indian_tune.engines.devices import cores, gpu_count, show_gpus
from indian_tune.engines.joining import joined_controller, registered_study
from indian_tune.engines.local.options import PackOptions
from indian_tune.engines.ray.own_cluster import prepare_own_cluster, show_token
from indian_tune.errors import EngineError, InputError, StorageError
from indian_tune.ledger import reached_only_here, storage_url
from indian_tune.study.registration import epoch_timeout
from indian_tune.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from indian_tune.engines.interrupt import Interrupt
    from indian_tune.engines.settings import WorkerSettings
    from indian_tune.study.controller import Controller

logger = logging.getLogger(__name__)

# How often Ray may restart the actor of a trial whose attempt the ledger has ended already.
RESTARTS = 5

# How long a cluster may take to say what it has.
PROBE_SECONDS = 60.0

# What a cluster cannot do without; the names of Ray's programs.
_SERVERS = ("gcs_server", "raylet")

_START = (
    "Start it with `ray start --head`, or remove --ray-address to start a cluster on this machine. "
    "If it asks for a token, put it into ~/.ray/auth_token here"
)

# How long what a cluster has is taken for known.
RESOURCES_SECONDS = 10.0
_RAY_SETTINGS = {
    # The search has its own display, and its own answer to Ctrl-C.
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    # A fixed metric is demanded of results by default; ours are lists of records.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    # Files for Ray's own loggers: the ledger has all that would be in them.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # By default one actor is started after the other. How many trials are claimed at once, the
    # searcher says.
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",
    # A path in a study file means the same under every engine.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


class RayOptions(PackOptions):
    """What Ray is asked for; a trial gets as many CPUs as a worker has threads.

    With ``lanes`` Ray places workers, each of which trains as many runs together and uses the
    database itself; without, it places trials, and this process keeps the record.
    """

    workers: int | None = Field(
        default=None,
        ge=1,
        description="Trials at once on the cluster that the search starts (workers, with lanes); "
        "None for one per CPU.",
    )
    ray_address: str | None = Field(
        default=None,
        description="Cluster to join: auto, ray://HOST:PORT or HOST:PORT; None starts one on this "
        "machine for the search.",
    )
    gpus_per_trial: float = Field(
        default=0.0,
        ge=0,
        description="Logical GPUs per trial (per worker, with lanes); a fraction to share one.",
    )
    ray_storage: str | None = Field(
        default=None,
        description="Folder or address for Ray's checkpoints that every node can reach; None for a "
        "folder next to the artifacts.",
    )

    def capacity(self, resources: Mapping[str, float], threads: int) -> str:
        """Return what a cluster has, and how many trials it trains at once, in words.

        Args:
            resources: of the cluster, by name, such as ``CPU``.
            threads: CPU threads of a trial.
        """
        cpus, gpus = (int(resources.get(name, 0)) for name in ("CPU", "GPU"))
        has = f"{counted(cpus, 'CPU')} and {counted(gpus, 'GPU')}"
        at_once, lanes = self.trials_at_once(resources, threads), self.lanes
        if lanes is not None:
            return f"{has}: {counted(at_once, 'worker')} with {counted(lanes, 'lane')}"
        hint = "" if self.gpus_per_trial or not gpus else ", on CPUs alone: see --gpus-per-trial"
        return f"{has}: {counted(at_once, 'trial')} at once{hint}"

    def trials_at_once(self, resources: Mapping[str, float], threads: int) -> int:
        """Return how many trials a cluster trains at once; arguments as of :meth:`capacity`."""
        cpus, gpus = (int(resources.get(name, 0)) for name in ("CPU", "GPU"))
        trials = cpus // threads
        if self.gpus_per_trial:
            share = self.gpus_per_trial
            trials = min(trials, gpus * int(1 / share) if share < 1 else int(gpus // share))
        return trials

    @field_validator("gpus_per_trial")
    @classmethod
    def _whole_or_shared(cls, value: float) -> float:
        if value > 1 and value != int(value):
            raise ValueError(
                f"--gpus-per-trial = {value} must be a whole number, or below 1 to share a GPU"
            )
        return value

    @model_validator(mode="after")
    def _of_one_way(self) -> Self:
        if self.lanes is None and self.shrink_packs:
            raise ValueError("--shrink-packs needs --lanes with --engine ray: add it")
        if self.lanes is not None and self.ray_storage is not None:
            raise ValueError(
                "--ray-storage is not used with --lanes, as workers write their checkpoints to "
                "--artifacts: leave it out"
            )
        return self

    def make(self, settings: WorkerSettings) -> RayEngine:
        """Return the engine.

        Raises:
            InputError: the cluster cannot be reached, or no trial would ever start on it.
            StorageError: workers on other nodes could not use the database.
        """
        _check_cluster(self, settings)
        return RayEngine(settings, self)


class RayEngine:
    """Runs trials as Ray actors; this process drives and keeps the record."""

    def __init__(self, settings: WorkerSettings, options: RayOptions) -> None:
        self._settings = settings
        self._options = options

    @property
    def place(self) -> str:
        """Which cluster it is."""
        address = self._options.ray_address
        if address is None:
            return "Ray on this machine, which takes about ten seconds"
        return f"on the Ray cluster at {address}"

    def run(self, interrupt: Interrupt, tick: Callable[[], None]) -> None:
        """Work until the study is done or interrupted.

        Raises:
            CheckpointError: Ray cannot write its checkpoints.
            EngineError: Ray cannot be started or reached, or is lost on the way.
        """
        for variable, value in _RAY_SETTINGS.items():
            os.environ.setdefault(variable, value)
        if self._options.ray_address is None:
            prepare_own_cluster()
        else:
            show_token()
        from indian_tune.engines.ray.watch import ClusterWatch

        watch = ClusterWatch(self._connect(), interrupt.go_on)
        try:
            with (
                registered_study(self._settings) as study,
                watch.watching(),
            ):
                if self._options.lanes is not None:
                    self._place(interrupt, tick)
                    return
                with joined_controller(self._settings, study, "ray") as controller:
                    self._tune(controller, epoch_timeout(study), interrupt, tick)
        finally:
            watch.disconnect()

    def _place(self, interrupt: Interrupt, tick: Callable[[], None]) -> None:
        """Have workers placed that pack runs."""
        from indian_tune.engines.ray.workers import Placement

        asked = self._options
        settings = replace(self._settings, lanes=asked.lanes, shrink=asked.shrink_packs)
        demand = {"num_cpus": settings.threads, "num_gpus": asked.gpus_per_trial}
        Placement(settings, demand, self._slots()).run(interrupt, tick)

    def _connect(self) -> list[psutil.Process]:
        """Connect to Ray; return the processes of a cluster that was started for it."""
        import ray

        before = psutil.Process().children()
        # Ray prints the deaths of its processes to standard output, where the results belong.
        ray._private.worker.print_to_stdstream = _log_notice
        own: dict[str, Any] = {}
        address = self._options.ray_address
        if address is not None:
            _knock(address)
        else:
            own |= {"include_dashboard": False, "num_gpus": show_gpus()}
            if self._options.workers is not None:
                own["num_cpus"] = self._options.workers * self._settings.threads
        on_sigterm = signal.getsignal(signal.SIGTERM)
        try:
            context = ray.init(
                # Without an address Ray would join whatever cluster runs on this machine.
                address=address or "local",
                logging_level=logging.ERROR,
                log_to_driver=False,
                ignore_reinit_error=True,
                **own,
            )
        # A node that is not up in time is a plain Exception.
        except Exception as error:
            raise EngineError(
                f"Ray cannot be reached at {address or 'this machine'}: {error}"
            ) from error
        finally:
            # Ray answers SIGTERM by killing its processes at once, whoever has asked before.
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, on_sigterm)
        there: Mapping[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        has = self._options.capacity(there, self._settings.threads)
        _notice(f"Ray {ray.__version__} has {has}")
        if dashboard := getattr(context, "dashboard_url", ""):
            _notice(f"Ray's dashboard: http://{dashboard}")
        children = set(psutil.Process().children()).difference(before)
        return [child for child in children if child.name() in _SERVERS]

    def _tune(
        self,
        controller: Controller,
        limit: float | None,
        interrupt: Interrupt,
        tick: Callable[[], None],
    ) -> None:
        from ray import tune

        from indian_tune.engines.ray import driver as ray_driver
        from indian_tune.engines.ray.actor import TrialTrainable

        root = self._options.ray_storage or str((self._settings.artifacts / "ray").absolute())
        if "://" not in root:
            root = str(Path(root).absolute())
        name = controller.study.key
        driver = ray_driver.RayDriver(
            controller, self._settings, interrupt, f"{root}/{name}", limit
        )
        scheduler = ray_driver.DriverScheduler(driver, interrupt)
        losses = ray_driver.LossWatcher(driver, root)
        demand = {"cpu": self._settings.threads, "gpu": self._options.gpus_per_trial}
        trainable: Any = TrialTrainable
        if self._settings.in_hand is not None:
            # Sent once to each node, not with every trial.
            trainable = tune.with_parameters(TrialTrainable, in_hand=self._settings.in_hand)
        # It shows the traceback of whatever ended an actor.
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        try:
            tuner = tune.Tuner(
                tune.with_resources(trainable, {k: v for k, v in demand.items() if v}),
                tune_config=tune.TuneConfig(
                    search_alg=ray_driver.DriverSearcher(driver, self._slots()),
                    scheduler=scheduler,
                    num_samples=-1,
                    reuse_actors=True,
                    trial_dirname_creator=ray_driver.trial_folder,
                ),
                run_config=tune.RunConfig(
                    name=name,
                    storage_path=root,
                    failure_config=tune.FailureConfig(max_failures=RESTARTS),
                    # What has ended is recorded, and needs no checkpoint.
                    checkpoint_config=tune.CheckpointConfig(num_to_keep=2, checkpoint_at_end=False),
                    stop=ray_driver.RayStopper(interrupt, scheduler, losses),
                    callbacks=[
                        ray_driver.Ticker(tick),
                        ray_driver.Tidier(driver),
                        losses,
                    ],
                    verbose=0,
                ),
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tuner.fit()
        except OSError as error:
            raise ray_driver.unwritable(root, error) from error
        finally:
            driver.give_back()
        if losses.error is not None:
            raise losses.error
        if controller.done and "://" not in root:
            # Checkpoints of finished runs are of no more use; the ledger has the rest.
            shutil.rmtree(f"{root}/{name}", ignore_errors=True)

    def _slots(self) -> Callable[[], int]:
        """Return what tells how many trials may be claimed at once, those that wait included.

        On a cluster that was joined, one trial always waits, because Ray adds nodes only for trials
        that wait. On one that the search has started, none waits: its actor could not start.
        """
        import ray

        waiting = int(self._options.ray_address is not None)
        asked, known = 0.0, 0

        def slots() -> int:
            nonlocal asked, known
            if time.monotonic() - asked > RESOURCES_SECONDS or not known:
                there: Mapping[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
                known = max(1, self._options.trials_at_once(there, self._settings.threads))
                asked = time.monotonic()
            return known + waiting

        return slots


def _notice(text: str) -> None:
    # At this level to be shown, and marked as a notice, which is no warning.
    logger.warning("%s", text, extra={"notice": True})


def _log_notice(data: Mapping[str, Any], ignore_prefix: bool) -> None:
    """Take in what Ray says of its processes, in the place of its own function that prints it."""
    for line in data["lines"]:
        logger.debug("Ray: %s", line)


def _check_cluster(options: RayOptions, settings: WorkerSettings) -> None:
    """Check, before anything is written, that a cluster is there and that it can place a trial.

    Raises:
        InputError: it cannot be reached, or no trial would ever start on it.
        StorageError: its workers use the database, and those on other nodes could not.
    """
    threads = settings.threads
    if options.ray_address is None:
        where, there = "this machine", {"CPU": float(cores()), "GPU": float(gpu_count())}
        if options.workers is not None:
            there["CPU"] = options.workers * threads
    else:
        where = f"the Ray cluster at {options.ray_address}"
        try:
            _knock(options.ray_address)
            _notice(f"Asking {where} what it has, which takes about ten seconds")
            answer = _ask_cluster(options.ray_address)
            there = answer["resources"]
        except EngineError as error:
            raise InputError(f"--ray-address = {options.ray_address!r}: {error}") from error
        reason = reached_only_here(storage_url(settings.storage))
        if options.lanes is not None and reason and answer["hosts"] != [socket.gethostname()]:
            raise StorageError(
                f"{reason}, but with --lanes the workers on {', '.join(answer['hosts'])} use it: "
                "use a PostgreSQL server that all of them can reach, --storage "
                "postgresql+psycopg://USER@HOST/DATABASE, or leave --lanes out"
            )
    for option, name, wanted in (
        ("--threads-per-worker", "CPU", threads),
        ("--gpus-per-trial", "GPU", options.gpus_per_trial),
    ):
        if wanted > there.get(name, 0.0):
            raise InputError(
                f"{option} = {wanted:g} is more than the {there.get(name, 0.0):g} {name}s of "
                f"{where}: no trial could start, so give less"
            )


def cluster_resources(address: str) -> dict[str, float]:
    """Return what a Ray cluster has, by name, such as ``CPU``.

    Raises:
        EngineError: it cannot be reached.
    """
    return dict(_ask_cluster(address)["resources"])


def _ask_cluster(address: str) -> dict[str, Any]:
    """Return ``resources`` and ``hosts`` of a Ray cluster.

    Raises:
        EngineError: it cannot be reached.
    """
    _knock(address)
    show_token()
    program = Path(__file__).with_name("probe.py")
    try:
        # Nothing in the current folder may hide a module of Python's.
        done = subprocess.run(  # noqa: S603 - a program of ours
            [sys.executable, "-P", program, address],
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EngineError(
            f"Ray cannot be reached at {address}: no answer within {PROBE_SECONDS:.0f} s. {_START}"
        ) from error
    lines = done.stdout.splitlines()
    answer: dict[str, Any] = (
        json.loads(lines[-1]) if lines else {"error": done.stderr.strip()[-200:]}
    )
    if "error" in answer:
        reason = answer["error"].rstrip(".")
        raise EngineError(f"Ray cannot be reached at {address}: {reason}. {_START}")
    return answer


def _knock(address: str) -> None:
    """Find out at once whether anything listens at an address: Ray itself tries for minutes.

    Raises:
        EngineError: nothing does.
    """
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if not separator or not port.isdigit():
        # "auto", or a form that Ray must make sense of.
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise EngineError(f"Ray cannot be reached at {address}: {error}. {_START}") from error
