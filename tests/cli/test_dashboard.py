"""Optuna Dashboard on our database: what it shows, and what it refuses."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from optuna.exceptions import StorageInternalError

from indian_tune.dashboard import DashboardServer
from indian_tune.dashboard.storage import DashboardStorage
from indian_tune.engines import open_session
from indian_tune.ledger import ArmPlan, Ledger, LedgerReader, storage_url
from indian_tune.study.file.spec import parse_study

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.cli.conftest import Ended
    from tests.conftest import PostgresServer

STUDIES = ["tiny/indian", "tiny/sgd", "tiny/confirm"]


class Client:
    """Speaks to a dashboard as a browser would, and as one should not."""

    def __init__(self, address: str) -> None:
        self.base = address.removesuffix("/dashboard")

    def ask(
        self, path: str, method: str = "GET", body: Any = None, **headers: str
    ) -> tuple[int, str]:
        """Send a request; return its status and what came back."""
        request = urllib.request.Request(
            f"{self.base}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", **headers},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def json(self, path: str) -> Any:
        """Return what a path of the dashboard's API answers."""
        status, text = self.ask(path)
        assert status == 200, text
        return json.loads(text)

    def study(self, name: str) -> Any:
        """Return all that the dashboard knows of one study."""
        listed = self.json("/api/studies")["study_summaries"]
        (number,) = [study["study_id"] for study in listed if study["study_name"] == name]
        return self.json(f"/api/studies/{number}")


@contextmanager
def served(database: Path | str, study: str | None = None, **options: Any) -> Iterator[Client]:
    with (
        LedgerReader.open(str(database)) as ledger,
        DashboardServer(ledger, study, port=0, **options) as server,
    ):
        thread = threading.Thread(target=server.serve)
        thread.start()
        try:
            yield Client(server.address)
        finally:
            server.stop()
            thread.join()


@pytest.fixture(scope="module")
def dashboard(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> Iterator[Client]:
    with served(finished[0]) as client:
        yield client


@pytest.fixture
def own(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
    tmp_path: Path,
    command: Callable[..., Ended],
) -> Path:
    """A copy of the finished study's database, to be changed."""
    copy = tmp_path / "own.db"
    assert command("export", "--db", copy, "--storage", finished[0]).status == 0
    return copy


def test_every_arm_and_the_fresh_seeds_are_shown_with_their_curves(dashboard: Client) -> None:
    listed = dashboard.json("/api/studies")["study_summaries"]
    assert [study["study_name"] for study in listed] == STUDIES
    for name, trials in zip(STUDIES, (2, 2, 4), strict=True):
        shown = dashboard.study(name)
        assert shown["objective_names"] == ["validation error"]
        assert len(shown["trials"]) == trials
        for trial in shown["trials"]:
            steps = [point["step"] for point in trial["intermediate_values"]]
            assert steps == [1, 2]
            assert trial["values"] == [trial["intermediate_values"][-1]["value"]]
    confirm = dashboard.study("tiny/confirm")["trials"][0]
    assert {param["name"] for param in confirm["params"]} == {"arm", "seed"}


def test_a_note_tells_the_question_the_space_and_the_budget(dashboard: Client) -> None:
    note = dashboard.study("tiny/indian")["note"]["body"]
    assert "Which configuration of indian or sgd is best for nin-small on digits" in note
    assert "2 trials per arm × 1 tuning seed × 2 epochs, proposed by random" in note
    assert "- `alpha`: 0.05 to 2, on a log scale" in note
    assert "2 of 2 trials finished" in note
    assert "`indian-tune analyze tiny --storage sqlite:///" in note
    assert "4 of 4 runs finished" in dashboard.study("tiny/confirm")["note"]["body"]


def test_a_verdict_that_was_reached_stands_in_every_note(own: Path) -> None:
    with Ledger.open(str(own)) as ledger:
        study = ledger.study("tiny")
        ledger.record_event(study.id, "verdict", {"text": "INCONCLUSIVE: 12 seeds are needed"})
    with served(own) as client:
        for name in STUDIES:
            note = client.study(name)["note"]["body"]
            assert "**Verdict.** INCONCLUSIVE; `indian-tune analyze tiny --storage sql" in note
            assert "12 seeds" not in note
            assert "no value or effect of theirs is shown here" in note


def test_the_importance_of_every_searched_hyperparameter_is_given(dashboard: Client) -> None:
    (importances,) = dashboard.json("/api/studies/1/param_importances")["param_importances"]
    assert {each["name"] for each in importances} == {"alpha", "beta", "gamma0"}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", "/api/studies/1", None),
        ("POST", "/api/studies", {"study_name": "new", "directions": ["minimize"]}),
        ("POST", "/api/studies/1/rename", {"study_name": "other"}),
        ("PUT", "/api/studies/1/note", {"version": 1, "body": "mine"}),
        ("POST", "/api/trials/1/user-attrs", {"user_attrs": {"a": 1}}),
        ("PATCH", "/api/studies/1", None),
    ],
)
def test_writes_are_refused_and_change_nothing(
    dashboard: Client, method: str, path: str, body: Any
) -> None:
    before = dashboard.study("tiny/indian")
    status, reason = dashboard.ask(path, method, body)
    assert status == 403
    assert "--allow-writes" in reason
    assert dashboard.study("tiny/indian") == before


def test_a_request_that_slips_through_still_meets_a_database_that_takes_no_writes(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    with LedgerReader.open(str(finished[0])) as ledger:
        storage = DashboardStorage(ledger)
        with pytest.raises(StorageInternalError) as refused:
            storage.delete_study(1)
        assert "readonly database" in str(refused.value.__cause__)
        assert [study.study_name for study in storage.get_all_studies()] == STUDIES
        storage.engine.dispose()


def test_writes_pass_when_they_are_allowed(own: Path) -> None:
    with served(own, allow_writes=True) as client:
        assert client.ask("/api/studies/1/note", "PUT", {"version": 1, "body": "mine"})[0] == 204
        assert client.study("tiny/indian")["note"] == {"version": 1, "body": "mine"}
        assert client.ask("/api/studies/2", "DELETE", {})[0] == 204
        listed = client.json("/api/studies")["study_summaries"]
        assert [study["study_name"] for study in listed] == ["tiny/indian", "tiny/confirm"]


def test_controls_that_write_are_hidden_unless_writes_are_allowed(
    dashboard: Client, own: Path
) -> None:
    hidden = '[aria-label="delete study"]'
    status, page = dashboard.ask("/dashboard")
    assert status == 200
    assert page.count(hidden) == 1
    # As a browser asks that has the page of a dashboard with writes in its cache.
    future = "Fri, 01 Jan 2100 00:00:00 GMT"
    assert dashboard.ask("/dashboard", **{"If-Modified-Since": future}) == (200, page)
    assert dashboard.ask("/dashboard", "HEAD") == (200, "")
    with served(own, allow_writes=True) as client:
        assert hidden not in client.ask("/dashboard")[1]


def test_a_request_for_another_host_is_refused(dashboard: Client) -> None:
    assert dashboard.ask("/api/studies", Host="evil.example:8080")[0] == 403
    assert dashboard.ask("/api/studies", Host="localhost:8080")[0] == 200


def test_only_requests_for_the_names_that_are_allowed_are_answered(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    with served(finished[0], host="127.0.0.1", allowed_hosts=["Tuning.example", "127.0.0.1"]) as c:
        assert c.ask("/api/studies", Host="tuning.example:80")[0] == 200
        assert c.ask("/api/studies")[0] == 200
        assert c.ask("/api/studies", Host="localhost")[0] == 403


def test_a_database_without_optuna_s_tables_is_refused_with_the_way_to_make_them(
    database: str, command: Callable[..., Ended]
) -> None:
    Ledger.open(database).close()
    ended = command("dashboard", "--storage", database, "--port", "0")
    assert (ended.status, ended.out) == (2, "")
    assert "has no Optuna tables: run `indian-tune doctor --create --storage" in ended.err
    assert command("doctor", "--create", "--storage", database).status == 0
    with LedgerReader.open(database) as ledger, DashboardServer(ledger, port=0):
        assert ledger.studies() == []


@pytest.mark.postgres
def test_a_server_that_restarts_is_told_in_a_line_and_waited_for(
    postgres: PostgresServer,
    tiny: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    database = postgres.new_database()
    with open_session(parse_study(tiny, source="tiny.toml"), storage_url(database), None):
        pass
    with served(database) as client:
        number = client.json("/api/studies")["study_summaries"][0]["study_id"]
        with postgres.down(seconds=1.5):
            with monkeypatch.context() as hasty:
                hasty.setattr("indian_tune.ledger.retry.PATIENCE_SECONDS", 0.1)
                # A page asks again every few seconds.
                failed = [client.ask(f"/api/studies/{number}")[0] for _ in range(2)]
            assert client.json("/api/studies")["study_summaries"]
        assert client.ask(f"/api/studies/{number}")[0] == 200
    assert failed == [500, 500]
    away, back = caplog.messages
    assert "; trying again" in away
    assert "the database answers again after" in back


def test_nothing_sealed_is_served(
    finished: tuple[Path, subprocess.CompletedProcess[str]], dashboard: Client
) -> None:
    with sqlite3.connect(finished[0]) as connection:
        sealed = connection.execute(
            "SELECT metrics FROM ledger_sealed_epoch JOIN ledger_run ON id = run_id"
        ).fetchall()
    connection.close()
    assert len(sealed) == 16
    said = "".join(
        dashboard.ask(path.format(number))[1]
        for path in ("/api/studies/{}", "/api/studies/{}/param_importances", "/csv/{}")
        for number in (1, 2, 3)
    )
    assert "tiny/indian" in said
    assert "test_" not in said
    assert not [text for (text,) in sealed if repr(json.loads(text)["test_loss"]) in said]


def test_one_study_of_several_is_shown_alone(own: Path) -> None:
    with Ledger.open(str(own)) as ledger:
        ledger.register("other", {}, "hash", [ArmPlan("indian", "indian", 1)])
    with sqlite3.connect(own) as connection:
        connection.execute("INSERT INTO studies (study_name) VALUES ('other/indian')")
    connection.close()
    with served(own) as client:
        listed = client.json("/api/studies")["study_summaries"]
        assert [study["study_name"] for study in listed] == [*STUDIES, "other/indian"]
    with served(own, "tiny") as client:
        listed = client.json("/api/studies")["study_summaries"]
        assert [study["study_name"] for study in listed] == STUDIES


def test_the_command_prints_the_address_and_ends_at_ctrl_c(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    database, _ = finished
    with subprocess.Popen(
        [sys.executable, "-m", "indian_tune", "dashboard", "tiny", "--port", "0"],
        cwd=database.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        try:
            assert program.stdout is not None
            address = program.stdout.readline().strip()
            assert Client(address).study("tiny/sgd")["name"] == "tiny/sgd"
        finally:
            program.send_signal(2)
            _, remarks = program.communicate()
    assert program.returncode == 0
    assert "read-only; press Ctrl-C to stop." in remarks
    assert "Traceback" not in remarks


def test_an_address_that_others_reach_comes_with_a_warning(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
    command: Callable[..., Ended],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Ends as if Ctrl-C came at once.
    def interrupted(server: DashboardServer) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(DashboardServer, "serve", interrupted)
    ended = command("dashboard", "--storage", finished[0], "--host", "0.0.0.0", "--port", "0")
    assert ended.status == 0
    assert (
        "the dashboard has no login: everyone who can reach 0.0.0.0 can read every study"
        in ended.err
    )
    local = command("dashboard", "--storage", finished[0], "--port", "0")
    assert "no login" not in local.err


def test_what_cannot_be_shown_is_refused_with_the_way_on(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
    command: Callable[..., Ended],
    storage: str,
) -> None:
    database, _ = finished
    with served(database) as client:
        taken = client.base.rpartition(":")[2]
        ended = command("dashboard", "--storage", database, "--port", taken)
    assert (ended.status, ended.out) == (2, "")
    assert f"--port {taken} cannot be used" in ended.err
    ended = command("dashboard", "other", "--storage", database)
    assert (ended.status, "Allowed: tiny" in ended.err) == (2, True)
    with Ledger.open(storage) as ledger:
        ledger.register("study", {}, "hash", [ArmPlan("indian", "indian", 1)])
    ended = command("dashboard", "--storage", storage)
    assert (ended.status, "`indian-tune doctor --create --storage" in ended.err) == (2, True)
