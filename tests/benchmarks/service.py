"""What the service costs beside the training, and how that grows with the number of trials.

Claims: with the random sampler, a trial of 20 epochs (claim, configuration, 20 reports, end) costs
at most 1.5 times as much when 10,000 trials are there as when 1,000 are, on SQLite and on
PostgreSQL; at 10,000 trials `status` answers within 1 s, `show` within 0.5 s, the program's start
included, `analyze` within 20 s, and the dashboard's first page within 5 s.

Nothing is trained: what remains is the record. Plain Optuna (ask, 20 reports, tell) on the same
kind of database with the same kind of sampler takes turns with it, trial by trial, in one process,
so that their ratio is measured side by side. Ours stores every epoch's metrics and the sealed ones
beside Optuna's value, and renews a lease. Growth is also given in seconds of this process's
processor time, which other work on the machine does not lengthen.

    python -m tests.benchmarks.service --out tests/benchmarks/results
    python -m tests.benchmarks.service --out tests/benchmarks/results --parts postgresql-tpe

The second measures one part again and keeps what the folder holds of the others.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import sqlalchemy as sa

from indian_tune.ledger import Ledger, LedgerReader, sqlite_settings
from indian_tune.study.controller import Controller
from indian_tune.study.file.spec import parse_study
from indian_tune.study.optuna.projection import Projection
from indian_tune.study.optuna.sampling import distributions
from indian_tune.study.registration import register
from tests.benchmarks.dashboard import open_pages
from tests.benchmarks.report import cells, in_words, load, machine, ratios, save, spread
from tests.benchmarks.usage import run
from tests.conftest import PostgresServer, measured, postgres_programs
from tests.reports import report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from indian_tune.training import EpochRecord

EPOCHS, CONFIRM_SEEDS = 20, 5
SQLITE, POSTGRESQL = "SQLite", "PostgreSQL"
SIZES = (100, 1_000, 10_000)
PARTS = [(database, sampler) for sampler in ("random", "tpe") for database in (SQLITE, POSTGRESQL)]
WINDOW = 100
GROWTH = 1.5
LIMITS = {"status": 1.0, "show": 0.5, "show, one trial": 0.5, "analyze": 20.0, "dashboard": 5.0}
OURS, PLAIN = "indian-tune", "plain Optuna"
FILES = {"ours": OURS, "plain": PLAIN}


def study(trials: int, sampler: str) -> dict[str, Any]:
    """Return a study of two arms with that many tune trials in all."""
    return {
        "name": "service",
        "problem": {"dataset": "digits", "model": "nin-small"},
        "protocol": {"epochs": EPOCHS, "confirm_seeds": CONFIRM_SEEDS},
        "search": {"trials": trials // 2, "sampler": sampler},
        "arms": [
            {"name": "indian", "optimizer": "indian"},
            {"name": "sgd", "optimizer": "sgd"},
        ],
    }


def metrics(run_id: int, epochs: int = EPOCHS) -> list[EpochRecord]:
    """Return what a training might have recorded: a run's learning curve, by its id."""
    draw = random.Random(run_id)
    quality = draw.uniform(0.6, 0.95)
    records = []
    for epoch in range(1, epochs + 1):
        accuracy = quality * (1 - math.exp(-epoch / 4)) + draw.gauss(0, 0.005)
        loss = 2.3 * math.exp(-epoch * quality / 5)
        values = (loss, accuracy, loss, accuracy - 0.01, loss, accuracy - 0.01)
        records.append(measured(epoch, *values))
    return records


def train_nothing(controller: Controller, seconds: float = 0.0) -> bool:
    """Take one trial from its claim to its end; return whether there was one.

    Args:
        controller: of the worker.
        seconds: how long to wait before each report, in place of training.
    """
    assignment = controller.claim({"device": "cpu"})
    if assignment is None:
        return False
    (run,) = assignment.runs
    for record in metrics(run.id, assignment.assignment.epochs):
        time.sleep(seconds)
        report(controller, assignment, {run.id: record})
    controller.finish_run(assignment, run)
    controller.finish(assignment)
    return True


@contextmanager
def registered(storage: str, raw: dict[str, Any]) -> Iterator[Callable[[str], Controller]]:
    """Register a study; yield what makes a controller for a worker of that name."""
    spec = parse_study(raw, source="benchmark")
    with Ledger.open(storage) as ledger, ExitStack() as stack:
        study = register(ledger, spec)
        projection = Projection(ledger.url, study.name, [arm.name for arm in spec.arms])
        projection.create()
        projection.close()

        def controller(worker: str) -> Controller:
            ledger.join(study.id, worker, host="here", pid=1, started="0", device="cpu")
            made = Controller(study, worker)
            stack.callback(made.close)
            return made

        yield controller


@contextmanager
def plain_optuna(storage: str, sampler: str) -> Iterator[Callable[[], None]]:
    """Yield what takes one trial of Optuna's own from ask to tell."""
    sqlite = storage.startswith("sqlite")
    settings = {"connect_args": {"timeout": 60}} if sqlite else {}
    rdb = optuna.storages.RDBStorage(storage, engine_kwargs=settings)
    if sqlite:
        # As fast as ours: what a user gets without them waits for the disk at every commit.
        sa.event.listen(rdb.engine, "connect", lambda connection, _: sqlite_settings(connection))
        rdb.engine.dispose()
    theirs = optuna.create_study(
        storage=rdb,
        sampler=optuna.samplers.TPESampler(seed=0)
        if sampler == "tpe"
        else optuna.samplers.RandomSampler(seed=0),
    )
    space = distributions(parse_study(study(2, sampler), source="benchmark").space("indian"))
    count = 0

    def trial() -> None:
        nonlocal count
        count += 1
        asked = theirs.ask(space)
        for record in metrics(count):
            asked.report(1 - record.metrics["validation_accuracy"], record.epoch)
        theirs.tell(asked, 0.5)

    yield trial
    rdb.remove_session()
    rdb.engine.dispose()


@dataclass(frozen=True)
class Cost:
    """Of one trial: seconds by the clock, and of this process's processor time."""

    wall: float
    processor: float


def cost(trial: Callable[[], object]) -> Cost:
    wall, busy = time.perf_counter(), time.process_time()
    trial()
    return Cost(time.perf_counter() - wall, time.process_time() - busy)


def growth(ours: str, plain: str, sampler: str, marks: tuple[int, ...]) -> dict[str, Any]:
    """Take trials through until the last mark is reached; return what they cost up to each mark.

    Args:
        ours: address of an empty database, which then holds the finished study.
        plain: address of another one.
        sampler: of both.
        marks: numbers of trials.
    """
    costs: dict[str, list[Cost]] = {OURS: [], PLAIN: []}
    loads = [load()]
    with registered(ours, study(marks[-1], sampler)) as make, plain_optuna(plain, sampler) as other:
        controller = make("worker")
        for number in range(1, marks[-1] + 1):
            costs[OURS].append(cost(lambda: train_nothing(controller)))
            costs[PLAIN].append(cost(other))
            if number in marks:
                loads.append(load())
                print(f"{sampler}, {ours.partition(':')[0]}: {number:,} trials", file=sys.stderr)
        while train_nothing(controller):
            pass
    windows = {
        mark: {name: rows[max(0, mark - WINDOW) : mark] for name, rows in costs.items()}
        for mark in marks
    }
    # Growth from the second mark: before it, whatever is built once still counts.
    first, last = windows[marks[-2]], windows[marks[-1]]
    return {
        "load": loads,
        "at": {
            str(mark): {
                **{
                    name: {
                        "milliseconds": spread([1000 * each.wall for each in rows]),
                        "processor_milliseconds": spread([1000 * each.processor for each in rows]),
                    }
                    for name, rows in window.items()
                },
                "ratio": ratios(
                    [each.wall for each in window[OURS]], [each.wall for each in window[PLAIN]]
                ),
            }
            for mark, window in windows.items()
        },
        "growth": {
            name: {
                "from": marks[-2],
                "to": marks[-1],
                "wall": spread([each.wall for each in last[name]])["median"]
                / spread([each.wall for each in first[name]])["median"],
                "processor": spread([each.processor for each in last[name]])["median"]
                / spread([each.processor for each in first[name]])["median"],
            }
            for name in costs
        },
    }


def commands(storage: str, folder: Path, repetitions: int) -> dict[str, Any]:
    """Return how long the commands take on a finished study, their start included."""
    program = [sys.executable, "-m", "indian_tune"]
    asked = {
        "--version": ["--version"],
        "status": ["status", "service"],
        "show": ["show", "service"],
        "show, the best ones": ["show", "service", "--best"],
        "show, one trial": ["show", "service", "indian/0"],
        "show, every trial": ["show", "service", "--limit", "0"],
        "analyze": ["analyze", "service"],
        "analyze --out": ["analyze", "service", "--out", str(folder / "report")],
    }
    found: dict[str, Any] = {}
    for name, arguments in asked.items():
        command = [*program, *arguments]
        if name != "--version":
            command += ["--storage", storage]
        if name.startswith("analyze"):
            used = run(command, folder)
            found[name] = {
                "seconds": spread([used.wall]),
                "processor_seconds": spread([used.processor]),
                "memory_mib": used.memory / 2**20,
            }
        else:
            costs = [_command(command) for _ in range(repetitions)]
            found[name] = {
                "seconds": spread([each.wall for each in costs]),
                "processor_seconds": spread([each.processor for each in costs]),
                "memory_mib": None,
            }
    return found


def _command(command: list[str]) -> Cost:
    """Run a command that has no children of its own."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(wall, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)


def pages(storage: str) -> dict[str, Any]:
    """Return how long the dashboard's pages take, each asked for twice."""
    with LedgerReader.open(storage) as ledger:
        return open_pages(ledger, "service")


@contextmanager
def private_server(connections: int = 100) -> Iterator[PostgresServer | None]:
    """Yield a PostgreSQL server, ``None`` where it is not installed."""
    programs = postgres_programs()
    if programs is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp") as folder:
        # As SQLite with synchronous=NORMAL: a commit does not wait for the disk.
        settings = {"synchronous_commit": "off", "max_connections": str(connections)}
        server = PostgresServer(programs, Path(folder), settings)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def measure(
    marks: dict[tuple[str, str], tuple[int, ...]],
    repetitions: int,
    folder: Path,
    keep: Callable[[dict[str, Any]], None],
) -> None:
    """Measure some parts, and hand over what there is after each.

    Args:
        marks: numbers of trials, by kind of database and sampler.
        repetitions: of each command, which are measured on SQLite with the random sampler.
        folder: where the databases are left.
        keep: takes what was found so far.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found: dict[str, Any] = {"growth": {}}
    with private_server() as server:
        for (database, sampler), wanted in marks.items():
            if database == SQLITE:
                ours, plain = (f"sqlite:///{folder / f'{who}-{sampler}.db'}" for who in FILES)
            elif server is not None:
                ours, plain = server.new_database(), server.new_database()
            else:
                continue
            found["growth"][f"{database}, {sampler}"] = growth(ours, plain, sampler, wanted)
            if (database, sampler) == PARTS[0]:
                found["load_of_commands"] = load()
                found["commands"] = commands(ours, folder, repetitions)
                found["pages"] = pages(ours)
                found["bytes_on_disk"] = {
                    name: (folder / f"{who}-{sampler}.db").stat().st_size
                    for who, name in FILES.items()
                }
            keep(found)


def others(folder: Path | None, setting: dict[str, Any]) -> dict[str, Any]:
    """Return the report that a folder holds already; an empty one if there is none.

    Raises:
        SystemExit: it comes of another machine or of other versions.
    """
    file = None if folder is None else folder / "service.json"
    if file is None or not file.exists():
        return {"growth": {}}
    report: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if report["setting"] != setting:
        raise SystemExit(f"{file} comes of another machine or of other versions: measure all parts")
    return report


def to_markdown(report: dict[str, Any]) -> str:
    setting = report["setting"]
    lines = [
        f"# The service without training: trials of {EPOCHS} epochs",
        "",
        f"{in_words(setting['machine'])}, SQLite {setting['sqlite']}. One worker, no training; the "
        f"last {WINDOW} trials up to each mark, taking turns with plain Optuna. Median and middle "
        "half.",
        "",
        "| | trials | indian-tune, ms | middle half | plain Optuna, ms | middle half | ratio | "
        "middle half |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, found in report["growth"].items():
        for mark, row in found["at"].items():
            lines.append(
                f"| {name} | {int(mark):,} | {cells(row[OURS]['milliseconds'], '.1f')} | "
                f"{cells(row[PLAIN]['milliseconds'], '.1f')} | {cells(row['ratio'], '.2f')} |"
            )
    lines += [
        "",
        f"| growth of a trial's cost (limit {GROWTH}, random sampler) | trials | by the clock | "
        "processor |",
        "|---|---|---:|---:|",
    ]
    for name, found in report["growth"].items():
        for who, row in found["growth"].items():
            lines.append(
                f"| {name}, {who} | {row['from']:,} to {row['to']:,} | {row['wall']:.2f} | "
                f"{row['processor']:.2f} |"
            )
    loads = [each for found in report["growth"].values() for each in found["load"]]
    lines += ["", f"Load of the machine meanwhile: {min(loads):.1f} to {max(loads):.1f}."]
    if "commands" not in report:
        return "\n".join(lines) + "\n"
    trials = max(map(int, report["growth"]["SQLite, random"]["at"]))
    lines += [
        "",
        f"## Commands on {trials:,} finished trials (SQLite)",
        "",
        "From the shell's prompt to the answer; load of the machine when this began: "
        f"{report['load_of_commands']:.1f}.",
        "",
        "| command | s | spread | limit | processor, s | memory, MiB |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, row in report["commands"].items():
        limit = LIMITS.get(name)
        memory = row["memory_mib"]
        lines.append(
            f"| {name} | {cells(row['seconds'], '.2f')} | {'' if limit is None else limit} | "
            f"{row['processor_seconds']['median']:.2f} | "
            f"{'' if memory is None else f'{memory:,.0f}'} |"
        )
    lines += [
        "",
        f"| page of the dashboard (limit of the first {LIMITS['dashboard']:g} s) | s | processor, "
        "s | asked again, s | MB |",
        "|---|---:|---:|---:|---:|",
    ]
    for path, row in report["pages"].items():
        lines.append(
            f"| {path} | {row['seconds']:.2f} | {row['processor']:.2f} | {row['again']:.2f} | "
            f"{row['bytes'] / 1e6:.2f} |"
        )
    sizes = {name: f"{size / 2**20:,.0f}" for name, size in report["bytes_on_disk"].items()}
    lines += ["", f"On disk, MiB: {', '.join(f'{k} {v}' for k, v in sizes.items())}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    def numbers(text: str) -> tuple[int, ...]:
        return tuple(int(part) for part in text.split(","))

    parts = {f"{database}-{sampler}".lower(): (database, sampler) for database, sampler in PARTS}
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--parts", choices=list(parts), nargs="+", default=list(parts))
    for part in parts:
        parser.add_argument(f"--{part}", type=numbers, default=SIZES, help="such as 10,100,1000")
    parser.add_argument("--repetitions", type=int, default=5, help="of each command")
    parser.add_argument("--databases", type=Path, help="folder in which the databases are left")
    parser.add_argument("--out", type=Path, help="folder for the JSON and the Markdown table")
    given = parser.parse_args()
    setting = {
        "machine": machine("optuna", "sqlalchemy", "psycopg"),
        "sqlite": sqlite3.sqlite_version,
        "epochs": EPOCHS,
    }
    if len(given.parts) < len(parts):
        # Before anything is measured: what cannot be joined would be lost.
        others(given.out, setting)
    marks = {parts[part]: vars(given)[part.replace("-", "_")] for part in given.parts}

    def keep(found: dict[str, Any]) -> None:
        # Read each time: another process may measure another part meanwhile.
        kept = others(given.out, setting) if len(given.parts) < len(parts) else {"growth": {}}
        rows = {**kept["growth"], **found["growth"]}
        order = [", ".join(part) for part in PARTS]
        growth = {name: rows[name] for name in order if name in rows}
        report = {**kept, **found, "setting": setting, "growth": growth}
        save(given.out, "service", report, to_markdown(report))

    with tempfile.TemporaryDirectory() as name:
        folder = given.databases or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        measure(marks, given.repetitions, folder, keep)


if __name__ == "__main__":
    main()
