"""`indian-tune search` with more trials than before, and under another name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from indian_tune.ledger import Ledger, LedgerReader, Phase, State
from indian_tune.service.own_study import from_study
from indian_tune.study.ranking import rank

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Ended


def test_a_finished_study_is_extended_and_its_old_trials_stay(
    storage: str,
    tiny: dict[str, Any],
    search: Callable[..., tuple[int, str, str]],
    command: Callable[..., Ended],
) -> None:
    at = ("--storage", storage)
    assert search(tiny)[0] == 0
    with LedgerReader.open(storage) as ledger:
        study = ledger.study("tiny")
        before = ledger.trials(study.id)
    status, out, err = search(tiny, "--extend", 2, "--json")
    assert (status, "2 arms, 8 trials" in err) == (0, True)
    told = {arm["arm"]: arm for arm in json.loads(out)["arms"]}
    assert [told[name]["tune"]["finished"] for name in ("indian", "sgd")] == [4, 4]
    with LedgerReader.open(storage) as ledger:
        after = ledger.trials(study.id)
        frozen = [event.data for event in ledger.events(study.id, "frozen")]
        confirms = ledger.confirms(study.id)
    assert [trial for trial in after if trial in before] == before
    assert all(trial.state is State.COMPLETE for trial in after)
    assert [data["freezing"] for data in frozen] == [1, 2]
    winners = {arm: winner["config"] for arm, winner in frozen[-1]["winners"].items()}
    assert len(confirms) == 4
    assert all(trial.config in winners.values() for trial in confirms)
    # Arms that kept their winner were not confirmed again.
    changed = sum(frozen[0]["winners"][arm] != frozen[1]["winners"][arm] for arm in winners)
    assert sum(trial.phase is Phase.CONFIRM for trial in after) == 4 + 2 * changed
    said = [" ".join(text.split()) for text in (search(tiny)[1], command("status", *at).out)]
    note = (
        ": 2 of 4 trials on fresh seeds are of winners that were overtaken when trials were added"
    )
    assert [text.count(note) for text in said] == [changed, changed]
    assert changed
    assert search(tiny)[0] == 0
    found = from_study(storage, "tiny")
    former = [text for title, text in found.background.provenance if title == "Former winners"]
    assert [note in text for text in former] == [True] * changed
    verdict = found.verdict
    assert (verdict.scope.trials, verdict.scope.extended) == (4, (2, 2))
    assert "a budget of 4 trials of 2 epochs per search (extended by 2)" in verdict.sentence


def test_a_grid_cannot_be_extended(
    tiny: dict[str, Any], search: Callable[..., tuple[int, str, str]]
) -> None:
    tiny["search"] |= {"sampler": "grid"}
    tiny["arms"] = [
        {
            "name": "sgd",
            "optimizer": "sgd",
            "space": {"gamma0": {"grid": [0.01, 0.1]}},
        }
    ]
    status, _, err = search(tiny, "--extend", 1)
    assert (status, "searches a grid, and all its points" in err) == (2, True)


@pytest.mark.slow
def test_a_report_shows_the_range_that_was_searched_last(
    storage: str,
    tmp_path: Path,
    tiny: dict[str, Any],
    search: Callable[..., tuple[int, str, str]],
    command: Callable[..., Ended],
) -> None:
    # Whichever of the two points wins is an end of the grid.
    tiny["search"]["sampler"] = "grid"
    tiny["arms"] = [
        {"name": "sgd", "optimizer": "sgd", "space": {"gamma0": {"grid": [0.01, 0.1]}}},
        {"name": "sgd-2", "optimizer": "sgd", "space": {"gamma0": {"grid": [0.02, 0.04]}}},
    ]
    assert search(tiny)[0] == 0
    assert search(tiny, "--extend-space")[0] == 0
    with LedgerReader.open(storage) as ledger:
        study = ledger.study("tiny")
        (event,) = ledger.events(study.id, "extended")
        ranked = {result.name: result for result in rank(ledger, study)}
    assert command("analyze", "--storage", storage, "--out", tmp_path / "report").status == 0
    table = pd.read_csv(tmp_path / "report" / "figures" / "step-size.csv")
    for arm, rows in table.groupby("arm"):
        points = event.data["spaces"][arm]["space"]["gamma0"]["grid"]
        assert set(rows["low"]) == {points[0]}
        assert set(rows["high"]) == {points[-1]}
        assert set(rows["config.gamma0"]) == set(points)
        assert set(rows["edge"]) == {bool(ranked[str(arm)].edges)}
        assert rows.loc[rows["best"], "trial"].tolist() == [ranked[str(arm)].best_trial]


def test_a_changed_study_runs_under_another_name(
    storage: str, tiny: dict[str, Any], search: Callable[..., tuple[int, str, str]]
) -> None:
    tiny["arms"] = tiny["arms"][1:]
    tiny["search"]["trials"] = 1
    assert search(tiny)[0] == 0
    tiny["search"]["trials"] = 2
    status, _, err = search(tiny)
    assert status == 2
    assert "run this one beside it with --as NEW-NAME" in err
    more = "{} trials in every search of every arm, set search.trials = 1 again and add --extend {}"
    assert more.format(2, 1) in err
    with Ledger.open(storage) as ledger:
        ledger.extend(ledger.study("tiny").id, 3)
    status, _, err = search(tiny)
    assert (status, "search.trials: registered 1, now 2" in err) == (2, True)
    assert "It has 4 trials in every search now. Its trials are kept: to continue, set s" in err
    tiny["search"]["trials"] = 6
    assert more.format(6, 2) in search(tiny)[2]
    status, _, err = search(tiny, "--as", "tiny-2")
    assert (status, "tiny-2: nin-small on digits" in err) == (0, True)
    with LedgerReader.open(storage) as ledger:
        assert [study.name for study in ledger.studies()] == ["tiny", "tiny-2"]


def test_a_name_that_no_study_can_have_is_refused(
    tiny: dict[str, Any], search: Callable[..., tuple[int, str, str]]
) -> None:
    status, _, err = search(tiny, "--as", "two words")
    assert (status, "name = 'two words' may hold ASCII letters" in err) == (2, True)
