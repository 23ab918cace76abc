"""The analysis on simulated studies with known truth: fewer of them, and wider bands.

`tests/benchmarks/calibration.py` holds the bands of ± .01.
"""

from __future__ import annotations

import pytest

from indian_tune.analysis.calibration import Calibration, calibrate

SEEDS = (5, 10)


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return calibrate(200, SEEDS, verdicts=8)


def test_every_test_holds_its_level_and_every_bound_covers(calibration: Calibration) -> None:
    assert calibration.failures == ()
    assert {rate.kind for rate in calibration.rates} == {"type I", "at most", "coverage"}
    assert len(calibration.rates) > 200


@pytest.mark.parametrize(
    ("method", "worst"),
    [
        ("best of 25 on the data that chose it", 0.2),
        ("ANCOVA on the final loss", 0.2),
        ("z over seeds", 0.08),
    ],
)
def test_naive_methods_reject_true_nulls_too_often(
    calibration: Calibration, method: str, worst: float
) -> None:
    rates = [rate for rate in calibration.naive if rate.procedure == method]
    assert max(rate.value for rate in rates) > worst
    assert not all(rate.passed for rate in rates)


def test_unpaired_tests_do_not_hold_their_level_either(calibration: Calibration) -> None:
    rates = [rate for rate in calibration.naive if rate.procedure == "unpaired t-test"]
    assert [(rate.value, rate.passed) for rate in rates] == [(0.0, False)] * len(SEEDS)


def test_the_claim_is_not_supported_where_it_does_not_hold(calibration: Calibration) -> None:
    for scenario, _, counts in calibration.verdicts:
        if not scenario.startswith("direct"):
            assert counts.get("SUPPORTED", 0) <= 1
        if scenario == "missing support, none allowed":
            assert counts == {"INCONCLUSIVE": 8}


def test_a_clear_direct_effect_is_supported(calibration: Calibration) -> None:
    counts = {(name, n): found for name, n, found in calibration.verdicts}
    assert counts["direct effect of 2 points", 10] == {"SUPPORTED": 8}
