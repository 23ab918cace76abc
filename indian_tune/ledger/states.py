"""The states of trials and runs, and their allowed transitions."""

from __future__ import annotations

from enum import StrEnum

from indian_tune.errors import IllegalTransitionError


class Phase(StrEnum):
    """Search, then the levels of response-matched controls, then the winners on fresh seeds.

    Before the winners are chosen, finalists are compared on further tune seeds where the protocol
    asks for it. Before the winners are confirmed come those of the first half of each search, where
    the claims ask for them.
    """

    TUNE = "tune"
    FINAL = "final"
    MATCH = "match"
    HALF = "half"
    CONFIRM = "confirm"


class State(StrEnum):
    """How far a trial or a run is.

    ``DIVERGED`` is a result (scored at chance level), ``FAILED`` is not: it means that the work
    itself broke and that its attempts are used up.
    """

    WAITING = "waiting"
    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"
    DIVERGED = "diverged"
    FAILED = "failed"

    @property
    def finished(self) -> bool:
        """Whether nothing follows by itself."""
        return self in FINISHED


UNFINISHED = (State.WAITING, State.RUNNING)
FINISHED = frozenset({State.COMPLETE, State.PRUNED, State.DIVERGED, State.FAILED})

# RUNNING → RUNNING is a takeover: another worker continues from the checkpoint.
# RUNNING → WAITING gives a trial back: the worker was asked to stop, or an attempt broke.
# FAILED → WAITING happens only when the user asks for it: what made it fail is repaired.
TRANSITIONS: dict[State, frozenset[State]] = {
    State.WAITING: frozenset({State.RUNNING}),
    State.RUNNING: frozenset({State.RUNNING, State.WAITING}) | FINISHED,
    **dict.fromkeys(FINISHED, frozenset[State]()),
    State.FAILED: frozenset({State.WAITING}),
}


def check_transition(what: str, old: State, new: State) -> None:
    """Refuse a state change that has no meaning.

    Args:
        what: who changes state, as shown in the message ("trial 3 of arm 'sgd'").
        old: state it is in.
        new: state it would get.

    Raises:
        IllegalTransitionError: ``new`` cannot follow ``old``.
    """
    if new not in TRANSITIONS[old]:
        allowed = ", ".join(sorted(TRANSITIONS[old])) or "nothing"
        raise IllegalTransitionError(
            f"{what} is {old} and cannot become {new}: the states allowed after {old} are {allowed}"
        )
