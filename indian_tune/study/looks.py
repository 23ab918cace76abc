"""Which studies opened the test set of a data set; each look makes the next one weaker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.text import counted, some

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indian_tune.ledger import Look

# Names that the sentence lists; the rest is counted.
NAMES = 5


def looks_sentence(data_name: str, looks: Sequence[Look]) -> str:
    """Return which studies of a database have opened the test results of a data set, and when.

    Args:
        data_name: of the data set.
        looks: from :meth:`LedgerReader.looks`.
    """
    names = [f"{look.study} ({look.at:%Y-%m-%d %H:%M} UTC)" for look in looks]
    count = counted(len(names), "study", "studies")
    studies = f"{count}: {some(names, NAMES)}" if names else "no study"
    return f"The test set of {data_name} has been opened in this database by {studies}."
