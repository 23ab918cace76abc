"""Truth values, texts, lists and none as hyperparameters, from the study file to the export."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import optuna
import pandas as pd
import pytest
import torch

from indian_tune import Arm, Choices, Study
from indian_tune.errors import StudyFileError
from indian_tune.service.studies import find_study
from indian_tune.study.file.space import parse_space
from indian_tune.study.file.spec import parse_study
from indian_tune.study.optuna.samplers import SAMPLERS, Draw
from indian_tune.study.optuna.sampling import distributions
from tests.conftest import TINY, run_command, to_toml

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Ended

CODE = """
import torch

class Various(torch.optim.SGD):
    def __init__(self, params, lr: float, mode: str = "plain", floor: "float | None" = 0.5,
                 pair=(0.5, 0.25), on: bool = False):
        if mode not in ("plain", "odd") or floor not in (None, 0.5) or type(on) is not bool:
            raise ValueError(f"{mode}, {floor} or {on} is not allowed")
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise ValueError(f"pair must be two numbers, got {pair}")
        super().__init__(params, lr)
"""
SPACE: dict[str, Any] = {
    "gamma0": {"low": 0.01, "high": 0.1, "log": True},
    "mode": {"choices": ["plain", "odd"]},
    "on": {"choices": [True, False]},
    "pair": {"choices": [[0.9, 0.99], [0.5, 0.9]]},
    "floor": "none",
}


def study(space: dict[str, Any], optimizer: str = "various:Various") -> dict[str, Any]:
    arms = [{"name": "various", "optimizer": optimizer, "space": space}]
    return {**TINY, "arms": [*arms, {"name": "sgd", "optimizer": "sgd"}]}


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study of such values, searched to its end and analyzed."""
    folder = tmp_path_factory.mktemp("values")
    (folder / "various.py").write_text(CODE, encoding="utf-8")
    first = {"gamma0": 0.05, "mode": "odd", "on": True, "pair": [0.5, 0.9]}
    raw = study(SPACE)
    raw["arms"][0]["first"] = [first]
    raw["arms"][1]["space"] = {"gamma0": 0.1}
    raw["arms"][1]["fixed"] = True
    (folder / "values.toml").write_text(to_toml(raw), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(sys.modules, "various", raising=False)
        run_command(folder, "search", "values.toml", "--engine", "inline", "--allow-import")
        run_command(folder, "analyze", "--out", "report")
        for form in ("csv", "parquet", "json", "tensorboard"):
            run_command(folder, "export", "--format", form, "--out", form)
    return folder


def test_the_record_holds_the_values_as_the_study_file_gives_them(searched: Path) -> None:
    trials = json.loads((searched / "json" / "trials.json").read_text(encoding="utf-8"))
    own = [trial for trial in trials if trial["arm"] == "various"]
    assert {(each["config.mode"], each["config.on"], each["config.pair"]) for each in own} >= {
        ("odd", True, "[0.5, 0.9]")
    }
    assert {each["config.floor"] for each in own} == {"none"}
    table = pd.read_parquet(searched / "parquet" / "trials.parquet")
    assert table.loc[table["arm"] == "various", "config.on"].iloc[0] is True
    csv = pd.read_csv(searched / "csv" / "trials.csv")
    assert csv["config.pair"].iloc[0] == "[0.5, 0.9]"
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    known = optuna.load_study(
        study_name="tiny/various", storage=f"sqlite:///{searched / 'indian-tune.db'}"
    )
    assert known.trials[0].params == {
        "gamma0": 0.05,
        "mode": "odd",
        "on": True,
        "pair": "[0.5, 0.9]",
    }
    assert (searched / "report" / "report.html").stat().st_size > 0


def test_tables_show_them_in_words(
    searched: Path, command: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    storage = f"sqlite:///{searched / 'indian-tune.db'}"
    shown = command("show", "tiny", "various/0", "--storage", storage)
    assert shown.status == 0
    assert "floor=none mode=odd on=true pair=[0.5, 0.9]" in " ".join(shown.out.split())


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_draws_them(name: str) -> None:
    raw = {key: value for key, value in SPACE.items() if name != "grid" or key != "gamma0"}
    space = parse_space(raw, "space")
    sampler = SAMPLERS[name].make(Draw(space, 0, "various", 1))
    searched = distributions(space, grid=SAMPLERS[name].enumerates)
    drawn = optuna.create_study(sampler=sampler).ask(searched).params
    assert drawn.pop("gamma0", 0.01) >= 0.01
    assert set(drawn) == {"mode", "on", "pair"}
    for key, value in drawn.items():
        parameter = space[key]
        assert isinstance(parameter, Choices)
        assert value in parameter.values


@pytest.mark.parametrize(
    ("optimizer", "space", "message"),
    [
        ("sgd", {"gamma0": "high"}, "space.gamma0 = 'high' must be a number, {choices"),
        ("sgd", {"gamma0": {"choices": [0.1, True]}}, "gamma0.choices[2] = True must be a number"),
        ("sgd", {"dropout": [0.1]}, "space.dropout = [0.1] must be a number"),
        ("sgd", {"weight_decay": {"grid": [0.1, "a"]}}, "grid[2] = 'a' must be a number"),
        ("sgd", {"decoupled_weight_decay": "no"}, "must be true or false (1 or 0), got 'no'"),
        ("torch.optim:Adam", {"amsgrad": "yes"}, "amsgrad must be true or false (1 or 0)"),
        ("torch.optim:Adam", {"betas": 0.9}, "betas must be a list of 2 numbers, got 0.9"),
        ("torch.optim:Adam", {"betas": [0.9]}, "betas must be a list of 2 numbers, got '[0.9]'"),
        ("torch.optim:Adam", {"betas": [0.9, "a"]}, "betas must be a list of 2 numbers"),
        ("torch.optim:Adafactor", {"eps": True}, "eps must be a list, such as [0.9, 0.999], got"),
        ("torch.optim:Adam", {"betas": [0.9, [0.1]]}, "must contain at least one value, and only"),
        ("torch.optim:Adam", {"betas": []}, "space.betas = [] must contain at least one value"),
        ("torch.optim:Adam", {"eps": "none"}, "space.eps = 'none' must be a number"),
        ("various:Various", {"mode": "a" * 300}, "space.mode has 300 characters: at most 200"),
        ("various:Various", {"on": {"choices": [True, 1]}}, "contains a value twice"),
    ],
)
def test_a_value_of_another_kind_is_refused(
    optimizer: str, space: dict[str, Any], message: str
) -> None:
    whole = {"gamma0": {"low": 0.01, "high": 0.1}, **space}
    with pytest.raises(StudyFileError) as refused:
        parse_study(study(whole, optimizer), source="study")
    assert message in str(refused.value)
    assert "arms[1].space." in str(refused.value)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"mode": {"choices": ["plain", "odd", "new"]}}, "new, 0.5 or False is not allowed"),
        ({"mode": True}, "mode of various:Various must be a string, got True"),
        ({"floor": "never"}, 'floor of various:Various must be a finite number or "none"'),
        ({"pair": [0.5]}, "pair of various:Various must be a list of 2 numbers, got '[0.5]'"),
        ({"pair": [0.5, 0.9], "pair1": 0.5}, "gets pair and pair1, which is a part of it"),
    ],
)
def test_what_only_the_class_can_tell_is_refused_before_anything_is_written(
    tmp_path: Path, command: Callable[..., Ended], space: dict[str, Any], message: str
) -> None:
    (tmp_path / "various.py").write_text(CODE, encoding="utf-8")
    whole = study({"gamma0": {"low": 0.01, "high": 0.1}, **space})
    (tmp_path / "values.toml").write_text(to_toml(whole), encoding="utf-8")
    before = set(tmp_path.iterdir())
    ended = command("search", "values.toml", "--allow-import", "--engine", "inline")
    assert (ended.status, ended.out) == (2, "")
    assert message in ended.err
    assert {each for each in tmp_path.iterdir() if each.name != "__pycache__"} == before


def test_a_study_in_python_takes_the_values_of_python() -> None:
    space = {"gamma0": Choices((0.1, 0.2)), "eps": Choices(((None, 1e-3), (1e-8, 1e-2)))}
    arm = Arm("torch.optim:Adafactor", {**space, "beta2_decay": -0.8}, "adafactor")
    made = Study("python", [arm], TINY["problem"], TINY["protocol"], TINY["search"])
    spec = find_study(made).spec
    assert spec.space("adafactor")["eps"] == Choices(("[null, 0.001]", "[1e-08, 0.01]"))
    optimizer, _ = spec.arm("adafactor").family.build(
        [torch.nn.Parameter(torch.ones(2))], {"gamma0": 0.1, "eps": "[null, 0.001]"}
    )
    assert optimizer.param_groups[0]["eps"] == (None, 0.001)
