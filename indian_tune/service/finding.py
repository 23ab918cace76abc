"""Finds a study, or says how one that only a database has is continued."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from indian_tune.errors import StorageError, StudyFileError
from indian_tune.ledger import LedgerReader
from indian_tune.service.studies import find_study
from indian_tune.study.completion import search_command

if TYPE_CHECKING:
    from indian_tune.service.studies import AnyStudy, Factory, FoundStudy


def find_or_tell(
    name: AnyStudy, problem: Factory | None, storage: str | None, extend: int = 0
) -> FoundStudy:
    """Return the study that is asked for.

    Args:
        name: see :func:`find_study`, like ``problem``.
        problem: of the study.
        storage: the database that may have it.
        extend: trials that it is extended by.

    Raises:
        StudyFileError: there is none, or it is not valid. Of one that only the database has, the
            message says how it is continued.
    """
    try:
        return find_study(name, problem)
    except StudyFileError:
        if not isinstance(name, str) or "\n" in name or Path(name).exists():
            raise
        with suppress(StorageError), LedgerReader.open(storage) as ledger:
            record = ledger.find_study(name)
            if record is not None:
                command = search_command(ledger, record.id)
                add = f"extend={extend}" if extend else "…"
                raise StudyFileError(
                    f"study {name!r} is registered in {ledger.address}, but "
                    + (
                        "it was made in Python and has no study file: run its script again, or "
                        f"call indian_tune.search(study, {add}) there"
                        if command is None
                        else f"there is no study file {name}: give the path of its file. It was "
                        f"searched with `{command}`"
                    )
                ) from None
        raise
