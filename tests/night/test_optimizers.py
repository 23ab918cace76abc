"""Every optimizer of pytorch_optimizer trains on digits or is refused in a sentence."""

from __future__ import annotations

import importlib.util

import pytest

from tests.night.optimizers import OURS, PACKAGE, TABLE, names, outcome

pytestmark = pytest.mark.filterwarnings("ignore")
HERE = importlib.util.find_spec(PACKAGE) is not None


def test_in_the_committed_table_all_train_or_are_refused_in_a_sentence() -> None:
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| `")]
    assert len(rows) >= 128
    assert {found for _, found, _ in rows} == {"trains", "refused"}
    refused = {name: told for name, found, told in rows if found == "refused"}
    assert all(f" {told}".startswith(OURS) for told in refused.values())
    assert "closure" in refused["`LBFGS`"]
    assert "wraps another optimizer" in refused["`Lookahead`"]


@pytest.mark.night
@pytest.mark.skipif(not HERE, reason=f"{PACKAGE} is not installed; the job optimizers installs it")
@pytest.mark.parametrize("name", names() if HERE else [])
def test_trains_or_is_refused(name: str) -> None:
    found, told = outcome(name)
    assert found in ("trains", "refused"), told
