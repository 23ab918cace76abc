"""What is registered of a problem of one's own, so that a study can be read without its code."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from indian_tune.problems.loop import Loop
from indian_tune.study.file.section import ADDED, Section

if TYPE_CHECKING:
    from indian_tune.problems import Problem

Size = Annotated[int, Field(ge=0)]


class ProblemSummary(Section):
    """``[problem.facts]``: what the factory made when the study was registered.

    Attributes:
        dataset: its name.
        model: name of the network.
        classes: number of classes.
        train: training examples.
        validation: examples held out; 0 in paper mode.
        test: test examples.
        shape: of an input.
        loop: whether it trains by a loop of its own, of which only the names and ``classes`` are
            known.
    """

    dataset: str
    model: str
    classes: Annotated[int, Field(ge=2)]
    train: Size
    validation: Size
    test: Size
    shape: list[Size]
    loop: Annotated[bool, ADDED] = False

    @classmethod
    def of(cls, problem: Problem | Loop) -> ProblemSummary:
        """Return the summary of a problem, or of a loop."""
        if isinstance(problem, Loop):
            return cls(
                dataset=problem.dataset,
                model=problem.model,
                classes=problem.classes,
                train=0,
                validation=0,
                test=0,
                shape=[],
                loop=True,
            )
        return cls(
            dataset=problem.dataset,
            model=problem.model,
            classes=problem.classes,
            train=len(problem.train),
            validation=0 if problem.validation is None else len(problem.validation),
            test=len(problem.test),
            shape=list(problem.train.inputs.shape[1:]),
        )


def check_plain(value: object, key: str = "problem.arguments") -> None:
    """Check that arguments come out of the record as they went in.

    Args:
        value: numbers, texts, truth values, and lists and tables of them.
        key: of the value, for the message.

    Raises:
        ValueError: it is, or holds, something else, such as a date.
    """
    if isinstance(value, dict):
        for name, part in value.items():
            check_plain(part, f"{key}.{name}")
    elif isinstance(value, list):
        for n, part in enumerate(value, 1):
            check_plain(part, f"{key}[{n}]")
    elif not isinstance(value, (bool, int, float, str)) or (
        isinstance(value, float) and not isfinite(value)
    ):
        raise ValueError(
            f"{key} = {value!r} cannot be recorded: give a finite number, a text, true or false, "
            "or a list or table of them"
        )
