"""`indian-tune search` of a study with a response-matched control, and what is shown of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.errors import StorageError
from indian_tune.ledger import LedgerReader, Phase, State
from indian_tune.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Ended

    Search = Callable[..., tuple[int, str, str]]


@pytest.fixture
def controlled(tiny: dict[str, Any]) -> dict[str, Any]:
    tiny["protocol"] |= {"epochs": 1, "tune_epochs": 1, "confirm_seeds": 1}
    tiny["search"]["trials"] = 1
    tiny["arms"] = [
        {"name": "indian", "optimizer": "indian", "space": {"alpha": 0.5, "beta": 0.1}},
        {"name": "control", "optimizer": "sgd", "response_of": "indian"},
    ]
    return tiny


def states(storage: str, phase: Phase) -> list[State]:
    with LedgerReader.open(storage) as ledger:
        return [trial.state for trial in ledger.trials(ledger.study("tiny").id, phase=phase)]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a network of one short epoch count as one that has learnt."""
    monkeypatch.setattr(Outcome, "trained_error", 2.0)


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no network count as one that has learnt."""
    monkeypatch.setattr(Outcome, "trained_error", -1.0)


@pytest.mark.usefixtures("trained")
def test_the_phases_can_be_run_one_by_one(
    storage: str, controlled: dict[str, Any], search: Search, command: Callable[..., Ended]
) -> None:
    for phase in ("match", "confirm"):
        status, _, err = search(controlled, "--phase", phase)
        assert status == 2
        assert "study 'tiny' has 1 tune trial left" in " ".join(err.split())
    assert search(controlled, "--phase", "tune")[0] == 0
    assert states(storage, Phase.MATCH) == []
    status, _, err = search(controlled, "--phase", "confirm")
    assert status == 2
    assert "the level of control is not chosen yet in study 'tiny'" in " ".join(err.split())
    assert err.splitlines()[-1].endswith("--phase match --engine inline")
    assert search(controlled, "--phase", "freeze")[0] == 0
    assert states(storage, Phase.MATCH) == [State.WAITING] * 5
    assert search(controlled, "--phase", "match")[0] == 0
    assert set(states(storage, Phase.MATCH)) <= {State.COMPLETE, State.DIVERGED}
    assert states(storage, Phase.CONFIRM) == [State.WAITING] * 2
    status, _, err = search(controlled, "--phase", "match")
    assert status == 0
    assert "The match phase of tiny is finished" in err
    status, out, _ = search(controlled, "--phase", "confirm")
    assert status == 0
    assert "control: its level is " in out
    told = command("status", "tiny", "--storage", storage).out
    assert "control: its level is " in told
    line = next(line for line in told.splitlines() if line.strip().startswith("control"))
    assert line.split()[1:4] == ["–", "5/5", "1/1"]
    shown = json.loads(command("status", "tiny", "--storage", storage, "--json").out)
    (control,) = [arm for arm in shown["arms"] if arm["arm"] == "control"]
    assert control["match"]["finished"] == 5
    assert control["level"]["level"] == control["config"]["level"]
    shown = command("show", "tiny", "control/match/3", "--storage", storage, "--json").out
    trial = json.loads(shown)
    assert (trial["phase"], trial["config"]["level"]) == ("match", 2.0)


@pytest.mark.usefixtures("untrained")
def test_a_study_whose_control_is_not_isolated_ends_well_and_says_so(
    storage: str, controlled: dict[str, Any], search: Search
) -> None:
    status, out, _ = search(controlled)
    assert status == 0
    assert "control: not isolated, no runs on fresh seeds (a run failed at every level)" in out
    assert states(storage, Phase.CONFIRM) == [State.COMPLETE]
    status, _, err = search(controlled)
    assert status == 0
    assert "tiny is finished: nothing is left to train" in err
    assert len(states(storage, Phase.MATCH)) == 5


def test_a_study_without_a_control_has_no_match_phase(
    storage: str, tiny: dict[str, Any], search: Search
) -> None:
    status, _, err = search(tiny, "--phase", "match")
    assert status == 2
    assert "--phase match: study 'tiny' has no such phase" in " ".join(err.split())
    with pytest.raises(StorageError):
        LedgerReader.open(storage)
