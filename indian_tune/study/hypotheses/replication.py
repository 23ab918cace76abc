"""H1: every INDIAN arm against every baseline, a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field

from indian_tune.study.hypotheses.hypothesis import Hypothesis, Prospect, Setting, ours

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indian_tune.study.file.arm import ArmSection

Arms = Annotated[list[str], Field(min_length=1)]


class Replication(Hypothesis):
    """H1: every one of ``arms`` beats every one of ``baselines``; ``beside`` are other rivals."""

    name = "H1"
    role = "replication"
    question = "Does every INDIAN arm beat every baseline?"
    needs = "a tuned arm of indian and one of sgd, adagrad or adam"
    add = ("INDIAN arms and baselines, named in claims.h1.arms and .baselines",)
    find = "indian_tune.analysis.replication:find"

    arms: Arms
    baselines: Arms
    beside: list[str] = Field(default_factory=list)

    @classmethod
    def propose(cls, arms: Sequence[ArmSection], setting: Setting) -> Self | None:
        """Compare every tuned arm of INDIAN with every tuned baseline, other rivals beside."""
        tuned = [arm.name for arm in ours(arms) if not arm.fixed]
        rivals = [arm for arm in arms if arm.family.role != "ours" and arm.searched]
        baselines = [arm.name for arm in rivals if arm.family.role == "baseline"]
        if not tuned or not baselines:
            return None
        beside = [arm.name for arm in rivals if arm.family.role != "baseline"]
        return cls(arms=tuned, baselines=baselines, beside=beside)

    def prospect(self) -> Prospect:
        """Count the arms."""
        compared = len(self.pairs())
        return Prospect(self.name, True, f"{compared} pair{'s' * (compared > 1)} of arms")

    def pairs(self) -> list[tuple[str, str]]:
        """Return every arm with every baseline."""
        return [(arm, baseline) for arm in self.arms for baseline in self.baselines]
