"""Optuna Dashboard on our database, as a browser shows it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from indian_tune.dashboard import DashboardServer
from indian_tune.ledger import LedgerReader, Phase

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(studied: Path) -> Iterator[str]:
    with (
        LedgerReader.open(str(studied / "indian-tune.db")) as ledger,
        DashboardServer(ledger, "tiny", port=0) as server,
    ):
        thread = threading.Thread(target=server.serve)
        thread.start()
        yield server.address
        server.stop()
        thread.join()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    elsewhere: list[str] = []
    base = address.removesuffix("/dashboard")
    opened.on("request", lambda request: elsewhere.append(request.url))
    yield opened
    opened.close()
    assert [url for url in elsewhere if not url.startswith((base, "data:", "blob:"))] == []


def test_every_arm_and_the_fresh_seeds_are_listed(page: Page, address: str) -> None:
    page.goto(address)
    for name in ("indian", "sgd", "indian-rate", "confirm"):
        page.get_by_text(f"tiny/{name}", exact=False).first.wait_for()


def test_a_trial_shows_its_curve_and_the_study_its_note_and_importance(
    page: Page, address: str, studied: Path
) -> None:
    page.goto(f"{address}/studies/1")
    page.get_by_text("Hyperparameter Importance").wait_for()
    page.get_by_text("Intermediate values").first.wait_for()
    page.goto(f"{address}/studies/1/trials?numbers=1")
    page.get_by_text("Intermediate Values").wait_for()
    shown = page.locator("body").inner_text()
    with LedgerReader.open(str(studied / "indian-tune.db")) as ledger:
        arm = ledger.arms(ledger.study("tiny").id)[0]
        trial = ledger.find_trial(arm.id, Phase.TUNE, 1)
        assert trial is not None
        (run,) = ledger.runs(trial.id)
        epochs = ledger.epochs(run.id)
    assert len(epochs) == 3
    for epoch in epochs:
        assert f"{epoch.epoch} {1 - epoch.metrics['validation_accuracy']}" in shown
    page.goto(f"{address}/studies/1/note")
    page.get_by_text("tiny: tuning indian").wait_for()
    page.get_by_text("3 trials per arm").wait_for()
    # The verdict that was reached.
    assert "None yet" not in page.locator("body").inner_text()


def test_controls_that_write_are_hidden_and_their_requests_refused(
    page: Page, address: str
) -> None:
    page.goto(address)
    page.get_by_text("tiny/sgd").first.wait_for()
    card = page.locator(".MuiCard-root", has_text="tiny/sgd").first
    for label in ("delete study", "rename study"):
        control = card.get_by_label(label)
        assert control.count() == 1, "Optuna Dashboard calls it otherwise now"
        assert not control.is_visible()
    create = page.locator("button", has_text="Create")
    assert create.count() == 1, "Optuna Dashboard calls it otherwise now"
    assert not create.is_visible()
    assert page.locator("button", has_text="Reload").is_visible()
    delete = "fetch('/api/studies/1', {method: 'DELETE'}).then(answer => answer.status)"
    assert page.evaluate(delete) == 403
    page.goto(address)
    page.get_by_text("tiny/sgd").first.wait_for()
