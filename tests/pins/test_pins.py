"""Nothing that a user computes or has recorded may change unless a change says so."""

from __future__ import annotations

import contextlib
import gzip
import json
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from indian_tune.ledger import Ledger, LedgerReader, State
from indian_tune.study.file.spec import load_study
from tests.conftest import run_command
from tests.pins.conftest import LISTED, PINS, RELEASED, STUDY, bits_of, same_bits

if TYPE_CHECKING:
    from collections.abc import Callable

    from indian_tune.ledger import TrialRecord
    from tests.pins.conftest import Bits

ROOT = Path(__file__).parents[2]
DIGESTS: dict[str, str] = json.loads((PINS / "digests.json").read_text(encoding="utf-8"))
# That engines agree is tested with shorter studies.
LONG = (pytest.mark.slow, pytest.mark.night)
ENGINES = (
    ("--engine", "inline", "--phase", "tune"),
    ("--engine", "inline"),
    ("--engine", "optuna", "--workers", "2"),
    ("--engine", "ray", "--workers", "2"),
)


def pinned_bits(study: str) -> Bits:
    bits: Bits = json.loads(gzip.decompress((PINS / "bits.json.gz").read_bytes()))[study]
    return bits


def trials_of(database: Path, study: str) -> list[TrialRecord]:
    with LedgerReader.open(str(database)) as ledger:
        return ledger.trials(ledger.study(study).id)


def test_every_shipped_study_has_a_pinned_digest() -> None:
    shipped = [*(ROOT / "studies").rglob("*.toml"), *PINS.glob("*.toml")]
    assert sorted(DIGESTS) == sorted(str(path.relative_to(ROOT)) for path in shipped)


@pytest.mark.parametrize("name", sorted(DIGESTS))
def test_a_study_file_keeps_its_digest(name: str) -> None:
    assert load_study(ROOT / name).digest == DIGESTS[name], (
        f"the canonical form of {name} changed: mark a new key ADDED, or, if the change is meant, "
        "give the new digest in digests.json and list the change in CHANGELOG.md"
    )


@pytest.mark.parametrize(
    "engine",
    [
        ENGINES[0],
        pytest.param(ENGINES[1], marks=pytest.mark.slow),
        *(pytest.param(engine, marks=LONG) for engine in ENGINES[2:]),
    ],
    ids=["tune", *(engine[1] for engine in ENGINES[1:])],
)
def test_a_study_is_computed_to_the_pinned_bits(
    engine: tuple[str, ...], tmp_path: Path, command: Callable[..., str]
) -> None:
    # The fresh seeds that were counted when the bits were pinned, which the file's number is not.
    listed = STUDY.read_text(encoding="utf-8").replace("confirm_seeds = 2", LISTED)
    (tmp_path / STUDY.name).write_text(listed, encoding="utf-8")
    command(tmp_path, "search", STUDY.name, *engine)
    pinned = pinned_bits("pinned")
    if "--phase" in engine:
        pinned = {key: bits for key, bits in pinned.items() if " tune " in key}
    same_bits(bits_of(tmp_path / "indian-tune.db", "pinned"), pinned)


def test_a_released_database_opens_with_the_bits_it_was_written_with(
    released: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = released / "indian-tune.db"
    # Opening it for writing brings an older schema up to date.
    with Ledger.open(str(database)):
        pass
    assert bits_of(database, "pinned") == pinned_bits("released")
    assert {trial.state for trial in trials_of(database, "pinned")} == {State.COMPLETE}
    run_command(released, "status", "pinned")
    assert "pinned, registered 2026-11-2" in capsys.readouterr().out


@pytest.mark.slow
def test_an_interrupted_study_of_a_released_database_goes_on_to_the_same_bits_and_is_marked(
    released: Path, command: Callable[..., str], request: pytest.FixtureRequest
) -> None:
    database = released / "indian-tune.db"
    # The command itself brings the older schema up to date, so nothing else may have opened it.
    with contextlib.closing(sqlite3.connect(database)) as connection:
        states = connection.execute(
            "SELECT DISTINCT trial.state FROM ledger_trial AS trial "
            "JOIN ledger_study AS study ON study.id = study_id WHERE study.name = 'interrupted'"
        ).fetchall()
    assert {state for (state,) in states} == {State.COMPLETE, State.WAITING}
    assert list(released.rglob("*.ckpt"))
    command(released, "search", "interrupted.toml", "--engine", "inline")
    # Where it was interrupted, steps begin to be computed by hand.
    name = request.node.callspec.params["released"]
    same_bits(bits_of(database, "interrupted"), pinned_bits(f"interrupted of {name}"))
    with LedgerReader.open(str(database)) as ledger:
        runs = [
            run for trial in trials_of(database, "interrupted") for run in ledger.runs(trial.id)
        ]
    marks = [(run.provenance or {}).get("resumed_from", "") for run in runs]
    assert any("execution loop" in mark for mark in marks)


# Another run of the same study has other times, which are exported as well.
@pytest.mark.parametrize("released", RELEASED[:1], indirect=True)
def test_a_finished_study_is_exported_to_the_pinned_tables(released: Path) -> None:
    run_command(released, "export", "pinned", "--format", "csv", "--unseal", "--out", "exported")
    for pinned in sorted((PINS / "exported").iterdir()):
        exported = (released / "exported" / pinned.name).read_text(encoding="utf-8")
        assert exported == pinned.read_text(encoding="utf-8"), pinned.name
