from __future__ import annotations

import pytest

from indian_tune.errors import IllegalTransitionError
from indian_tune.ledger.states import FINISHED, State, check_transition


@pytest.mark.parametrize("state", sorted(FINISHED))
@pytest.mark.parametrize("new", list(State))
def test_nothing_follows_a_finished_state_but_a_second_chance(state: State, new: State) -> None:
    if (state, new) == (State.FAILED, State.WAITING):
        check_transition("trial 3", state, new)
        return
    with pytest.raises(IllegalTransitionError, match=f"trial 3 is {state} and cannot become {new}"):
        check_transition("trial 3", state, new)


@pytest.mark.parametrize("new", sorted(FINISHED))
def test_a_trial_must_run_before_it_can_finish(new: State) -> None:
    check_transition("trial 3", State.RUNNING, new)
    with pytest.raises(IllegalTransitionError):
        check_transition("trial 3", State.WAITING, new)


def test_a_running_trial_finishes_or_is_taken_over_or_given_back() -> None:
    def follows(new: State) -> bool:
        try:
            check_transition("trial 3", State.RUNNING, new)
        except IllegalTransitionError:
            return False
        return True

    assert set(filter(follows, State)) == {State.RUNNING, State.WAITING, *FINISHED}


def test_only_finished_states_say_that_they_are() -> None:
    assert [state for state in State if state.finished] == [
        State.COMPLETE,
        State.PRUNED,
        State.DIVERGED,
        State.FAILED,
    ]
