"""Puts figures and numbers into files."""

from __future__ import annotations

import csv
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from indian_tune.reproduce.drawing import draw_convergence, draw_figure1
from indian_tune.reproduce.figure1 import differences
from indian_tune.reproduce.theorem1 import convergence_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure as Canvas

    from indian_tune.reproduce.figure1 import Figure1
    from indian_tune.reproduce.theorem1 import ConvergenceRun

__all__ = ["write_convergence", "write_figure1"]

# Every point would make a file of 60 MB; none of the published features is shorter than this.
WRITTEN_EVERY = 40
DOTS_PER_INCH = 150


def write_figure1(figure: Figure1, folder: Path) -> list[Path]:
    """Write Figure 1 as SVG and PNG, its curves and its differences as CSV.

    Returns:
        The files, in ``folder``, which is created if need be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return [
        *write_canvas(draw_figure1(figure), folder, "figure1"),
        _write_rows(
            folder / "figure1.csv",
            (
                "variant",
                "panel",
                "alpha",
                "beta",
                "s",
                "iteration",
                "theta1",
                "theta2",
                "objective",
            ),
            _curve_rows(figure),
        ),
        _write_records(folder / "figure1-differences.csv", differences(figure)),
    ]


def write_convergence(runs: Sequence[ConvergenceRun], folder: Path) -> list[Path]:
    """Write the figure of theorem 1 as SVG and PNG, its runs and its table as CSV.

    Returns:
        The files, in ``folder``, which is created if need be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return [
        *write_canvas(draw_convergence(runs), folder, "theorem1"),
        _write_rows(
            folder / "theorem1.csv",
            (
                "objective",
                "decay_power",
                "gamma0",
                "seed",
                "iteration",
                "value",
                "distance",
                "distance_at_point",
            ),
            _run_rows(runs),
        ),
        _write_records(folder / "theorem1-table.csv", convergence_table(runs)),
    ]


def write_canvas(canvas: Canvas, folder: Path, name: str) -> list[Path]:
    """Write a figure as SVG and PNG into a folder that is there; return the files."""
    import matplotlib

    vector, pixels = folder / f"{name}.svg", folder / f"{name}.png"
    # Without these two the same figure gives another file each time.
    with matplotlib.rc_context({"svg.hashsalt": name}):
        canvas.savefig(vector, metadata={"Date": None})
    canvas.savefig(pixels, dpi=DOTS_PER_INCH)
    return [vector, pixels]


def _curve_rows(figure: Figure1) -> Iterator[tuple[Any, ...]]:
    for curve in figure.curves:
        setting = (curve.variant, curve.panel, curve.alpha, curve.beta, curve.speed)
        for step in range(0, curve.values.shape[0], WRITTEN_EVERY):
            first, second = curve.path[step].tolist()
            yield (*setting, step, first, second, float(curve.values[step]))


def _run_rows(runs: Sequence[ConvergenceRun]) -> Iterator[tuple[Any, ...]]:
    for run in runs:
        for row, (power, gamma0) in enumerate(zip(run.decay_powers, run.gamma0s, strict=True)):
            for seed in range(run.values.shape[1]):
                for column, step in enumerate(run.steps.tolist()):
                    place = (row, seed, column)
                    numbers = (run.values, run.distances, run.distances_at_point)
                    yield (
                        run.objective.title,
                        power,
                        gamma0,
                        seed,
                        step,
                        *(float(one[place]) for one in numbers),
                    )


def _write_records(path: Path, records: Sequence[Any]) -> Path:
    names = [field.name for field in fields(records[0])]
    return _write_rows(path, names, (tuple(asdict(record).values()) for record in records))


def _write_rows(path: Path, names: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(rows)
    return path
