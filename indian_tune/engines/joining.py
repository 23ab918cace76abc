"""How an engine joins a registered study: its ledger, its spec, and a controller of its own."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from indian_tune.engines.heartbeat import joined
from indian_tune.imports import imports_allowed
from indian_tune.ledger import Ledger
from indian_tune.study.controller import Controller
from indian_tune.study.registered_study import RegisteredStudy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indian_tune.engines.settings import WorkerSettings


@contextmanager
def registered_study(
    settings: WorkerSettings, *, patient: bool = False
) -> Iterator[RegisteredStudy[Ledger]]:
    """Open the study that settings name; its own code may be imported within the block.

    Args:
        settings: where it is.
        patient: see :meth:`Ledger.open`.

    Raises:
        InputError: the study is not registered.
    """
    with (
        imports_allowed(settings.imports),
        Ledger.open(settings.storage, patient=patient) as ledger,
    ):
        yield RegisteredStudy.open(ledger, settings.study)


@contextmanager
def joined_controller(
    settings: WorkerSettings, study: RegisteredStudy[Ledger], device: str
) -> Iterator[Controller]:
    """Be a worker of a study within the block, with a heart that beats and a controller."""
    with joined(study.ledger, study.record, device) as worker_id:
        controller = Controller(
            study, worker_id, until=settings.until, freeze_anyway=settings.freeze_anyway
        )
        try:
            yield controller
        finally:
            controller.close()
