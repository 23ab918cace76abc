"""Which trials are handed out where a search is asked for its trials generation by generation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from indian_tune.ledger import ArmPlan, Ledger, Phase, State, Winner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indian_tune.ledger import Lease, StudyRecord

SIZE = 2
SEARCHES = [("indian", 0), ("indian", 1), ("sgd", 0), ("sgd", 1)]


@pytest.fixture
def ledger(usual_database: str) -> Iterator[Ledger]:
    with Ledger.open(usual_database) as opened:
        yield opened


@pytest.fixture
def study(ledger: Ledger) -> StudyRecord:
    """Two arms, each searched twice with six trials."""
    arms = [ArmPlan(name, name, 6, replicates=2) for name in ("indian", "sgd")]
    record = ledger.register("study", {"name": "study"}, "hash", arms)
    ledger.join(record.id, "worker", host="here", pid=1, started="0", device="cpu")
    return record


def claim(ledger: Ledger, study: StudyRecord, search: tuple[str, int]) -> Lease | None:
    arm, replicate = search
    return ledger.claim(
        study.id,
        Phase.TUNE,
        "worker",
        arm_ids=[each.id for each in ledger.arms(study.id) if each.name == arm],
        replicate=replicate,
        generation=SIZE,
    )


def begin(ledger: Ledger, study: StudyRecord, search: tuple[str, int]) -> Lease | None:
    """Claim the next trial of a search and give it a configuration; return its lease."""
    lease = claim(ledger, study, search)
    if lease is not None:
        ledger.begin(lease, {"gamma0": 0.1}, 1, seeds=(0,), epochs=2, provenance={})
    return lease


def places(leases: list[Lease | None]) -> list[int | None]:
    return [None if lease is None else lease.trial.index for lease in leases]


def finish(ledger: Ledger, lease: Lease | None) -> None:
    assert lease is not None
    ledger.finish(lease, State.COMPLETE, 0.5)


@pytest.mark.parametrize("search", SEARCHES)
def test_the_next_generation_waits_for_every_trial_of_the_one_before(
    search: tuple[str, int], ledger: Ledger, study: StudyRecord
) -> None:
    leases = [begin(ledger, study, search) for _ in range(3)]
    assert places(leases) == [0, 1, None]
    # In whatever order they end.
    finish(ledger, leases[1])
    assert begin(ledger, study, search) is None
    finish(ledger, leases[0])
    later = [begin(ledger, study, search) for _ in range(3)]
    assert places(later) == [2, 3, None]
    assert later[0] is not None
    ledger.release(later[0])
    assert places([claim(ledger, study, search)]) == [2]


def test_a_trial_that_was_given_back_is_taken_when_the_one_before_it_has_ended(
    ledger: Ledger, study: StudyRecord
) -> None:
    first, second = (begin(ledger, study, SEARCHES[0]) for _ in range(2))
    assert second is not None
    ledger.release(second)
    finish(ledger, first)
    assert places([begin(ledger, study, SEARCHES[0])]) == [1]


def test_no_trial_is_handed_out_while_the_first_of_its_generation_has_no_configuration(
    ledger: Ledger, study: StudyRecord
) -> None:
    first = claim(ledger, study, SEARCHES[0])
    assert claim(ledger, study, SEARCHES[0]) is None
    assert first is not None
    ledger.configure(first, {first.trial.id + n: ({"gamma0": 0.1}, n) for n in range(SIZE)})
    assert places([claim(ledger, study, SEARCHES[0]) for _ in range(2)]) == [1, None]


@pytest.mark.parametrize(
    ("ahead", "behind"),
    [(0, 1), (1, 0), (0, 2), (2, 0)],
    ids=lambda n: "-".join(map(str, SEARCHES[n])),
)
def test_a_search_waits_for_no_other_and_takes_no_lead_from_one(
    ahead: int, behind: int, ledger: Ledger, study: StudyRecord
) -> None:
    for _ in range(2):
        for lease in [begin(ledger, study, SEARCHES[ahead]) for _ in range(SIZE)]:
            finish(ledger, lease)
    assert places([begin(ledger, study, SEARCHES[behind]) for _ in range(3)]) == [0, 1, None]
    assert places([begin(ledger, study, SEARCHES[ahead]) for _ in range(3)]) == [4, 5, None]


def test_trials_of_other_phases_are_of_no_generation(ledger: Ledger, study: StudyRecord) -> None:
    winners = []
    for arm, replicate in SEARCHES:
        while (lease := begin(ledger, study, (arm, replicate))) is not None:
            finish(ledger, lease)
        record = next(each for each in ledger.arms(study.id) if each.name == arm)
        own = ledger.trials(study.id, phase=Phase.TUNE, arm_id=record.id, replicate=replicate)
        winners.append(Winner(record, {"gamma0": 0.1}, own[0], replicate))
    assert ledger.freeze(study.id, winners, [1000, 1001])
    ledger.extend(study.id, 2)
    # Those on fresh seeds wait, and begin with 0.
    assert len(ledger.trials(study.id, phase=Phase.CONFIRM)) == 8
    assert places([begin(ledger, study, SEARCHES[1]) for _ in range(3)]) == [6, 7, None]
