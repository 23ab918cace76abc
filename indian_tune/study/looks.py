"""How often the test set of a data set was opened: each look at it makes the next tell less."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indian_tune.ledger import Look

# Names that the sentence lists; the rest is counted.
NAMES = 5


def looks_sentence(data_name: str, looks: Sequence[Look]) -> str:
    """Return which studies of a database have opened the test results of a data set.

    Args:
        data_name: of the data set.
        looks: from :meth:`LedgerReader.looks`.
    """
    names = [look.study for look in looks]
    listed = ", ".join(names[:NAMES])
    if len(names) > NAMES:
        listed += f" and {len(names) - NAMES} more"
    times = "once" if len(names) == 1 else f"{len(names)} times"
    by = f", by {listed}" if names else ""
    return f"The test set of {data_name} has been opened {times} in this database{by}."
