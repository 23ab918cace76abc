"""A whole sweep, against what a user would pick instead: plain Optuna and plain Ray Tune.

Claims, for the same 40 trials of INDIAN on digits (same network, images, configurations and number
of epochs) on 2 cores: `indian-tune search` gets through at least 4 times as many trials an hour as
a script around Optuna, and 12 times as many as one around Ray Tune; with `--engine ray` at least
twice as many as the former. And after everything was killed half-way (SIGKILL, as in a power
cut), the same command completes exactly the registered trials: none is lost, none is doubled, none
is left RUNNING.

The scripts are `sweep_optuna.py`, in two processes on one SQLite file and with ``n_jobs=2`` (what
Optuna's tutorial shows first), and `sweep_ray.py`. Both train with the loop of `everyday.py`, and
evaluate on the validation images after every epoch; `indian-tune` evaluates on training and test
images besides, and stores it. Each contender starts from nothing: imports, an empty database, a Ray
cluster of its own. All take turns in every round; ratios are taken within a round.

    python -m tests.benchmarks.sweep --out tests/benchmarks/results
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks.report import cells, in_words, load, machine, ratios, save, spread
from tests.benchmarks.sweep_task import configurations, study
from tests.benchmarks.usage import run
from tests.conftest import to_toml

if TYPE_CHECKING:
    from collections.abc import Callable

PROCESSES, THREADS = "plain Optuna, 2 processes", "plain Optuna, n_jobs=2"
RAY = "plain Ray Tune"
OURS, OURS_ON_RAY = "indian-tune search", "indian-tune search --engine ray"
GOALS = {(OURS, PROCESSES): 4.0, (OURS, RAY): 12.0, (OURS_ON_RAY, PROCESSES): 2.0}
# Two more ratios that a reader will ask for, without a goal.
ASKED = {(OURS, THREADS): None, (OURS_ON_RAY, RAY): None}
# It takes long, and takes part in fewer rounds; what no goal is about, in the first one alone.
SLOW = {RAY}
MEASURED = (
    *("trials_per_hour", "wall_seconds", "processor_seconds"),
    *("memory_mib", "best_validation_error"),
)
TABLES = {"trials", "trial_values", "trial_params", "trial_intermediate_values"}
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Outcome:
    """What a sweep has left behind.

    Attributes:
        scores: validation error of every finished trial, by its configuration.
        finished: number of finished trials, doubled ones included.
        running: epochs recorded of every trial that stands as running.
    """

    scores: dict[tuple[float, ...], float]
    finished: int
    running: list[int]


@dataclass(frozen=True)
class Contender:
    """How a sweep is started, and how what it has done is read."""

    command: tuple[str, ...]
    read: Callable[[Path, int], Outcome]


def _key(config: dict[str, float]) -> tuple[float, ...]:
    # Optuna's tables, Ray's JSON and the configurations as drawn agree to the last bits only.
    return tuple(float(f"{config[name]:.12g}") for name in sorted(("alpha", "beta", "gamma0")))


def read_optuna(folder: Path, epochs: int) -> Outcome:
    """Read Optuna's tables, which `indian-tune` keeps as well."""
    file = next(folder.glob("*.db"), None)
    if file is None:
        return Outcome({}, 0, [])
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=60)) as database:
        there = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        # It may be looked at while the tables are being made.
        if not there >= TABLES:
            return Outcome({}, 0, [])
        rows = database.execute(
            "SELECT trials.trial_id, state, value, count(trial_value_id) FROM trials "
            "LEFT JOIN trial_values USING (trial_id) GROUP BY trials.trial_id"
        ).fetchall()
        params: dict[int, dict[str, float]] = {}
        for trial, name, value in database.execute(
            "SELECT trial_id, param_name, param_value FROM trial_params"
        ):
            params.setdefault(trial, {})[name] = value
        steps = dict(
            database.execute(
                "SELECT trial_id, count(*) FROM trial_intermediate_values GROUP BY trial_id"
            )
        )
    done = [(trial, value) for trial, state, value, _ in rows if state == "COMPLETE"]
    return Outcome(
        {_key(params[trial]): value for trial, value in done},
        len(done),
        [steps.get(trial, 0) for trial, state, *_ in rows if state == "RUNNING"],
    )


def read_ray(folder: Path, epochs: int) -> Outcome:
    """Read the results that Ray Tune writes for every trial."""
    scores, finished, running = {}, 0, []
    for file in folder.glob("ray/sweep/*/result.json"):
        results = [json.loads(line) for line in file.read_text().splitlines() if line.endswith("}")]
        if results and results[-1]["training_iteration"] >= epochs:
            finished += 1
            scores[_key(results[-1]["config"])] = results[-1]["validation_error"]
        else:
            running.append(len(results))
    return Outcome(scores, finished, running)


def contenders(trials: int, epochs: int) -> dict[str, Contender]:
    size = (f"--trials={trials}", f"--epochs={epochs}")
    script = (sys.executable, "-m", "tests.benchmarks.sweep_optuna", *size)
    ours = (sys.executable, "-m", "indian_tune", "search", "sweep.toml", "--phase=tune")
    return {
        OURS: Contender(ours, read_optuna),
        PROCESSES: Contender((*script, "--parallel=processes"), read_optuna),
        OURS_ON_RAY: Contender((*ours, "--engine=ray", "--workers=2"), read_optuna),
        RAY: Contender((sys.executable, "-m", "tests.benchmarks.sweep_ray", *size), read_ray),
        THREADS: Contender((*script, "--parallel=threads"), read_optuna),
    }


def environment() -> dict[str, str]:
    """Return this process's environment, as a user has it.

    Without what would change how torch uses the cores, and without the refusal to keep byte code,
    which some containers set: every process would compile the package for itself.
    """
    unusual = ("OMP_NUM_THREADS", "PYTHONDONTWRITEBYTECODE")
    kept = {key: value for key, value in os.environ.items() if key not in unusual}
    return {**kept, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}


def sweep(contender: Contender, trials: int, epochs: int) -> dict[str, Any]:
    """Run a sweep from nothing."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sweep.toml").write_text(to_toml(study(trials, epochs)), encoding="utf-8")
        before = load()
        used = run(contender.command, folder, environment=environment())
        outcome = contender.read(folder, epochs)
    wanted = {_key(config) for config in configurations(trials)}
    assert outcome.finished == trials, f"{outcome.finished} of {trials} trials are finished"
    assert outcome.scores.keys() == wanted, "not the configurations that all contenders get"
    return {
        "wall_seconds": used.wall,
        "processor_seconds": used.processor,
        "memory_mib": used.memory / 2**20,
        "trials_per_hour": 3600 * trials / used.wall,
        "best_validation_error": min(outcome.scores.values()),
        "load": before,
    }


def power_cut(contender: Contender, trials: int, epochs: int) -> dict[str, Any]:
    """Kill a sweep when half of its trials are finished, start it again, and take stock."""
    wanted = {_key(config) for config in configurations(trials)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sweep.toml").write_text(to_toml(study(trials, epochs)), encoding="utf-8")
        killed = run(
            contender.command,
            folder,
            environment=environment(),
            until=lambda: contender.read(folder, epochs).finished >= trials // 2,
        )
        assert killed.killed, "the sweep was over before it could be killed"
        cut = contender.read(folder, epochs)
        again = run(contender.command, folder, environment=environment())
        end = contender.read(folder, epochs)
    return {
        "finished_at_the_cut": cut.finished,
        "under_way_at_the_cut": len(cut.running),
        "epochs_under_way": sum(cut.running),
        "finished_in_the_end": end.finished,
        "registered_but_lost": len(wanted - end.scores.keys()),
        "not_registered": len(end.scores.keys() - wanted),
        "doubled": end.finished - len(end.scores),
        "left_running": len(end.running),
        "seconds_of_the_second_run": again.wall,
    }


def measure(
    setting: dict[str, Any],
    before: dict[str, Any],
    keep: Callable[[dict[str, Any]], None],
) -> None:
    """Let all contenders take turns, then cut their power; hand over what there is after each.

    Args:
        setting: how much of what.
        before: the report of a measurement that was stopped, which is gone on with; may be empty.
        keep: takes what was found so far.
    """
    trials, epochs = setting["trials"], setting["epochs"]
    names = contenders(trials, epochs)
    turns = {THREADS: 1, **dict.fromkeys(SLOW, setting["slow_rounds"])}
    found: dict[str, list[dict[str, Any]]] = before.get("rounds", {})
    cuts: dict[str, list[dict[str, Any]]] = before.get("power_cuts", {})
    for number in range(setting["rounds"]):
        taking_part = [name for name in names if number < turns.get(name, setting["rounds"])]
        # Nobody always comes after the same one, or always first.
        for name in taking_part[number:] + taking_part[:number]:
            if len(found.get(name, ())) > number:
                continue
            found.setdefault(name, []).append(sweep(names[name], trials, epochs))
            seconds = found[name][-1]["wall_seconds"]
            print(f"round {number + 1}, {name}: {seconds:.1f} s", file=sys.stderr)
            keep(summarise(found, cuts))
    names = contenders(setting["cut_trials"], epochs)
    for number in range(setting["cuts"]):
        for name, contender in names.items():
            if len(cuts.get(name, ())) > number:
                continue
            cuts.setdefault(name, []).append(power_cut(contender, setting["cut_trials"], epochs))
            print(f"cut, {name}: {cuts[name][-1]}", file=sys.stderr)
            keep(summarise(found, cuts))


def summarise(
    found: dict[str, list[dict[str, Any]]], cuts: dict[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    """Return medians, ratios within rounds, and what the power cuts cost."""

    def quotients(key: str, of: str, to: str) -> dict[str, float]:
        # A slow contender sits the later rounds out.
        together = list(zip(found[of], found[to], strict=False))
        return ratios([one[key] for one, _ in together], [other[key] for _, other in together])

    summary: dict[str, Any] = {
        name: {key: spread([row[key] for row in rows]) for key in MEASURED}
        for name, rows in found.items()
    }
    return {
        "rounds": found,
        "summary": summary,
        "ratios": [
            {
                "of": ours,
                "to": other,
                "goal": goal,
                "trials_per_hour": quotients("trials_per_hour", ours, other),
                "processor_seconds": quotients("processor_seconds", other, ours),
            }
            for (ours, other), goal in {**GOALS, **ASKED}.items()
            if ours in found and other in found
        ],
        "power_cuts": cuts,
    }


def to_markdown(report: dict[str, Any]) -> str:
    setting = report["setting"]
    loads = [row["load"] for rows in report["rounds"].values() for row in rows]
    lines = [
        f"# {setting['trials']} trials of {setting['epochs']} epochs on digits, on 2 cores",
        "",
        f"{in_words(setting['machine'])}. Median and spread over n rounds (the middle half; the "
        "range of fewer than four). Load of the machine before a contender "
        f"began: {min(loads):.1f} to {max(loads):.1f}.",
        "",
        "| contender | n | trials/h | spread | wall, s | processor, s | MiB | best error, % |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, row in report["summary"].items():
        lines.append(
            f"| {name} | {row['wall_seconds']['n']} | {cells(row['trials_per_hour'], ',.0f')} | "
            f"{row['wall_seconds']['median']:.0f} | {row['processor_seconds']['median']:.0f} | "
            f"{row['memory_mib']['median']:,.0f} | "
            f"{100 * row['best_validation_error']['median']:.1f} |"
        )
    lines += [
        "",
        "Memory is the largest sum of proportional set sizes over all processes. Other work on the "
        "machine lengthens the seconds by the clock, and not for all alike; less so those of the "
        "processor.",
        "",
        "| ratio within a round | trials an hour | spread | goal | processor's seconds | spread |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in report["ratios"]:
        goal = "" if row["goal"] is None else f"≥ {row['goal']:g}"
        lines.append(
            f"| {row['of']} / {row['to']} | {cells(row['trials_per_hour'], '.2f')} | {goal} | "
            f"{cells(row['processor_seconds'], '.2f')} |"
        )
    lines += [
        "",
        f"## {setting['cut_trials']} trials, killed half-way and started again",
        "",
        "| contender | finished, cut | under way | their epochs | in the end | lost | not "
        "registered | doubled | left RUNNING |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    keys = (
        *("finished_at_the_cut", "under_way_at_the_cut", "epochs_under_way"),
        *("finished_in_the_end", "registered_but_lost", "not_registered", "doubled"),
        "left_running",
    )
    lines += [
        f"| {name} | {' | '.join(str(row[key]) for key in keys)} |"
        for name, rows in report["power_cuts"].items()
        for row in rows
    ]
    lines += [
        "",
        "Lost: a registered configuration that no finished trial has in the end. Their epochs: "
        "what was recorded of the trials under way, which is lost with the trial, or trained again "
        "at most (`indian-tune` continues from checkpoints of every 5 seconds).",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slow-rounds", type=int, help="of those that take long; default: all")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--cuts", type=int, default=1, help="power cuts per contender")
    parser.add_argument("--cut-trials", type=int, default=12, help="of a sweep that is cut")
    parser.add_argument("--out", type=Path, help="folder for the JSON and the Markdown table")
    parser.add_argument(
        "--resume", action="store_true", help="continue from what the folder of --out holds"
    )
    given = parser.parse_args()
    setting = {
        "machine": machine("torch", "torchvision", "optuna", "ray", "sqlalchemy"),
        "rounds": given.rounds,
        "slow_rounds": given.rounds if given.slow_rounds is None else given.slow_rounds,
        **{key: vars(given)[key] for key in ("trials", "epochs", "cuts", "cut_trials")},
    }

    def keep(found: dict[str, Any]) -> None:
        report = {"setting": setting, **found}
        save(given.out, "sweep", report, to_markdown(report))

    before: dict[str, Any] = {}
    if given.resume:
        if given.out is None:
            parser.error("--resume needs --out, the folder to continue from")
        before = json.loads((given.out / "sweep.json").read_text(encoding="utf-8"))
        same = ("machine", "trials", "epochs", "cut_trials")
        if any(before["setting"][key] != setting[key] for key in same):
            parser.error("what the folder holds was measured elsewhere, or of something else")
    measure(setting, before, keep)


if __name__ == "__main__":
    main()
