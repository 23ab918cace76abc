from __future__ import annotations

import json
import sqlite3
import struct
import sys
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna_dashboard import get_note
from tensorboardX.proto.event_pb2 import Event

from indian_tune.cli import main
from indian_tune.export.claims import exported_claims
from indian_tune.export.tables import write_tables
from indian_tune.ledger import ArmPlan, Ledger, LedgerReader, Phase, StudyRecord
from indian_tune.ledger.frames import epoch_frame
from indian_tune.study.file.spec import parse_study
from indian_tune.study.registration import register
from tests.conftest import measured
from tests.reports import record as record_one

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Ended
    from tests.conftest import PostgresServer


@pytest.fixture
def export(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Run the command; return its status and what it said."""

    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["indian-tune", "export", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out + captured.err

    return run


def test_a_copy_of_a_database_in_use_is_whole(
    storage: str, tmp_path: Path, export: Callable[..., tuple[int, str]]
) -> None:
    stop = threading.Event()
    written = threading.Event()
    with Ledger.open(storage) as ledger:
        study = ledger.register("study", {}, "hash", [ArmPlan("indian", "indian", 1)])
        ledger.join(study.id, "worker", host="here", pid=1, started="0", device="cpu")
        lease = ledger.claim(study.id, Phase.TUNE, "worker")
        assert lease is not None
        (run,) = ledger.begin(lease, {}, 1, seeds=(0,), epochs=9999, provenance={})

        def write() -> None:
            epoch = 0
            while not stop.is_set():
                epoch += 1
                record_one(ledger, lease, {run.id: measured(epoch)})
                written.set()

        writer = threading.Thread(target=write)
        writer.start()
        written.wait()
        try:
            for n in range(5):
                status, said = export("--db", tmp_path / f"copy-{n}.db", "--storage", storage)
                assert (status, "copied to" in said) == (0, True)
        finally:
            stop.set()
            writer.join()
        last = ledger.runs(lease.trial.id)[0].epochs_done
    counts = []
    for n in range(5):
        with sqlite3.connect(tmp_path / f"copy-{n}.db") as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.close()
        with LedgerReader.open(str(tmp_path / f"copy-{n}.db")) as copy:
            (run,) = copy.runs(lease.trial.id)
            assert [row.epoch for row in copy.epochs(run.id)] == list(range(1, run.epochs_done + 1))
            counts.append(run.epochs_done)
    assert counts == sorted(counts)
    assert 0 < counts[-1] <= last


def test_a_file_that_is_there_is_not_overwritten(
    storage: str, tmp_path: Path, export: Callable[..., tuple[int, str]]
) -> None:
    with Ledger.open(storage) as ledger:
        ledger.register("study", {}, "hash", [ArmPlan("indian", "indian", 1)])
    copy = tmp_path / "copy.db"
    copy.write_text("something precious")
    status, said = export("--db", copy, "--storage", storage)
    assert (status, "already exists: choose another file" in said) == (2, True)
    assert copy.read_text() == "something precious"


def test_a_copy_into_a_folder_that_does_not_exist_is_refused(
    storage: str, tmp_path: Path, export: Callable[..., tuple[int, str]]
) -> None:
    with Ledger.open(storage) as ledger:
        ledger.register("study", {}, "hash", [ArmPlan("indian", "indian", 1)])
    status, said = export("--db", tmp_path / "no" / "copy.db", "--storage", storage)
    assert (status, "does not exist" in said) == (2, True)


@pytest.mark.postgres
def test_a_server_s_database_is_left_to_its_own_program(
    postgres: PostgresServer, tmp_path: Path, export: Callable[..., tuple[int, str]]
) -> None:
    address = postgres.new_database()
    with Ledger.open(address) as ledger:
        ledger.register("study", {}, "hash", [ArmPlan("indian", "indian", 1)])
    status, said = export("--db", tmp_path / "copy.db", "--storage", address)
    assert (status, "pg_dump --format=custom" in said) == (2, True)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def own(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
    tmp_path: Path,
    export: Callable[..., tuple[int, str]],
) -> Path:
    """A copy of a finished study's database, to be changed."""
    copy = tmp_path / "own.db"
    assert export("--db", copy, "--storage", finished[0])[0] == 0
    return copy


def read(file: Path) -> pd.DataFrame:
    match file.suffix:
        case ".csv":
            return pd.read_csv(file)
        case ".parquet":
            return pd.read_parquet(file)
        case ".json":
            return pd.DataFrame(json.loads(file.read_text(encoding="utf-8")))
    raise AssertionError(file)


@pytest.mark.parametrize("form", ["csv", "parquet", "json"])
def test_every_format_gives_back_the_frame_to_the_last_digit(
    own: Path, tmp_path: Path, export: Callable[..., tuple[int, str]], form: str
) -> None:
    folder = tmp_path / "out"
    status, said = export("tiny", "--format", form, "--out", folder, "--storage", own)
    assert (status, f"epochs.{form} (16 rows)" in said) == (0, True)
    with LedgerReader.open(str(own)) as ledger:
        study = ledger.study("tiny")
        frame = epoch_frame(ledger, study.id, objective="validation_error")
        trials = [*ledger.trials(study.id, phase=Phase.TUNE), *ledger.confirms(study.id)]
    pd.testing.assert_frame_equal(
        read(folder / f"epochs.{form}"), frame, check_exact=True, check_dtype=False
    )
    exported = read(folder / f"trials.{form}")
    assert exported["score"].tolist() == [trial.value for trial in trials]
    assert set(exported["objective"]) == {"validation_error"}
    assert exported["config.gamma0"].tolist() == [(t.config or {})["gamma0"] for t in trials]
    runs = read(folder / f"runs.{form}")
    last = frame[frame["epoch"] == 2].reset_index(drop=True)
    assert runs["train_loss"].tolist() == last["train_loss"].tolist()
    totals = frame.groupby(["arm", "phase", "trial", "seed"], sort=False)["seconds"].sum()
    assert runs["seconds"].tolist() == totals.tolist()
    assert set(runs["device"]) == {"cpu"}


@pytest.mark.parametrize("form", ["csv", "parquet", "json"])
def test_a_folder_whose_name_is_no_text_holds_every_format(
    own: Path, tmp_path: Path, export: Callable[..., tuple[int, str]], form: str
) -> None:
    folder = tmp_path / "out\udcff"
    status, _ = export("tiny", "--format", form, "--out", folder, "--storage", own)
    assert status == 0
    assert (folder / f"epochs.{form}").stat().st_size


def test_a_spreadsheet_finds_no_formula_in_a_table(tmp_path: Path) -> None:
    texts = ["=HYPERLINK(0)", "+1", "-1", "@a", "\tx", "plain", None]
    table = pd.DataFrame({"reason": texts, "value": np.linspace(-3, 3, 7), "arm": "sgd"})
    study = StudyRecord(1, "s", {}, "hash", "0.1", datetime.now(UTC), None)
    write_tables({"trials": table}, study, {}, tmp_path, "csv")
    back = pd.read_csv(tmp_path / "trials.csv")
    assert list(back["reason"].dropna()) == [*(f"'{text}" for text in texts[:5]), "plain"]
    np.testing.assert_array_equal(back["value"], table["value"])


def test_what_was_registered_lies_beside_the_tables(
    own: Path, tmp_path: Path, export: Callable[..., tuple[int, str]]
) -> None:
    assert export("--format", "csv", "--out", tmp_path / "out", "--storage", own)[0] == 0
    about = json.loads((tmp_path / "out" / "study.json").read_text(encoding="utf-8"))
    with LedgerReader.open(str(own)) as ledger:
        study = ledger.study("tiny")
    assert (about["spec"], about["spec_hash"]) == (study.spec, study.spec_hash)


@pytest.mark.parametrize("form", ["csv", "parquet", "json", "tensorboard"])
def test_test_results_come_out_only_with_unseal_which_is_recorded(
    own: Path, tmp_path: Path, export: Callable[..., tuple[int, str]], form: str
) -> None:
    shut, opened = tmp_path / "shut", tmp_path / "open"
    assert export("--format", form, "--out", shut, "--storage", own)[0] == 0
    assert b"test_" not in everything(shut)
    assert b"loss/test" not in everything(shut)
    with LedgerReader.open(str(own)) as ledger:
        assert not ledger.unsealed(ledger.study("tiny").id)
    status, said = export("--format", form, "--out", opened, "--unseal", "--storage", own)
    assert (status, "The test results of tiny are now open" in said) == (0, True)
    with LedgerReader.open(str(own)) as ledger:
        (event,) = ledger.events(ledger.study("tiny").id, "unsealed")
        frame = epoch_frame(ledger, ledger.study("tiny").id, sealed=True)
    assert event.data["by"] == "export --unseal"
    if form == "tensorboard":
        assert b"loss/test" in everything(opened)
        return
    exported = read(opened / f"epochs.{form}")
    assert exported["test_accuracy"].tolist() == frame["test_accuracy"].tolist()
    examples = (
        pd.read_csv(opened / "examples.csv", dtype=str)
        if form == "csv"
        else read(opened / f"examples.{form}")
    )
    for row in examples.to_dict("records"):
        mine = frame[
            (frame["arm"] == row["arm"])
            & (frame["phase"] == row["phase"])
            & (frame["trial"] == int(row["trial"]))
            & (frame["epoch"] == 2)
        ]
        share = row["correct"].count("1") / len(row["correct"])
        assert share == pytest.approx(mine["test_accuracy"].item())
    again = tmp_path / "again"
    assert export("--format", form, "--out", again, "--storage", own)[0] == 0
    assert b"test_" not in everything(again)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_the_exported_files_give_the_same_verdict_as_the_study(
    own: Path, tmp_path: Path, command: Callable[..., Ended], form: str
) -> None:
    here = json.loads(command("analyze", "tiny", "--storage", own, "--json").out)
    out = tmp_path / "out"
    files = ("--from", out / f"epochs.{form}", "--claims", out / "claims.json")
    ended = command("export", "--format", form, "--out", out, "--unseal", "--storage", own)
    assert ended.status == 0
    there = json.loads(command("analyze", *files, "--json").out)
    said = " ".join(command("analyze", *files).out.split())
    assert f"Bounds include the variation between test examples, from examples.{form}." in said
    assert there["label"] == here["label"] != "EXPLORATORY"
    assert (there["exploratory"], there["trained"]) == ([], here["trained"])
    for far, near in zip(there["findings"], here["findings"], strict=True):
        for key in ("hypothesis", "label", "contrasts", "beside", "gates"):
            assert far[key] == near[key], key
    assert any(found["contrasts"] or found["beside"] for found in there["findings"])


def test_a_study_opened_too_early_is_exploratory_from_its_files_too(
    tiny: dict[str, Any], storage: str
) -> None:
    spec = parse_study(tiny, source="test")
    with Ledger.open(storage) as ledger:
        study = register(ledger, spec)
        assert "registration" in exported_claims(study)
        ledger.unseal(study.id, by="export --unseal")
        assert "registration" not in exported_claims(study)


def test_event_files_hold_every_curve_and_every_hyperparameter(
    own: Path, tmp_path: Path, export: Callable[..., tuple[int, str]]
) -> None:
    folder = tmp_path / "events"
    status, said = export("--format", "tensorboard", "--out", folder, "--storage", own)
    assert (status, f"tensorboard --logdir {folder}" in said) == (0, True)
    with LedgerReader.open(str(own)) as ledger:
        frame = epoch_frame(ledger, ledger.study("tiny").id)
    assert len(list(folder.rglob("events.out.*"))) == 8
    (file,) = (folder / "indian" / "confirm-1" / "seed-1001").glob("events.out.*")
    events = list(read_events(file))
    run = frame[(frame["arm"] == "indian") & (frame["seed"] == 1001)]
    for tag, column in (
        ("loss/train", "train_loss"),
        ("accuracy/validation", "validation_accuracy"),
    ):
        points = {
            event.step: value.simple_value
            for event in events
            for value in event.summary.value
            if value.tag == tag
        }
        assert points == pytest.approx(dict(zip(run["epoch"], run[column], strict=True)))
    (start,) = (
        value.metadata.plugin_data.content
        for event in events
        for value in event.summary.value
        if value.tag == "_hparams_/session_start_info"
    )
    names = (b"arm", b"config.alpha", b"config.beta", b"config.gamma0")
    assert all(name in start for name in names)


def test_the_optuna_studies_come_out_alone_with_their_notes(
    own: Path, tmp_path: Path, export: Callable[..., tuple[int, str]]
) -> None:
    other = tmp_path / "other.db"
    status, said = export("tiny", "--optuna", other, "--storage", own)
    assert (status, "tiny/indian, tiny/sgd, tiny/confirm" in said) == (0, True)
    with sqlite3.connect(other) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    connection.close()
    assert not [name for name in names if name.startswith("ledger_")]
    for name in ("tiny/indian", "tiny/confirm"):
        before = optuna.load_study(study_name=name, storage=f"sqlite:///{own}")
        after = optuna.load_study(study_name=name, storage=f"sqlite:///{other}")
        for old, new in zip(before.trials, after.trials, strict=True):
            assert (old.params, old.values, old.state) == (new.params, new.values, new.state)
            assert old.intermediate_values == new.intermediate_values
        assert "**Budget.** 2 trials per arm" in get_note(after)
        assert after.metric_names == ["validation error"]
        for study in (before, after):
            study._storage.remove_session()
            study._storage._backend.engine.dispose()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tiny",), "no option is given"),
        (("--db", "a.db", "--format", "csv"), "--format and --db is given"),
        (("--db", "a.db", "--out", "folder"), "--out needs --format, but --db is given"),
        (("--optuna", "a.db", "--unseal"), "--unseal needs --format, but --optuna is given"),
        (("tiny", "--db", "a.db"), "--db copies the whole database, not only 'tiny'"),
        (("other", "--format", "csv"), "there is no study 'other'"),
        (("other", "--format", "csv", "--unseal"), "there is no study 'other'"),
        (("tiny", "--optuna", "no/folder.db"), "folder no does not exist: create it"),
    ],
)
def test_what_cannot_be_exported_is_refused_and_nothing_written(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
    tmp_path: Path,
    export: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    status, said = export(*arguments, "--storage", finished[0])
    assert (status, message in said) == (2, True), said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["csv", "tensorboard"])
def test_what_lies_in_the_folder_is_not_overwritten(
    own: Path, tmp_path: Path, export: Callable[..., tuple[int, str]], form: str
) -> None:
    arguments = ("--format", form, "--out", tmp_path / "out", "--storage", own)
    assert export(*arguments)[0] == 0
    before = everything(tmp_path / "out")
    status, said = export(*arguments)
    assert (status, "choose another folder, such as --out" in said) == (2, True)
    assert everything(tmp_path / "out") == before


def everything(folder: Path) -> bytes:
    """Return the content of all files under a folder."""
    return b"".join(file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file())


def read_events(file: Path) -> list[Any]:
    """Return the events of a file: each stands between its length with a checksum and another."""
    data, events, at = file.read_bytes(), [], 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        events.append(Event.FromString(data[at + 12 : at + 12 + length]))
        at += 12 + length + 4
    return events
