"""A registered study: its ledger, record and spec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from indian_tune.ledger import LedgerReader
from indian_tune.study.file.spec import parse_study

if TYPE_CHECKING:
    from indian_tune.ledger import StudyRecord
    from indian_tune.study.file.spec import StudySpec

L = TypeVar("L", bound=LedgerReader)
LedgerT = TypeVar("LedgerT", bound=LedgerReader, covariant=True)


@dataclass(frozen=True)
class RegisteredStudy(Generic[LedgerT]):
    """A study in its ledger.

    Attributes:
        ledger: that holds it; a :class:`~indian_tune.ledger.Ledger` for what writes.
        record: what was registered.
        spec: the same, parsed.
    """

    ledger: LedgerT
    record: StudyRecord
    spec: StudySpec

    @classmethod
    def open(cls, ledger: L, study: str | StudyRecord) -> RegisteredStudy[L]:
        """Return the study of that name, or of that record.

        Raises:
            InputError: there is no study of that name; the message lists those there are.
            StudyFileError: this version cannot read what was registered.
        """
        record = ledger.study(study) if isinstance(study, str) else study
        source = f"study {record.name!r} in {ledger.address}"
        spec = parse_study(record.spec, source=source, registered=True)
        return RegisteredStudy(ledger, record, spec)

    @property
    def id(self) -> int:
        """Of the record."""
        return self.record.id

    @property
    def name(self) -> str:
        """Of the record."""
        return self.record.name
