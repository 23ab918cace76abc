"""How an engine joins a registered study: its ledger, its spec, and a controller of its own."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from indian_tune.engines.heartbeat import joined
from indian_tune.imports import imports_allowed
from indian_tune.ledger import Ledger
from indian_tune.study.controller import Controller
from indian_tune.study.spec import parse_study

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indian_tune.engines.settings import WorkerSettings
    from indian_tune.ledger import StudyRecord
    from indian_tune.study.spec import StudySpec


@contextmanager
def registered_study(
    settings: WorkerSettings, *, patient: bool = False
) -> Iterator[tuple[Ledger, StudyRecord, StudySpec]]:
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
        study = ledger.study(settings.study)
        spec = parse_study(study.spec, source=f"study {study.name!r} in {ledger.address}")
        yield ledger, study, spec


@contextmanager
def joined_controller(
    settings: WorkerSettings, ledger: Ledger, study: StudyRecord, spec: StudySpec, device: str
) -> Iterator[Controller]:
    """Be a worker of a study within the block, with a heart that beats and a controller."""
    with joined(ledger, study, device) as worker_id:
        controller = Controller(
            ledger,
            study,
            spec,
            worker_id,
            until=settings.until,
            freeze_anyway=settings.freeze_anyway,
        )
        try:
            yield controller
        finally:
            controller.close()
