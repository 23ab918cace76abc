"""What the record costs: a trial of 20 epochs without any training, against plain Optuna.

Claims: one worker takes a trial through claim, configuration, 20 reports and its end in at most
1.5 times what plain Optuna needs for ask, 20 reports and tell on the same SQLite settings, although
the ledger stores every epoch's metrics beside Optuna's value; and with the random sampler a trial
costs at most 1.5 times as much when 5,000 trials are there as when 100 are.

Both take turns in one process, trial by trial, each on a database of its own, so that the ratios
are measured side by side; medians over the rounds are reported with the range of the middle half.

    python tests/benchmarks/ledger_overhead.py --out tests/benchmarks/results
"""

from __future__ import annotations

import argparse
import json
import platform
import sqlite3
import statistics
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import sqlalchemy as sa

from indian_tune.ledger import EpochEntry, Ledger, sqlite_settings
from indian_tune.study.controller import Controller
from indian_tune.study.projection import Projection
from indian_tune.study.registration import register
from indian_tune.study.sampler import distributions
from indian_tune.study.spec import parse_study

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EPOCHS = 20
FEW, MANY = 100, 5_000
LIMIT = 1.5


def study(trials: int) -> dict[str, Any]:
    return {
        "name": "overhead",
        "problem": {"dataset": "digits", "model": "nin-small"},
        "protocol": {"epochs": EPOCHS, "confirm_seeds": 0},
        "search": {"trials": trials, "sampler": "random"},
        "arms": [{"name": "indian", "optimizer": "indian"}],
    }


@contextmanager
def indian_tune(folder: Path, trials: int) -> Iterator[Callable[[], None]]:
    """Yield what takes one trial of ours from its claim to its end."""
    spec = parse_study(study(trials), source="benchmark")
    with Ledger.open(str(folder / "ours.db")) as ledger:
        record = register(ledger, spec)
        projection = Projection(ledger.url, "overhead", ["indian"])
        projection.create()
        projection.close()
        ledger.join(record.id, "worker", host="here", pid=1, started="0", device="cpu")
        controller = Controller(ledger, record, spec, "worker")

        def trial() -> None:
            assignment = controller.claim({"device": "cpu"})
            assert assignment is not None
            (run,) = assignment.runs
            for epoch in range(1, EPOCHS + 1):
                entry = EpochEntry(run.id, epoch, epoch, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.1)
                controller.report(assignment, [entry])
            controller.finish_run(assignment, run, diverged=False)
            controller.finish(assignment)

        yield trial
        controller.close()


@contextmanager
def plain_optuna(folder: Path) -> Iterator[Callable[[], None]]:
    """Yield what takes one trial of Optuna's own from ask to tell."""
    storage = optuna.storages.RDBStorage(
        f"sqlite:///{folder / 'plain.db'}", engine_kwargs={"connect_args": {"timeout": 60}}
    )
    sa.event.listen(storage.engine, "connect", lambda connection, _: sqlite_settings(connection))
    storage.engine.dispose()
    theirs = optuna.create_study(storage=storage, sampler=optuna.samplers.RandomSampler(seed=0))
    space = distributions(parse_study(study(1), source="benchmark").space("indian"))

    def trial() -> None:
        asked = theirs.ask(space)
        for epoch in range(1, EPOCHS + 1):
            asked.report(0.5, epoch)
        theirs.tell(asked, 0.5)

    yield trial
    storage.remove_session()
    storage.engine.dispose()


def seconds(trial: Callable[[], None]) -> float:
    start = time.perf_counter()
    trial()
    return time.perf_counter() - start


def spread(values: list[float]) -> dict[str, float]:
    low, median, high = statistics.quantiles(values, n=4)
    return {"median": median, "lower_quartile": low, "upper_quartile": high}


def measure(rounds: int) -> dict[str, Any]:
    """Return times and ratios with few trials there, and with many."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with indian_tune(folder, MANY + rounds + 1) as ours, plain_optuna(folder) as plain:
            times: dict[str, list[float]] = {}
            done = 0
            for label, start in ((f"at trial {FEW}", FEW), (f"at trial {MANY:,}", MANY)):
                while done < start - rounds // 2:
                    ours()
                    if start == FEW:
                        plain()
                    done += 1
                for _ in range(rounds):
                    times.setdefault(f"indian-tune, {label}", []).append(seconds(ours))
                    times.setdefault(f"plain Optuna, {label}", []).append(seconds(plain))
                    done += 1
    pairs = {
        count: [
            ours / plain
            for ours, plain in zip(
                times[f"indian-tune, at trial {count:,}"],
                times[f"plain Optuna, at trial {count:,}"],
                strict=True,
            )
        ]
        for count in (FEW, MANY)
    }
    return {
        "milliseconds": {
            # Optuna's second series was not brought to as many trials; it only shows that the
            # machine ran as fast as before.
            key.replace(f"plain Optuna, at trial {MANY:,}", "plain Optuna, beside it"): spread(
                [1000 * value for value in values]
            )
            for key, values in times.items()
        },
        "ratios": {
            f"indian-tune / plain Optuna, at trial {FEW}": spread(pairs[FEW]),
            # Both in units of the plain trial beside them, which takes out that the machine ran
            # faster at one time than at the other.
            f"indian-tune, trial {MANY:,} / trial {FEW}": spread(
                [late / statistics.median(pairs[FEW]) for late in pairs[MANY]]
            ),
        },
    }


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def describe(rounds: int) -> dict[str, Any]:
    return {
        "processor": processor(),
        "python": platform.python_version(),
        "optuna": optuna.__version__,
        "sqlalchemy": sa.__version__,
        "sqlite": sqlite3.sqlite_version,
        "settings": "WAL, synchronous=NORMAL, foreign keys on, 60 s busy timeout",
        "epochs": EPOCHS,
        "rounds": rounds,
    }


def to_markdown(report: dict[str, Any]) -> str:
    setting = report["setting"]
    lines = [
        "# A trial of 20 epochs without training: the record's cost",
        "",
        f"{setting['processor']}, Python {setting['python']}, Optuna {setting['optuna']}, "
        f"SQLAlchemy {setting['sqlalchemy']}, SQLite {setting['sqlite']} ({setting['settings']}); "
        f"one worker, random sampler, n = {setting['rounds']} rounds. Median and middle half.",
        "",
        "| a trial from claim to end | ms | middle half |",
        "|---|---:|---:|",
    ]
    lines += [
        f"| {name} | {row['median']:.1f} | {row['lower_quartile']:.1f} to "
        f"{row['upper_quartile']:.1f} |"
        for name, row in report["milliseconds"].items()
    ]
    lines += ["", f"| ratio (limit {LIMIT}) | median | middle half |", "|---|---:|---:|"]
    lines += [
        f"| {name} | {row['median']:.2f} | {row['lower_quartile']:.2f} to "
        f"{row['upper_quartile']:.2f} |"
        for name, row in report["ratios"].items()
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=101)
    parser.add_argument("--out", type=Path, help="folder for the JSON and the Markdown table")
    arguments = parser.parse_args()

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    report = {"setting": describe(arguments.rounds), **measure(arguments.rounds)}
    print(to_markdown(report))
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        stem = arguments.out / "ledger_overhead"
        stem.with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n")
        stem.with_suffix(".md").write_text(to_markdown(report))


if __name__ == "__main__":
    main()
