"""The report as a browser shows it: on a desk, on a phone, in the dark and on paper."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

# What WCAG asks of text, and of graphics.
TEXT, GRAPHICS = 4.5, 3.0
WIDTHS = (1280, 390)

CONTRASTS = """
() => {
  const channel = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = text => {
    const [r, g, b] = text.match(/[\\d.]+/g).map(Number);
    return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  };
  const behind = node => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if (!/, 0\\)$/.test(colour)) return colour;
    }
  };
  const ratio = (one, other) => {
    const [high, low] = [light(one), light(other)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  };
  const found = [];
  for (const node of document.querySelectorAll("h1, h2, h3, p, td, th, figcaption, a, svg text")) {
    const style = getComputedStyle(node);
    const colour = node.ownerSVGElement ? style.fill : style.color;
    found.push([node.textContent.trim().slice(0, 40), ratio(colour, behind(node))]);
  }
  return found;
}
"""


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=WIDTHS)
def page(
    request: pytest.FixtureRequest, browser: Browser, studied: Path, scheme: Any
) -> Iterator[Page]:
    """The report, opened; ends with the check that it said and fetched nothing."""
    size = {"width": request.param, "height": 800}
    opened = browser.new_page(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
    said: list[str] = []
    asked: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda request: asked.append(request.url))
    address = (studied / "report" / "report.html").as_uri()
    opened.goto(address)
    yield opened
    opened.close()
    assert said == []
    assert [url for url in asked if url != address] == []


def test_the_verdict_and_every_figure_are_seen_at_every_width_in_light_and_dark(
    page: Page, studied: Path
) -> None:
    verdict = json.loads((studied / "report" / "verdict.json").read_text(encoding="utf-8"))
    width = page.viewport_size["width"] if page.viewport_size else 0
    label = page.locator("#verdict .label")
    assert label.inner_text() == verdict["label"]
    box = label.bounding_box()
    # Without scrolling.
    assert box is not None
    assert box["y"] + box["height"] < 800
    figures = page.locator("figure")
    names = sorted(file.stem for file in (studied / "report" / "figures").glob("*.svg"))
    assert sorted(figure.get_attribute("id") or "" for figure in figures.all()) == names
    assert {"test-against-training-error", "learning-curves", "best-so-far"} <= set(names)
    for figure in figures.all():
        drawn = figure.locator("svg")
        assert drawn.is_visible()
        shape = drawn.bounding_box()
        assert shape is not None
        assert shape["width"] > 0.85 * min(width, 38 * 16)
        assert 0 <= shape["x"] <= shape["x"] + shape["width"] <= width
        assert drawn.locator("text").count() > 3
    # Nothing makes the page wider than the screen.
    assert page.evaluate("document.documentElement.scrollWidth") == width
    faint = [(text, ratio) for text, ratio in page.evaluate(CONTRASTS) if ratio < TEXT]
    assert faint == []


def test_a_phone_shows_figures_with_text_of_a_size_that_can_be_read(
    browser: Browser, studied: Path
) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto((studied / "report" / "report.html").as_uri())
    heights = page.evaluate(
        "[...document.querySelectorAll('#test-against-training-error svg text')]"
        ".map(text => text.getBoundingClientRect().height)"
    )
    assert min(heights) > 9
    page.close()


def test_paper_gets_dark_ink_even_from_a_dark_screen_and_no_figure_is_cut(
    browser: Browser, studied: Path
) -> None:
    page = browser.new_page(color_scheme="dark")
    page.goto((studied / "report" / "report.html").as_uri())
    page.emulate_media(media="print")
    looks = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor,"
        " getComputedStyle(document.querySelector('figure')).breakInside]"
    )
    assert looks == ["rgb(0, 0, 0)", "rgb(255, 255, 255)", "avoid"]
    # A drawing and its words, side by side, are as wide as the text.
    widths = page.evaluate(
        "[...document.querySelectorAll('figure')].map(figure => ['svg', 'figcaption'].map("
        "part => figure.querySelector(part).getBoundingClientRect().width / figure.clientWidth))"
    )
    assert all(drawn + told > 0.95 and drawn < told * 4 for drawn, told in widths), widths
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.close()
