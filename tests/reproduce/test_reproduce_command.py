from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from indian_tune.cli.reproduce import _range, app
from indian_tune.errors import InputError
from indian_tune.ledger import LedgerReader
from tests.conftest import to_toml

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_figure1_says_where_printed_and_fitted_differ(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["figure1", "--out", str(tmp_path)], env={"COLUMNS": "100"})
    assert result.exit_code == 0
    assert "24,679" in result.stdout
    assert "never" in result.stdout
    assert "differential equation DIN" in result.stdout
    assert "Shown: with the captions as printed, 5 of 6 curves differ from" in result.stdout
    assert f"wrote {tmp_path / 'figure1.svg'}" in result.stdout.replace("\n", "")
    assert (tmp_path / "figure1.png").stat().st_size > 10_000


@pytest.mark.slow
def test_theorem1_prints_json_for_programs(tmp_path: Path) -> None:
    options = ["--out", str(tmp_path), "--steps", "100", "--seeds", "2", "--json"]
    result = CliRunner().invoke(app, ["theorem1", *options])
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert len(report["rows"]) == 25
    assert report["rows"][-1]["clarke_distance"] == pytest.approx(0.5**0.5)
    assert [file.rpartition("/")[2] for file in report["files"]] == [
        "theorem1.svg",
        "theorem1.png",
        "theorem1.csv",
        "theorem1-table.csv",
    ]


@pytest.mark.slow
def test_theorem1_prints_a_table_for_each_objective(tmp_path: Path) -> None:
    options = ["--out", str(tmp_path), "--steps", "100", "--seeds", "1"]
    result = CliRunner().invoke(app, ["theorem1", *options], env={"COLUMNS": "100"})
    assert result.exit_code == 0
    for title in ("ℓ₁ regression", "ReLU network, square loss", "the same, begun at (0, 0)"):
        assert title in result.stdout
        assert f"running on {title}" in result.stderr
    assert result.stdout.count("* 0") == 5


def test_a_folder_that_cannot_be_made_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    result = CliRunner().invoke(app, ["figure1", "--out", str(tmp_path / "taken")])
    assert isinstance(result.exception, InputError)
    assert "taken: the folder cannot be created" in str(result.exception)


def test_help_imports_neither_torch_nor_matplotlib() -> None:
    code = (
        "import sys\n"
        "import indian_tune.cli.reproduce\n"
        "assert not {'torch', 'matplotlib', 'scipy', 'numpy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_figure2_runs_its_study_and_tells_its_end_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny |= {"name": "paper-figure2-cpu"}
    tiny["protocol"] |= {"mode": "paper", "confirm_seeds": 2}
    small = tmp_path / "small.toml"
    small.write_text(to_toml(tiny), encoding="utf-8")
    monkeypatch.setattr("indian_tune.service.studies.find_study_file", lambda _: small)
    options = ["--scale", "cpu", "--out", str(tmp_path / "out"), "--json"]
    result = CliRunner().invoke(app, ["figure2", *options])
    assert result.exit_code == 0, result.exception
    report = json.loads(result.stdout)
    assert (report["study"], report["comparable"], report["published"]) == (
        *("paper-figure2-cpu", False),
        None,
    )
    assert {(row["arm"], row["metric"], row["runs"]) for row in report["end_points"]} == {
        (arm, metric, 2) for arm in ("indian", "sgd") for metric in ("train_loss", "test_accuracy")
    }
    with LedgerReader.open(f"sqlite:///{tmp_path / 'indian-tune.db'}") as ledger:
        (event,) = ledger.events(ledger.study("paper-figure2-cpu").id, "unsealed")
    assert event.data["by"] == "reproduce figure2"
    row = {"metric": "test_accuracy", "mean": 0.4881, "min": 0.4694, "max": 0.5}
    assert _range(row) == "48.81 [46.94 to 50.00]"
    assert _range({**row, "metric": "train_loss"}) == "0.488 [0.469 to 0.5]"
