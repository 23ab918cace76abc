"""Interactions of the 2×2×2 design."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pytest

from indian_tune.analysis.factorial import FactorialDetails, interactions

if TYPE_CHECKING:
    from tests.analysis.conftest import Study


def test_interactions_recover_the_coefficients_of_a_saturated_model() -> None:
    rng = np.random.default_rng(0)
    effects = rng.standard_normal((8, 5))
    cells = list(product((0, 1), repeat=3))
    # Sum-to-zero coding: half the difference of differences is the coefficient times two.
    design = np.array(
        [[a**0, a, b, c, a * b, a * c, b * c, a * b * c] for a, b, c in (2 * np.array(cells) - 1)]
    )
    values = dict(zip(cells, design @ effects, strict=True))
    found = interactions(lambda t, d, w: values[int(t), int(d), int(w)])
    assert found["tuning × dropout"] == pytest.approx(4 * effects[4])
    assert found["tuning × weight decay"] == pytest.approx(4 * effects[5])
    assert found["tuning × dropout × weight decay"] == pytest.approx(8 * effects[7])


def test_interactions_are_tested_for_equivalence_on_both_scales(direct: Study) -> None:
    details = direct.judged().finding("H4").details
    assert isinstance(details, FactorialDetails)
    rows = details.equivalences
    assert [(row.name, row.scale) for row in rows] == [
        (name, scale)
        for scale in ("accuracy", "logit")
        for name in (
            "tuning × dropout",
            "tuning × weight decay",
            "tuning × dropout × weight decay",
        )
    ]
    points, logits = rows[0], rows[3]
    # Near an accuracy a, a difference d is d / (a (1 - a)) on the logit scale.
    last = direct.frame.query("arm == 'cell-011' and epoch == 24")["test_accuracy"].mean()
    assert logits.margin == pytest.approx(points.margin / (last * (1 - last)))
