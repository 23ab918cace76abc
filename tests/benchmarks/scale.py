"""A study of 100,000 trials on 1,000 GPUs, on paper; and the paper checked against a database.

Nobody here has 1,000 GPUs, but the load on the database is a matter of counting: transactions per
trial and per epoch, heartbeats, connections per worker, the server's processor seconds per trial.
These constants are measured with one worker on a private PostgreSQL server, and the costs of
sampling are read from the result of `service.py`. From them the model says how long the study
takes, what load it puts on the database, what it costs, and what gives way first.

Its database part is then checked: 256 workers (threads of 8 processes, each with its own
connections and heartbeat, through the real controller) wait where they would train. Claim: the
model predicts their transactions per second to within 10 %, and every trial is recorded once, with
every epoch.

    python -m tests.benchmarks.scale --out tests/benchmarks/results
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from indian_tune.engines.heartbeat import joined
from indian_tune.engines.session import open_session
from indian_tune.ledger import Ledger, LedgerReader, State, storage_url
from indian_tune.ledger import tables as t
from indian_tune.study.controller import Controller
from indian_tune.study.file.spec import parse_study
from indian_tune.study.registered_study import RegisteredStudy
from tests.benchmarks.report import in_words, load, machine, save
from tests.benchmarks.service import private_server, study, train_nothing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import PostgresServer

TRIALS, GPUS, EPOCHS = 100_000, 1_000, 20
EPOCH_SECONDS = (1.0, 5.0, 30.0)
# What is assumed, not measured.
DOLLARS_PER_GPU_HOUR = 3.0
SERVER_CORES, SERVER_CONNECTIONS = 8, 1_000
PROCESSES = 8
# Multiples of it, without their whole parts, lie evenly between 0 and 1.
GOLDEN = 0.618034
_OPENING = threading.Lock()
TOLERANCE = 0.10
# How long all workers may take to be there.
CONNECTING_SECONDS = 900.0
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Constants:
    """What the model is made of.

    Attributes:
        transactions_per_trial: beside its epochs.
        transactions_per_epoch: of one run.
        server_seconds_per_trial: processor seconds of the database server, beside its epochs.
        server_seconds_per_epoch: likewise of one epoch.
        worker_seconds_per_trial: that a worker waits for its record by the clock, beside epochs.
        worker_seconds_per_epoch: likewise for an epoch's.
        connections_per_worker: open while it trains.
        heartbeat_seconds: between two heartbeats of a worker.
        bytes_per_trial: in the database, with 20 epochs.
    """

    transactions_per_trial: float
    transactions_per_epoch: float
    server_seconds_per_trial: float
    server_seconds_per_epoch: float
    worker_seconds_per_trial: float
    worker_seconds_per_epoch: float
    connections_per_worker: float
    heartbeat_seconds: float
    bytes_per_trial: float


@dataclass(frozen=True)
class Sampling:
    """What asking a sampler costs a worker, from the result of `service.py`.

    Attributes:
        milliseconds: of a trial's record and sampling together, at few trials.
        growth: milliseconds that each further trial of the arm adds to every later one.
    """

    milliseconds: float
    growth: float


@dataclass(frozen=True)
class Played:
    """What workers that train nothing have done.

    Attributes:
        seconds: for which their transactions were counted; of the slowest process.
        transactions: in that time, counted by the workers.
        transactions_per_second: of all processes together.
        server_seconds: of the server's processor from start to end.
        connections: open at once, looked at every second while there were any; what takes less
            than a second may go unseen.
        trials: finished by them.
        bytes: by which the database grew.
    """

    seconds: float
    transactions: int
    transactions_per_second: float
    server_seconds: float
    connections: tuple[int, ...]
    trials: int
    bytes: int

    @property
    def kept_connections(self) -> float:
        """The median of what was open."""
        return statistics.median(self.connections)

    @property
    def most_connections(self) -> int:
        """The most that were open: to open Optuna's tables takes a second one for a moment."""
        return max(self.connections)


@dataclass(frozen=True)
class Part:
    """What the workers of a study do.

    Attributes:
        trials: of each worker.
        epochs: of a trial.
        epoch_seconds: how long each epoch seems to take.
    """

    trials: int
    epochs: int
    epoch_seconds: float

    @property
    def trial_seconds(self) -> float:
        """How long a trial seems to take."""
        return self.epochs * self.epoch_seconds


class _Transactions:
    """Counts the transactions of this process, Optuna's included."""

    def __init__(self) -> None:
        self.total = 0
        for name in ("commit", "rollback"):
            sa.event.listen(sa.Engine, name, self._count)
        self._lock = threading.Lock()

    def _count(self, connection: sa.Connection) -> None:
        with self._lock:
            self.total += 1


@contextmanager
def _worker(storage: str) -> Iterator[Controller]:
    """Be there as a worker, with a heart that beats."""
    with ExitStack() as stack:
        # To read Optuna's migrations keeps the interpreter busy: one thread at a time, or each of
        # them would be in a transaction while the others run.
        with _OPENING:
            ledger = stack.enter_context(Ledger.open(storage))
            study = RegisteredStudy.open(ledger, "service")
            worker = stack.enter_context(joined(ledger, study.record, "cpu"))
            controller = Controller(study, worker)
        try:
            yield controller
        finally:
            controller.close()


def _work(storage: str, part: Part, share: float, ready: threading.Barrier) -> None:
    """Be one worker, from the common start on: take trials through."""
    try:
        with _worker(storage) as controller:
            ready.wait()
            # Workers of a real study are not in step.
            time.sleep(share * part.trial_seconds)
            for _ in range(part.trials):
                assert train_nothing(controller, part.epoch_seconds), "no trial is left"
    except BaseException:
        # Or the others would wait for this one for ever.
        ready.abort()
        raise


def _work_in_threads(
    storage: str, part: Part, shares: list[float], together: threading.Barrier
) -> tuple[int, float, float]:
    """Be several workers.

    Returns:
        Their transactions, and from when to when they were counted: while all workers of all
        processes were at work, if trials take time.
    """
    # Optuna loads parts of itself when they are first used, which threads must not do together.
    with _worker(storage):
        pass
    count = _Transactions()
    ready = threading.Barrier(len(shares) + 1)
    with ThreadPoolExecutor(len(shares)) as pool:
        jobs = [pool.submit(_work, storage, part, share, ready) for share in shares]
        try:
            together.wait(CONNECTING_SECONDS)
            ready.wait(CONNECTING_SECONDS)
        except threading.BrokenBarrierError:
            ready.abort()
            for job in jobs:
                job.result()
            raise
        # The last one begins within the length of a trial, and the first one ends after all of its.
        time.sleep(part.trial_seconds)
        start, before = time.time(), count.total
        if part.trial_seconds > 0:
            time.sleep((part.trials - 1) * part.trial_seconds)
            end, after = time.time(), count.total
        for job in jobs:
            job.result()
    if part.trial_seconds == 0:
        end, after = time.time(), count.total
    return after - before, start, end


def play(
    server: PostgresServer,
    part: Part,
    workers: int,
    through: Callable[[str], str] = lambda storage: storage,
) -> tuple[Played, str]:
    """Let workers wait where they would train.

    Args:
        server: makes a new database for them.
        part: what each worker does.
        workers: how many.
        through: returns the address by which workers reach a database.

    Returns:
        What they did, and the address of the database.
    """
    storage = server.new_database()
    asked = study(workers * part.trials, "random")
    asked["protocol"] = {"epochs": part.epochs, "confirm_seeds": 0}
    with open_session(parse_study(asked, source="benchmark"), storage_url(storage), None):
        pass
    size, busy = _size(storage), server.processor_seconds()
    shares = [number * GOLDEN % 1 for number in range(workers)]
    hands = min(PROCESSES, workers)
    spawn = multiprocessing.get_context("spawn")
    connections: list[int] = []
    with spawn.Manager() as manager, ProcessPoolExecutor(hands, mp_context=spawn) as pool:
        together = manager.Barrier(hands)
        jobs = [
            pool.submit(_work_in_threads, through(storage), part, shares[hand::hands], together)
            for hand in range(hands)
        ]
        while not all(job.done() for job in jobs):
            with suppress(sa.exc.OperationalError):
                connections.append(_connections(storage))
            time.sleep(1)
        counted = [job.result() for job in jobs]
    played = Played(
        seconds=max(end - start for _, start, end in counted),
        transactions=sum(count for count, *_ in counted),
        # Processes do not begin at the same moment: each has a rate of its own.
        transactions_per_second=sum(count / (end - start) for count, start, end in counted),
        server_seconds=server.processor_seconds() - busy,
        # None is open before the processes have loaded what they need.
        connections=tuple(each for each in connections if each),
        trials=workers * part.trials,
        bytes=_size(storage) - size,
    )
    return played, storage


def _scalar(storage: str, query: str) -> int:
    engine = sa.create_engine(storage, poolclass=sa.NullPool)
    with engine.connect() as connection:
        return int(connection.execute(sa.text(query)).scalar_one())


def _size(storage: str) -> int:
    return _scalar(storage, "SELECT pg_database_size(current_database())")


def _connections(storage: str) -> int:
    # Without this one, and without the server's own workers, such as autovacuum's.
    query = (
        "SELECT count(*) - 1 FROM pg_stat_activity "
        "WHERE datname = current_database() AND backend_type = 'client backend'"
    )
    return _scalar(storage, query)


def check_record(storage: str, trials: int, epochs: int) -> dict[str, int]:
    """Return what is wrong with the record of a study that was played: all must be 0."""
    with LedgerReader.open(storage) as ledger:
        record = ledger.study("service")
        every = ledger.trials(record.id)
        run = sa.select(t.run.c.trial_id, sa.func.count().label("epochs"))
        run = run.join(t.epoch).group_by(t.run.c.trial_id)
        with ledger._reading() as connection:
            counts = {row.trial_id: row.epochs for row in connection.execute(run)}
    shown = _scalar(storage, "SELECT count(*) FROM trials WHERE state = 'COMPLETE'")
    slots = _scalar(
        storage,
        "SELECT count(DISTINCT value_json) FROM trial_user_attributes WHERE key = 'slot'",
    )
    return {
        "lost": trials - sum(trial.state is State.COMPLETE for trial in every),
        "claimed_twice": sum(trial.attempts != 1 for trial in every),
        "with_other_epochs": sum(counts.get(trial.id) != epochs for trial in every),
        "missing_in_optuna": trials - shown,
        "doubled_in_optuna": shown - slots,
    }


def calibrate(server: PostgresServer, trials: int) -> Constants:
    """Measure the constants with one worker: few short trials, twice as many, and long ones."""
    few, _ = play(server, Part(trials, epochs=5, epoch_seconds=0.0), workers=1)
    twice, _ = play(server, Part(2 * trials, epochs=5, epoch_seconds=0.0), workers=1)
    long, _ = play(server, Part(trials, epochs=20, epoch_seconds=0.0), workers=1)
    # Connections are counted while workers wait for their training.
    idle, storage = play(server, Part(2, epochs=5, epoch_seconds=1.0), workers=4)
    with Ledger.open(storage) as ledger:
        heartbeat = ledger.lease.total_seconds() / 4

    def per_trial_and_epoch(key: str) -> tuple[float, float]:
        # What it takes to begin and to connect is in all three alike.
        start, doubled, lengthened = (float(getattr(each, key)) for each in (few, twice, long))
        epoch = max(0.0, (lengthened - start) / trials / 15)
        return max(0.0, (doubled - start) / trials - 5 * epoch), epoch

    transactions = per_trial_and_epoch("transactions")
    of_server = per_trial_and_epoch("server_seconds")
    of_worker = per_trial_and_epoch("seconds")
    bytes_of_a_trial, bytes_of_an_epoch = per_trial_and_epoch("bytes")
    return Constants(
        transactions_per_trial=transactions[0],
        transactions_per_epoch=transactions[1],
        server_seconds_per_trial=of_server[0],
        server_seconds_per_epoch=of_server[1],
        worker_seconds_per_trial=of_worker[0],
        worker_seconds_per_epoch=of_worker[1],
        connections_per_worker=idle.kept_connections / 4,
        heartbeat_seconds=heartbeat,
        bytes_per_trial=bytes_of_a_trial + 20 * bytes_of_an_epoch,
    )


def predict(
    constants: Constants, *, workers: int, trials: int, epochs: int, epoch_seconds: float
) -> dict[str, float]:
    """Return what that many trials on that many workers take, and what the database has to do.

    A worker waits for its training and, as when it is alone, for its record: it is assumed that the
    database keeps up.
    """
    of_a_trial = constants.transactions_per_trial + epochs * constants.transactions_per_epoch
    busy = constants.server_seconds_per_trial + epochs * constants.server_seconds_per_epoch
    waiting = constants.worker_seconds_per_trial + epochs * constants.worker_seconds_per_epoch
    trial_seconds = epochs * epoch_seconds + waiting
    rate = workers / trial_seconds
    return {
        "seconds": trials / rate,
        "transactions_per_second": rate * of_a_trial + workers / constants.heartbeat_seconds,
        "server_cores": rate * busy,
        "share_of_recording": waiting / trial_seconds,
        "connections": workers * constants.connections_per_worker,
        "gigabytes": trials * constants.bytes_per_trial * epochs / 20 / 1e9,
    }


def sampling(results: Path) -> dict[str, Sampling]:
    """Return what each sampler costs, from the result of `service.py`."""
    file = results / "service.json"
    if not file.is_file():
        return {}
    found = json.loads(file.read_text(encoding="utf-8"))["growth"]
    costs = {}
    for sampler in ("random", "tpe"):
        name = next((key for key in found if key == f"SQLite, {sampler}"), None)
        if name is None:
            continue
        points = [
            (int(mark), row["indian-tune"]["processor_milliseconds"]["median"])
            for mark, row in found[name]["at"].items()
        ]
        (first, at_first), (last, at_last) = points[0], points[-1]
        # Two arms: each has half of the trials.
        slope = (at_last - at_first) / ((last - first) / 2)
        costs[sampler] = Sampling(at_first, max(0.0, slope))
    return costs


def on_paper(
    constants: Constants, samplers: dict[str, Sampling], arms: int
) -> list[dict[str, Any]]:
    """Return the study of 100,000 trials for some lengths of an epoch."""
    rows = []
    for epoch_seconds in EPOCH_SECONDS:
        size = {"workers": GPUS, "trials": TRIALS, "epochs": EPOCHS}
        row = predict(constants, **size, epoch_seconds=epoch_seconds)
        trial_seconds = EPOCHS * epoch_seconds
        shares = {
            "the database server's processor": row["server_cores"] / SERVER_CORES,
            "connections to the database": row["connections"] / SERVER_CONNECTIONS,
        }
        for name, cost in samplers.items():
            # At the end of the study, for each trial that a worker begins.
            spent = (cost.milliseconds + cost.growth * TRIALS / arms) / 1000
            row[f"share_of_sampling_{name}"] = spent / trial_seconds
            if name == "tpe":
                shares["sampling by TPE, beside the training"] = spent / trial_seconds
        first = max(shares, key=lambda name: shares[name])
        rows.append(
            {
                "epoch_seconds": epoch_seconds,
                **row,
                "gpu_hours": GPUS * row["seconds"] / 3600,
                "dollars": GPUS * row["seconds"] / 3600 * DOLLARS_PER_GPU_HOUR,
                "used": shares,
                "first_bottleneck": first,
            }
        )
    return rows


def to_markdown(report: dict[str, Any]) -> str:
    setting, constants, check = report["setting"], report["constants"], report["check"]
    lines = [
        f"# {TRIALS:,} trials of {EPOCHS} epochs on {GPUS:,} GPUs, on paper",
        "",
        f"Constants measured on {in_words(setting['machine'])}, on a private PostgreSQL server "
        f"with synchronous_commit off; load of the machine {setting['load']:.1f}. Assumed: "
        f"{DOLLARS_PER_GPU_HOUR:g} dollars per GPU hour; a server of {SERVER_CORES} cores and "
        f"{SERVER_CONNECTIONS:,} connections.",
        "",
        "| constant | |",
        "|---|---:|",
        f"| transactions per trial, beside its epochs | "
        f"{constants['transactions_per_trial']:.1f} |",
        f"| transactions per epoch | {constants['transactions_per_epoch']:.2f} |",
        f"| server's processor per trial, beside its epochs, ms | "
        f"{1000 * constants['server_seconds_per_trial']:.1f} |",
        f"| server's processor per epoch, ms | "
        f"{1000 * constants['server_seconds_per_epoch']:.2f} |",
        f"| a worker's wait for its record per trial, beside its epochs, ms | "
        f"{1000 * constants['worker_seconds_per_trial']:.1f} |",
        f"| a worker's wait for its record per epoch, ms | "
        f"{1000 * constants['worker_seconds_per_epoch']:.2f} |",
        f"| connections per worker | {constants['connections_per_worker']:.1f} |",
        f"| seconds between heartbeats | {constants['heartbeat_seconds']:g} |",
        f"| kilobytes per trial | {constants['bytes_per_trial'] / 1000:.1f} |",
        "",
        "| an epoch, s | wall, h | GPU hours | dollars | transactions/s | server's cores | "
        "connections | GB | fullest |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for row in report["paper"]:
        first = row["first_bottleneck"]
        lines.append(
            f"| {row['epoch_seconds']:g} | {row['seconds'] / 3600:.1f} | {row['gpu_hours']:,.0f} | "
            f"{row['dollars']:,.0f} | {row['transactions_per_second']:,.0f} | "
            f"{row['server_cores']:.2f} | {row['connections']:,.0f} | {row['gigabytes']:.1f} | "
            f"{first}: {100 * row['used'][first]:.0f} % |"
        )
    lines += [
        "",
        "Fullest is what is used most of its capacity: above 100 % it gives way first.",
        "",
        f"## The database part, checked with {check['workers']} workers",
        "",
        f"Each takes {check['trials_per_worker']} trials of {check['epochs']} epochs, and waits "
        f"{check['epoch_seconds']:g} s for each epoch; all began in the course of one trial, and "
        f"were counted for {check['counted_seconds']:.0f} s in which every one was at work.",
        "",
        "| | predicted | measured | measured / predicted |",
        "|---|---:|---:|---:|",
    ]
    for key, title in (
        ("transactions_per_second", "transactions per second"),
        ("connections", "connections"),
    ):
        said, seen = check["predicted"][key], check["measured"][key]
        lines.append(f"| {title} | {said:.2f} | {seen:.2f} | {seen / said:.2f} |")
    said, seen = (check[key]["transactions_per_second"] for key in ("predicted", "measured"))
    holds = abs(seen / said - 1) <= TOLERANCE and not any(check["wrong"].values())
    wrong = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in check["wrong"].items())
    lines += [
        "",
        f"At most {check['most_connections']} connections were seen open at once: to open "
        "Optuna's tables, a worker needs a second one.",
        "",
        f"Of {check['trials']} trials: {wrong}. The claim {'holds' if holds else 'does not hold'}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, default=256)
    parser.add_argument("--trials", type=int, default=2, help="of each worker")
    parser.add_argument("--epochs", type=int, default=10, help="of a trial in the check")
    parser.add_argument("--epoch-seconds", type=float, default=6.0, help="in the check")
    parser.add_argument("--calibration", type=int, default=120, help="trials of a worker alone")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of service.json")
    parser.add_argument("--out", type=Path, help="folder for the JSON and the Markdown table")
    given = parser.parse_args()
    with private_server(connections=4 * given.workers + 50) as server:
        if server is None:
            raise SystemExit("PostgreSQL's server programs are missing: install postgresql")
        before = load()
        constants = calibrate(server, given.calibration)
        part = Part(given.trials, given.epochs, given.epoch_seconds)
        played, storage = play(server, part, given.workers)
        total = given.workers * given.trials
        wrong = check_record(storage, total, given.epochs)
    predicted = predict(
        constants,
        workers=given.workers,
        trials=total,
        epochs=given.epochs,
        epoch_seconds=given.epoch_seconds,
    )
    samplers = sampling(given.results)
    report = {
        "setting": {"machine": machine("optuna", "sqlalchemy", "psycopg"), "load": before},
        "constants": asdict(constants),
        "samplers": {name: asdict(cost) for name, cost in samplers.items()},
        "paper": on_paper(constants, samplers, arms=2),
        "check": {
            "workers": given.workers,
            "trials_per_worker": given.trials,
            "trials": total,
            "epochs": given.epochs,
            "epoch_seconds": given.epoch_seconds,
            "counted_seconds": played.seconds,
            "predicted": predicted,
            "measured": {
                "transactions_per_second": played.transactions_per_second,
                "connections": played.kept_connections,
            },
            "most_connections": played.most_connections,
            "wrong": wrong,
        },
    }
    save(given.out, "scale", report, to_markdown(report))
    if any(wrong.values()):
        raise SystemExit(f"the record is wrong: {wrong}")


if __name__ == "__main__":
    main()
