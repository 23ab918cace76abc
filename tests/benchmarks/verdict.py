"""From nothing to a verdict: the quickstart, then its report.

What a newcomer waits for, in an empty folder with an empty database: `indian-tune search` on
`studies/quickstart.toml` (4 arms, 48 trials, 8 finalists and 20 confirmations, 960 epochs), then
`indian-tune analyze --out report`. Start-up and every process count.

    python -m tests.benchmarks.verdict --out tests/benchmarks/results
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks.report import cells, in_words, load, machine, save, spread
from tests.benchmarks.sweep import ROOT, environment
from tests.benchmarks.usage import Usage, run

QUICKSTART = ROOT / "studies" / "quickstart.toml"
SEARCH, ANALYZE, BOTH = "search", "analyze --out", "both"


def measure_once(study: Path) -> dict[str, dict[str, float]]:
    """Go all the way once; return what each command took."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = (sys.executable, "-m", "indian_tune")
        used: dict[str, Usage] = {}
        for title, arguments in (
            (SEARCH, ("search", str(study))),
            (ANALYZE, ("analyze", "--out", "report")),
        ):
            used[title] = run((*program, *arguments), folder, environment=environment())
        verdict = json.loads((folder / "report" / "verdict.json").read_text(encoding="utf-8"))
        assert verdict["label"], "the report has no verdict"
        assert (folder / "report" / "report.html").stat().st_size > 0
    found = {
        title: {
            "wall_seconds": usage.wall,
            "processor_seconds": usage.processor,
            "memory_mib": usage.memory / 2**20,
        }
        for title, usage in used.items()
    }
    found[BOTH] = {
        "wall_seconds": sum(row["wall_seconds"] for row in found.values()),
        "processor_seconds": sum(row["processor_seconds"] for row in found.values()),
        "memory_mib": max(row["memory_mib"] for row in found.values()),
    }
    return found


def to_markdown(report: dict[str, Any]) -> str:
    setting = report["setting"]
    lines = [
        "# From nothing to a verdict: the quickstart and its report",
        "",
        f"{in_words(setting['machine'])}. n = {setting['rounds']} rounds; median and spread. Load "
        f"of the machine before each: {', '.join(f'{each:.1f}' for each in report['load'])}.",
        "",
        "| | wall, s | spread | processor, s | memory, MiB |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {name} | {cells(row['wall_seconds'], '.0f')} | "
        f"{row['processor_seconds']['median']:.0f} | {row['memory_mib']['median']:,.0f} |"
        for name, row in report["summary"].items()
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--study", type=Path, default=QUICKSTART, help="another study file")
    parser.add_argument("--out", type=Path, help="folder for the JSON and the Markdown table")
    given = parser.parse_args()
    loads, rounds = [], []
    for _ in range(given.rounds):
        loads.append(load())
        rounds.append(measure_once(given.study.absolute()))
    report = {
        "setting": {
            "machine": machine("torch", "optuna", "pandas", "matplotlib"),
            "rounds": given.rounds,
        },
        "load": loads,
        "rounds": rounds,
        "summary": {
            title: {key: spread([each[title][key] for each in rounds]) for key in row}
            for title, row in rounds[0].items()
        },
    }
    save(given.out, "verdict", report, to_markdown(report))


if __name__ == "__main__":
    main()
