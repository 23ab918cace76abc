"""What the commands say of a study whose arms are searched several times."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import optuna
import pandas as pd
import pytest

from indian_tune.ledger import LedgerReader
from indian_tune.service.background import background
from indian_tune.study import RegisteredStudy
from tests.conftest import TINY
from tests.study.playing import played

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from indian_tune.study.assignment import RunningTrial
    from tests.cli.conftest import Ended


def error(trial: RunningTrial) -> float:
    """The last trial of the first search wins, and the first one of the second."""
    record = trial.lease.trial
    return 0.2 + 0.01 * (record.index if record.replicate else -record.index)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of a study of two arms, two searches each."""
    database = tmp_path_factory.mktemp("searched") / "study.db"
    study = {
        **TINY,
        "protocol": {"epochs": 2, "confirm_seeds": 2},
        "search": {"trials": 2, "sampler": "random", "replicates": 2},
        "claims": {"half_budget": True},
    }
    with played(f"sqlite:///{database}", study, error) as made:
        made.work()
        made.ledger.leave("worker")
    return database


@pytest.fixture
def ask(command: Callable[..., Ended], searched: Path, tmp_path: Path) -> Callable[..., str]:
    """Run a command on a copy of the database; return its output."""
    database = shutil.copy(searched, tmp_path)

    def run(*arguments: object, status: int = 0) -> str:
        ended = command(*arguments, "--storage", database)
        assert ended.status == status, ended.err
        return " ".join((ended.err if status else ended.out).split())

    return run


def test_status_counts_all_searches_and_shows_their_means(ask: Callable[..., str]) -> None:
    told = ask("status")
    assert "4/4 2/2 4/4" in told
    assert "Arms, best first; means over 2 searches; ± standard deviation between searches" in told
    for arm in json.loads(ask("status", "--json"))["arms"]:
        assert [search["best_trial"] for search in arm["searches"]] == [1, 0]
        assert arm["half"]["trials"] == 2
        assert arm["value"] == pytest.approx((0.19 + 0.2) / 2)


def test_a_trial_is_named_with_its_search(ask: Callable[..., str]) -> None:
    told = ask("show", "tiny", "--best")
    assert "indian/r0/1" in told
    assert "sgd/r1/confirm/1" in told
    trials = json.loads(ask("show", "tiny", "sgd/r1", "--json"))
    assert {(trial["arm"], trial["replicate"]) for trial in trials} == {("sgd", 1)}
    assert [trial["phase"] for trial in trials] == ["tune"] * 2 + ["confirm"] * 2
    assert ask("show", "tiny", "sgd/r0/half/1").startswith("tiny sgd/r0/half/1: complete")
    assert "name the search, such as sgd/r0/1" in ask("show", "tiny", "sgd/1", status=2)
    assert "have searches r0 to r1" in ask("show", "tiny", "sgd/r2/1", status=2)


def test_tables_have_a_column_for_the_search(ask: Callable[..., str], tmp_path: Path) -> None:
    ask("export", "tiny", "--format", "csv", "--out", tmp_path / "out")
    for name in ("trials", "runs", "epochs"):
        table = pd.read_csv(tmp_path / "out" / f"{name}.csv")
        sizes = table.groupby(["phase", "replicate"]).size().unique()
        assert (name, list(sizes)) == (name, [8 if name == "epochs" else 4])
    claims = json.loads((tmp_path / "out" / "claims.json").read_text(encoding="utf-8"))
    fresh = pd.read_csv(tmp_path / "out" / "runs.csv").query("phase == 'confirm'")["seed"]
    assert sorted(claims["registration"]["seeds"]) == sorted(fresh.unique())
    ask("export", "tiny", "--format", "tensorboard", "--out", tmp_path / "events")
    assert (tmp_path / "events" / "sgd" / "r1" / "tune-0" / "seed-1").is_dir()


def test_every_search_is_copied_as_an_optuna_study(ask: Callable[..., str], tmp_path: Path) -> None:
    ask("export", "tiny", "--optuna", tmp_path / "optuna.db")
    names = optuna.get_all_study_names(f"sqlite:///{tmp_path / 'optuna.db'}")
    parts = [f"{arm}/r{replicate}" for arm in ("indian", "sgd") for replicate in (0, 1)]
    assert sorted(names) == sorted(f"tiny/{part}" for part in (*parts, "half", "confirm"))


def test_the_analysis_says_who_has_looked_at_the_test_set(
    ask: Callable[..., str], tmp_path: Path
) -> None:
    assert json.loads(ask("analyze", "tiny", "--json"))["looks"] == ["tiny"]
    with LedgerReader.open(str(tmp_path / "study.db")) as ledger:
        (look,) = ledger.looks("digits")
        sentence = (
            "The test set of digits has been opened in this database by 1 study: tiny "
            f"({look.at:%Y-%m-%d %H:%M} UTC)."
        )
        assert ask("analyze", "tiny").endswith(sentence)
        provenance = background(RegisteredStudy.open(ledger, "tiny")).provenance
    assert ("Looks at the test set", sentence) in provenance
