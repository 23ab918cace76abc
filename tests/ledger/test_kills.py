"""A process that is killed in the middle of a migration or a freeze leaves all or nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from indian_tune.ledger import ArmPlan, Ledger, Phase, State, Winner
from tests.ledger.test_migrations import METRICS, NUMBERS, engine, migrate, old

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["engine", "migrate", "old"]

# Dies after that many writing statements.
DYING = """
import os, signal, sys
import pytest
import sqlalchemy as sa
from indian_tune.ledger import Ledger, Winner

left = int(sys.argv[2])

@sa.event.listens_for(sa.Engine, "after_cursor_execute")
def die(_connection, _cursor, statement, *_):
    global left
    left -= statement.split()[0] in ("INSERT", "UPDATE", "ALTER", "CREATE", "DROP")
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

with Ledger.open(sys.argv[1]) as ledger:
    if sys.argv[3] == "freeze":
        (arm,) = ledger.arms(1)
        ledger.freeze(1, [Winner(arm, {"gamma0": 0.1})], range(5))
"""


def survives(folder: Path, database: str, statements: int, what: str) -> bool:
    program = folder / "dying.py"
    program.write_text(DYING)
    done = subprocess.run(
        [sys.executable, program, database, str(statements), what], check=False, timeout=60
    )
    assert done.returncode in (0, -signal.SIGKILL)
    return done.returncode == 0


@pytest.mark.slow
def test_a_kill_at_any_place_of_a_migration_leaves_the_old_schema_and_the_next_open_completes_it(
    tmp_path: Path, database: str, old: sa.Engine
) -> None:
    kills, statements = 0, 1
    while not survives(tmp_path, database, statements, "open"):
        with old.connect() as connection:
            known = sa.inspect(connection).get_columns("ledger_epoch")
            assert set(METRICS) <= {column["name"] for column in known}
            count = connection.exec_driver_sql("SELECT COUNT(*) FROM ledger_epoch").scalar()
            assert count == len(NUMBERS)
        kills, statements = kills + 1, 2 * statements
    assert kills >= 3
    with Ledger.open(database) as ledger:
        assert len(ledger.study_epochs(1)[7]) == len(NUMBERS)
        assert len(ledger.trials(1)) == 2


def test_a_new_database_whose_making_is_killed_is_made_by_the_next(
    tmp_path: Path, usual_database: str
) -> None:
    for statements in (1, 8):
        assert not survives(tmp_path, usual_database, statements, "open")
    with Ledger.open(usual_database) as ledger:
        assert ledger.studies() == []


def test_a_kill_at_any_place_of_a_freeze_leaves_no_winner_and_no_confirm_trial(
    tmp_path: Path, usual_database: str
) -> None:
    with Ledger.open(usual_database) as ledger:
        study = ledger.register("study", {}, "hash", [ArmPlan("indian", "indian", 1)])
        ledger.join(study.id, "worker", host="here", pid=1, started="0", device="cpu")
        lease = ledger.claim(study.id, Phase.TUNE, "worker")
        assert lease is not None
        ledger.finish(lease, State.COMPLETE, 0.5)
    kills = 0
    while not survives(tmp_path, usual_database, kills + 1, "freeze"):
        kills += 1
        with Ledger.open(usual_database) as ledger:
            assert not ledger.frozen(1)
            assert ledger.trials(1, phase=Phase.CONFIRM) == []
    assert kills >= 2
    with Ledger.open(usual_database) as ledger:
        (arm,) = ledger.arms(1)
        assert not ledger.freeze(1, [Winner(arm, {"gamma0": 0.2})], range(5))
        assert len(ledger.trials(1, phase=Phase.CONFIRM)) == 5
