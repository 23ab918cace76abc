"""The plan of a study: counts, cost, memory, power, and what it cannot show."""

from __future__ import annotations

import itertools
import math
import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from indian_tune.planning.cautions import prospects, warnings
from indian_tune.planning.gpu_model import HOUR, estimate_on, get_gpu
from indian_tune.planning.timing import LOOP_SECONDS
from indian_tune.planning.workload import CURVATURES, unstable_shares, workload
from indian_tune.study.claims import LEAST_SEARCHES
from indian_tune.study.examples import example_counts
from indian_tune.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from indian_tune.analysis import Power
    from indian_tune.ledger import Phase
    from indian_tune.planning.allocation import Allocation
    from indian_tune.planning.cost import Estimate
    from indian_tune.planning.gpu_model import GpuEstimate
    from indian_tune.planning.pilot import Pilot
    from indian_tune.planning.workload import Work
    from indian_tune.study import StudySpec

# As a multiple; what is less may be chance.
SLOWER = 1.05
# Where nothing is known: between the spread of runs on digits and that of long runs on CIFAR.
DEFAULT_SD = 0.01
# Why nothing was timed, when that was the user's wish.
NOT_ASKED = "--no-timing"
# Why a loop of one's own is not.
OWN_LOOP = (
    "an epoch of the study's training loop takes longer than the time limit of "
    f"{LOOP_SECONDS:.0f} s; use --pilot or --from to read the time from a finished study"
)


@dataclass(frozen=True)
class Memory:
    """What a run needs, in bytes; the largest of all arms.

    Attributes:
        run_bytes: counted: weights, gradients, optimizer and activations of one run.
        data_bytes: counted: the images, once for a worker.
        device_bytes: measured on a GPU; ``None`` if none was.
        process_bytes: measured: a worker's whole process; ``None`` if none was.
    """

    run_bytes: int
    data_bytes: int
    device_bytes: int | None
    process_bytes: int | None


@dataclass(frozen=True)
class Plan:
    """All that is said of a study before it runs.

    Attributes:
        spec: the study.
        devices: device of every worker there would be.
        estimate: what it costs; ``None`` when nothing was timed.
        not_timed: why not.
        memory: ``None`` when it was not asked for.
        powers: what searches can find, by contrast; none if the pilot does not tell.
        pilot: what the deviation behind them is from; ``None`` if it is an assumption.
        allocations: how δ is reached at the least cost; none without a pilot of several searches.
        assumed: what it would cost on a GPU that is not at hand, by a model; ``None`` if that was
            not asked for.
    """

    spec: StudySpec
    devices: tuple[str, ...]
    estimate: Estimate | None
    not_timed: str | None
    memory: Memory | None
    powers: Mapping[str, Power]
    pilot: Pilot | None
    allocations: tuple[Allocation, ...] = ()
    assumed: GpuEstimate | None = None

    @property
    def missed(self) -> bool:
        """Whether nothing was timed although that was the user's wish."""
        wished = self.not_timed not in (NOT_ASKED, OWN_LOOP) and self.assumed is None
        return self.estimate is None and wished

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as plain data; times in seconds, shares in [0, 1]."""
        spec = self.spec
        own = spec.problem.own_loop
        sizes = (None, None, None) if own else example_counts(spec)
        # An epoch of a loop is timed as a whole.
        unknown = dict.fromkeys(("step_seconds", "image_seconds") if own else ())
        cost: dict[str, Any] = {"timed": self.estimate is not None, "reason": self.not_timed}
        seconds: dict[tuple[str, Phase], tuple[float, float]] = {}
        if self.estimate is not None:
            cost |= {
                "wall_seconds": self.estimate.wall_seconds,
                "device_hours": self.estimate.device_seconds / HOUR,
                "speeds": {
                    arm: [{**asdict(speed), **unknown} for speed in speeds]
                    for arm, speeds in self.estimate.speeds.items()
                },
            }
            seconds = {
                (one.work.arm, one.work.phase): (one.epoch_seconds, one.seconds)
                for one in self.estimate.costs
            }
        work = workload(spec)
        return {
            "study": spec.name,
            "mode": spec.protocol.mode,
            "images": dict(zip(("train", "validation", "test"), sizes, strict=True)),
            "workers": list(self.devices),
            "work": [
                {
                    **counts(spec, [each]),
                    "arm": each.arm,
                    "phase": str(each.phase),
                    "trials": each.trials,
                    "epochs_per_run": each.epochs,
                    "steps_per_epoch": None if own else each.steps_per_epoch,
                    "epoch_seconds": seconds.get((each.arm, each.phase), (None, None))[0],
                    "seconds": seconds.get((each.arm, each.phase), (None, None))[1],
                }
                for each in work
            ],
            "total": counts(spec, work),
            "cost": cost,
            "assumed_gpu": None if self.assumed is None else self.assumed.as_dict(),
            "memory": None if self.memory is None else asdict(self.memory),
            "unstable": {
                "curvatures": list(CURVATURES),
                "arms": {arm.name: unstable_shares(spec, arm.name) for arm in spec.arms},
            },
            "power": {
                "assumed": self.pilot is None,
                "pilot": None if self.pilot is None else self.pilot.name,
                "contrasts": {name: asdict(power) for name, power in self.powers.items()},
            },
            "allocations": {
                "unit": None if self.pilot is None else self.pilot.price.unit,
                "cheapest_first": [asdict(each) for each in self.allocations],
            },
            "hypotheses": [asdict(each) for each in prospects(spec)],
            "warnings": self.warnings(),
        }

    def warnings(self) -> list[str]:
        """Return what to think of before the study is run."""
        said = [*self._about_precision(), *warnings(self.spec)]
        said += self._about_gates()
        if self.missed:
            said.insert(0, str(self.not_timed))
        if not self.powers:
            from indian_tune.analysis.power import ONE_SEARCH

            if self.pilot is not None:
                said.append(f"--pilot {self.pilot.name}: {ONE_SEARCH} in the pilot, or give --sd")
            return said
        needed = max(power.needed for power in self.powers.values())
        n = self.spec.replicates
        judged = self.spec.protocol.mode == "honest" and self.spec.claims.claimed
        if judged and n < needed:
            said.append(
                f"{counted(n, 'search', 'searches')} of every arm: fewer than the {needed} that "
                "are needed to find δ in all contrasts with 80 % probability, if the standard "
                "deviation is right: raise search.replicates"
            )
        return said

    def _about_gates(self) -> Iterator[str]:
        """Warn of gates that more searches do not open, as far as the pilot tells."""
        pilot, claims = self.pilot, self.spec.claims
        if pilot is None or not claims.claimed:
            return
        outcome = self.spec.problem.outcome
        where = f"in pilot {pilot.name}, by {pilot.metric.partition('_')[0]} {outcome.title},"
        if pilot.overfit is not None and pilot.overfit < 2 * claims.delta:
            yield (
                f"{where} SGD is {outcome.signed(pilot.overfit)} {outcome.unit} better on its "
                f"training examples, less than 2δ = {outcome.amount(2 * claims.delta)}: the gate "
                "“range” would withhold every verdict, whatever the number of searches"
            )
        if pilot.regularized is not None and pilot.regularized < claims.delta:
            yield (
                f"{where} dropout and weight decay gain SGD {outcome.signed(pilot.regularized)} "
                f"{outcome.unit}, less than δ = {outcome.amount(claims.delta)}: the gate “assay” "
                "would withhold REFUTED, whatever the number of searches"
            )

    def _about_precision(self) -> Iterator[str]:
        slower: dict[str, float] = {}
        for arm, speeds in ({} if self.estimate is None else self.estimate.speeds).items():
            ratios = [each.over_float32 for each in speeds if each.over_float32 is not None]
            if ratios and (ratio := statistics.fmean(ratios)) > SLOWER:
                slower[arm] = ratio
        if slower:
            worst = max(slower, key=lambda arm: slower[arm])
            yield (
                f"problem.precision = 'bfloat16' is slower than 'float32' on this CPU: {worst!r} "
                f"takes {slower[worst]:.2f} times as long for the same steps, timed in turn: use "
                "'float32'"
            )


def make_plan(
    spec: StudySpec,
    devices: Sequence[str],
    *,
    sd: float | None,
    pilot: str | None = None,
    storage: str | None = None,
    runs: pd.DataFrame | None = None,
    data_dir: Path | None = None,
    threads: int = 1,
    imports: tuple[str, ...] | None = None,
    in_hand: bytes | None = None,
    timing: bool = True,
    assume_gpu: str | None = None,
    on_timing: Callable[[], None] = lambda: None,
) -> Plan:
    """Return what a study will cost and can show; nothing is written.

    Args:
        spec: of the study.
        devices: device of every worker there would be.
        sd: assumed standard deviation of paired differences, as a share of accuracy, or in the
            unit of another task's metric; ``None`` where nothing is assumed.
        pilot: study in ``storage`` to take the deviations from in place of that one, or a name for
            ``runs``.
        storage: where the pilot is recorded.
        runs: of a pilot that is not recorded: a row per run and epoch.
        data_dir: folder of the data sets; ``None`` for the default.
        threads: CPU threads of each worker.
        imports: folders in which own code is looked for; ``None`` if none may be imported.
        in_hand: what the caller has in hand, see ``WorkerSettings``.
        timing: whether steps are timed, where the data set is there.
        assume_gpu: name of a GPU that times are estimated for; nothing is timed then.
        on_timing: called before they are.

    Raises:
        EngineError: a worker could not measure.
        InputError: the pilot has nothing to take the deviations from, or the GPU is not known or
            cannot be reckoned with.
    """
    from indian_tune.engines.runs import missing_data

    assumed = None
    if assume_gpu is not None:
        assumed = estimate_on(spec, get_gpu(assume_gpu), imports)

    found_pilot = None if pilot is None else _pilot(spec, pilot, storage, runs)
    powers = _powers(spec, sd, found_pilot)
    reason = missing_data(spec, data_dir) or (None if timing else NOT_ASKED)
    if assumed is not None:
        reason = f"--assume-gpu {assumed.gpu.name}"
    found = None
    if reason is None:
        from indian_tune.planning.cost import estimate

        on_timing()
        found = estimate(
            spec, devices, data_dir=data_dir, threads=threads, imports=imports, in_hand=in_hand
        )
        if math.isinf(found.device_seconds):
            found, reason = None, OWN_LOOP
    return Plan(
        spec=spec,
        devices=tuple(devices),
        estimate=found,
        not_timed=reason,
        memory=_memory(spec, found, imports) if timing and not spec.problem.own_loop else None,
        powers=powers,
        pilot=found_pilot,
        allocations=() if found_pilot is None else _allocations(spec, found_pilot),
        assumed=assumed,
    )


def counts(spec: StudySpec, work: Sequence[Work]) -> dict[str, int | None]:
    """Return the runs, epochs and steps of several arms together; ``None`` where not known."""
    return {
        "runs": sum(each.runs for each in work),
        "epochs": sum(each.total_epochs for each in work),
        "steps": None if spec.problem.own_loop else sum(each.total_steps for each in work),
    }


def _memory(spec: StudySpec, estimate: Estimate | None, imports: tuple[str, ...] | None) -> Memory:
    from indian_tune.planning.memory import count_bytes

    def most(values: Iterable[int | None]) -> int | None:
        return max((value for value in values if value is not None), default=None)

    speeds = [] if estimate is None else list(itertools.chain(*estimate.speeds.values()))
    return Memory(
        *count_bytes(spec, imports),
        device_bytes=most(speed.device_bytes for speed in speeds),
        process_bytes=most(speed.process_bytes for speed in speeds),
    )


def _powers(spec: StudySpec, sd: float | None, pilot: Pilot | None) -> dict[str, Power]:
    """Return what searches can find, by contrast: the study's, or as many as a verdict needs."""
    from indian_tune.analysis import power

    claims = spec.claims
    n = max(spec.replicates, LEAST_SEARCHES)
    spreads: dict[str, float | tuple[float, ...]] = {} if sd is None else {"any two arms": sd}
    if pilot is not None:
        # The seeds of one search tell nothing of how searches differ.
        several = pilot.searches > 1
        spreads = {f"{x.arm} - {x.rival}": x.units for x in pilot.spreads if several}
    contrasts = sum(kind.contrasts for kind in claims.links())
    return {
        name: power(spread, claims.delta, claims.alpha, n=n, contrasts=contrasts)
        for name, spread in spreads.items()
    }


def _allocations(spec: StudySpec, pilot: Pilot) -> tuple[Allocation, ...]:
    from indian_tune.planning.allocation import allocations

    claims = spec.claims
    contrasts = sum(kind.contrasts for kind in claims.links())
    return allocations(pilot, claims.delta, claims.alpha, contrasts)


def _pilot(spec: StudySpec, name: str, storage: str | None, runs: pd.DataFrame | None) -> Pilot:
    """Read a pilot from the database, or from runs trained elsewhere."""
    from indian_tune.ledger import LedgerReader
    from indian_tune.ledger.frames import epoch_frame
    from indian_tune.planning.pilot import read_pilot

    outcome = spec.problem.outcome
    least = outcome.trained_score
    if runs is not None:
        return read_pilot(runs, spec.claims, name, least, option="--from", outcome=outcome)
    with LedgerReader.open(storage) as ledger:
        runs = epoch_frame(ledger, ledger.study(name).id)
    return read_pilot(runs, spec.claims, name, least, outcome=outcome)
