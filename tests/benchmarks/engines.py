"""What an engine costs when training costs nothing, and how long its workers stand idle.

Claims: 200 trials that train next to nothing, in 4 slots and with the TPE sampler, go through the
optuna engine at least 5 times as fast as through plain Ray Tune with ``OptunaSearch`` and its
defaults, and through our Ray engine at least as fast, although both of ours keep the whole record
in SQLite; and of a study of equal trials on 2 workers, at most 3 % of the workers' time passes
between two trials.

Ours are whole: registration, worker processes or Ray actors, claims, sampler, trainer, checkpoints,
ledger. Only the problem is replaced, by 8 images and a linear network of 650 parameters: a trial is
one epoch of one step with its three measurements. Plain Ray's function computes the same number of
nothing, reports one float, and does not even load torch. Every contender starts in a process of its
own and ends with it. The rate of the whole command counts from the first line of its process to the
last; the steady rate counts from the first trial's start to the last one's end, which leaves out
starting Ray and loading torch.

    python -m tests.benchmarks.engines --out tests/benchmarks/results
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from tests.benchmarks.report import cells, in_words, load, machine, ratios, save, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import nn

    from indian_tune.engines.engine import Engine
    from indian_tune.engines.settings import WorkerSettings
    from indian_tune.problems import Problem
    from indian_tune.study.file.spec import StudySpec

SLOTS = 4
TRIALS = 200
OPTUNA, RAY, PLAIN = "optuna engine", "ray engine", "plain Ray Tune"
LIMITS = {OPTUNA: 5.0, RAY: 1.0}
WORKERS = 2
# The quickstart's length, in epochs, and a longer one.
EQUAL_TRIALS, EQUAL_EPOCHS = 12, (8, 32)
IDLE, IDLE_LIMIT = "share of time between trials", 0.03
TRIAL = "training and measuring of a trial, seconds"
START, START_LIMIT = "processor seconds until a worker's first claim, its server's included", 4.0
OWN_START = "of these, the worker's own after the fork"


def study(trials: int, epochs: int) -> dict[str, Any]:
    return {
        "name": "engines",
        "problem": {"dataset": "digits", "model": "nin-small", "batch_size": 32},
        "protocol": {"epochs": epochs, "tune_epochs": epochs, "confirm_seeds": 0},
        "search": {"trials": trials, "sampler": "tpe"},
        "arms": [
            {
                "name": "indian",
                "optimizer": "indian",
                "space": {
                    "alpha": {"low": 0.05, "high": 2.0, "log": True},
                    "beta": {"low": 0.01, "high": 1.0, "log": True},
                    "gamma0": {"low": 0.001, "high": 0.1, "log": True},
                },
            }
        ],
    }


def next_to_nothing(spec: StudySpec, data_dir: Path | None, replicate: int = 0) -> Problem:
    """Return the problem of a trial that trains in a millisecond or two."""
    import torch

    from indian_tune.problems import Problem, Split

    images = torch.arange(8 * 64).remainder(17).to(torch.uint8)
    split = Split(images.reshape(8, 1, 8, 8), torch.arange(8))

    def build_model(*, seed: int, dropout: float) -> nn.Module:
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))

    return Problem(
        dataset="none",
        model="linear",
        classes=10,
        train=split,
        validation=split,
        test=split,
        build_model=build_model,
        scale=16.0,
    )


def train_next_to_nothing(settings: WorkerSettings, should_stop: Callable[[], bool]) -> None:
    """Do what a worker process does, with that problem."""
    from indian_tune.engines import worker

    vars(worker)["problem_of"] = next_to_nothing
    worker.work(settings, should_stop)


def optuna_engine(settings: WorkerSettings) -> Engine:
    from indian_tune.engines.local.processes import ProcessEngine

    return ProcessEngine([settings] * SLOTS, job=train_next_to_nothing)


def ray_engine(settings: WorkerSettings) -> Engine:
    from indian_tune.engines.ray import actor
    from indian_tune.engines.ray.engine import RayEngine, RayOptions

    class Trainable(actor.TrialTrainable):
        def setup(self, config: dict[str, Any], in_hand: bytes | None = None) -> None:
            vars(actor)["problem_of"] = next_to_nothing
            super().setup(config, in_hand)

    actor.TrialTrainable = Trainable  # type: ignore[misc]
    return RayEngine(settings, RayOptions(workers=SLOTS))


def run_ours(make_engine: Callable[[WorkerSettings], Engine], folder: Path, trials: int) -> float:
    """Run a study; return the seconds from its first trial's start to the last one's end."""
    from indian_tune.engines.interrupt import Interrupt
    from indian_tune.engines.session import open_session
    from indian_tune.engines.settings import WorkerSettings
    from indian_tune.ledger import LedgerReader, State, storage_url
    from indian_tune.study.file.spec import parse_study

    url = storage_url(f"sqlite:///{folder / 'study.db'}")
    settings = WorkerSettings(storage=str(url), study="engines", artifacts=folder / "artifacts")
    with open_session(parse_study(study(trials, 1), source="benchmark"), url, None):
        make_engine(settings).run(Interrupt(), lambda: None)
    with LedgerReader.open(url) as ledger:
        record = ledger.study("engines")
        done = ledger.trials(record.id, states=(State.COMPLETE,))
        assert len(done) == sum(map(len, ledger.study_epochs(record.id).values())) == trials
    began = min(trial.started_at for trial in done if trial.started_at is not None)
    ended = max(trial.finished_at for trial in done if trial.finished_at is not None)
    return (ended - began).total_seconds()


def run_plain(folder: Path, trials: int) -> float:
    """Do as Ray's documentation does with `OptunaSearch`."""
    import ray
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    def objective(config: dict[str, float]) -> None:
        import time

        began = time.time()
        tune.report({"loss": config["alpha"] * config["gamma0"], "began": began})

    ray.init(address="local", num_cpus=SLOTS)
    tuner = tune.Tuner(
        objective,
        param_space={
            "alpha": tune.loguniform(0.05, 2.0),
            "beta": tune.loguniform(0.01, 1.0),
            "gamma0": tune.loguniform(0.001, 0.1),
        },
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(), metric="loss", mode="min", num_samples=trials
        ),
        run_config=tune.RunConfig(storage_path=str(folder)),
    )
    found = tuner.fit()
    results = [found[n].metrics or {} for n in range(len(found))]
    assert len(results) == trials
    ended = time.time()
    return ended - min(float(metrics["began"]) for metrics in results)


def run_contender(name: str, folder: Path, trials: int) -> float:
    if name == PLAIN:
        return run_plain(folder, trials)
    return run_ours({OPTUNA: optuna_engine, RAY: ray_engine}[name], folder, trials)


def time_contender(name: str, trials: int) -> dict[str, float]:
    """Run a contender in a process of its own; return seconds."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tests.benchmarks.engines", "--trials", str(trials)),
                *("--contender", name, "--folder", folder),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        whole = time.perf_counter() - began
    if done.returncode != 0:
        raise RuntimeError(f"{name} ended with {done.returncode}: {done.stderr[-4000:]}")
    return {"whole": whole, "steady": float(done.stdout.splitlines()[-1])}


def train_by_the_clock(settings: WorkerSettings, should_stop: Callable[[], bool]) -> None:
    """Do what a worker process does, and note when its epochs begin and end."""
    from indian_tune.engines.local import fork_server
    from indian_tune.engines.worker import work
    from indian_tune.study.controller import Controller
    from indian_tune.training import Trainer

    epochs: list[tuple[float, float]] = []
    at_claims: list[float] = []
    claim, advance = Controller.claim, Trainer.advance

    def noted_claim(self: Controller, *args: Any, **options: Any) -> Any:
        at_claims.append(time.process_time())
        return claim(self, *args, **options)

    def noted_advance(self: Trainer, *args: Any) -> Any:
        began = time.perf_counter()
        records = advance(self, *args)
        epochs.append((began, time.perf_counter()))
        return records

    served = 0.0
    if fork_server.AVAILABLE:
        # It has loaded all that it will, and computes nothing more.
        times = psutil.Process(os.getppid()).cpu_times()
        served = times.user + times.system
    Controller.claim = noted_claim  # type: ignore[method-assign]
    Trainer.advance = noted_advance  # type: ignore[method-assign, assignment]
    work(settings, should_stop)
    noted = {"until_claim": at_claims[0], "server": served, "epochs": epochs}
    settings.artifacts.mkdir(parents=True, exist_ok=True)
    (settings.artifacts / f"clock-{os.getpid()}.json").write_text(json.dumps(noted))


def utilisation(trials: int, length: int) -> dict[str, float]:
    """Return where the time of the workers goes in a study of equal trials.

    A worker's time runs from its first epoch to its last one. It trains, measures included; within
    a trial it reports and checkpoints; and between two it ends one, claims the next, asks the
    sampler and builds the network, which is called idle.

    Args:
        trials: how many.
        length: of each, in epochs.
    """
    from indian_tune.engines.interrupt import Interrupt
    from indian_tune.engines.local.processes import ProcessEngine
    from indian_tune.engines.session import open_session
    from indian_tune.engines.settings import WorkerSettings
    from indian_tune.ledger import storage_url
    from indian_tune.study.file.spec import parse_study

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = storage_url(f"sqlite:///{folder / 'study.db'}")
        settings = WorkerSettings(storage=str(url), study="engines", artifacts=folder / "artifacts")
        with open_session(parse_study(study(trials, length), source="benchmark"), url, None):
            ProcessEngine([settings] * WORKERS, job=train_by_the_clock).run(
                Interrupt(), lambda: None
            )
        noted = [json.loads(file.read_text()) for file in settings.artifacts.glob("clock-*.json")]
    assert len(noted) == WORKERS
    assert sum(len(each["epochs"]) for each in noted) == trials * length
    whole = training = idle = 0.0
    # One may be too late for any of a few short trials.
    for epochs in filter(None, (each["epochs"] for each in noted)):
        whole += epochs[-1][1] - epochs[0][0]
        training += sum(ended - began for began, ended in epochs)
        idle += sum(epochs[n][0] - epochs[n - 1][1] for n in range(length, len(epochs), length))
    return {
        IDLE: idle / whole,
        "share of time reporting and checkpointing within trials": 1 - (training + idle) / whole,
        TRIAL: training / trials,
        START: statistics.median(each["server"] + each["until_claim"] for each in noted),
        OWN_START: statistics.median(each["until_claim"] for each in noted),
    }


def measure_round(trials: int, equal_trials: int, lengths: Sequence[int]) -> dict[str, Any]:
    """Let every contender have its turn."""
    found: dict[str, Any] = {"load": load(), "seconds": {}, "shares": {}}
    for name in (OPTUNA, RAY, PLAIN):
        found["seconds"][name] = time_contender(name, trials)
        print(f"{name}: {found['seconds'][name]}", file=sys.stderr)
    for length in lengths:
        found["shares"][length] = utilisation(equal_trials, length)
        print(f"{length} epochs: {found['shares'][length]}", file=sys.stderr)
    return found


def summarise(rounds: list[dict[str, Any]], trials: int) -> dict[str, Any]:
    rates = {
        (name, part): [trials / each["seconds"][name][part] for each in rounds]
        for name in (OPTUNA, RAY, PLAIN)
        for part in ("whole", "steady")
    }
    return {
        "trials_per_second": {
            f"{name}, {part}": spread(values) for (name, part), values in rates.items()
        },
        "ratios": {
            f"{name} / {PLAIN}, {part}": ratios(rates[name, part], rates[PLAIN, part])
            for name in (OPTUNA, RAY)
            for part in ("whole", "steady")
        },
        "shares": {
            length: {
                name: spread([each["shares"][length][name] for each in rounds]) for name in row
            }
            for length, row in rounds[0]["shares"].items()
        },
        "rounds": rounds,
    }


def to_markdown(report: dict[str, Any]) -> str:
    loads = [each["load"] for each in report["rounds"]]
    setting = report["setting"]
    lines = [
        "# Engines: trials per second without training, and idle workers",
        "",
        f"{in_words(setting['machine'])}. {setting['trials']} trials, {SLOTS} slots, TPE sampler, "
        f"SQLite; n = {len(loads)} rounds, in each of which all take turns. The load of the "
        f"machine at their beginnings was {min(loads):.1f} to {max(loads):.1f}. Of fewer "
        "than four rounds the whole range stands for the middle half.",
        "",
        "| trials per second | median | middle half |",
        "|---|---:|---:|",
    ]
    rates, found = report["trials_per_second"], report["ratios"]
    lines += [f"| {name} | {cells(row, '.2f')} |" for name, row in rates.items()]
    lines += ["", "| ratio | goal | median | middle half |", "|---|---:|---:|---:|"]
    lines += [
        f"| {name} | ≥ {LIMITS[name.partition(' / ')[0]]:.0f} | {cells(row, '.1f')} |"
        for name, row in found.items()
    ]
    lines += [
        "",
        "The whole command starts with its process and includes starting Ray and loading torch: "
        "once, in the server from which the workers of the optuna engine are forked, in every "
        "actor of the Ray engine, and not at all in plain Ray Tune. The steady rate counts from "
        "the first trial's start to the last one's end.",
        "",
        f"## {setting['equal_trials']} equal trials of digits on {WORKERS} workers of the optuna "
        "engine",
        "",
        "Trials of 8 epochs are those of the quickstart's search. A worker's time from its first "
        "epoch to its last is split into three parts: it trains and measures; it reports and "
        "checkpoints within a trial; and between two trials it ends one in the ledger and in "
        "Optuna's tables, claims the next, asks the sampler and builds the network. Before that "
        "the server has loaded torch and whatever else workers need, once for all of them, and "
        "the worker, which is forked from it, has joined the study and loaded the data.",
        "",
        "| | goal | median | middle half |",
        "|---|---:|---:|---:|",
    ]
    goals = {IDLE: f"≤ {IDLE_LIMIT:.0%}", START: f"≤ {START_LIMIT:.0f}"}
    for length, rows in report["shares"].items():
        for name, row in rows.items():
            form = ".2f" if name in (TRIAL, START, OWN_START) else ".2%"
            lines.append(
                f"| {length} epochs: {name} | {goals.get(name, '')} | {cells(row, form)} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--equal-trials", type=int, default=EQUAL_TRIALS)
    parser.add_argument("--lengths", type=int, nargs="+", default=EQUAL_EPOCHS)
    parser.add_argument("--out", type=Path, help="folder for the JSON and the Markdown table")
    parser.add_argument("--contender", choices=(OPTUNA, RAY, PLAIN), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.contender is not None:
        print(f"\n{run_contender(given.contender, given.folder, given.trials)}")
        return
    setting = {
        "machine": machine("optuna", "ray", "torch", "SQLAlchemy"),
        "trials": given.trials,
        "equal_trials": given.equal_trials,
    }
    rounds: list[dict[str, Any]] = []
    for _ in range(given.rounds):
        rounds.append(measure_round(given.trials, given.equal_trials, given.lengths))
        report = {"setting": setting, **summarise(rounds, given.trials)}
        # After every round: it takes minutes, and whoever stops it then keeps what there is.
        save(given.out, "engines", report, to_markdown(report))


if __name__ == "__main__":
    main()
