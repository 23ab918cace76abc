"""Own problems and optimizers on the command line: asked for, run, and read without their code."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import pandas as pd
import pytest

from indian_tune.dashboard.storage import DashboardStorage
from indian_tune.ledger import LedgerReader, Phase, State
from indian_tune.ledger.frames import epoch_frame
from indian_tune.service.background import background
from indian_tune.study.file.spec import load_study
from indian_tune.study.registered_study import RegisteredStudy
from tests.conftest import TINY, run_command, to_toml

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Ended

EXAMPLES = Path(__file__).parents[2] / "studies" / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.toml"))
# As frames, records and Optuna's attributes call what is theirs.
ODD_NAMES = ("arm", "epoch", "score", "seed", "slot", "step", "train_loss", "trial")


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The table's example, cut short, in a folder of its own beside the current one."""
    monkeypatch.delitem(sys.modules, "table_mlp", raising=False)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for name in ("table_mlp.py", "wine.csv"):
        shutil.copy(EXAMPLES / name, folder)
    text = (EXAMPLES / "table_mlp.toml").read_text(encoding="utf-8")
    for old, new in (
        ("tune_epochs = 10", "tune_epochs = 2"),
        ("epochs = 20", "epochs = 2"),
        ("confirm_seeds = 5", "confirm_seeds = 2"),
        ("trials = 8", "trials = 2"),
    ):
        assert old in text
        text = text.replace(old, new)
    file = folder / "table_mlp.toml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize("name", NAMES)
def test_every_example_says_what_it_asks_costs_and_reports_and_stands_in_the_guide(
    name: str,
) -> None:
    file = EXAMPLES / f"{name}.toml"
    assert load_study(file).name == name
    text = file.read_text(encoding="utf-8")
    assert text.splitlines()[0].endswith("?")
    assert [word for word in ("# Question", "# Cost", "# Reports") if word not in text] == []
    assert f"examples/{name}.toml" in (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_example_runs_to_its_end(tmp_path: Path, name: str) -> None:
    study = EXAMPLES / f"{name}.toml"
    subprocess.run(
        [sys.executable, "-m", "indian_tune", "search", study, "--allow-import"],
        cwd=tmp_path,
        check=True,
    )
    with LedgerReader.open(f"sqlite:///{tmp_path / 'indian-tune.db'}") as ledger:
        (record,) = ledger.studies()
        states = {trial.state for trial in ledger.trials(record.id)}
        assert record.name == name
        assert states <= {State.COMPLETE, State.DIVERGED}
        first = ledger.arms(record.id)[0]
        rows = [
            ledger.epochs(run.id)[-1]
            for trial in ledger.confirms(record.id, first.id)
            for run in ledger.runs(trial.id)
        ]
    errors = [1 - row.metrics["validation_accuracy"] for row in rows]
    # Far from chance: 2/3 for three cultivars, 9/10 for ten digits.
    assert errors
    assert sum(errors) / len(errors) < 0.3


def test_code_is_run_only_when_that_is_allowed(
    example: Path, tmp_path: Path, command: Callable[..., Ended]
) -> None:
    before = set(tmp_path.rglob("*"))
    for name in ("search", "plan"):
        ended = command(name, example)
        assert (ended.status, ended.out) == (2, "")
        assert "problem.factory = 'table_mlp:make_problem' names code" in ended.err
        assert ended.err.endswith("add --allow-import\n")
    assert set(tmp_path.rglob("*")) == before
    assert "table_mlp" not in sys.modules


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("wine.csv", "wein.csv", "No such file or directory"),
        ("table_mlp:make_problem", "tabel_mlp:make_problem", "there is no module 'tabel_mlp'"),
        (":make_problem", ":make_problm", "Did you mean 'make_problem'"),
        ("label =", "lable =", "unexpected keyword argument 'lable'"),
        (
            "batch_size",
            'dataset = "digits"\nbatch_size',
            "problem.dataset = 'digits' cannot be given",
        ),
        (
            "batch_size",
            "width = 0.5\nbatch_size",
            "problem.width = 0.5 cannot be given together with",
        ),
        ('"wine.csv"', "2026-01-01", "problem.arguments.path = datetime.date(2026, 1, 1) cannot"),
        ('"wine.csv"', "[1.0, nan]", "problem.arguments.path[2] = nan cannot be recorded"),
    ],
)
def test_a_mistake_is_named_with_its_key_and_nothing_is_written(
    example: Path, tmp_path: Path, command: Callable[..., Ended], old: str, new: str, said: str
) -> None:
    text = example.read_text(encoding="utf-8")
    assert old in text
    example.write_text(text.replace(old, new), encoding="utf-8")
    ended = command("search", example, "--allow-import")
    assert (ended.status, ended.out) == (2, "")
    assert said in ended.err
    assert "problem." in ended.err
    assert "Traceback" not in ended.err
    assert not (tmp_path / "indian-tune.db").exists()


def test_a_finished_study_is_read_without_its_code(
    example: Path, tmp_path: Path, command: Callable[..., Ended]
) -> None:
    ended = command("search", example, "--allow-import", "--engine", "inline")
    digest = hashlib.sha256(example.with_suffix(".py").read_bytes()).hexdigest()
    assert ended.status == 0, ended.err
    assert "mlp on wine" in ended.err
    shutil.rmtree(example.parent)
    sys.modules.pop("table_mlp", None)
    for asked in (["status"], ["show", "table_mlp"], ["export", "--format", "csv"]):
        assert command(*asked).status == 0
    verdict = command("analyze", "table_mlp", "--json")
    assert verdict.status == 0, verdict.err
    with LedgerReader.open(f"sqlite:///{tmp_path / 'indian-tune.db'}") as ledger:
        study = RegisteredStudy.open(ledger, "table_mlp")
        about = background(study)
    assert ("Data", "wine") in about.protocol
    assert ("Held out for validation", "35 of 141") in about.protocol
    told = dict(about.provenance)["Own code table_mlp:make_problem"]
    assert told == f"SHA-256 {digest}"
    assert "table_mlp" not in sys.modules
    for asked in (["worker", "table_mlp"], ["worker", "table_mlp", "--allow-import"]):
        ended = command(*asked)
        assert (ended.status, "table_mlp is finished" in ended.err) == (0, True)


@pytest.mark.slow
def test_a_plan_counts_what_the_factory_made(example: Path, command: Callable[..., Ended]) -> None:
    ended = command("plan", example, "--allow-import", "--workers", "1", "--json")
    assert ended.status == 0, ended.err
    told = json.loads(ended.out)
    assert told["images"] == {"train": 106, "validation": 35, "test": 37}
    # 13 float32 numbers and a label of 8 bytes for each wine.
    assert told["memory"]["data_bytes"] == 178 * (13 * 4 + 8)
    # 13·32 + 32 + 32·32 + 32 + 32·3 + 3 weights, their gradients, and a velocity or two.
    assert told["memory"]["run_bytes"] > 3 * 1603 * 4
    assert told["cost"]["timed"] is True


@pytest.fixture(scope="module")
def searched_odd_names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study whose optimizer names its arguments as frames name columns."""
    folder, tiny = tmp_path_factory.mktemp("odd"), copy.deepcopy(TINY)
    (folder / "odd.py").write_text(
        "import torch\n\n"
        "class Odd(torch.optim.SGD):\n"
        f"    def __init__(self, params, lr, {', '.join(f'{name}=0.0' for name in ODD_NAMES)}):\n"
        "        super().__init__(params, lr)\n"
    )
    ranges: dict[str, Any] = {name: {"low": 100.0, "high": 200.0} for name in ODD_NAMES}
    space = {"gamma0": {"low": 0.01, "high": 0.1}, **ranges}
    tiny["arms"].append({"name": "odd", "optimizer": "odd:Odd", "space": space})
    tiny["protocol"]["tune_epochs"] = 1
    tiny["search"]["trials"] = 10
    (folder / "tiny.toml").write_text(to_toml(tiny), encoding="utf-8")
    run_command(folder, "search", "tiny.toml", "--allow-import", "--engine", "inline")
    return folder


@pytest.fixture
def odd_names(searched_odd_names: Path, tmp_path: Path) -> Path:
    """The database of that study, in the folder of the test."""
    shutil.copytree(searched_odd_names, tmp_path, dirs_exist_ok=True)
    return tmp_path / "indian-tune.db"


def test_a_hyperparameter_hides_nothing_and_is_hidden_by_nothing(
    odd_names: Path, tmp_path: Path, command: Callable[..., Ended]
) -> None:
    with LedgerReader.open(str(odd_names)) as ledger:
        study = ledger.study("tiny")
        (arm,) = (arm for arm in ledger.arms(study.id) if arm.name == "odd")
        trials = ledger.trials(study.id, phase=Phase.TUNE, arm_id=arm.id)
        frame = epoch_frame(ledger, study.id)
        told = DashboardStorage(ledger, "tiny")
        projected = optuna.load_study(study_name="tiny/odd", storage=told).trials
        told.close()
    configs = [dict(trial.config or {}) for trial in trials]
    assert all(100 <= config[name] <= 200 for config in configs for name in ODD_NAMES)

    command("export", "tiny", "--format", "csv", "--unseal", "--out", "out")
    exported = pd.read_csv(tmp_path / "out" / "epochs.csv")
    for table in (frame, exported, pd.read_csv(tmp_path / "out" / "runs.csv")):
        rows = table[(table["arm"] == "odd") & (table["phase"] == "tune")]
        assert (rows["seed"].unique().tolist(), rows["epoch"].unique().tolist()) == ([0], [1])
        assert rows["trial"].tolist() == list(range(10))
        assert rows["score"].tolist() == [trial.value for trial in trials]
        assert (rows["train_loss"] < 100).all()
        for name in ("gamma0", *ODD_NAMES):
            assert rows[f"config.{name}"].tolist() == [config[name] for config in configs]

    command("export", "tiny", "--format", "tensorboard", "--out", "events")
    (file,) = (tmp_path / "events" / "odd" / "tune-0" / "seed-0").glob("events.out.*")
    assert all(f"config.{name}".encode() in file.read_bytes() for name in ODD_NAMES)

    shown = json.loads(command("show", "tiny", "odd", "--json").out)
    assert [trial["config"] for trial in shown if trial["phase"] == "tune"] == configs
    ranked = {
        arm["arm"]: arm for arm in json.loads(command("status", "tiny", "--json").out)["arms"]
    }
    assert ranked["odd"]["config"] in configs
    assert [trial.params for trial in projected] == configs
    assert [trial.user_attrs["slot"] for trial in projected] == [trial.id for trial in trials]


@pytest.mark.slow
def test_hyperparameters_with_the_names_of_columns_are_in_the_report_and_in_the_files(
    odd_names: Path, tmp_path: Path, command: Callable[..., Ended]
) -> None:
    ended = command("analyze", "tiny", "--out", "report", "--json")
    assert ended.status == 0, ended.err
    here = json.loads(ended.out)
    shares = {made["arm"]: dict(made["shares"]) for made in here["importances"]}
    assert set(shares["odd"]) == {"gamma0", *ODD_NAMES}
    drawn = pd.read_csv(tmp_path / "report" / "figures" / "importance.csv")
    assert set(drawn.loc[drawn["arm"] == "odd", "hyperparameter"]) == {"gamma0", *ODD_NAMES}

    command("export", "tiny", "--format", "csv", "--unseal", "--out", "out")
    files = ("--from", "out/epochs.csv", "--claims", "out/claims.json")
    there = json.loads(command("analyze", *files, "--json").out)
    for far, near in zip(there["findings"], here["findings"], strict=True):
        for key in ("label", "contrasts", "beside"):
            assert far[key] == near[key]
    assert there["importances"] == here["importances"]
