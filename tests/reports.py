"""Reports of one trial alone, as tests of what becomes of it make them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.errors import LeaseLostError
from indian_tune.ledger import leases

if TYPE_CHECKING:
    from collections.abc import Mapping

    from indian_tune.ledger import Lease, Ledger
    from indian_tune.study.assignment import RunningTrial
    from indian_tune.study.controller import Controller, Decision
    from indian_tune.training import EpochRecord


def report(
    controller: Controller, trial: RunningTrial, records: Mapping[int, EpochRecord]
) -> Decision:
    """Report one epoch of a trial, by run id; return what to do with it."""
    (decision,) = controller.report_pack([(trial, records)])
    return decision


def record(ledger: Ledger, lease: Lease, records: Mapping[int, EpochRecord]) -> None:
    """Record one epoch of a trial, by run id.

    Raises:
        LeaseLostError: the trial was taken over; nothing is stored.
    """
    if ledger.record_pack([(lease, records)]):
        raise LeaseLostError(leases.lost(lease))
