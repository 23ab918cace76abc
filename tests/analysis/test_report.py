"""The report: whole in itself, the verdict first, every figure with its words and numbers."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import matplotlib as mpl
import pandas as pd
import pytest

from indian_tune.analysis.figures import Material, exhibits
from indian_tune.analysis.report import Background, render, write_report
from indian_tune.errors import InputError
from indian_tune.outcome import ACCURACY
from tests.analysis import test_figures as study

if TYPE_CHECKING:
    from pathlib import Path

    from indian_tune.analysis import Verdict
    from indian_tune.analysis.figures import Exhibit

BACKGROUND = Background(
    question="Does <it> regularize?",
    protocol=[("Network", "nin-small")],
    budget=[["arm", "trials"], ["indian", "3/3"]],
    provenance=[("Hash", "abc123")],
    spec="{}",
    winners={"indian": "α=0.5"},
)
frame, verdict = study.frame, study.verdict


@pytest.fixture(scope="module")
def shown(frame: pd.DataFrame, verdict: Verdict) -> list[Exhibit]:
    return list(exhibits(Material(frame, study.CLAIMS, verdict)))


@pytest.fixture(scope="module")
def page(verdict: Verdict, shown: list[Exhibit]) -> str:
    return render(verdict, shown, BACKGROUND)


class Outline(HTMLParser):
    """Collects the ids and the attributes that could fetch something."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(str(value))
            if name in ("src", "srcset", "data") or (name == "href" and tag != "a"):
                self.fetched.append(str(value))


def test_the_verdict_stands_before_the_evidence_and_the_evidence_before_the_figures(
    page: str, verdict: Verdict
) -> None:
    order = [
        page.index(text)
        for text in (
            f'<p class="label">{verdict.label}</p>',
            '<table class="arms" id="arms">',
            "<h2>Evidence</h2>",
            *(f'<section class="card" id="{found.hypothesis}">' for found in verdict.findings),
            "<h2>Figures</h2>",
            "<h2>Protocol</h2>",
            "<h2>Budget</h2>",
            "<h2>Provenance</h2>",
        )
    ]
    assert order == sorted(order)
    assert "Does &lt;it&gt; regularize?" in page


def test_nothing_is_fetched_and_no_name_stands_twice(page: str) -> None:
    outline = Outline()
    outline.feed(page)
    assert [each for each in outline.fetched if not each.startswith(("#", "data:,"))] == []
    assert not re.search(r"@import|url\((?!#)|<script|<iframe", page)
    assert len(outline.ids) == len(set(outline.ids))


def test_every_figure_is_inline_with_its_words_its_numbers_and_the_page_s_colours(
    page: str, shown: list[Exhibit]
) -> None:
    assert page.count("<svg") == len(shown)
    for each in shown:
        start = page.index(f'<figure id="{each.name}">')
        part = page[start : page.index("</figure>", start)]
        assert 'role="img" aria-label="' in part
        assert f'href="figures/{each.name}.csv"' in part
        assert "var(--ink)" in part
        assert "#333333" not in part
        svg = part[part.index("<svg") : part.index("</svg>") + 6]
        root = ElementTree.fromstring(svg)
        assert "width" not in root.attrib
        assert root.attrib["aria-label"] == each.alt
        ids = set(re.findall(r'id="([^"]+)"', svg))
        assert set(re.findall(r"url\(#([^)]+)\)", svg)) <= ids
        assert set(re.findall(r'href="#([^"]+)"', svg)) <= ids


def test_the_numbers_lie_beside_every_figure_in_every_format_that_was_asked_for(
    tmp_path: Path, verdict: Verdict, shown: list[Exhibit]
) -> None:
    few = shown[:2]
    files = write_report(tmp_path / "new", verdict, few, BACKGROUND, ["png", "pdf"])
    assert [file.name for file in files] == [
        "report.html",
        *(f"{each.name}.{form}" for each in few for form in ("csv", "svg", "png", "pdf")),
    ]
    for each in few:
        written = pd.read_csv(tmp_path / "new" / "figures" / f"{each.name}.csv")
        pd.testing.assert_frame_equal(written, each.table, check_dtype=False)
    assert (tmp_path / "new/figures/contrasts.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "new/figures/contrasts.pdf").read_bytes().startswith(b"%PDF")


def test_the_same_report_is_the_same_file(verdict: Verdict, shown: list[Exhibit]) -> None:
    once = render(verdict, shown[:1], BACKGROUND)
    assert render(verdict, shown[:1], BACKGROUND) == once
    assert mpl.rcParams["svg.fonttype"] == "path"


def test_what_cannot_be_written_is_refused(
    tmp_path: Path, verdict: Verdict, shown: list[Exhibit]
) -> None:
    with pytest.raises(InputError, match="--figures gif is not known: allowed are svg, png, pdf"):
        write_report(tmp_path / "a", verdict, shown, BACKGROUND, ["gif"])
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        write_report(tmp_path / "file", verdict, shown, BACKGROUND)


def test_points_have_a_sign_and_bounds_may_be_infinite() -> None:
    said = [ACCURACY.signed(value) for value in (0.0123, -0.5, float("inf"), float("-inf"), None)]
    assert said == ["+1.23", "−50.00", "∞", "−∞", "–"]
