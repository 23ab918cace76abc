"""What `indian-tune plan` prints for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.ledger import Phase
from indian_tune.planning.cautions import prospects
from indian_tune.planning.gpu_model import (
    BANDWIDTH_SHARE,
    HOUR,
    KERNEL_SECONDS,
    PRODUCTS_SHARE,
)
from indian_tune.planning.plan import DEFAULT_SD, Plan, counts
from indian_tune.planning.workload import (
    CURVATURES,
    points,
    unstable_shares,
    workload,
)
from indian_tune.service.output import Shown, duration, headed, number, table
from indian_tune.service.progress import TITLES
from indian_tune.study.claims import ADVISED_SEARCHES, LEAST_SEARCHES
from indian_tune.study.examples import example_counts
from indian_tune.text import counted

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from indian_tune.planning.gpu_model import GpuEstimate
    from indian_tune.planning.plan import Memory
    from indian_tune.study import StudySpec


class ShownPlan(Shown, Plan):
    """A plan that prints as `indian-tune plan` shows it."""

    def __repr__(self) -> str:
        workers = counted(len(self.devices), "worker")
        return f"<ShownPlan {self.spec.name!r}: {counted(len(self.spec.arms), 'arm')}, {workers}>"

    def _show(self, console: Console) -> None:
        print_report(console, self)


def print_report(console: Console, plan: Plan) -> None:
    """Print a report in 80 columns."""
    spec = plan.spec
    train, validation, test = example_counts(spec)
    inputs = "images" if spec.problem.factory is None else "inputs"
    examples = f"{train:,} training, {validation:,} validation and {test:,} test {inputs}"
    if spec.problem.own_loop:
        examples = "its own training loop, with an unknown number of examples and steps"
    problem = (
        f": {spec.problem.network_name} on {spec.problem.data_name}, "
        f"{spec.protocol.mode} mode; {examples}; batch size {_batch_size(spec)}"
    )
    console.print(headed(spec.name, problem))
    _print_work(console, plan)
    if plan.assumed is None:
        _print_cost(console, plan)
    else:
        _print_assumed(console, plan.assumed)
    _print_memory(console, plan.memory, inputs)
    _print_stability(console, spec)
    told = any(power.planned != DEFAULT_SD for power in plan.powers.values())
    if spec.claims.verdict != "none" and not spec.claims.claimed:
        how = "are compared with intervals. They cannot test"
        if not spec.claims.pairs():
            how = "can be compared with `indian-tune compare`. They cannot test"
        console.print(
            f"\nThese arms {how} the claim on (α, β), so there will be no verdict on it: "
            "studies/README.md says which arms it needs."
        )
    if spec.claims.claimed or plan.pilot is not None or told:
        _print_power(console, plan)
        _print_gates(console, spec)
        _print_allocations(console, plan)
        _print_prospects(console, spec)
    found = plan.warnings()
    if found:
        listed = table("", "")
        listed.show_header = False
        for sentence in found:
            listed.add_row("•", sentence)
        _print_table(console, "Before you run it", listed)


def _batch_size(spec: StudySpec) -> str:
    searched = ["batch_size" in spec.space(arm.source or arm.name) for arm in spec.arms]
    if all(searched):
        return "searched"
    return f"{spec.problem.batch_size}" + ", or as searched" * any(searched)


def _print_work(console: Console, plan: Plan) -> None:
    work = workload(plan.spec)
    seconds = {}
    if plan.estimate is not None:
        seconds = {(c.work.arm, c.work.phase): c.seconds for c in plan.estimate.costs}
    numbers = ("runs", "× epochs", "epochs", "steps", *(["time"] if seconds else []))
    for phase in Phase:
        rows = [each for each in work if each.phase is phase]
        made = table("arm", *numbers, right=numbers)
        for each in rows:
            cells = [f"{each.runs:,}", f"{each.epochs:,}", f"{each.total_epochs:,}"]
            cells.append("–" if plan.spec.problem.own_loop else f"{each.total_steps:,}")
            if seconds:
                cells.append(duration(seconds[each.arm, phase]))
            made.add_row(each.arm, *cells)
        if rows:
            _print_table(console, f"Work: {TITLES[phase]} (upper limit)", made)
    total = counts(plan.spec, work)
    said = (counted(n, name.removesuffix("s")) for name, n in total.items() if n is not None)
    console.print(f"\nAll: {', '.join(said)}.")


def _print_cost(console: Console, plan: Plan) -> None:
    if plan.estimate is None:
        reason = "the data set is missing" if plan.missed else plan.not_timed
        console.print(f"Not timed: {reason}.")
        return
    devices = plan.devices
    kinds = sorted(set(devices))
    held = plan.estimate.device_seconds
    timed = "epochs" if plan.spec.problem.own_loop else "steps and measurements"
    unit = "CPU core" if kinds == ["cpu"] else "GPU"
    console.print(
        f"About {duration(plan.estimate.wall_seconds)} with {counted(len(devices), 'worker')} on "
        f"{', '.join(kinds)}, {number(held / HOUR)} {unit} hours: estimated from {timed} timed "
        f"now with {'all workers at once' if len(devices) > 1 else 'one worker'}, at the present "
        "load of this machine. Times in the tables are for one worker; pruned and diverged runs "
        "end sooner."
    )


def _print_assumed(console: Console, found: GpuEstimate) -> None:
    gpu, precision = found.gpu, found.precision
    numbers = ("ms a step", "of a run", "epochs per hour")
    made = table("arm", *numbers, right=numbers)
    for arm in found.arms:
        step = arm.step_seconds
        own = None if step is None else 1e3 * step / found.lanes
        cells = [number(None if step is None else 1e3 * step), number(own)]
        hourly = "–" if arm.epochs_per_hour is None else f"{arm.epochs_per_hour:,.0f}"
        made.add_row(arm.arm, *cells, hourly)
    _print_table(console, f"Estimated, not measured: one {gpu.name} that packs runs", made)
    console.print(
        f"Pack {counted(found.lanes, 'lane')} (--lanes {found.lanes}), spatial convolutions "
        f"{found.convolutions}: all runs in about {duration(found.seconds)} on one {gpu.name}. "
        f"A model, from kernels, bytes and products that were counted: {KERNEL_SECONDS * 1e6:g} µs "
        f"a kernel, {BANDWIDTH_SHARE:.0%} of {gpu.bytes_per_second / 1e12:g} TB/s, "
        f"{PRODUCTS_SHARE[precision]:.0%} of {gpu.flops_per_second[precision] / 1e12:g} TFLOP/s in "
        f"{precision} ({gpu.source}). No GPU has confirmed it, and what the host does between "
        "epochs is left out; a search on one measures lanes itself."
    )
    for fault in dict.fromkeys(arm.fault for arm in found.arms if arm.fault is not None):
        console.print(f"Without a figure, and not in the time: {fault}.")


def _print_memory(console: Console, memory: Memory | None, inputs: str) -> None:
    if memory is None:
        return
    text = (
        f"Memory: {_size(memory.run_bytes)} for a run (weights, gradients, optimizer, "
        f"activations: counted, not measured) and {_size(memory.data_bytes)} of {inputs}"
    )
    if memory.device_bytes is not None:
        text += f"; {_size(memory.device_bytes)} held on the GPU for all lanes (measured)"
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
        "Computed for the loss λθ²/2 with the largest step size, γ0: trials in this share "
        "of the space diverge where the curvature of the loss stays that high. –: not a linear "
        "recursion (adaptive), or matched to a winner that is not known yet."
    )


def _print_power(console: Console, plan: Plan) -> None:
    claims = plan.spec.claims
    outcome = plan.spec.problem.outcome
    if not plan.powers:
        given = f", and pilot {plan.pilot.name} does not tell (see below)" if plan.pilot else ""
        console.print(
            f"The number of searches needed to find δ = {outcome.amount(claims.delta)} is not "
            f"known{given}: give --sd, the standard deviation of paired differences in "
            f"{outcome.unit}{', or --pilot' * (not given)}. δ is claims.delta, in that unit."
        )
        return
    n = next(iter(plan.powers.values())).n
    numbers = (f"SD, {outcome.unit}", "to support", "to refute", "detectable")
    where = "assumed SD"
    planned = next(iter(plan.powers.values())).planned
    source = "given with --sd"
    if planned == DEFAULT_SD:
        source = "the default of --sd, between what was seen on digits and on CIFAR"
    bound = (
        f"The SD between searches, {outcome.amount(planned)}, is not measured, but {source}: "
        "--pilot takes it from a finished study. "
    )
    if plan.pilot is not None:
        where = f"SD of pilot {plan.pilot.name}"
        bound = (
            "SD is the 80 % upper bound of the standard deviation between the "
            f"{plan.pilot.searches} searches of the pilot, in {plan.pilot.metric.replace('_', ' ')}"
            + " (that of `analyze` is in test accuracy)"
            * plan.pilot.metric.startswith("validation")
            + ". "
        )
    made = table(
        "contrast",
        *numbers,
        right=numbers,
    )
    for name, power in plan.powers.items():
        made.add_row(
            name,
            outcome.size(power.planned),
            f"{power.needed:,}",
            f"{power.needed_to_refute:,}",
            "–" if power.detectable is None else outcome.size(power.detectable),
        )
    delta = outcome.amount(claims.delta) + " of accuracy" * outcome.share
    title = f"Searches of every arm for δ = {delta}; {where}"
    _print_table(console, title, made)
    widest = max(power.detectable or 0.0 for power in plan.powers.values())
    console.print(
        f"{bound}To support: searches needed if the gain is δ, for all contrasts together, at "
        f"level {claims.alpha:g}. To refute: searches needed if there is no gain. With {n} "
        "searches the smallest effect found in one contrast alone with 80 % probability is "
        f"{outcome.size(widest)} {outcome.unit}."
    )


def _print_gates(console: Console, spec: StudySpec) -> None:
    """Print what a verdict needs beside enough searches."""
    claims, outcome = spec.claims, spec.problem.outcome
    if not claims.claimed:
        return
    half = "true" if claims.half_budget else "false"
    console.print(
        f"Gates withhold a verdict unless every arm has at least {LEAST_SEARCHES} searches (here: "
        f"{spec.replicates}), at most a fifth of the pairs has a run that fails, SGD is at least "
        f"2δ = {outcome.amount(2 * claims.delta)} better on its training examples than on the test "
        "examples, the winners of half the budget are run too (claims.half_budget, here: "
        f"{half}) and would not change it by gaining as much again, every control trains, and most "
        "winners are not at an end of a range. REFUTED also needs SGD that tunes dropout and "
        "weight decay to gain δ, and INDIAN not shown worse than arms that its space contains. "
        f"{LEAST_SEARCHES} searches are the least that can decide; {ADVISED_SEARCHES} are more "
        "likely to."
    )


def _print_allocations(console: Console, plan: Plan) -> None:
    pilot, outcome = plan.pilot, plan.spec.problem.outcome
    if pilot is None:
        return
    if not plan.allocations:
        console.print(
            "The cheapest numbers of searches, trials and seeds for δ are not known: the pilot "
            "has one search of every arm, or too few trials in each (4 are needed). Set "
            "search.replicates yourself."
        )
        return
    numbers = ("trials", "searches", "seeds", "cost")
    made = table("to reach", *numbers, "decides", right=numbers)
    last = None
    for each in plan.allocations:
        goal = "" if each.goal == last else str(each.goal)
        last = each.goal
        if each.searches is None or each.cost is None:
            cells = ["–", "–", "out of reach"]
        else:
            seconds = pilot.price.unit == "seconds"
            cost = duration(each.cost) if seconds else f"{each.cost:,.0f} epochs"
            cells = [f"{each.searches:,}", str(each.seeds), cost]
        gain = f", last doubling {outcome.plain(each.gain)}" * (each.gain > 0)
        made.add_row(goal, str(each.trials), *cells, f"{each.limit}{gain}")
    _print_table(console, "Searches, trials and seeds for δ, the cheapest first", made)
    console.print(
        f"From {pilot.searches} searches of {pilot.trials} trials in pilot {pilot.name}, on "
        f"{pilot.metric.partition('_')[0]} {outcome.title}; SUPPORTED if every gain is δ, REFUTED "
        "if there is none. The cost is that of all runs in sequence, at the speed of the pilot. "
        "The gate “budget” is included, the other gates are not; budgets larger than the pilot's "
        "are not known."
    )


def _print_prospects(console: Console, spec: StudySpec) -> None:
    made = table("", "tested", "compares, or is missing")
    for each in prospects(spec):
        text = "; ".join(filter(None, (each.compares, each.missing)))
        made.add_row(each.hypothesis, "yes" if each.testable else "no", text)
    _print_table(console, "Hypotheses", made)


def _print_table(console: Console, title: str, made: Table) -> None:
    """Print a table below a title that may be wider."""
    console.print(headed(f"\n{title}", ""))
    console.print(made)


def _size(count: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{number(count / factor)} {unit}"
    return f"{number(count / 1e3)} kB"
