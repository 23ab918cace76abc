"""What all benchmarks say of the machine, and how they sum up and keep what they measured."""

from __future__ import annotations

import json
import os
import platform
import statistics
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


def processor() -> str:
    """Return the processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def machine(*packages: str) -> dict[str, Any]:
    """Return what a benchmark ran on: processor, cores, Python, and versions of packages."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def in_words(machine: dict[str, Any]) -> str:
    """Return the same for people."""
    known = {"processor", "cores", "memory_gib", "python"}
    packages = [f"{name} {which}" for name, which in machine.items() if name not in known]
    return ", ".join(
        [
            f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB",
            f"Python {machine['python']}",
            *packages,
        ]
    )


def load() -> float:
    """Return how many processes have wanted a core in the last minute, on average."""
    return round(os.getloadavg()[0], 2)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the median and the middle half; the range, of fewer than four values."""
    if len(values) < 4:
        low, median, high = min(values), statistics.median(values), max(values)
    else:
        low, median, high = statistics.quantiles(values, n=4)
    return {"median": median, "lower_quartile": low, "upper_quartile": high, "n": len(values)}


def ratios(of: Sequence[float], to: Sequence[float]) -> dict[str, float]:
    """Return the spread of quotients that are taken within a round."""
    return spread([a / b for a, b in zip(of, to, strict=True)])


def cells(row: dict[str, float], form: str) -> str:
    """Return median and spread as two cells of a Markdown table."""
    low, high = row["lower_quartile"], row["upper_quartile"]
    return f"{row['median']:{form}} | {low:{form}} to {high:{form}}"


def save(folder: Path | None, name: str, report: dict[str, Any], markdown: str) -> None:
    """Print the table, and write it and the JSON to a folder if there is one."""
    print(markdown)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        (folder / f"{name}.md").write_text(markdown, encoding="utf-8")
