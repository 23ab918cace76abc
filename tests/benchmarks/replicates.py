"""What many searches of every arm cost: their registration, and `status` on them.

Claim: 5 arms that are each searched 10 times with 64 trials, 3,200 in all, are registered within
2 s, Optuna's studies included; `status` on such a study, new or finished, takes at most 1.3 times
as long as on the quickstart, new or finished likewise.

The trials are not trained: what a search would have recorded is written into the tables. The
commands are run to their ends, the contenders take turns, and ratios are taken within a round, of
the time of the processor, which other programs hardly change. The first round fills the caches of
files and is left out. Registration is measured in this process, by the clock and the processor.

    python -m tests.benchmarks.replicates                          # prints the table
    python -m tests.benchmarks.replicates --out tests/benchmarks/results
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from indian_tune.engines.session import open_session
from indian_tune.ledger import Ledger, Phase, State, storage_url
from indian_tune.ledger import tables as t
from indian_tune.study.file.spec import load_study, parse_study
from indian_tune.study.freeze import freeze
from indian_tune.study.registered_study import RegisteredStudy
from indian_tune.study.typical import typical
from tests.benchmarks.report import cells, in_words, load, machine, ratios, save, spread
from tests.benchmarks.startup import PROGRAM, processor_seconds

if TYPE_CHECKING:
    from indian_tune.study.file.spec import StudySpec

ROOT = Path(__file__).parents[2]
ARMS = ("indian", "sgd", "adagrad", "adam", "qhm")
SECONDS, TIMES = 2.0, 1.3
MANY, QUICKSTART = "many searches", "quickstart"
NEW, FINISHED = "new", "finished"


def study(replicates: int, trials: int) -> StudySpec:
    """Return a study that searches five arms several times."""
    return parse_study(
        {
            "name": "searches",
            "problem": {"dataset": "digits", "model": "nin-small"},
            "protocol": {"epochs": 16, "tune_epochs": 8, "confirm_seeds": 5},
            "search": {"trials": trials, "sampler": "random", "replicates": replicates},
            "claims": {"half_budget": True},
            "arms": [{"name": name, "optimizer": name} for name in ARMS],
        },
        source="benchmark",
    )


def register(spec: StudySpec, database: Path) -> tuple[float, float]:
    """Register a study in a new database; return seconds by the clock and of the processor."""
    with Ledger.open(str(database)):
        pass
    wall, processor = time.perf_counter(), time.process_time()
    with open_session(spec, storage_url(str(database)), None):
        return time.perf_counter() - wall, time.process_time() - processor


def finish(spec: StudySpec, database: Path) -> None:
    """Write what the searches and the runs on fresh seeds would have recorded."""
    with Ledger.open(str(database)) as ledger:
        opened = RegisteredStudy.open(ledger, spec.name)
        configs = {arm.id: typical(spec, arm.name) for arm in ledger.arms(opened.id)}
        _fill(ledger, opened.id, Phase.TUNE, configs, spec.protocol.tuning_epochs)
        assert freeze(opened)
        for phase in (Phase.HALF, Phase.CONFIRM):
            _fill(ledger, opened.id, phase, None, spec.protocol.epochs)


def _fill(
    ledger: Ledger,
    study_id: int,
    phase: Phase,
    configs: dict[int, dict[str, float]] | None,
    epochs: int,
) -> None:
    draw = random.Random(str(phase))
    now = ledger.now()
    trials = ledger.trials(study_id, phase=phase)
    if not trials:
        return
    ended = {"state": State.COMPLETE, "attempts": 1, "started_at": now, "finished_at": now}
    with ledger._writing() as connection:
        for trial in trials:
            # No two alike, so that the winner of a search is seldom that of its first half.
            config = dict(trial.config or (configs or {})[trial.arm_id])
            config["gamma0"] *= 1 if configs is None else draw.uniform(1, 2)
            connection.execute(
                sa.update(t.trial)
                .where(t.trial.c.id == trial.id)
                .values(**ended, config=config, value=draw.uniform(0.1, 0.9), told=True)
            )
        runs = [
            {
                **{"trial_id": trial.id, "seed": trial.index, "state": State.COMPLETE},
                **{"epochs_planned": epochs, "epochs_done": epochs},
                **{"started_at": now, "finished_at": now},
            }
            for trial in trials
        ]
        connection.execute(sa.insert(t.run), runs)
        ids = connection.scalars(
            sa.select(t.run.c.id).where(t.run.c.trial_id.in_([trial.id for trial in trials]))
        ).all()
        metrics = {
            **{"train_loss": 1.0, "train_accuracy": 0.8},
            **{"validation_loss": 1.0, "validation_accuracy": 0.8},
        }
        rows = [
            {"run_id": run, "epoch": epoch, "step": epoch, "metrics": metrics, "seconds": 0.1}
            for run in ids
            for epoch in range(1, epochs + 1)
        ]
        connection.execute(sa.insert(t.epoch), rows)


def measure(rounds: int, replicates: int, trials: int) -> dict[str, dict[str, list[float]]]:
    """Return seconds of every contender in every round."""
    specs = {
        MANY: study(replicates, trials),
        QUICKSTART: load_study(ROOT / "studies" / "quickstart.toml"),
    }
    registered: dict[str, list[float]] = {"clock": [], "processor": []}
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for title, spec in specs.items():
            for state in (NEW, FINISHED):
                database = folder / f"{title}-{state}.db"
                register(spec, database)
                if state == FINISHED:
                    finish(spec, database)
        for number in range(rounds + 1):
            wall, processor = register(specs[MANY], folder / f"registered-{number}.db")
            if number:
                registered["clock"].append(wall)
                registered["processor"].append(processor)
            for title in specs:
                for state in (NEW, FINISHED):
                    database = folder / f"{title}-{state}.db"
                    command = (*PROGRAM, "status", "--storage", str(database))
                    seconds = processor_seconds(command, folder)
                    if number:
                        found.setdefault(f"{title}, {state}", []).append(seconds)
    return {"registration": registered, "status": found}


def to_markdown(report: dict[str, Any]) -> str:
    setting = report["setting"]
    lines = [
        "# Many searches of every arm",
        "",
        f"{in_words(setting['machine'])}, load {setting['load']}. {len(ARMS)} arms × "
        f"{setting['replicates']} searches × {setting['trials']} trials. n = {setting['rounds']} "
        "rounds; median and spread.",
        "",
        "| registration | seconds | spread | at most |",
        "|---|---:|---:|---:|",
        *(
            f"| {name} | {cells(row, '.2f')} | {SECONDS:g} |"
            for name, row in report["registration"].items()
        ),
        "",
        "| `status` | processor, s | spread |",
        "|---|---:|---:|",
        *(f"| {name} | {cells(row, '.3f')} |" for name, row in report["status"].items()),
        "",
        f"| `status`, {MANY} / {QUICKSTART} | at most | ratio | spread |",
        "|---|---:|---:|---:|",
        *(
            f"| {state} | {TIMES} | {cells(row, '.2f')} |"
            for state, row in report["ratios"].items()
        ),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--replicates", type=int, default=10)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--out", type=Path, help="folder for the JSON and the Markdown table")
    given = parser.parse_args()
    rounds = measure(given.rounds, given.replicates, given.trials)
    status = rounds["status"]
    report = {
        "setting": {
            "machine": machine("SQLAlchemy", "optuna"),
            "load": load(),
            "rounds": given.rounds,
            "replicates": given.replicates,
            "trials": given.trials,
        },
        "rounds": rounds,
        "registration": {name: spread(row) for name, row in rounds["registration"].items()},
        "status": {name: spread(row) for name, row in status.items()},
        "ratios": {
            state: ratios(status[f"{MANY}, {state}"], status[f"{QUICKSTART}, {state}"])
            for state in (NEW, FINISHED)
        },
    }
    save(given.out, "replicates", report, to_markdown(report))


if __name__ == "__main__":
    main()
