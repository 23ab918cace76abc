"""``report.html``: the verdict, the evidence and where it comes from, in one file.

Nothing in the page is fetched: styles and figures stand in it. The figures lie beside it as files
of their own, with the numbers behind them as CSV.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from io import StringIO
from typing import TYPE_CHECKING

from indian_tune.analysis.power import ONE_SEARCH
from indian_tune.analysis.style import INK, PALE
from indian_tune.analysis.typography import (
    arm_rows,
    arm_title,
    estimand_rows,
    failed_runs,
    gate_rows,
    shown_findings,
)
from indian_tune.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from markupsafe import Markup
    from matplotlib.figure import Figure

    from indian_tune.analysis.combined import Combined
    from indian_tune.analysis.figures import Exhibit
    from indian_tune.analysis.verdict import Verdict

REPORT = "report.html"
FIGURES = "figures"
# The figure beside the verdict, above the evidence in words.
LEAD = "contrasts"
FORMATS = ("svg", "png", "pdf")
DOTS_PER_INCH = 200
# Nothing in a file that changes from one run to the next.
_NO_METADATA = {
    "svg": dict.fromkeys(("Creator", "Date", "Format", "Type")),
    "pdf": dict.fromkeys(("Creator", "CreationDate", "Producer")),
    "png": {"Software": None},
}


@dataclass(frozen=True)
class Background:
    """What a report says beside the verdict and its figures.

    Attributes:
        question: what the study asks.
        protocol: name and value, a row each.
        budget: heading of the columns, then a row per arm.
        provenance: name and value, a row each.
        spec: the study as registered, as text.
        winners: the configuration of an arm that won, as text.
    """

    question: str = ""
    protocol: Sequence[tuple[str, str]] = ()
    budget: Sequence[Sequence[str]] = ()
    provenance: Sequence[tuple[str, str]] = ()
    spec: str = ""
    winners: Mapping[str, str] = field(default_factory=dict)


def write_report(
    folder: Path,
    verdict: Verdict,
    shown: Iterable[Exhibit],
    background: Background,
    formats: Sequence[str] = (),
) -> list[Path]:
    """Write the report, its figures and their numbers.

    Args:
        folder: made if need be; files of earlier reports in it are replaced.
        verdict: from ``analyze``.
        shown: the figures.
        background: what else the report says.
        formats: in which the figures are written beside SVG: png, pdf.

    Returns:
        The files, the report first.

    Raises:
        InputError: a format is not known, or the folder cannot be written.
    """
    for form in formats:
        if form not in FORMATS:
            raise InputError(f"--figures {form} is not known: allowed are {', '.join(FORMATS)}")
    exhibits = list(shown)
    report = folder / REPORT
    files = [report]
    try:
        (folder / FIGURES).mkdir(parents=True, exist_ok=True)
        for each in exhibits:
            table = folder / FIGURES / f"{each.name}.csv"
            each.table.to_csv(table, index=False, lineterminator="\n")
            files.append(table)
            for form in dict.fromkeys(("svg", *formats)):
                file = folder / FIGURES / f"{each.name}.{form}"
                _save(each.figure, file, form, each.name)
                files.append(file)
        report.write_text(render(verdict, exhibits, background), encoding="utf-8")
    except OSError as error:
        raise InputError(f"--out {folder} cannot be written: {error}") from error
    return files


def render(verdict: Verdict, shown: Sequence[Exhibit], background: Background) -> str:
    """Return the page."""
    return render_page(
        "report",
        verdict=verdict,
        estimands=functools.partial(estimand_rows, outcome=verdict.scope.judged),
        outcome=verdict.scope.judged,
        one_search=ONE_SEARCH,
        gates=gate_rows(verdict),
        findings=shown_findings(verdict),
        arms=arm_rows(verdict, background.winners),
        arm_title=arm_title(verdict, background.winners),
        failed=failed_runs(verdict),
        exhibits=[(each, inline_svg(each)) for each in shown],
        background=background,
        figures=FIGURES,
        lead=LEAD,
    )


def render_combined(combined: Combined, rows: Sequence[Sequence[str]]) -> str:
    """Return the page of several studies; their own reports lie in folders of their names.

    Args:
        combined: what they say together.
        rows: the heading of the contrasts, then a row each.
    """
    return render_page(
        "combined",
        combined=combined,
        outcome=combined.studies[0].scope.judged,
        claims=[
            ("on all of these studies", combined.on_all, combined.all_sentence),
            ("on the average of these studies", combined.on_average, combined.average_sentence),
        ],
        rows=rows,
    )


def render_page(name: str, **content: object) -> str:
    """Return a page from its template."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("indian_tune.analysis"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(f"{name}.html.jinja").render(**content)


def inline_svg(exhibit: Exhibit) -> Markup:
    """Return a figure as an element of a page: named, in the colours of the page, as wide as it."""
    from markupsafe import Markup, escape

    text = StringIO()
    _save(exhibit.figure, text, "svg", exhibit.name)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    # Several figures share a page, so that what they name needs names of its own.
    svg = re.sub(r'\bid="', f'id="{exhibit.name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{exhibit.name}-", svg)
    svg = re.sub(r'href="#', f'href="#{exhibit.name}-', svg)
    for colour, name in ((INK, "ink"), (PALE, "pale")):
        svg = re.sub(colour, f"var(--{name})", svg, flags=re.IGNORECASE)
    # The page decides how wide; the view box keeps the shape.
    head, rest = svg.split(">", 1)
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    return Markup(f'{head} role="img" aria-label="{escape(exhibit.alt)}">{rest}')  # noqa: S704


def _save(figure: Figure, file: Path | StringIO, form: str, name: str) -> None:
    import matplotlib

    # The first drawing makes room for labels that the second one places.
    figure.draw_without_rendering()
    # Text stays text, which can be searched and read aloud, and has the colour of the page.
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(
            file,
            format=form,
            dpi=DOTS_PER_INCH,
            transparent=form == "svg",
            metadata=_NO_METADATA[form],
        )
