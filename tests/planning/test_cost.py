from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.errors import DataError
from indian_tune.ledger import Phase
from indian_tune.planning.cost import Cost, estimate, wall_seconds
from indian_tune.planning.memory import count_bytes
from indian_tune.planning.timing import kind_of
from indian_tune.planning.workload import Work
from indian_tune.study.file.spec import parse_study

if TYPE_CHECKING:
    from pathlib import Path

TUNE = Work("indian", Phase.TUNE, trials=5, seeds=2, epochs=3, steps_per_epoch=10.0)


def test_a_phase_takes_as_long_as_workers_that_claim_one_trial_after_the_other() -> None:
    costs = [Cost(TUNE, 1.0), Cost(replace(TUNE, arm="sgd", trials=1, epochs=10), 1.0)]
    assert wall_seconds(costs, Phase.TUNE, 1) == 5 * 6 + 20
    # Two take three and two trials of 6 seconds; the one that is free first takes the long one.
    assert wall_seconds(costs, Phase.TUNE, 2) == 12 + 20
    assert wall_seconds(costs, Phase.TUNE, 100) == 20
    assert wall_seconds(costs, Phase.CONFIRM, 2) == 0


@pytest.mark.slow
def test_every_worker_measures_every_kind_and_the_costs_follow(tiny: dict[str, Any]) -> None:
    tiny["arms"].append({"name": "sgd-matched", "optimizer": "sgd", "matched_rate_of": "indian"})
    spec = parse_study(tiny, source="test")
    found = estimate(spec, ["cpu", "cpu"])
    assert [(cost.work.arm, cost.work.phase) for cost in found.costs] == [
        ("indian", Phase.TUNE),
        ("sgd", Phase.TUNE),
        ("indian", Phase.CONFIRM),
        ("sgd", Phase.CONFIRM),
        ("sgd-matched", Phase.CONFIRM),
    ]
    assert {arm: len(speeds) for arm, speeds in found.speeds.items()} == {
        "indian": 2,
        "sgd": 2,
        "sgd-matched": 2,
    }
    for speeds in found.speeds.values():
        for speed in speeds:
            assert speed.step_seconds > 0
            # Two times are solved for two costs: a load that comes and goes may leave it at 0.
            assert speed.image_seconds >= 0
            assert speed.device_bytes is None
            assert speed.process_bytes is not None
            assert speed.process_bytes > 50e6
    total = sum(cost.seconds for cost in found.costs)
    assert found.device_seconds == pytest.approx(total)
    # Two equal workers can share the work exactly; the halves are summed in another order.
    assert total / 2 * (1 - 1e-9) <= found.wall_seconds < total


def test_missing_data_are_an_error_that_says_so(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["problem"] |= {"dataset": "mnist", "model": "nin"}
    spec = parse_study(tiny, source="test")
    with pytest.raises(DataError, match="data set 'mnist' is not in"):
        estimate(spec, ["cpu"], data_dir=tmp_path)


def test_the_published_network_is_counted_without_its_data(tiny: dict[str, Any]) -> None:
    tiny["problem"] = {"dataset": "cifar100", "model": "nin", "batch_size": 2}
    weights = 994_456 * 4
    both, data = count_bytes(parse_study(tiny, source="test"))
    assert data == 60_000 * (3 * 32 * 32 + 8)
    tiny["arms"] = tiny["arms"][1:]
    sgd, _ = count_bytes(parse_study(tiny, source="test"))
    # Weights, gradients and, for INDIAN alone, velocities.
    assert sgd > 2 * weights
    assert both - sgd == pytest.approx(weights, rel=1e-3)


def test_the_kind_of_a_run_is_at_the_smallest_rate_of_its_space(tiny: dict[str, Any]) -> None:
    tiny["arms"][1]["space"] = {"batch_size": {"choices": [16, 64, 256]}}
    kind = kind_of(parse_study(tiny, source="test"), "sgd")
    assert (kind.family, kind.batch_size, dict(kind.config)) == ("sgd", 64, {"gamma0": 1e-3})
