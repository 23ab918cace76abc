"""Where trials execute: in this process, in worker processes, on Ray, or in an engine of one's own.

An engine is made from its options (:class:`EngineOptions`), which :data:`ENGINES` or an entry point
names. All is looked up on first use: most of it loads the ledger and Optuna, and training torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.lazy import lazy_names

if TYPE_CHECKING:
    from indian_tune.engines.asking import LoopMaker, asked_run, check_asked
    from indian_tune.engines.devices import confine, cores, gpu_count, worker_devices
    from indian_tune.engines.engine import Engine, EngineOptions, PreparedEngine
    from indian_tune.engines.exclusive import training_alone
    from indian_tune.engines.flatness import FLATNESS_EXAMPLES, flatness_frame, kept_weights
    from indian_tune.engines.heartbeat import lost_workers
    from indian_tune.engines.interrupt import (
        Interrupt,
        Stalled,
        StoppedNow,
        end_at_once,
        interruptible,
    )
    from indian_tune.engines.joining import joined_controller, registered_study
    from indian_tune.engines.local.inline import InlineEngine
    from indian_tune.engines.local.options import LocalOptions
    from indian_tune.engines.local.processes import ProcessEngine, without_main
    from indian_tune.engines.outcomes import (
        end_run,
        end_trial,
        fail_attempt,
        give_back,
        record_epoch_reports,
    )
    from indian_tune.engines.own_code import folders, guarded_own_code, prepared
    from indian_tune.engines.process_info import check_not_daemonic
    from indian_tune.engines.ray.engine import RayEngine, cluster_resources
    from indian_tune.engines.rehearsal import check_writable
    from indian_tune.engines.runs import (
        keeps_weights,
        kept_folder,
        missing_data,
        problem_of,
        trainer_of,
        training_runs,
    )
    from indian_tune.engines.session import (
        Examination,
        Session,
        artifacts_folder,
        examine,
        make_optuna_tables,
        note_start,
        open_session,
        recorded_folder,
        study_folder,
    )
    from indian_tune.engines.settings import WorkerSettings
    from indian_tune.engines.simulated.curves import CurveTable
    from indian_tune.engines.simulated.engine import SimulatedEngine, VirtualClock
    from indian_tune.engines.slurm.arrays import ArrayStatus, array_status
    from indian_tune.engines.slurm.cluster import Cluster
    from indian_tune.engines.slurm.limits import limit_seconds, notice_seconds, short_limit
    from indian_tune.engines.slurm.script import LEFT_IN_TIME, JobRequest, job_variables
    from indian_tune.engines.slurm.submission import Fleet, Submitted, submit_workers
    from indian_tune.engines.table import ENGINES, engine_names, engine_options
    from indian_tune.engines.trials_in_hand import TrialsInHand
    from indian_tune.engines.worker import work

__all__ = [
    "ENGINES",
    "FLATNESS_EXAMPLES",
    "LEFT_IN_TIME",
    "ArrayStatus",
    "Cluster",
    "CurveTable",
    "Engine",
    "EngineOptions",
    "Examination",
    "Fleet",
    "InlineEngine",
    "Interrupt",
    "JobRequest",
    "LocalOptions",
    "LoopMaker",
    "PreparedEngine",
    "ProcessEngine",
    "RayEngine",
    "Session",
    "SimulatedEngine",
    "Stalled",
    "StoppedNow",
    "Submitted",
    "TrialsInHand",
    "VirtualClock",
    "WorkerSettings",
    "array_status",
    "artifacts_folder",
    "asked_run",
    "check_asked",
    "check_not_daemonic",
    "check_writable",
    "cluster_resources",
    "confine",
    "cores",
    "end_at_once",
    "end_run",
    "end_trial",
    "engine_names",
    "engine_options",
    "examine",
    "fail_attempt",
    "flatness_frame",
    "folders",
    "give_back",
    "gpu_count",
    "guarded_own_code",
    "interruptible",
    "job_variables",
    "joined_controller",
    "keeps_weights",
    "kept_folder",
    "kept_weights",
    "limit_seconds",
    "lost_workers",
    "make_optuna_tables",
    "missing_data",
    "note_start",
    "notice_seconds",
    "open_session",
    "prepared",
    "problem_of",
    "record_epoch_reports",
    "recorded_folder",
    "registered_study",
    "short_limit",
    "study_folder",
    "submit_workers",
    "trainer_of",
    "training_alone",
    "training_runs",
    "without_main",
    "work",
    "worker_devices",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "asking": ("LoopMaker", "asked_run", "check_asked"),
        "devices": ("confine", "cores", "gpu_count", "worker_devices"),
        "engine": ("Engine", "EngineOptions", "PreparedEngine"),
        "exclusive": ("training_alone",),
        "flatness": ("FLATNESS_EXAMPLES", "flatness_frame", "kept_weights"),
        "heartbeat": ("lost_workers",),
        "interrupt": ("Interrupt", "Stalled", "StoppedNow", "end_at_once", "interruptible"),
        "joining": ("joined_controller", "registered_study"),
        "local.inline": ("InlineEngine",),
        "local.options": ("LocalOptions",),
        "local.processes": ("ProcessEngine", "without_main"),
        "outcomes": ("end_run", "end_trial", "fail_attempt", "give_back", "record_epoch_reports"),
        "own_code": ("folders", "guarded_own_code", "prepared"),
        "process_info": ("check_not_daemonic",),
        "ray.engine": ("RayEngine", "cluster_resources"),
        "rehearsal": ("check_writable",),
        "runs": (
            "keeps_weights",
            "kept_folder",
            "missing_data",
            "problem_of",
            "trainer_of",
            "training_runs",
        ),
        "session": (
            "Examination",
            "Session",
            "artifacts_folder",
            "examine",
            "make_optuna_tables",
            "note_start",
            "open_session",
            "recorded_folder",
            "study_folder",
        ),
        "settings": ("WorkerSettings",),
        "simulated.curves": ("CurveTable",),
        "simulated.engine": ("SimulatedEngine", "VirtualClock"),
        "slurm.arrays": ("ArrayStatus", "array_status"),
        "slurm.cluster": ("Cluster",),
        "slurm.limits": ("limit_seconds", "notice_seconds", "short_limit"),
        "slurm.script": ("LEFT_IN_TIME", "JobRequest", "job_variables"),
        "slurm.submission": ("Fleet", "Submitted", "submit_workers"),
        "table": ("ENGINES", "engine_names", "engine_options"),
        "trials_in_hand": ("TrialsInHand",),
        "worker": ("work",),
    },
)
