"""How long the command line takes to start, beside the imports that it cannot do without.

Claim: `indian-tune --help` takes at most 1.5 times a process that only imports typer and Rich, and
`indian-tune status` on a small, finished study at most 1.4 times one that imports typer, Rich,
pydantic and SQLAlchemy.

Every process is run to its end, the contenders take turns, and what is compared is the time of the
processor, user and system, which other programs hardly change. The first round fills the caches
of files and is left out.

    python -m tests.benchmarks.startup                          # prints the table
    python -m tests.benchmarks.startup --out tests/benchmarks/results
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks.report import cells, in_words, machine, ratios, save, spread
from tests.benchmarks.sweep import environment
from tests.conftest import to_toml

if TYPE_CHECKING:
    from collections.abc import Sequence

STUDY = {
    "name": "small",
    "problem": {"dataset": "digits", "model": "nin-small", "width": 0.2, "batch_size": 256},
    "protocol": {"epochs": 1, "confirm_seeds": 2},
    "search": {"trials": 2, "sampler": "random"},
    "arms": [{"name": name, "optimizer": name} for name in ("indian", "sgd", "adagrad", "adam")],
}
PROGRAM = (sys.executable, "-m", "indian_tune")
FEW, MANY = "import typer, rich", "import typer, rich, pydantic, sqlalchemy"
HELP, STATUS = "indian-tune --help", "indian-tune status"
# Of, to, at most.
GOALS = ((HELP, FEW, 1.5), (STATUS, MANY, 1.4))


def processor_seconds(command: Sequence[str], folder: Path) -> float:
    """Run a command to its end; return the seconds of the processor that it took.

    Raises:
        RuntimeError: it failed.
    """
    process = subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    with process.stderr as stderr:
        said = stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}: {said.decode()[-4000:]}")
    return used.ru_utime + used.ru_stime


def measure(rounds: int) -> dict[str, list[float]]:
    """Return the processor's seconds of every contender in every round."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "small.toml").write_text(to_toml(STUDY), encoding="utf-8")
        processor_seconds((*PROGRAM, "search", "small.toml", "--engine", "inline"), folder)
        commands: dict[str, Sequence[str]] = {
            **{code: (sys.executable, "-c", code) for code in (FEW, MANY)},
            HELP: (*PROGRAM, "--help"),
            STATUS: (*PROGRAM, "status"),
        }
        found: dict[str, list[float]] = {title: [] for title in commands}
        for number in range(rounds + 1):
            for title, command in commands.items():
                seconds = processor_seconds(command, folder)
                if number:
                    found[title].append(seconds)
    return found


def to_markdown(report: dict[str, Any]) -> str:
    setting = report["setting"]
    lines = [
        "# Start-up of the command line",
        "",
        f"{in_words(setting['machine'])}. n = {setting['rounds']} rounds; median and spread.",
        "",
        "| process | processor, s | spread |",
        "|---|---:|---:|",
        *(f"| `{name}` | {cells(row, '.3f')} |" for name, row in report["summary"].items()),
        "",
        "| ratio | at most | median | spread |",
        "|---|---:|---:|---:|",
    ]
    lines += [
        f"| `{row['of']}` / `{row['to']}` | {row['goal']} | {cells(row['ratio'], '.2f')} |"
        for row in report["ratios"]
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, help="folder for the JSON and the Markdown table")
    given = parser.parse_args()
    rounds = measure(given.rounds)
    report = {
        "setting": {
            "machine": machine("typer", "rich", "pydantic", "SQLAlchemy", "optuna"),
            "rounds": given.rounds,
        },
        "rounds": rounds,
        "summary": {title: spread(seconds) for title, seconds in rounds.items()},
        "ratios": [
            {"of": of, "to": to, "goal": goal, "ratio": ratios(rounds[of], rounds[to])}
            for of, to, goal in GOALS
        ],
    }
    save(given.out, "startup", report, to_markdown(report))


if __name__ == "__main__":
    main()
