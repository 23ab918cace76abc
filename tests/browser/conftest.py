"""A real browser, a study that was searched, and its report."""

from __future__ import annotations

import copy
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.conftest import TINY, run_command
from tests.simulated import search_simulated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, without a window."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        reason = "no browser: install the package chromium"
        # Where the tests judge a change, nothing that can be installed may be left out.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Chromium refuses its sandbox to root.
        launched = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small study, searched on a virtual clock and analysed by the command.

    It holds indian-tune.db, and the report in the folder report.
    """
    folder = tmp_path_factory.mktemp("studied")
    study = copy.deepcopy(TINY)
    study["search"]["trials"] = 3
    study["protocol"] |= {"epochs": 4, "tune_epochs": 3, "confirm_seeds": 3}
    study["arms"] += [
        {"name": "indian-rate", "optimizer": "indian", "space": {"alpha": 0.5, "beta": 0.1}},
        {"name": "sgd-matched", "optimizer": "sgd", "matched_rate_of": "indian"},
    ]
    study["claims"] = {"thresholds": [2.25, 2.2]}
    search_simulated(f"sqlite:///{folder / 'indian-tune.db'}", study)
    run_command(folder, "analyze", "tiny", "--out", "report")
    return folder
