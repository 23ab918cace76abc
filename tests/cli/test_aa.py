"""A real A/A test: two optimizers that are one, tuned and trained for real, are told apart by none.

This is `studies/aa-null.toml` with the same arms, problem, claims and sampler, but made short: 4
trials of 3 epochs in place of 10 of 8, and 5 fresh seeds of 6 epochs in place of 10 of 20. Whether
the whole study comes out so is what running that file tells.
"""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from tests.conftest import ROOT, to_toml

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Ended


@pytest.mark.slow
def test_indian_that_is_sgd_is_not_found_to_regularize(
    tmp_path: Path, command: Callable[..., Ended]
) -> None:
    study = tomllib.loads((ROOT / "studies/aa-null.toml").read_text(encoding="utf-8"))
    study["protocol"] |= {"epochs": 6, "tune_epochs": 3, "confirm_seeds": 5}
    study["search"]["trials"] = 4
    (tmp_path / "aa.toml").write_text(to_toml(study), encoding="utf-8")
    searched = command("search", "aa.toml", "--engine", "inline")
    assert searched.status == 0, searched.err
    verdict = json.loads(command("analyze", "aa-null", "--json", "--out", "report").out)
    assert verdict["label"] in ("REFUTED", "INCONCLUSIVE")
    frame = pd.read_parquet(tmp_path / "report/runs.parquet")
    last = frame.query("phase == 'confirm' and epoch == 6").pivot(
        index="seed", columns="arm", values="train_loss"
    )
    # At the same step size they are one method, up to rounding, on every seed.
    np.testing.assert_allclose(last["indian"], last["sgd-matched"], rtol=0.02)
