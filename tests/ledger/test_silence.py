"""A server that acknowledges what it is sent and never answers; PgBouncer; limits of time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from indian_tune.engines.interrupt import Interrupt
from indian_tune.engines.local.inline import InlineEngine
from indian_tune.engines.session import open_session
from indian_tune.engines.settings import WorkerSettings
from indian_tune.errors import InputError, StorageError
from indian_tune.ledger import ArmPlan, Ledger, LedgerReader, State, storage_url
from indian_tune.ledger.connections import engine_options
from indian_tune.ledger.haste import hurried_when
from indian_tune.study.file.spec import parse_study
from tests.pgbouncer import pgbouncer
from tests.relay import Relay

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import PostgresServer

pytestmark = pytest.mark.postgres
ARMS = [ArmPlan("indian", "indian", 1)]


@pytest.fixture
def relay(postgres: PostgresServer) -> Iterator[Relay]:
    relay = Relay(postgres.new_database())
    yield relay
    relay.close()


def test_a_server_that_acknowledges_and_never_answers_is_noticed(
    postgres: PostgresServer, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indian_tune.ledger.retry.PATIENCE_SECONDS", 0.1)
    url = relay.through(postgres.new_database(), tcp_user_timeout="500", connect_timeout="2")
    with Ledger.open(url) as ledger:
        ledger.register("study", {}, "hash", ARMS)
        relay.mute.set()
        start = time.monotonic()
        # First the open connection, then a new one, which gets no answer to its greeting.
        with pytest.raises(StorageError, match="timeout expired"):
            ledger.register("other", {}, "hash", ARMS)
        assert 2 < time.monotonic() - start < 8
        relay.mute.clear()
        assert [study.name for study in ledger.studies()] == ["study"]


def test_silence_is_not_waited_for_longer_than_the_readme_says() -> None:
    creator = engine_options(storage_url("postgresql://host/studies"))["creator"]
    assert creator.args[1]["tcp_user_timeout"] == 30_000


def test_a_slow_answer_is_waited_for_and_the_connection_lives_on(postgres: PostgresServer) -> None:
    url = storage_url(postgres.new_database() + "&tcp_user_timeout=600")
    engine = sa.create_engine(url, **engine_options(url))
    with engine.connect() as connection:
        connection.execute(sa.text("SELECT pg_sleep(0.3)"))
        connection.execute(sa.text("SELECT pg_sleep(0.4)"))
        with pytest.raises(sa.exc.OperationalError, match=r"no answer from the server for 0\.6 s"):
            connection.execute(sa.text("SELECT pg_sleep(5)"))
    engine.dispose()


def test_an_interrupt_does_not_wait_for_a_mute_server(
    postgres: PostgresServer, relay: Relay
) -> None:
    url = relay.through(postgres.new_database())
    engine = sa.create_engine(url, **engine_options(url))
    with engine.connect() as connection:
        relay.mute.set()
        start = time.monotonic()
        threading.Timer(0.3, os.kill, (os.getpid(), 2)).start()
        with pytest.raises(KeyboardInterrupt):
            connection.execute(sa.text("SELECT 1"))
    engine.dispose()
    assert time.monotonic() - start < 2


def test_whoever_has_asked_to_stop_waits_for_a_mute_server_once_and_briefly(
    postgres: PostgresServer, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indian_tune.ledger.haste.PATIENCE_SECONDS", 0.5)
    asked = threading.Event()
    with Ledger.open(relay.through(postgres.new_database())) as ledger:
        ledger.register("study", {}, "hash", ARMS)
        with hurried_when(asked.is_set):
            relay.mute.set()
            threading.Timer(0.3, asked.set).start()
            start = time.monotonic()
            with pytest.raises(StorageError, match="no answer from the server after the request"):
                ledger.register("other", {}, "hash", ARMS)
            with pytest.raises(
                StorageError, match="did not answer in time after the request to stop"
            ):
                ledger.studies()
            assert time.monotonic() - start < 3
        relay.mute.clear()
        assert [study.name for study in ledger.studies()] == ["study"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_search_that_is_asked_once_to_stop_does_not_wait_for_a_mute_server(
    postgres: PostgresServer, relay: Relay, tmp_path: Path, tiny_toml: str
) -> None:
    longer = tiny_toml.replace("epochs = 2", "epochs = 500")
    (tmp_path / "tiny.toml").write_text(longer, encoding="utf-8")
    url = relay.through(postgres.new_database())
    address = url.render_as_string(hide_password=False)
    program = [sys.executable, "-m", "indian_tune", "search", "tiny.toml", "--workers", "2"]
    with subprocess.Popen(
        [*program, "--storage", address],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as search:
        try:
            while True:
                assert search.poll() is None
                with suppress(InputError), LedgerReader.open(address) as ledger:
                    study = ledger.study("tiny")
                    if sum(part.epochs_done for part in ledger.progress(study.id)):
                        break
                time.sleep(0.5)
            relay.mute.set()
            os.killpg(search.pid, signal.SIGINT)
            began = time.monotonic()
            # Epochs of this study take parts of a second, and one answer is waited for for 5 s.
            _, told = search.communicate(timeout=60)
            print(f"ended {time.monotonic() - began:.1f} s after Ctrl-C")
        finally:
            search.kill()
    assert search.returncode == 130, told
    assert "Traceback" not in told
    assert "indian-tune search tiny.toml" in told


@pytest.mark.parametrize("limit", ["statement_timeout", "lock_timeout"])
def test_what_the_server_broke_off_for_time_is_done_again(
    postgres: PostgresServer, limit: str, caplog: pytest.LogCaptureFixture
) -> None:
    address = postgres.new_database()
    with Ledger.open(address) as ledger:
        ledger.register("study", {}, "hash", ARMS)
    with ExitStack() as stack:
        holder = sa.create_engine(address)
        stack.callback(holder.dispose)
        ledger = stack.enter_context(Ledger.open(f"{address}&options=-c%20{limit}%3D200"))
        held = holder.connect()
        held.execute(sa.text("LOCK TABLE ledger_study"))
        threading.Timer(0.5, held.close).start()
        ledger.register("other", {}, "hash", ARMS)
        assert [study.name for study in ledger.studies()] == ["study", "other"]
    assert "trying again" in caplog.text


def test_a_study_is_searched_through_pgbouncer_in_transaction_mode(
    postgres: PostgresServer, tmp_path: Path, tiny: dict[str, object]
) -> None:
    address = postgres.new_database()
    with pgbouncer(address) as port:
        url = storage_url(address).set(host="127.0.0.1", port=port, query={})
        spec = parse_study(tiny, source="study.toml")
        with open_session(spec, url, None) as session:
            text = url.render_as_string(hide_password=False)
            settings = WorkerSettings(storage=text, study="tiny", artifacts=tmp_path)
            InlineEngine(settings).run(Interrupt(), lambda: None)
            trials = session.ledger.trials(session.record.id)
            assert {trial.state for trial in trials} == {State.COMPLETE}
        # The pool's sessions serve others, too: nothing was set in them.
        engine = sa.create_engine(url, **engine_options(url))
        with engine.connect() as connection:
            show = sa.text("SHOW idle_in_transaction_session_timeout")
            assert connection.scalar(show) == "0"
            assert connection.scalar(sa.text("SELECT count(*) FROM pg_prepared_statements")) == 0
        engine.dispose()


def test_a_worker_needs_one_session_at_a_time(
    postgres: PostgresServer, tmp_path: Path, tiny: dict[str, object]
) -> None:
    # With a second one in the middle of a transaction, workers that begin together would wait for
    # each other until none continues.
    address = postgres.new_database()
    with open_session(
        parse_study(tiny, source="study.toml"), storage_url(address), None
    ) as session:
        with pgbouncer(address, sessions=1, settings={"query_wait_timeout": "5"}) as port:
            url = storage_url(address).set(host="127.0.0.1", port=port, query={})
            text = url.render_as_string(hide_password=False)
            settings = WorkerSettings(storage=text, study="tiny", artifacts=tmp_path)
            InlineEngine(settings).run(Interrupt(), lambda: None)
        trials = session.ledger.trials(session.record.id)
    assert {trial.state for trial in trials} == {State.COMPLETE}
    assert {trial.attempts for trial in trials} == {1}
