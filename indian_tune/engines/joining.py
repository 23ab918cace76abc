"""Joins a registered study: its ledger, its spec, and a controller for the caller."""

from __future__ import annotations

import pickle
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from indian_tune.engines.heartbeat import joined
from indian_tune.imports import imports_allowed, in_hand
from indian_tune.ledger import Ledger
from indian_tune.study.controller import Controller
from indian_tune.study.registered_study import RegisteredStudy
from indian_tune.study.registration import epoch_timeout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indian_tune.engines.settings import WorkerSettings
    from indian_tune.engines.watchdog import Watchdog


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
    # Written by the process that has started this one.
    objects = {} if settings.in_hand is None else pickle.loads(settings.in_hand)  # noqa: S301
    with (
        imports_allowed(settings.imports),
        in_hand(objects),
        Ledger.open(settings.storage, patient=patient) as ledger,
    ):
        yield RegisteredStudy.open(ledger, settings.study)


@contextmanager
def joined_controller(
    settings: WorkerSettings,
    study: RegisteredStudy[Ledger],
    device: str,
    watchdog: Watchdog | None = None,
) -> Iterator[Controller]:
    """Be a worker of a study within the block, with a heart that beats and a controller.

    Args:
        settings: of the worker.
        study: to work on.
        device: what it trains on.
        watchdog: of this process, if it trains itself.
    """
    limit = epoch_timeout(study)
    with joined(study.ledger, study.record, device, watchdog, limit) as worker_id:
        made = Controller(
            study, worker_id, until=settings.until, freeze_anyway=settings.freeze_anyway
        )
        with closing(made) as controller:
            yield controller
