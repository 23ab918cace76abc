"""256 workers on 16 connections to the database, through PgBouncer in transaction mode.

Claim: with 16 sessions of the server for 256 workers, the record takes at least as many
transactions per second as were measured with a connection for each (137), and no trial is lost or
doubled.

The workers (threads of 8 processes, each with its own connection to the pooler and its own
heartbeat, through the real controller: they join, claim, ask Optuna, report every epoch, renew
their leases, finish and leave) wait where they would train, so shortly that the record limits them.
The same workers with a connection of their own to the server take turns with them, so that the
ratio is measured side by side. The pooler's settings are those of the guide.

    python -m tests.benchmarks.pooler --out tests/benchmarks/results

Each round is kept when it is done: the same command continues with what is left.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import make_url

from tests.benchmarks.report import cells, in_words, load, machine, ratios, save, spread
from tests.benchmarks.scale import Part, check_record, play
from tests.benchmarks.service import private_server
from tests.pgbouncer import pgbouncer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import PostgresServer

POOLED, DIRECT = "through PgBouncer", "a connection each"
GOAL = 137.0
# As in studies/guides/machines.md.
SETTINGS = {
    "max_client_conn": "2000",
    "idle_transaction_timeout": "30",
    "server_reset_query": "",
}


def measure(
    server: PostgresServer, part: Part, workers: int, through: Callable[[str], str]
) -> dict[str, Any]:
    """Let the workers play once; return what they did, and what is wrong with their record."""
    before = load()
    played, storage = play(server, part, workers, through)
    return {
        **asdict(played),
        "connections": played.kept_connections,
        "most_connections": played.most_connections,
        "load": before,
        "wrong": check_record(storage, workers * part.trials, part.epochs),
    }


def to_markdown(report: dict[str, Any]) -> str:
    setting, rounds = report["setting"], report["rounds"]
    loads = [row["load"] for rows in rounds.values() for row in rows]
    wrong = {
        key: sum(row["wrong"][key] for rows in rounds.values() for row in rows)
        for key in rounds[POOLED][0]["wrong"]
    }
    trials = sum(row["trials"] for rows in rounds.values() for row in rows)
    rates = {
        name: [row["transactions_per_second"] for row in rows] for name, rows in rounds.items()
    }
    most = max(row["most_connections"] for row in rounds[POOLED])
    holds = (
        spread(rates[POOLED])["median"] >= GOAL
        and most <= setting["sessions"]
        and not any(wrong.values())
    )
    lines = [
        f"# {setting['workers']} workers on {setting['sessions']} connections",
        "",
        f"On {in_words(setting['machine'])}, load of the machine {min(loads):.1f} to "
        f"{max(loads):.1f}: workers, pooler, server and whatever else ran shared it. Each worker "
        f"takes {setting['trials']} trials of {setting['epochs']} epochs and waits "
        f"{setting['epoch_seconds']:g} s for each.",
        "",
        "| | transactions/s | middle half | most connections of the server | rounds |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, found in rates.items():
        peak = max(row["most_connections"] for row in rounds[name])
        lines.append(f"| {name} | {cells(spread(found), '.0f')} | {peak} | {len(found)} |")
    both = min(map(len, rates.values()))
    ratio = ratios(rates[POOLED][:both], rates[DIRECT][:both])
    lines += [
        "",
        f"The pooled workers made {ratio['median']:.2f} times as many transactions per second as "
        f"those with a connection each ({ratio['lower_quartile']:.2f} to "
        f"{ratio['upper_quartile']:.2f}, within a round).",
        "",
        f"Of {trials} trials: "
        + ", ".join(f"{key.replace('_', ' ')} {count}" for key, count in wrong.items())
        + f". The claim (at least {GOAL:.0f} transactions per second, nothing lost or doubled) "
        f"{'holds' if holds else 'does not hold'}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, default=256)
    parser.add_argument("--sessions", type=int, default=16, help="of the server, for all workers")
    parser.add_argument("--trials", type=int, default=2, help="of each worker")
    parser.add_argument("--epochs", type=int, default=10, help="of a trial")
    parser.add_argument("--epoch-seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="folder for the JSON and the Markdown table")
    given = parser.parse_args()
    names = ("workers", "sessions", "trials", "epochs", "epoch_seconds")
    asked = {name: getattr(given, name) for name in names}
    report: dict[str, Any] = {"setting": asked, "rounds": {POOLED: [], DIRECT: []}}
    kept = None if given.out is None else given.out / "pooler.json"
    if kept is not None and kept.is_file():
        before = json.loads(kept.read_text(encoding="utf-8"))
        if {name: before["setting"][name] for name in names} == asked:
            report = before
    report["setting"]["machine"] = machine("optuna", "sqlalchemy", "psycopg")
    part = Part(given.trials, given.epochs, given.epoch_seconds)
    with private_server(connections=2 * given.workers + 50) as server:
        if server is None:
            raise SystemExit("PostgreSQL's server programs are missing: install postgresql")
        with pgbouncer(server.new_database(), given.sessions, SETTINGS) as port:

            def pooled(storage: str) -> str:
                url = make_url(storage).set(host="127.0.0.1", port=port, query={})
                return url.render_as_string(hide_password=False)

            for number in range(given.rounds):
                for name, through in ((POOLED, pooled), (DIRECT, str)):
                    if len(report["rounds"][name]) > number:
                        continue
                    print(f"round {number + 1}: {name}", file=sys.stderr, flush=True)
                    found = measure(server, part, given.workers, through)
                    report["rounds"][name].append(found)
                    if kept is not None:
                        kept.parent.mkdir(parents=True, exist_ok=True)
                        kept.write_text(json.dumps(report), encoding="utf-8")
    save(given.out, "pooler", report, to_markdown(report))


if __name__ == "__main__":
    main()
