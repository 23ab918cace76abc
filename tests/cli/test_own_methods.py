"""A sampler and a pruner of one's own on the command line: asked for, run, read without code."""

from __future__ import annotations

import hashlib
import json
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.ledger import Ledger, LedgerReader, Phase, State
from indian_tune.service.background import background
from indian_tune.study.optuna import samplers
from indian_tune.study.optuna.methods import Option
from indian_tune.study.optuna.samplers import SAMPLERS, Sampler
from indian_tune.study.registered_study import RegisteredStudy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Ended

MODULE = '''
from optuna.pruners import BasePruner
from optuna.samplers import RandomSampler

class Low(RandomSampler):
    """Draws from the lower part of a range."""
    learns = False

    def __init__(self, share, seed=None):
        super().__init__(seed)
        self.share = share

    def sample_independent(self, study, trial, name, distribution):
        value = super().sample_independent(study, trial, name, distribution)
        return distribution.low + self.share * (value - distribution.low)

class Strict(BasePruner):
    """Stops large rates after the first seed."""
    judges = "seeds"

    def __init__(self, above=0.25):
        self.above = above

    def prune(self, study, trial):
        assert 0 in trial.intermediate_values
        return trial.params["gamma0"] > self.above
'''
RETURN = "        return distribution"
FAILING = MODULE.replace(
    RETURN, f"        if value > 0.7:\n            raise KeyError(name)\n{RETURN}"
)


@pytest.fixture
def study(
    tmp_path: Path,
    tiny: dict[str, Any],
    write_study: Callable[[dict[str, Any]], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A study with both, which lie beside it."""
    monkeypatch.delitem(sys.modules, "low_and_strict", raising=False)
    (tmp_path / "low_and_strict.py").write_text(MODULE, encoding="utf-8")
    tiny["arms"] = [{"name": "sgd", "optimizer": "sgd"}]
    tiny["arms"][0]["space"] = {"gamma0": {"low": 0.01, "high": 1.01}}
    tiny["protocol"] |= {"epochs": 1, "tune_epochs": 1, "tune_seeds": 2, "confirm_seeds": 1}
    tiny["search"] = {
        "trials": 6,
        "seed": 7,
        "sampler": {"name": "low_and_strict:Low", "share": 0.5},
        "pruner": "low_and_strict:Strict",
    }
    return write_study(tiny)


def outcomes(storage: str) -> dict[int, tuple[Any, State]]:
    with LedgerReader.open(storage) as ledger:
        trials = ledger.trials(ledger.study("tiny").id, phase=Phase.TUNE)
    return {trial.index: (trial.config, trial.state) for trial in trials}


@pytest.mark.parametrize(
    "engine",
    [
        "inline",
        pytest.param("optuna", marks=pytest.mark.slow),
        pytest.param("ray", marks=[pytest.mark.slow, pytest.mark.night]),
    ],
)
@pytest.mark.slow
def test_they_run_the_same_under_every_engine_and_are_read_without_their_code(
    study: Path,
    tmp_path: Path,
    command: Callable[..., Ended],
    engine: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    module = tmp_path / "low_and_strict.py"
    digest = hashlib.sha256(module.read_bytes()).hexdigest()
    databases = {name: f"sqlite:///{tmp_path / name}.db" for name in ("inline", engine)}
    for name, storage in databases.items():
        options = ("--allow-import", "--engine", name, "--storage", storage)
        workers = () if name == "inline" else ("--workers", "2")
        ended = command("search", study, *options, *workers)
        assert ended.status == 0, ended.err
    method = "(low_and_strict:Low (share=0.5), pruner low_and_strict:Strict)"
    assert method in " ".join(ended.err.split())
    trials = outcomes(databases["inline"])
    assert outcomes(databases[engine]) == trials
    assert {state for _, state in trials.values()} == {State.COMPLETE, State.PRUNED}
    for config, state in trials.values():
        assert 0.01 <= config["gamma0"] <= 0.51
        assert (state is State.PRUNED) == (config["gamma0"] > 0.25)
    module.unlink()
    sys.modules.pop("low_and_strict", None)
    where = ("--storage", databases[engine])
    for asked in (["status"], ["show", "tiny"], ["doctor"]):
        assert command(*asked, *where).status == 0
    verdict = command("analyze", "tiny", "--json", *where)
    assert verdict.status == 0, verdict.err
    with Ledger.open(databases[engine]) as ledger:
        ledger.extend(ledger.study("tiny").id, 1)
    caplog.clear()
    refused = command("worker", "tiny", *where)
    assert (refused.status, "add --allow-import" in caplog.text) == (2, True)
    assert "low_and_strict" not in sys.modules
    with LedgerReader.open(databases[engine]) as ledger:
        registered = RegisteredStudy.open(ledger, "tiny")
        about = background(registered)
    assert registered.record.spec["search"]["pruner"] == {
        "name": "low_and_strict:Strict",
        "judges": "seeds",
    }
    told = dict(about.provenance)
    assert told["Own code low_and_strict:Low"] == f"SHA-256 {digest}"
    assert told["Own code low_and_strict:Strict"] == f"SHA-256 {digest}"


def test_they_are_run_only_when_that_is_allowed(
    study: Path, tmp_path: Path, command: Callable[..., Ended]
) -> None:
    before = set(tmp_path.rglob("*"))
    for name in ("search", "plan"):
        ended = command(name, study)
        assert (ended.status, ended.out) == (2, "")
        assert "search.sampler = 'low_and_strict:Low' names code" in ended.err
        assert ended.err.endswith("add --allow-import\n")
    assert set(tmp_path.rglob("*")) == before
    assert "low_and_strict" not in sys.modules


def test_options_that_cannot_be_used_are_named_and_nothing_is_written(
    tmp_path: Path,
    tiny: dict[str, Any],
    write_study: Callable[[dict[str, Any]], Path],
    command: Callable[..., Ended],
) -> None:
    tiny["search"]["sampler"] = {"name": "cmaes", "use_separable_cma": True, "with_margin": True}
    file = write_study(tiny)
    before = set(tmp_path.rglob("*"))
    ended = command("search", file)
    assert (ended.status, ended.out) == (2, "")
    assert "search.sampler = 'cmaes': making cmaes (use_separable_cma=True, with" in ended.err
    assert set(tmp_path.rglob("*")) == before


def test_one_that_fails_in_the_middle_ends_the_search_and_is_resumed_from_there(
    study: Path, tmp_path: Path, command: Callable[..., Ended]
) -> None:
    module = tmp_path / "low_and_strict.py"
    options = ("--allow-import", "--engine", "inline")
    module.write_text(FAILING, encoding="utf-8")
    ended = command("search", study, *options)
    assert ended.status == 2
    assert "search.sampler = 'low_and_strict:Low': drawing a configuration failed" in ended.err
    assert "KeyError: 'gamma0'" in ended.err
    assert "Traceback" not in ended.err
    first = outcomes(f"sqlite:///{tmp_path / 'indian-tune.db'}")
    assert State.WAITING in {state for _, state in first.values()}
    module.write_text(MODULE, encoding="utf-8")
    sys.modules.pop("low_and_strict")
    assert command("search", study, *options).status == 0
    last = outcomes(f"sqlite:///{tmp_path / 'indian-tune.db'}")
    finished = {index for index, (_, state) in first.items() if state.finished}
    assert {index: last[index] for index in finished} == {i: first[i] for i in finished}
    assert all(state.finished for _, state in last.values())


def test_a_shipped_sampler_is_one_record(
    tiny: dict[str, Any],
    storage: str,
    write_study: Callable[[dict[str, Any]], Path],
    command: Callable[..., Ended],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = Sampler(
        "nsgaii",
        partial(samplers._optuna, "NSGAIISampler"),
        {"population_size": Option(int, 50, 2, 10_000)},
    )
    tiny["search"]["sampler"] = {"name": "nsgaii", "population_size": 2}
    file = write_study(tiny)
    assert "search.sampler = 'nsgaii' is not known" in command("plan", file).err
    monkeypatch.setitem(SAMPLERS, "nsgaii", record)
    planned = command("plan", file, "--no-timing", "--json")
    assert planned.status == 0, planned.err
    assert json.loads(planned.out)["study"] == "tiny"
    ended = command("search", file, "--engine", "inline", "--storage", storage)
    assert ended.status == 0, ended.err
    assert "nsgaii (population_size=2)" in ended.err
    assert {state for _, state in outcomes(storage).values()} == {State.COMPLETE}
    tiny["search"]["sampler"] = {"name": "nsgaii", "population_size": 1}
    refused = command("plan", write_study(tiny))
    assert "search.sampler.population_size = 1 must be a whole number from 2" in refused.err
