"""A verdict with its context, and the files that it is written to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from indian_tune.analysis import Verdict
    from indian_tune.analysis.figures.exhibit import Exhibit
    from indian_tune.analysis.report import Background
    from indian_tune.study.claims import ClaimsSection
    from indian_tune.study.file.space import Parameter

REPORT = "report.html"
VERDICT, RUNS, EXAMPLES = "verdict.json", "runs.parquet", "examples.parquet"
FLATNESS = "flatness.csv"


@dataclass(frozen=True)
class Analysis:
    """A verdict, and what a report shows beside it.

    Attributes:
        verdict: what was found.
        frames: the data behind it, by the name of their file.
        claims: what was tested.
        background: protocol, budget and provenance.
        ranges: arm → range of γ0 that was searched last.
        flatness: of every run on the fresh seeds, where it was asked for.
        looks: which studies of the database have opened the test set, a sentence; empty for runs
            that were trained elsewhere.
        looked: their names.
        remark: what else to say of the verdict, a sentence.
    """

    verdict: Verdict
    frames: dict[str, pd.DataFrame]
    claims: ClaimsSection
    background: Background
    ranges: dict[str, Parameter]
    flatness: pd.DataFrame | None = None
    looks: str = ""
    looked: tuple[str, ...] = ()
    remark: str = ""

    def __repr__(self) -> str:
        return f"<Analysis {self.verdict.study!r}: {self.verdict.label}>"

    def __str__(self) -> str:
        return str(self.verdict)

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        """Show it in a notebook."""
        printer.text(str(self))

    def figures(self) -> list[Exhibit]:
        """Return every figure for which there are data, the most telling first."""
        from indian_tune.analysis.figures import Material, exhibits

        material = Material(
            self.frames[RUNS],
            self.claims,
            self.verdict,
            ranges=self.ranges,
            flatness=self.flatness,
        )
        return list(exhibits(material))


def check_out(out: Path) -> None:
    """Check that an analysis can be written, before test results are opened for it.

    Raises:
        InputError: the folder holds a verdict already, or takes no files.
    """
    from indian_tune.engines import check_writable
    from indian_tune.errors import InputError
    from indian_tune.text import unused_path

    if (out / VERDICT).exists():
        raise InputError(
            f"{out / VERDICT} already exists: choose another folder, such as --out "
            f"{unused_path(out)}"
        )
    check_writable(out, "--out")


def write_analysis(out: Path, found: Analysis, formats: list[str]) -> None:
    """Write report, verdict and frames into a folder."""
    from indian_tune.analysis.report import write_report
    from indian_tune.service.output import json_text

    out.mkdir(parents=True, exist_ok=True)
    for name, frame in found.frames.items():
        # By a file that is open: Arrow takes no name that is not UTF-8.
        with (out / name).open("wb") as stream:
            frame.to_parquet(stream, index=False)
    if found.flatness is not None:
        found.flatness.to_csv(out / FLATNESS, index=False, lineterminator="\n")
    write_report(out, found.verdict, found.figures(), found.background, formats)
    # Last, so that a folder with a verdict is a whole one.
    (out / VERDICT).write_text(json_text(with_flatness(found)) + "\n", encoding="utf-8")


def with_flatness(found: Analysis) -> dict[str, Any]:
    """Return a verdict as plain data, with what was looked up and measured beside it."""
    said = found.verdict.as_dict()
    if found.looks:
        said["looks"] = list(found.looked)
    if found.flatness is None:
        return said
    from indian_tune.analysis.flatness import summarise_flatness

    arms = [made.as_dict() for made in summarise_flatness(found.flatness)]
    return {**said, "flatness": {"descriptive": True, "arms": arms}}
