"""`indian-tune doctor`, and the schema that it brings up to date."""

from __future__ import annotations

import json
import re
import sqlite3
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import pytest
from optuna.trial import TrialState

import indian_tune.ledger
from indian_tune.cli import main
from indian_tune.engines import process_info
from indian_tune.engines.interrupt import Interrupt
from indian_tune.engines.local.inline import InlineEngine
from indian_tune.engines.session import open_session
from indian_tune.engines.settings import WorkerSettings
from indian_tune.ledger import Ledger, LedgerReader, Phase, sqlite_file, storage_url
from indian_tune.ledger.database import _rebuilding
from indian_tune.ledger.tables import HEAD_REVISION
from indian_tune.service.study_status import look
from indian_tune.study.file.spec import parse_study

if TYPE_CHECKING:
    from collections.abc import Callable

    from optuna.trial import FrozenTrial

    from tests.conftest import PostgresServer

Doctor = "Callable[..., tuple[int, str, str]]"


@pytest.fixture
def doctor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run the command; return status, standard output and standard error."""
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["indian-tune", "doctor", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


def registered(storage: str, study: dict[str, Any]) -> None:
    with open_session(parse_study(study, source="study.toml"), storage_url(storage), None):
        pass


def trained(storage: str, study: dict[str, Any], tmp_path: Path) -> None:
    registered(storage, study)
    settings = WorkerSettings(storage=storage, study=study["name"], artifacts=tmp_path / "files")
    InlineEngine(settings).run(Interrupt(), lambda: None)


def shown(storage: str, name: str) -> list[FrozenTrial]:
    return optuna.load_study(study_name=name, storage=storage).trials


def comparable(trials: list[FrozenTrial]) -> list[dict[str, Any]]:
    """Return what Optuna shows of trials, without ids, in the order of their slots."""
    return [
        {
            "params": trial.params,
            "distributions": trial.distributions,
            "state": trial.state,
            "value": trial.value,
            "curve": trial.intermediate_values,
            "attributes": trial.user_attrs,
        }
        for trial in sorted(trials, key=lambda trial: int(trial.user_attrs["slot"]))
    ]


def test_a_sound_database_has_nothing_to_repair(
    storage: str, tiny: dict[str, Any], doctor: Callable[..., tuple[int, str, str]]
) -> None:
    registered(storage, tiny)
    status, out, _ = doctor("--storage", storage)
    assert (status, "nothing to repair" in out, "its file is not damaged" in out) == (0, True, True)


def test_what_is_broken_is_repaired_once_and_named(
    storage: str, tiny: dict[str, Any], doctor: Callable[..., tuple[int, str, str]]
) -> None:
    registered(storage, tiny)
    with Ledger.open(storage) as ledger:
        study = ledger.study("tiny")
        ledger.join(study.id, "dead", host="", pid=0, started="", device="cpu")
        lease = ledger.claim(study.id, Phase.TUNE, "dead")
        assert lease is not None
        ledger.leave("dead")
    optuna.load_study(study_name="tiny/sgd", storage=storage).ask()
    optuna.delete_study(study_name="tiny/indian", storage=storage)
    nothing = dict.fromkeys(("freed", "lost", "told", "restored"), 0)
    repaired = {"created": 1, "dropped": 1, **nothing}
    status, out, _ = doctor("--storage", storage, "--json")
    assert (status, json.loads(out)["studies"]) == (
        0,
        [
            {
                "study": "tiny",
                "trials": 4,
                "finished": 0,
                "repaired": repaired,
                "problem": None,
                "ignored": 1,
            }
        ],
    )
    _, out, _ = doctor("--storage", storage)
    assert "nothing to repair; Optuna trials of others, which are ignored: 1" in out


def test_optuna_s_tables_are_rebuilt_from_the_ledger(
    storage: str,
    tiny: dict[str, Any],
    tmp_path: Path,
    doctor: Callable[..., tuple[int, str, str]],
) -> None:
    tiny["arms"][0]["space"] = {"gamma0": {"choices": [1e30, 0.01]}}
    tiny["search"] |= {"sampler": "tpe"}
    trained(storage, tiny, tmp_path)
    names = ["tiny/indian", "tiny/sgd", "tiny/confirm"]
    before = {name: comparable(shown(storage, name)) for name in names}
    theirs = optuna.create_study(study_name="tiny/theirs", storage=storage)
    theirs.add_trial(optuna.trial.create_trial(value=1.0))
    status, out, _ = doctor("--storage", storage, "--rebuild-optuna")
    assert (status, "8 trials restored in Optuna" in out or "trials restored" in out) == (0, True)
    assert {name: comparable(shown(storage, name)) for name in names} == before
    assert [trial.value for trial in shown(storage, "tiny/theirs")] == [1.0]
    _, out, _ = doctor("--storage", storage)
    assert "nothing to repair" in out


def test_a_trial_in_progress_goes_on_after_a_rebuild(
    storage: str,
    tiny: dict[str, Any],
    tmp_path: Path,
    doctor: Callable[..., tuple[int, str, str]],
) -> None:
    registered(storage, tiny)
    settings = WorkerSettings(storage=storage, study="tiny", artifacts=tmp_path / "files")
    interrupt = Interrupt()

    def stop() -> None:
        interrupt.requests = 1

    InlineEngine(settings).run(interrupt, stop)
    with LedgerReader.open(storage) as ledger:
        config = ledger.trials(ledger.study("tiny").id)[0].config
    assert doctor("--storage", storage, "--rebuild-optuna")[0] == 0
    InlineEngine(settings).run(Interrupt(), lambda: None)
    first = shown(storage, "tiny/indian")[0]
    assert config is not None
    assert first.params.items() <= config.items()
    assert first.intermediate_values.keys() == {1, 2}
    for name in ("tiny/indian", "tiny/sgd"):
        assert [t.state for t in shown(storage, name)] == [TrialState.COMPLETE] * 2


def test_a_trial_deleted_in_optuna_comes_back(
    storage: str,
    tiny: dict[str, Any],
    tmp_path: Path,
    doctor: Callable[..., tuple[int, str, str]],
) -> None:
    trained(storage, tiny, tmp_path)
    before = comparable(shown(storage, "tiny/sgd"))
    optuna.delete_study(study_name="tiny/sgd", storage=storage)
    _, out, _ = doctor("--storage", storage)
    assert "missing Optuna studies created: 1, trials restored in Optuna: 2" in out
    assert comparable(shown(storage, "tiny/sgd")) == before


def test_a_rebuild_beside_working_workers_is_refused(
    storage: str, tiny: dict[str, Any], doctor: Callable[..., tuple[int, str, str]]
) -> None:
    registered(storage, tiny)
    with Ledger.open(storage) as ledger:
        ledger.join(
            ledger.study("tiny").id, "far", host="elsewhere", pid=7, started="0", device="cpu"
        )
    status, out, _ = doctor("--storage", storage, "--rebuild-optuna")
    assert status == 1
    assert "stop them before its Optuna tables are rebuilt" in " ".join(out.split())


def test_the_tables_of_an_empty_database_are_made_when_asked_for(
    database: str, doctor: Callable[..., tuple[int, str, str]]
) -> None:
    file = sqlite_file(storage_url(database))
    if file is not None:
        file.touch()
    status, out, err = doctor("--storage", database)
    assert (status, err) == (0, "")
    # First of all, and with what is to be done.
    first = " ".join(out.partition("ok    Python")[0].split())
    assert "can be used; its tables are not created yet" in first
    assert "`indian-tune search` creates them" in first
    for _ in range(2):
        status, out, _ = doctor("--create", "--storage", database)
        assert (status, "contains no study" in out) == (0, True)
    with LedgerReader.open(database) as ledger:
        assert ledger.studies() == []
    storage = optuna.storages.RDBStorage(database, skip_table_creation=True)
    assert storage.get_all_studies() == []
    storage.remove_session()
    storage.engine.dispose()


@pytest.mark.postgres
def test_a_role_that_may_not_create_tables_is_told_what_it_lacks(
    postgres: PostgresServer, doctor: Callable[..., tuple[int, str, str]]
) -> None:
    owned = postgres.new_database()
    postgres.run_client("psql", owned, "-c", "CREATE ROLE guest LOGIN")
    guest = storage_url(owned).set(username="guest")
    status, out, err = doctor("--storage", guest)
    assert (status, "fail  database" in out) == (2, True)
    assert 'run `GRANT CREATE ON SCHEMA public TO "guest"` in it' in err
    postgres.run_client("psql", owned, "-c", 'GRANT CREATE ON SCHEMA public TO "guest"')
    assert doctor("--storage", guest)[0] == 0


def test_a_missing_database_is_not_made(
    tmp_path: Path, doctor: Callable[..., tuple[int, str, str]]
) -> None:
    status, _, err = doctor("--storage", tmp_path / "absent.db")
    assert (status, "there is no database" in err) == (2, True)
    assert list(tmp_path.iterdir()) == []


def levels(out: str) -> dict[str, str]:
    """Return the level of every check of a JSON report, by name."""
    return {check["name"]: check["level"] for check in json.loads(out)["checks"]}


def test_the_machine_is_examined_although_there_is_no_database_yet(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    doctor: Callable[..., tuple[int, str, str]],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("INDIAN_TUNE_STORAGE", raising=False)
    status, out, _ = doctor("--json")
    found = levels(out)
    assert "fail" not in found.values(), out
    assert status == 0
    assert found["torch"] == found["Python"] == found["Ray"] == found["database"] == "ok"
    (about,) = (c for c in json.loads(out)["checks"] if c["name"] == "database")
    assert "does not exist yet, will be created" in about["text"]
    told = json.loads(out)
    assert (told["storage"], told["damages"], told["studies"]) == (
        f"sqlite:///{tmp_path}/indian-tune.db",
        [],
        [],
    )
    assert list(tmp_path.iterdir()) == []


def test_a_database_is_described(
    database: str, tiny: dict[str, Any], doctor: Callable[..., tuple[int, str, str]]
) -> None:
    registered(database, tiny)
    status, out, _ = doctor("--storage", database, "--json")
    (about,) = (c for c in json.loads(out)["checks"] if c["name"] == "database")
    assert (status, about["level"]) == (0, "ok")
    assert f"schema {HEAD_REVISION}" in about["text"]
    if database.startswith("sqlite"):
        assert f"SQLite {sqlite3.sqlite_version}" in about["text"]
        assert "journal wal" in about["text"]
    else:
        assert re.search(r"PostgreSQL \d+", about["text"])


def test_a_database_that_cannot_be_reached_is_told_beside_the_machine(
    doctor: Callable[..., tuple[int, str, str]],
) -> None:
    address = "postgresql+psycopg://someone:secret@127.0.0.1:1/none?connect_timeout=2"
    status, out, err = doctor("--storage", address, "--json")
    assert status == 2
    assert levels(out)["database"] == "fail"
    assert levels(out)["Python"] == "ok"
    assert "secret" not in out + err


def test_a_cluster_that_does_not_answer_fails(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    doctor: Callable[..., tuple[int, str, str]],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("INDIAN_TUNE_STORAGE", raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    status, out, _ = doctor("--ray-address", "127.0.0.1:1")
    assert status == 1
    assert re.search(r"^fail  Ray cluster +Ray cannot be reached at 127\.0\.0\.1:1", out, re.M)
    assert "→ check the address" in out
    assert max(map(len, out.splitlines())) <= 80


def test_colour_comes_with_words_and_can_be_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    doctor: Callable[..., tuple[int, str, str]],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("INDIAN_TUNE_STORAGE", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    # The cells of a column are filled up to its width.
    green = "\x1b[32mok  \x1b[0m"
    assert green in doctor()[1]
    monkeypatch.setenv("NO_COLOR", "1")
    out = doctor()[1]
    assert green not in out
    assert "ok" in out


def test_a_damaged_file_is_reported_and_left_as_it_is(
    storage: str, tiny: dict[str, Any], doctor: Callable[..., tuple[int, str, str]]
) -> None:
    registered(storage, tiny)
    file = Path(str(storage_url(storage).database))
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'ix_ledger_trial_claim'"
        ).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    content = bytearray(file.read_bytes())
    content[(page - 1) * size + 200 : page * size] = bytes(size - 200)
    file.write_bytes(content)
    status, out, err = doctor("--storage", storage)
    assert status == 1, err
    assert "is damaged; nothing was changed" in out
    status, out, _ = doctor("--storage", storage, "--json")
    assert (status, bool(json.loads(out)["damages"])) == (1, True)
    assert file.read_bytes() == bytes(content)
    # Of a file that cannot be opened, nothing is known to be sound.
    file.write_bytes(bytes(reversed(content)))
    status, out, err = doctor("--storage", storage, "--json")
    assert (status, json.loads(out)["damages"], json.loads(out)["studies"]) == (2, None, None), err


def test_a_dead_worker_is_told_and_so_is_the_trial_that_it_left(
    storage: str, tiny: dict[str, Any], doctor: Callable[..., tuple[int, str, str]]
) -> None:
    registered(storage, tiny)
    with Ledger.open(storage) as ledger:
        study = ledger.study("tiny")
        # No process has such a number.
        ledger.join(
            study.id, "dead", host=process_info.host(), pid=2**22 + 1, started="0", device="cpu"
        )
        ledger.lease = timedelta(0)
        assert ledger.claim(study.id, Phase.TUNE, "dead") is not None
        _, out, _ = doctor("--storage", storage)
        assert "dead workers recorded: 1" in out
        _, out, _ = doctor("--storage", storage)
        assert "nothing to repair" in out
        status = look(ledger, study)
    assert status.abandoned == "indian/0"
    assert not status.workers


def test_an_older_schema_is_brought_up_to_date_and_nothing_is_lost(
    storage: str,
    tiny: dict[str, Any],
    tmp_path: Path,
    doctor: Callable[..., tuple[int, str, str]],
) -> None:
    from alembic import command
    from alembic.config import Config

    trained(storage, tiny, tmp_path)
    with Ledger.open(storage) as ledger:
        before = ledger.study("tiny"), ledger.trials(1), ledger.study_epochs(1)
        config = Config()
        folder = Path(indian_tune.ledger.__file__).parent / "migrations"
        config.set_main_option("script_location", str(folder))
        with _rebuilding(ledger._engine) as connection:
            config.attributes["connection"] = connection
            command.downgrade(config, "0001")
    said = f"older than this version's {HEAD_REVISION}: run `indian-tune doctor"
    with pytest.raises(Exception, match=re.escape(said)):
        LedgerReader.open(storage)
    assert doctor("--storage", storage)[0] == 0
    with LedgerReader.open(storage) as reader:
        after = reader.study("tiny"), reader.trials(1), reader.study_epochs(1)
    # The old schema did not know where a study was registered.
    assert after == (replace(before[0], host=None), *before[1:])
