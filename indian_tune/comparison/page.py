"""A comparison as one page of HTML, which fetches nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.analysis.report import inline_svg, render_page
from indian_tune.comparison.drawing import exhibits, many_exhibit
from indian_tune.comparison.words import headings, many_rows, remarks, rows

if TYPE_CHECKING:
    from indian_tune.comparison.findings import Findings, ManyFindings


def page(found: Findings) -> str:
    """Return the page of two arms."""
    return render_page(
        "comparison",
        title=f"{found.a} compared with {found.b}",
        heading=headings(found),
        label=str(found.label),
        sentence=found.sentence,
        rows=rows(found),
        remarks=[*remarks(found), *found.notes],
        cautions=[caution.sentence for caution in found.cautions if not caution.asked],
        questions=[caution.sentence for caution in found.cautions if caution.asked],
        exhibits=[(each, inline_svg(each)) for each in exhibits(found)],
    )


def many_page(found: ManyFindings) -> str:
    """Return the page of many arms."""
    of = f"against {found.baseline}" if found.baseline else "in pairs"
    shown = many_exhibit(found)
    return render_page(
        "comparison",
        title=f"{found.metric}: all arms {of}",
        heading=headings(found),
        label="",
        sentence=f"{len(found.rows)} comparisons, corrected for their number (Holm).",
        rows=many_rows(found),
        remarks=[],
        cautions=list(found.cautions),
        questions=[],
        exhibits=[(shown, inline_svg(shown))],
    )
