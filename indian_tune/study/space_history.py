"""Which spaces the tune trials of a study are drawn from: the file's, or extensions of them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from indian_tune.ledger import EXTENDED
from indian_tune.study.file.space import grid_points, parse_space

if TYPE_CHECKING:
    from collections.abc import Mapping

    from indian_tune.ledger import LedgerReader, StudyRecord
    from indian_tune.study.file.space import Space
    from indian_tune.study.registered_study import RegisteredStudy


def latest_spaces(ledger: LedgerReader, study: StudyRecord) -> dict[str, Space]:
    """Return the space that every arm of a study searches last.

    Args:
        ledger: with the study.
        study: as registered.
    """
    raw = latest_raw_spaces(ledger, study)
    return {arm: parse_space(space, f"arm {arm!r}") for arm, space in raw.items()}


def latest_raw_spaces(ledger: LedgerReader, study: StudyRecord) -> dict[str, dict[str, Any]]:
    """Return the same as they would stand in a study file."""
    spaces: dict[str, dict[str, Any]] = {arm["name"]: arm["space"] for arm in study.spec["arms"]}
    for extension in ledger.events(study.id, EXTENDED):
        for name, extended in extension.data.get("spaces", {}).items():
            spaces[name] = extended["space"]
    return spaces


def trials_added(ledger: LedgerReader, study: StudyRecord) -> tuple[int, ...]:
    """Return the fewest and the most trials that extensions added to a search of an arm.

    Empty where the study was not extended.
    """
    added: Counter[str] = Counter()
    for extension in ledger.events(study.id, EXTENDED):
        added.update(extension.data["added"])
    return (min(added.values()), max(added.values())) if added else ()


class SpaceHistory:
    """Looks spaces up in what a study registered and in its extensions.

    Args:
        study: as registered.
    """

    def __init__(self, study: RegisteredStudy[LedgerReader]) -> None:
        self._study = study

    def of(self, arm: str, index: int) -> Space:
        """Return the space that a tune trial of an arm is drawn from."""
        return parse_space(self.raw(arm, index), f"arm {arm!r}")

    def raw(self, arm: str, index: int) -> Mapping[str, Any]:
        """Return the same as it would stand in a study file."""
        space: Mapping[str, Any] = self._study.spec.arm(arm).space
        # The trials of the file's own budget need no look at the record.
        if index >= self._study.spec.trials_of(arm):
            for first, extended in self._extensions(arm):
                space = extended if first <= index else space
        return space

    def grid_point(self, arm: str, index: int) -> dict[str, float]:
        """Return the cell of a tune trial on a grid; an extension holds its new cells alone."""
        cells = grid_points(self._study.spec.space(arm), f"arm {arm!r}")
        if index >= len(cells):
            for _, extended in self._extensions(arm):
                whole = grid_points(parse_space(extended, f"arm {arm!r}"), f"arm {arm!r}")
                cells += [cell for cell in whole if cell not in cells]
        return cells[index]

    def _extensions(self, arm: str) -> list[tuple[int, Mapping[str, Any]]]:
        """Return the index of the first trial and the space of every extension of an arm."""
        events = self._study.ledger.events(self._study.id, EXTENDED)
        spaces = [event.data.get("spaces", {}) for event in events]
        return [(each[arm]["first"], each[arm]["space"]) for each in spaces if arm in each]
