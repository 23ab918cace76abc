"""Planning a study: what `indian-tune plan` and :func:`indian_tune.plan` have in common."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from indian_tune.engines.devices import worker_devices
from indian_tune.engines.own_code import guarded_own_code, prepared
from indian_tune.errors import InputError, check_platform
from indian_tune.planning import make_plan
from indian_tune.planning.plan import DEFAULT_SD

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from indian_tune.planning.plan import Plan
    from indian_tune.service.studies import FoundStudy


@dataclass(frozen=True)
class PlanRequest:
    """What is asked of a plan; the names are those of the command's options.

    Attributes:
        workers: worker processes; ``None`` for one per GPU, or per CPU core.
        devices: ``auto``, ``cpu``, or a list.
        threads_per_worker: CPU threads of a worker.
        timing: whether steps are timed.
        assume_gpu: a GPU that times are estimated for in place of that; ``None`` for none.
        sd: assumed standard deviation of paired differences, as a share of accuracy, or in
            the unit of another task's metric.
        pilot: finished study to take the deviations from.
        source: the same, a file of runs.
        storage: the database.
        data_dir: folder of the data sets.
        allow_import: lets code run that the study names, and the caller has not in hand.
    """

    workers: int | None = None
    devices: str = "auto"
    threads_per_worker: int = 1
    timing: bool = True
    assume_gpu: str | None = None
    sd: float | None = None
    pilot: str | None = None
    source: Path | None = None
    storage: str | None = None
    data_dir: Path | None = None
    allow_import: bool = False


def make(
    found: FoundStudy,
    request: PlanRequest,
    *,
    on_own_code: Callable[[], None] = lambda: None,
    on_timing: Callable[[Sequence[str]], None] = lambda _devices: None,
) -> Plan:
    """Return the plan of a study.

    Args:
        found: the study.
        request: what is asked.
        on_own_code: called before own code is run.
        on_timing: called with the devices before steps are timed.

    Raises:
        InputError: something cannot be used.
    """
    check_platform()
    sd = request.sd
    own = found.spec.problem.factory is not None
    if sd is not None and not 0 < sd < (math.inf if own else 1):
        raise InputError(
            f"--sd = {sd} must be above 0 and below 1: 0.01 is one percentage point of accuracy"
            if not own
            else f"--sd = {sd} must be a number above 0"
        )
    imports = found.imports(allowed=request.allow_import)
    runs = None
    with found.at_hand():
        spec = prepared(found.spec, imports, on_own_code)
        assigned = worker_devices(request.devices, request.workers, request.threads_per_worker)
        if request.source is not None:
            from indian_tune.service.own_runs import read_runs

            runs = read_runs(request.source)
        with guarded_own_code(spec):
            return make_plan(
                spec,
                assigned,
                sd=sd or (DEFAULT_SD if spec.problem.outcome.share else None),
                pilot=request.pilot if request.source is None else str(request.source),
                storage=request.storage,
                runs=runs,
                data_dir=request.data_dir,
                threads=request.threads_per_worker,
                imports=imports,
                in_hand=found.packed() if request.timing else None,
                timing=request.timing,
                assume_gpu=request.assume_gpu,
                on_timing=lambda: on_timing(assigned),
            )
