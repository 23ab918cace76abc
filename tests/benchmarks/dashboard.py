"""How long a large study takes to open in the dashboard.

Claim: Optuna Dashboard on our database opens a study of 2,000 trials of 20 epochs (two arms of
1,000) within 5 seconds, importance included; asked again, it answers from its cache.

The server runs in this process, with nothing cached before the first request. Each arm is read
once; the processor time of the request is reported beside its time on the clock, since other
programs delay the one and not the other.

    python -m tests.benchmarks.dashboard
"""

from __future__ import annotations

import json
import math
import os
import platform
import random
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import optuna

from indian_tune.dashboard import DashboardServer
from indian_tune.ledger import Ledger, LedgerReader
from indian_tune.study.file.spec import parse_study
from indian_tune.study.optuna.projection import Projection
from indian_tune.study.optuna.sampling import distributions
from indian_tune.study.registration import register

TRIALS, EPOCHS = 1_000, 20
LIMIT = 5.0
STUDY = {
    "name": "large",
    "problem": {"dataset": "digits", "model": "nin-small"},
    "protocol": {"epochs": EPOCHS, "confirm_seeds": 2},
    "search": {"trials": TRIALS, "sampler": "random"},
    "arms": [
        {"name": "indian", "optimizer": "indian"},
        {"name": "qhm", "optimizer": "qhm"},
    ],
}


def point(draw: random.Random, what: optuna.distributions.BaseDistribution) -> float:
    """Return a value from a range."""
    assert isinstance(what, optuna.distributions.FloatDistribution)
    if what.log:
        return math.exp(draw.uniform(math.log(what.low), math.log(what.high)))
    return draw.uniform(what.low, what.high)


def fill(storage: str) -> None:
    """Register the study, and give every arm its trials in Optuna's tables."""
    spec = parse_study(STUDY, source="benchmark")
    draw = random.Random(0)
    with Ledger.open(storage) as ledger:
        study = register(ledger, spec)
        projection = Projection(ledger.url, study.name, [arm.name for arm in spec.arms])
        projection.create()
        projection.close()
    for arm in spec.arms:
        searched = distributions(spec.space(arm.name))
        shown = optuna.load_study(study_name=f"large/{arm.name}", storage=f"sqlite:///{storage}")
        trials = []
        for slot in range(TRIALS):
            params = {name: point(draw, what) for name, what in searched.items()}
            end = draw.random()
            trials.append(
                optuna.trial.create_trial(
                    value=end,
                    params=params,
                    distributions=searched,
                    user_attrs={"slot": slot},
                    intermediate_values={k: end + 1 / k for k in range(1, EPOCHS + 1)},
                )
            )
        shown.add_trials(trials)


def open_pages(ledger: LedgerReader, study: str) -> dict[str, dict[str, float]]:
    """Open the list of studies, then the arms of a study with two, and all of it once more.

    Returns:
        By path: seconds and processor seconds of the first request, seconds of the second, and
        the size of the answer in bytes.
    """
    paths = [
        "/dashboard",
        "/api/studies",
        *(f"/api/studies/{n}{part}" for n in (1, 2) for part in ("", "/param_importances")),
    ]
    found: dict[str, dict[str, float]] = {}
    with DashboardServer(ledger, study, port=0) as server:
        thread = threading.Thread(target=server.serve)
        thread.start()
        base = server.address.removesuffix("/dashboard")
        for path in 2 * paths:
            clock, work = time.perf_counter(), time.process_time()
            with urllib.request.urlopen(base + path) as answer:
                body = answer.read()
            clock, work = time.perf_counter() - clock, time.process_time() - work
            if path.startswith("/api"):
                json.loads(body)
            if path in found:
                found[path]["again"] = clock
            else:
                found[path] = {"seconds": clock, "processor": work, "bytes": len(body)}
        server.stop()
        thread.join()
    return found


def main() -> None:
    """Fill a database, open it, and print how long each request took."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        storage = str(Path(folder) / "large.db")
        fill(storage)
        print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        print(f"optuna {optuna.__version__}, {2 * TRIALS} trials of {EPOCHS} epochs")
        with LedgerReader.open(storage) as ledger:
            pages = open_pages(ledger, "large")
        for path, row in pages.items():
            print(
                f"{path:40} {row['seconds']:6.2f} s, {row['processor']:6.2f} s of processor, "
                f"{row['bytes'] / 1e6:.1f} MB; again {row['again']:.2f} s"
            )
        total = sum(row["processor"] for row in pages.values())
        print(f"opened with {total:.2f} s of processor (limit {LIMIT:g} s)")
        if total > LIMIT:
            raise SystemExit("a study of 2,000 trials does not open in time")


if __name__ == "__main__":
    main()
