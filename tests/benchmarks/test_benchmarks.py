"""The benchmarks run from end to end at tiny sizes, and say what a reader needs."""

from __future__ import annotations

import csv
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from indian_tune.ledger import Ledger, LedgerReader

ROOT = Path(__file__).parents[2]


def run_quickly(name: str, folder: Path) -> dict[str, Any]:
    """Run a benchmark at its tiny size; return its JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "--quick", f"--out={folder}", "--only", name],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    markdown = (folder / f"{name}.md").read_text(encoding="utf-8")
    assert markdown.startswith("# ")
    assert markdown in done.stdout
    report: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return report


def assert_machine(report: dict[str, Any]) -> None:
    machine = report["setting"]["machine"]
    assert machine["processor"]
    assert machine["cores"] >= 1
    assert machine["optuna"]


@pytest.mark.night
def test_a_sweep_gives_all_contenders_the_same_trials(tmp_path: Path) -> None:
    report = run_quickly("sweep", tmp_path)
    assert_machine(report)
    assert len(report["summary"]) == 5
    for row in report["summary"].values():
        assert row["trials_per_hour"]["median"] > 0
        assert row["processor_seconds"]["median"] > 1
        assert row["memory_mib"]["median"] > 100
        assert 0 <= row["best_validation_error"]["median"] <= 1
    pairs = {(row["of"], row["to"]): row["goal"] for row in report["ratios"]}
    assert pairs["indian-tune search", "plain Optuna, 2 processes"] == 2.5
    assert pairs["indian-tune search", "plain Ray Tune"] == 3.0
    assert all(row["load"] >= 0 for rows in report["rounds"].values() for row in rows)


@pytest.mark.night
def test_searches_are_tuned_measured_and_not_measured_again(tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "tests.benchmarks.tuning", f"--out={tmp_path}"),
        *("--searches=1", "--trials=16", "--problems=digits", "--samplers=random"),
    ]
    told = [
        subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stderr
        for _ in range(2)
    ]
    assert "digits, search 1: random" in told[0]
    assert told[1] == ""
    with (tmp_path / "tuning.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["arm"], row["first"]) for row in rows] == [
        ("SGD", ""),
        ("T1", ""),
        *[(arm, first) for arm in ("T2 today", "T2 memory") for first in ("", "winners")],
    ]
    assert all(0 < float(row["test"]) < 0.9 for row in rows)
    assert float(rows[0]["kappa"]) == 1.0
    # Of equal trials, no winner on validation is worse than one among fewer.
    validation = {(row["arm"], row["first"]): float(row["validation"]) for row in rows}
    assert validation["T2 memory", "winners"] <= min(validation["SGD", ""], validation["T1", ""])
    table = (tmp_path / "tuning.md").read_text(encoding="utf-8")
    assert table.count("| digits | random | ") == len(rows)


@pytest.mark.night
def test_the_engines_are_measured_beside_plain_ray(tmp_path: Path) -> None:
    report = run_quickly("engines", tmp_path)
    assert_machine(report)
    rates = report["trials_per_second"]
    for name in ("optuna engine", "ray engine", "plain Ray Tune"):
        assert rates[f"{name}, steady"]["median"] >= rates[f"{name}, whole"]["median"] > 0
    assert report["shares"].keys() == {"1", "2"}
    shares = report["shares"]["2"]
    assert 0 < shares["share of time between trials"]["median"] < 1
    own, whole = (next(shares[n] for n in shares if n.startswith(s)) for s in ("of these", "proc"))
    # A worker is forked from a server that has loaded torch, which takes longer than all the rest.
    assert 0 < own["median"] < whole["median"] / 2


@pytest.mark.night
@pytest.mark.postgres
def test_the_service_is_compared_with_optuna_at_every_mark(tmp_path: Path) -> None:
    report = run_quickly("service", tmp_path)
    assert_machine(report)
    assert {"SQLite, random", "SQLite, tpe"} <= report["growth"].keys()
    growth = report["growth"]["SQLite, random"]
    assert list(growth["at"]) == ["4", "8", "12"]
    for row in growth["at"].values():
        ours, plain = row["indian-tune"]["milliseconds"], row["plain Optuna"]["milliseconds"]
        assert ours["median"] > 0
        assert plain["n"] == ours["n"]
    assert report["commands"].keys() >= {"status", "show", "analyze"}
    assert report["pages"]["/api/studies"]["bytes"] > 0


@pytest.mark.night
def test_many_searches_are_measured_beside_the_quickstart(tmp_path: Path) -> None:
    report = run_quickly("replicates", tmp_path)
    assert_machine(report)
    assert report["registration"]["clock"]["median"] > 0
    assert report["ratios"].keys() == {"new", "finished"}
    assert all(row["median"] > 0 for row in report["status"].values())


@pytest.mark.night
def test_the_way_to_a_verdict_is_measured_command_by_command(tmp_path: Path) -> None:
    report = run_quickly("verdict", tmp_path)
    assert_machine(report)
    both, search = (report["summary"][name]["wall_seconds"] for name in ("both", "search"))
    assert both["median"] > search["median"] > 0


@pytest.mark.night
@pytest.mark.postgres
def test_the_model_is_checked_against_a_database_that_loses_nothing(tmp_path: Path) -> None:
    report = run_quickly("scale", tmp_path)
    assert_machine(report)
    # A claim, a configuration and an end are some transactions each, an epoch is one or more.
    assert report["constants"]["transactions_per_trial"] > 2
    assert report["constants"]["transactions_per_epoch"] >= 1
    assert report["check"]["measured"]["transactions_per_second"] > 0
    assert set(report["check"]["wrong"].values()) == {0}
    assert all(row["first_bottleneck"] in row["used"] for row in report["paper"])


@pytest.mark.night
@pytest.mark.postgres
def test_workers_on_few_connections_lose_nothing(tmp_path: Path) -> None:
    report = run_quickly("pooler", tmp_path)
    assert_machine(report)
    for rows in report["rounds"].values():
        (row,) = rows
        assert row["transactions_per_second"] > 0
        assert set(row["wrong"].values()) == {0}
    assert report["rounds"]["through PgBouncer"][0]["most_connections"] <= 2


@pytest.mark.slow
@pytest.mark.night
def test_the_trainer_and_the_step_are_measured(tmp_path: Path) -> None:
    assert run_quickly("optimizer_step", tmp_path)["swept"]["ratios"]
    trainer = run_quickly("trainer", tmp_path)["nin-small on digits"]
    assert trainer["ratios"]
    assert len(trainer["other_share"]) == 2
    assert all(0 < share["median"] < 1 for share in trainer["other_share"].values())


@pytest.mark.night
def test_every_framework_is_measured_or_said_not_to_be(tmp_path: Path) -> None:
    steps = run_quickly("framework_step", tmp_path)
    parity = run_quickly("parity", tmp_path)
    assert all(row["ratio"]["median"] > 0 for row in steps["frameworks"].values())
    assert {*steps["frameworks"], *steps["not_measured"], "torch", "SGD in NumPy"} == {
        *parity["errors"],
        *parity["not_measured"],
    }


@pytest.mark.slow
def test_start_up_is_measured_beside_the_imports_that_it_needs(tmp_path: Path) -> None:
    report = run_quickly("startup", tmp_path)
    assert_machine(report)
    assert {row["of"]: row["goal"] for row in report["ratios"]} == {
        "indian-tune --help": 1.5,
        "indian-tune status": 1.4,
    }
    # What a process has imported it has taken time for.
    seconds = {name: row["median"] for name, row in report["summary"].items()}
    assert 0 < seconds["import typer, rich"] < seconds["import typer, rich, pydantic, sqlalchemy"]


def test_quick_results_never_take_the_place_of_real_ones() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "--quick"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "--out" in done.stderr


def test_the_design_of_isolate_finds_a_large_gain_alone_and_together() -> None:
    from tests.benchmarks.isolate import ALL, AVERAGE, NAMES, WORLDS, judge

    world = next(world for world in WORLDS if world.name == "tuning gains 3, not by fit")
    found = judge((world, 1, 3))
    for name in (*NAMES, ALL, AVERAGE):
        assert found[name] == {"SUPPORTED": 1}


@pytest.mark.slow
def test_the_record_of_isolate_is_packed_in_parts_and_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("runner", ROOT / "studies/results/isolate.py")
    assert spec is not None
    assert spec.loader is not None
    runner = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(runner)
    packed = tmp_path / "packed"
    packed.mkdir()
    monkeypatch.setattr(runner, "PACKED", packed)
    monkeypatch.setattr(runner, "PART_BYTES", 1_000)
    database = tmp_path / "isolate.db"
    with Ledger.open(str(database)):
        pass
    runner.pack(database)
    assert len(list(packed.iterdir())) > 1
    restored = tmp_path / "restored.db"
    runner.unpack(restored)
    with LedgerReader.open(str(restored)) as ledger:
        assert ledger.studies() == []
