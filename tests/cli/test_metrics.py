"""A metric is declared in one place, and every part of the package takes it from there."""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING, Any

from indian_tune.ledger import LedgerReader, Phase
from indian_tune.ledger.frames import epoch_frame
from indian_tune.training.metrics import METRICS, Metric

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest
    from torch import Tensor

    from tests.cli.conftest import Ended


def in_first_two(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.topk(2).indices == targets.unsqueeze(1)).sum()


def test_a_metric_that_is_declared_is_trained_recorded_exported_and_shown(
    storage: str,
    tmp_path: Path,
    tiny: dict[str, Any],
    search: Callable[..., tuple[int, str, str]],
    command: Callable[..., Ended],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(METRICS, "top2", Metric("top-2 error", in_first_two, share=True))
    assert search(tiny)[0] == 0
    with LedgerReader.open(storage) as ledger:
        study = ledger.study("tiny")
        epochs = ledger.study_epochs(study.id)
        trials = {trial.id: trial for trial in ledger.trials(study.id)}
        order = list(Phase)
        # The frame is ordered by trial, whoever began first.
        ids = sorted(
            (order.index(trials[run.trial_id].phase), run.trial_id, run.id)
            for run in ledger.study_runs(study.id)
        )
        runs = [record for *_, run_id in ids for record in epochs[run_id]]
        frame = epoch_frame(ledger, study.id)
    splits = ("train", "validation")
    assert list(runs[0].metrics) == [f"{split}_{name}" for split in splits for name in METRICS]
    assert all(
        record.metrics[f"{split}_accuracy"] < record.metrics[f"{split}_top2"] < 1
        for record in runs
        for split in splits
    )
    assert list(frame["validation_top2"]) == [record.metrics["validation_top2"] for record in runs]
    assert "test_top2" not in frame

    exported = tmp_path / "exported"
    arguments = ("--format", "csv", "--unseal", "--out", exported, "--storage", storage)
    assert command("export", "tiny", *arguments).status == 0
    for name in ("epochs.csv", "runs.csv"):
        with (exported / name).open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        columns = list(rows[0])
        for split in (*splits, "test"):
            first = columns.index(f"{split}_loss")
            own = [f"{split}_{metric}" for metric in METRICS]
            assert columns[first : first + len(own)] == own
        assert all(0 < float(row["test_top2"]) < 1 for row in rows)

    values = [f"{100 * (1 - runs[0].metrics[f'{split}_top2']):.2f}" for split in splits]
    # One table where there is room, otherwise several: nothing is cut.
    for room, tables in (("200", 1), ("40", 2)):
        monkeypatch.setenv("COLUMNS", room)
        shown = command("show", "tiny", "indian/0", "--storage", storage).out
        assert len(re.findall(r"^epoch  ", shown, re.M)) == tables
        for cell in ("top-2", *values):
            assert re.search(rf"(^| ){re.escape(cell)}( |$)", shown, re.M)
    monkeypatch.setenv("COLUMNS", "200")
    shown = command("show", "tiny", "indian/0", "--storage", storage).out
    # Over a curve.
    assert shown.count("valid. top-2 error %") == 1


def test_a_metric_that_is_declared_no_more_is_still_read(
    storage: str,
    tiny: dict[str, Any],
    search: Callable[..., tuple[int, str, str]],
    command: Callable[..., Ended],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:
        patched.setitem(METRICS, "top2", Metric("top-2 error", in_first_two, share=True))
        assert search(tiny)[0] == 0
    with LedgerReader.open(storage) as ledger:
        frame = epoch_frame(ledger, ledger.study("tiny").id)
    assert frame["train_top2"].notna().all()
    monkeypatch.setenv("COLUMNS", "200")
    assert "train_top2" in command("show", "tiny", "sgd/0", "--storage", storage).out
