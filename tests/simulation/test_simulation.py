"""Many workers on a virtual clock, with faults that a seed draws, lose and double nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation.playing import make_template, play

# Histories that once found a fault in the ledger.
FAILED = [
    int(line.split()[0])
    for line in (Path(__file__).parent / "seeds.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
# Of few workers, and so of about a second each; with all kinds of faults.
USUAL = (1, 6, 14)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_template(tmp_path_factory.mktemp("simulation"))


@pytest.mark.parametrize("seed", [*USUAL, *FAILED])
def test_nothing_that_must_hold_is_broken(seed: int, template: Path, tmp_path: Path) -> None:
    outcome = play(seed, template, tmp_path)
    assert outcome.found == []
    assert outcome.transactions > 100


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "seed", [0, 2, 3, 5, *(pytest.param(seed, marks=pytest.mark.night) for seed in (4, 7))]
)
def test_nothing_breaks_with_up_to_64_workers(seed: int, template: Path, tmp_path: Path) -> None:
    outcome = play(seed, template, tmp_path)
    assert outcome.found == []
    assert outcome.transactions > 200


def test_a_seed_replays_a_history_to_the_bit(template: Path, tmp_path: Path) -> None:
    first, again, other = (play(seed, template, tmp_path) for seed in (6, 6, 1))
    assert first.digest == again.digest
    assert first.digest != other.digest
