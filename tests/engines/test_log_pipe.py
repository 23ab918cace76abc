"""The log of a worker process, sent to its parent."""

from __future__ import annotations

import logging
import multiprocessing
import time
from typing import TYPE_CHECKING

from indian_tune.engines.local.log_pipe import relay_log, send_log
from indian_tune.ledger.outage import Outage

if TYPE_CHECKING:
    import pytest


def test_a_worker_whose_parent_is_gone_prints_no_traceback(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    reading, writing = multiprocessing.Pipe(duplex=False)
    root = logging.getLogger()
    handlers, level = root.handlers[:], logging.getLogger("indian_tune").level
    try:
        send_log(writing, logging.INFO)
        logging.getLogger("indian_tune").info("heard")
        # Two workers whose database is away send what is told once here.
        outages = Outage(), Outage()
        for outage in outages:
            outage.away("away")
        for outage in outages:
            outage.back()
        # What a third one saw before that is not told afterwards.
        Outage().away("away", time.monotonic() - 1.0)
        reads = root.handlers[:]
        root.handlers[:] = handlers
        with caplog.at_level(logging.INFO):
            assert relay_log(reading) is None
        assert caplog.messages == ["heard", "away", "the database answers again after 0.0 s"]
        root.handlers[:] = reads
        reading.close()
        logging.getLogger("indian_tune").info("not heard")
    finally:
        root.handlers[:] = handlers
        logging.getLogger("indian_tune").setLevel(level)
        writing.close()
    assert capsys.readouterr() == ("", "")
