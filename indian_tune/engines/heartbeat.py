"""Heartbeat of a worker: how it joins a study, keeps its leases, and leaves."""

from __future__ import annotations

import logging
import os
import secrets
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from indian_tune.engines import process_info
from indian_tune.errors import DatabaseLostError, IndianTuneError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indian_tune.engines.watchdog import Watchdog
    from indian_tune.ledger import Ledger, LedgerReader, StudyRecord, WorkerRecord

logger = logging.getLogger(__name__)


@contextmanager
def joined(
    ledger: Ledger,
    study: StudyRecord,
    device: str,
    watchdog: Watchdog | None = None,
    epoch_timeout: float | None = None,
) -> Iterator[str]:
    """Be a worker of the study, with a heart that beats beside the work.

    Args:
        ledger: open for writing.
        study: to work on.
        device: what the worker trains on.
        watchdog: that ends it when it makes no progress, and beats when it cannot; ``None`` where
            nothing is trained in this process.
        epoch_timeout: seconds that an epoch may take; ``None`` for the default.

    Yields:
        The worker's id, under which trials are claimed. An exception that is neither ours nor
        Ctrl-C is the worker's death: it does not leave, and is found to be lost. So is the loss of
        the database.
    """
    worker_id = secrets.token_hex(8)
    pid = os.getpid()
    ledger.join(
        study.id,
        worker_id,
        host=process_info.host(),
        pid=pid,
        started=process_info.started(pid),
        device=device,
    )
    if watchdog is not None:
        watchdog.joined(
            storage=ledger.url.render_as_string(hide_password=False),
            study=study.id,
            worker=worker_id,
            lease=ledger.lease.total_seconds(),
            limit=epoch_timeout,
        )
    stopped = threading.Event()

    def beat() -> None:
        # An epoch may take longer than a lease lasts, so reports alone do not keep it.
        while not stopped.wait(ledger.lease.total_seconds() / 4):
            try:
                ledger.heartbeat(worker_id)
                if watchdog is not None:
                    watchdog.beat()
            except IndianTuneError as error:
                logger.warning("heartbeat: %s", error)

    heart = threading.Thread(target=beat, name="heartbeat", daemon=True)
    heart.start()
    leaves, lost = False, False
    try:
        yield worker_id
        leaves = True
    except DatabaseLostError:
        # To say so in the database would take as long again.
        lost = True
        raise
    except (IndianTuneError, KeyboardInterrupt):
        leaves = True
        raise
    finally:
        stopped.set()
        heart.join(0.0 if lost else None)
        if watchdog is not None:
            # A late beat of its own would say that the worker is there.
            watchdog.end()
        if leaves:
            ledger.leave(worker_id)


def lost_workers(ledger: LedgerReader, study: StudyRecord) -> list[WorkerRecord]:
    """Return the workers of a study that are gone without having left.

    Those are processes of this host that are dead, and workers that have been silent for longer
    than a lease lasts.
    """
    present = [worker for worker in ledger.workers(study.id) if worker.left_at is None]
    if not present:
        return []
    from indian_tune.ledger import LEASE_SECONDS

    now = ledger.now()
    return [
        worker
        for worker in present
        if (now - worker.heartbeat_at).total_seconds() > LEASE_SECONDS
        or process_info.is_dead(worker)
    ]
