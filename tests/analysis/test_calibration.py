"""The analysis on simulated studies with known truth: fewer of them, and wider bands.

`tests/benchmarks/calibration.py` holds the bands of ± .015.
"""

from __future__ import annotations

import pytest

from indian_tune.analysis import former
from indian_tune.analysis.calibration import Calibration, calibrate


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return calibrate(200, verdicts=20)


def test_every_bound_and_every_verdict_errs_as_rarely_as_it_says(calibration: Calibration) -> None:
    assert calibration.failures == ()
    assert {rate.kind for rate in calibration.rates} == {"type I", "at most", "at least"}


@pytest.mark.parametrize("method", list(former.METHODS))
def test_what_is_known_to_fail_fails(calibration: Calibration, method: str) -> None:
    rates = [rate for rate in calibration.former if rate.procedure == method]
    assert rates
    assert not all(rate.passed for rate in rates)
    assert all(rate.passed for rate in calibration.instead if rate.procedure == method)


def test_a_clear_gain_is_supported_and_a_gain_in_fit_is_not(calibration: Calibration) -> None:
    counts = {(name, n): found for name, n, found in calibration.verdicts}
    assert counts["direct effect of 2 points", 10] == {"SUPPORTED": 20}
    assert counts["effect through loss only", 10].get("SUPPORTED", 0) <= 3
