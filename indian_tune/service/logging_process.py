"""A process beside a search that writes its learning curves for TensorBoard.

Run as a program it follows a study until its standard input ends, which happens however the
process that has started it ends. The database is in ``INDIAN_TUNE_STORAGE``: a command line, which
everybody may read, is no place for a password.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from indian_tune.ledger import command_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from indian_tune.ledger import LedgerReader, StudyRecord

# What a last look at the ledger may take.
END_SECONDS = 60.0


@contextmanager
def logged(
    ledger: LedgerReader, study: StudyRecord, folder: Path | None, warn: Callable[[str], None]
) -> Iterator[None]:
    """Let a process of its own write the event files of a study within the block.

    Args:
        ledger: that holds the study.
        study: registered.
        folder: see :class:`indian_tune.export.event_log.EventLog`; ``None`` for no such process.
        warn: is told if not all could be written, once the block has ended.
    """
    if folder is None:
        yield
        return
    process = subprocess.Popen(  # noqa: S603 - a program of ours
        # Nothing in the current folder may hide a module of Python's.
        [sys.executable, "-P", "-m", __name__, study.name, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "INDIAN_TUNE_STORAGE": ledger.url.render_as_string(hide_password=False),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
        # Ctrl-C is for the search, which ends this process when the last epoch is recorded.
        start_new_session=True,
    )
    try:
        yield
    finally:
        try:
            _, told = process.communicate(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            _, told = process.communicate()
        if process.returncode:
            reason = (told.strip().splitlines() or ["it was ended"])[-1]
            words = ("export", study.name, "--log", str(folder))
            warn(
                f"the event files in {folder} are not complete ({reason}): "
                f"{command_line(ledger.address, *words)} writes what is missing"
            )


def _main(name: str, folder: str) -> None:
    from pathlib import Path

    from indian_tune.errors import IndianTuneError
    from indian_tune.export.event_log import follow
    from indian_tune.ledger import LedgerReader

    def pause(seconds: float) -> bool:
        return bool(select.select([sys.stdin], [], [], seconds)[0])

    try:
        with LedgerReader.open(None) as ledger:
            follow(ledger, ledger.study(name), Path(folder), pause)
    except IndianTuneError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    _main(*sys.argv[1:])
