"""What `indian-tune plan` prints: tables for people, plain data for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from indian_tune.cli.output import duration, number, table
from indian_tune.ledger import Phase
from indian_tune.study.cautions import prospects, warnings
from indian_tune.study.plan import CURVATURES, images, points, unstable_shares, workload

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console
    from rich.table import Table

    from indian_tune.analysis import Power
    from indian_tune.engines.estimate import Estimate
    from indian_tune.study.plan import Work
    from indian_tune.study.spec import StudySpec

HOUR = 3600.0
# Why nothing was timed, when that was the user's wish.
NOT_ASKED = "--no-timing"


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
class Report:
    """All that is said of a study before it runs.

    Attributes:
        spec: the study.
        slots: device of every worker there would be.
        estimate: what it costs; ``None`` when nothing was timed.
        not_timed: why not.
        memory: ``None`` when it was not asked for.
        powers: what the seeds can find, by contrast.
        assumed: whether the deviation behind them is an assumption.
        pilot: the study that it is from.
    """

    spec: StudySpec
    slots: tuple[str, ...]
    estimate: Estimate | None
    not_timed: str | None
    memory: Memory | None
    powers: Mapping[str, Power]
    assumed: bool
    pilot: str | None

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain data; times in seconds, shares in [0, 1]."""
        spec = self.spec
        train, validation, test = images(spec)
        cost: dict[str, Any] = {"timed": self.estimate is not None, "reason": self.not_timed}
        seconds: dict[tuple[str, Phase], tuple[float, float]] = {}
        if self.estimate is not None:
            cost |= {
                "wall_seconds": self.estimate.wall_seconds,
                "device_hours": self.estimate.device_seconds / HOUR,
                "speeds": {
                    arm: [asdict(speed) for speed in speeds]
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
            "images": {"train": train, "validation": validation, "test": test},
            "workers": list(self.slots),
            "work": [
                {
                    **_counts([each]),
                    "arm": each.arm,
                    "phase": str(each.phase),
                    "trials": each.trials,
                    "epochs_per_run": each.epochs,
                    "steps_per_epoch": each.steps_per_epoch,
                    "epoch_seconds": seconds.get((each.arm, each.phase), (None, None))[0],
                    "seconds": seconds.get((each.arm, each.phase), (None, None))[1],
                }
                for each in work
            ],
            "total": _counts(work),
            "cost": cost,
            "memory": None if self.memory is None else asdict(self.memory),
            "unstable": {
                "curvatures": list(CURVATURES),
                "arms": {arm.name: unstable_shares(spec, arm.name) for arm in spec.arms},
            },
            "power": {
                "assumed": self.assumed,
                "pilot": self.pilot,
                "contrasts": {name: asdict(power) for name, power in self.powers.items()},
            },
            "hypotheses": [asdict(each) for each in prospects(spec)],
            "warnings": self.warnings(),
        }

    def warnings(self) -> list[str]:
        """Return what to think of before the study is run."""
        said = warnings(self.spec)
        if self.estimate is None and self.not_timed != NOT_ASKED:
            said.insert(0, str(self.not_timed))
        needed = max(power.needed for power in self.powers.values())
        n = next(iter(self.powers.values())).n
        if self.spec.protocol.mode == "honest" and n is not None and n < needed:
            said.append(
                f"{n} seeds are fewer than the {needed} that find δ at power 0.8 in all "
                "contrasts, if the standard deviation is right"
            )
        return said


def print_report(console: Console, report: Report) -> None:
    """Print a report in 80 columns."""
    spec = report.spec
    train, validation, test = images(spec)
    console.print(
        f"[bold]{spec.name}[/bold]: {spec.problem.network_name} on {spec.problem.data_name}, "
        f"{spec.protocol.mode} mode; {train:,} training, {validation:,} validation and {test:,} "
        f"test images"
    )
    _print_work(console, report)
    _print_cost(console, report)
    _print_memory(console, report.memory)
    _print_stability(console, spec)
    _print_power(console, report)
    _print_prospects(console, spec)
    found = report.warnings()
    if found:
        listed = table("", "")
        listed.show_header = False
        for sentence in found:
            listed.add_row("•", escape(sentence))
        _print_table(console, "Before you run it", listed)


def _print_work(console: Console, report: Report) -> None:
    work = workload(report.spec)
    seconds = {}
    if report.estimate is not None:
        seconds = {(c.work.arm, c.work.phase): c.seconds for c in report.estimate.costs}
    numbers = ("runs", "× epochs", "epochs", "steps", *(["time"] if seconds else []))
    for phase in Phase:
        rows = [each for each in work if each.phase is phase]
        made = table("arm", *numbers, right=numbers)
        for each in rows:
            cells = [f"{each.runs:,}", f"{each.epochs:,}", f"{each.total_epochs:,}"]
            cells.append(f"{each.total_steps:,}")
            if seconds:
                cells.append(duration(seconds[each.arm, phase]))
            made.add_row(each.arm, *cells)
        if rows:
            _print_table(console, f"Work of the {phase} phase, at most", made)
    total = _counts(work)
    console.print(
        f"\nAll: {total['runs']:,} runs, {total['epochs']:,} epochs, {total['steps']:,} steps."
    )


def _print_cost(console: Console, report: Report) -> None:
    if report.estimate is None:
        missing = report.not_timed != NOT_ASKED
        console.print(f"Not timed: {'the data set is missing' if missing else NOT_ASKED}.")
        return
    slots = report.slots
    kinds = sorted(set(slots))
    held = report.estimate.device_seconds
    unit = "CPU core" if kinds == ["cpu"] else "GPU"
    console.print(
        f"About [bold]{duration(report.estimate.wall_seconds)}[/bold] with {len(slots)} "
        f"worker{'s' * (len(slots) > 1)} on {', '.join(kinds)}, "
        f"{number(held / HOUR)} {unit} hours: from steps and measurements timed just now, "
        f"{'all workers at once' if len(slots) > 1 else 'one worker'}, with this machine as busy "
        "as it is. Time is that of one worker; pruned and diverged runs end sooner."
    )


def _print_memory(console: Console, memory: Memory | None) -> None:
    if memory is None:
        return
    text = (
        f"Memory: {_size(memory.run_bytes)} for a run (weights, gradients, optimizer, "
        f"activations: counted, not measured) and {_size(memory.data_bytes)} of images"
    )
    if memory.device_bytes is not None:
        text += f"; {_size(memory.device_bytes)} held on the GPU for one run (measured)"
    if memory.process_bytes is not None:
        text += f"; {_size(memory.process_bytes)} for a worker's process (measured)"
    console.print(f"{text}.")


def _print_stability(console: Console, spec: StudySpec) -> None:
    columns = [f"λ = {curvature:g}" for curvature in CURVATURES]
    made = table(
        "arm",
        *columns,
        "points",
        right=(*columns, "points"),
    )
    for arm in spec.arms:
        shares = unstable_shares(spec, arm.name)
        count = len(points(spec, arm.name))
        shown = ["–"] * len(columns) if shares is None else [f"{share:.0%}" for share in shares]
        made.add_row(arm.name, *shown, f"{count:,}" if count else "–")
    _print_table(console, "Share of the space predicted unstable at curvature λ", made)
    console.print(
        "On λθ²/2 with the first, largest step size. –: no linear recursion (adaptive), or matched "
        "to a winner that is not known yet."
    )


def _print_power(console: Console, report: Report) -> None:
    claims = report.spec.claims
    n = next(iter(report.powers.values())).n
    numbers = ("SD, points", "to support", "to refute", "detectable")
    where = "assumed SD" if report.assumed else f"SD of pilot {report.pilot}"
    made = table(
        "contrast",
        *numbers,
        right=numbers,
    )
    for name, power in report.powers.items():
        made.add_row(
            name,
            f"{100 * power.deviation:.2f}",
            f"{power.needed:,}",
            f"{power.needed_to_refute:,}",
            "–" if power.detectable is None else f"{100 * power.detectable:.2f}",
        )
    title = f"Units for δ = {100 * claims.delta:g} points of accuracy; {where}"
    _print_table(console, title, made)
    detectable = (
        ""
        if n is None
        else f" Detectable: with {n} of them the smallest effect found with 80 % probability."
    )
    console.print(
        "Units are searches of every arm; of a pilot with one search, its seeds. To support: where "
        f"the gain is δ, all contrasts together, at level {claims.alpha:g}. To refute: where there "
        f"is none.{detectable}"
    )


def _print_prospects(console: Console, spec: StudySpec) -> None:
    made = table("", "tested", "compares, or needs")
    for each in prospects(spec):
        text = "; ".join(filter(None, (each.compares, each.missing)))
        made.add_row(each.hypothesis, "yes" if each.testable else "no", escape(text))
    _print_table(console, "Hypotheses", made)


def _print_table(console: Console, title: str, made: Table) -> None:
    """Print a table below a title that may be wider."""
    console.print(f"\n[bold]{title}[/bold]")
    console.print(made)


def _counts(work: Sequence[Work]) -> dict[str, int]:
    return {
        "runs": sum(each.runs for each in work),
        "epochs": sum(each.total_epochs for each in work),
        "steps": sum(each.total_steps for each in work),
    }


def _size(count: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{number(count / factor)} {unit}"
    return f"{number(count / 1e3)} kB"
