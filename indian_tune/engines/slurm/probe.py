"""A job that checks a compute node before workers are submitted.

It writes what it found to a file that the submitting machine made and reads: that the answer comes
back shows that both share the folder of the checkpoints.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from indian_tune.engines import process_info
from indian_tune.engines.devices import gpu_count
from indian_tune.engines.runs import missing_data
from indian_tune.errors import IndianTuneError
from indian_tune.ledger import Ledger, storage_url
from indian_tune.study.registered_study import RegisteredStudy


def find_problem(study: str, gpus: int, data_dir: Path | None) -> str | None:
    """Return what keeps a worker from working on this machine, and what to do.

    Args:
        study: name of the registered study.
        gpus: how many a worker needs.
        data_dir: folder of the data sets; ``None`` for the default.
    """
    try:
        with Ledger.open(storage_url(), create=False) as ledger:
            spec = RegisteredStudy.open(ledger, ledger.study(study)).spec
    except IndianTuneError as error:
        return f"{error}: with --storage, choose a database that every compute node can reach"
    if gpu_count() < gpus:
        return "the job has no GPU: with --partition, choose one whose nodes have GPUs"
    return missing_data(spec, data_dir)


def main(study: str, answer: str, gpus: str, data_dir: str = "") -> None:
    """Look, and answer in a file that is there already."""
    problem = find_problem(study, int(gpus), Path(data_dir) if data_dir else None)
    # Opened, not made: elsewhere it would be another file than the one that is read.
    with Path(answer).open("r+", encoding="utf-8") as file:
        json.dump({"host": process_info.host(), "problem": problem}, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
