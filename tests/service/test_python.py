"""The main jobs as functions: the same record, words and refusals as on the command line."""

from __future__ import annotations

import difflib
import inspect
import math
import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

import indian_tune
from indian_tune import Arm, Choices, Loop, Range, Study
from indian_tune.cli import main
from indian_tune.engines import flatness_frame
from indian_tune.errors import InputError, StudyFileError
from indian_tune.export.tables import study_tables
from indian_tune.ledger import Ledger, LedgerReader
from indian_tune.service import following
from indian_tune.service.calls import python_again
from indian_tune.service.searching import SearchRequest
from indian_tune.service.studies import find_study
from indian_tune.service.winner import winner_optimizer
from indian_tune.study.registered_study import RegisteredStudy
from tests.conftest import TINY, to_toml

if TYPE_CHECKING:
    from collections.abc import Callable

    from indian_tune.service.following import FinishedTrial
    from indian_tune.training import LoopRun

SCRIPTS = Path(__file__).parent / "scripts"
SMALL: dict[str, Any] = {
    "protocol": {"epochs": 1, "confirm_seeds": [1000]},
    "search": {"trials": 1, "sampler": "random"},
}

PUBLIC = {
    "Arm": "(optimizer, space=<factory>, name='', options=<factory>)",
    "Choices": "(values)",
    "Grid": "(values)",
    "Loop": "(train, dataset, model, classes, data=None, test=None, task='classification', "
    "chance=None)",
    "Problem": "(dataset, model, classes, train, test, build_model, validation=None, mean=(0.0,), "
    "std=(1.0,), scale=1.0, task='classification')",
    "Range": "(low, high, log=False, step=None, integer=False)",
    "Results": "(study, storage=None, imports=None)",
    "Split": "(inputs, labels)",
    "Study": "(name, arms, problem, protocol=<factory>, search=<factory>, claims=<factory>, "
    "description='')",
    "analyze": "(study=None, *, storage=None, out=None, figures=())",
    "compare": "(frame, a, b, *, metric=None, better=None, delta=None, alpha=0.05, columns=None, "
    "where=None, pairing='auto', missing='refuse', sequential=False, target=None)",
    "open_study": "(study=None, *, storage=None, allow_import=False)",
    "plan": "(study, problem=None, *, workers=None, devices='auto', threads_per_worker=1, "
    "timing=True, assume_gpu=None, sd=None, pilot=None, storage=None, data_dir=None, "
    "allow_import=False)",
    "register": "(study, problem=None, *, storage=None, as_name=None, retry_failed=False, "
    "freeze_anyway=False, data_dir=None, artifacts=None, allow_import=False)",
    "replay": "(study=None, *, storage=None, samplers=None, pruners=None, seeds=20, workers=1, "
    "trials=None, on_method=None)",
    "search": "(study, problem=None, *, storage=None, as_name=None, phase='all', "
    "retry_failed=False, freeze_anyway=False, extend=0, extend_space=False, engine='optuna', "
    "threads_per_worker=1, data_dir=None, artifacts=None, log=None, allow_import=False, "
    "progress=True, on_trial=None, **engine_options)",
    "status": "(study=None, *, storage=None)",
}


def signature(function: Callable[..., Any]) -> str:
    """Return how a function is called, without types."""
    found = inspect.signature(function)
    bare = [each.replace(annotation=each.empty) for each in found.parameters.values()]
    return str(found.replace(parameters=bare, return_annotation=found.empty))


def test_the_public_names_and_their_signatures_are_pinned() -> None:
    assert set(indian_tune.__all__) == {*PUBLIC, "Indian", "Innaprop", "__version__"}
    assert {name: signature(getattr(indian_tune, name)) for name in PUBLIC} == PUBLIC


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, indian_tune; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    names = loaded.stdout.decode().split()
    assert not {"torch", "pandas", "optuna", "pydantic", "sqlalchemy", "ray"} & set(names)


def test_the_example_scripts_are_as_short_as_the_guide_says() -> None:
    lines = {
        path.name: sum(bool(line.strip()) for line in path.read_text().splitlines())
        for path in SCRIPTS.glob("*.py")
    }
    assert lines["quickstart.py"] <= 12
    # Three optimizers, fresh seeds and resuming, beside one optimizer and none of that.
    assert lines["own_model.py"] <= 25
    assert lines["plain_optuna.py"] == 18
    guide = (Path(__file__).parents[2] / "studies/guides/python.md").read_text(encoding="utf-8")
    for name in ("quickstart", "own_model", "asked_runs", "lightning_module"):
        text = (SCRIPTS / f"{name}.py").read_text(encoding="utf-8")
        assert f"```python\n{text}```" in guide
    (block,) = re.findall(r"```python\n([^`]*Choices\(.*?)```", guide, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(block, "guide", "exec"), names)
    assert find_study(Study("own", names["arms"], points, **SMALL)).spec.arm("adam").space


def test_a_loop_of_one_s_own_changes_twenty_lines_of_a_plain_one() -> None:
    plain, ours = (
        (SCRIPTS / name).read_text(encoding="utf-8").splitlines()
        for name in ("characters_plain.py", "characters.py")
    )
    changed = [line[0] for line in difflib.ndiff(plain, ours) if line[0] in "-+" and line[2:]]
    assert 0 < changed.count("-") < changed.count("+") <= 20


def test_two_arms_of_a_study_or_of_a_file_are_compared(tmp_path: Path) -> None:
    protocol = {"epochs": 1, "confirm_seeds": [1000, 1001]}
    study = Study("pair", ["indian", "adam"], points, protocol, SMALL["search"])
    storage = str(tmp_path / "pair.db")
    results = indian_tune.search(study, storage=storage, engine="inline", progress=False)
    found = indian_tune.compare(results, "indian", "adam")
    assert (found.a, found.b) == ("indian", "adam")
    file = tmp_path / "runs.csv"
    file.write_text("arm,seed,loss\nA,0,1.0\nA,1,1.1\nB,0,2.0\nB,1,2.2\n")
    assert indian_tune.compare(file, "A", "B").contrast.difference.estimate == pytest.approx(1.05)
    with pytest.raises(InputError, match="frame is an int: give a pandas DataFrame"):
        indian_tune.compare(3, "A", "B")  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "shown"),
    [
        ("plain_optuna.py", r"{'lr': 0\.\d+}"),
        ("characters_plain.py", r"(?s)0 \d\.\d+ \d\.\d+.*test \d\.\d+"),
        ("characters.py", r"(?s)arm .*(indian.*adam|adam.*indian)"),
        ("asked_runs.py", r"(?s)arm .*(indian.*adam|adam.*indian)"),
    ],
)
def test_the_scripts_run_that_are_compared(script: str, shown: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPTS / script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert re.search(shown, done.stdout)
    if script == "characters.py":
        results = indian_tune.open_study(storage=str(tmp_path / "indian-tune.db"))
        assert results.finished
        assert results.ranking["fresh_error"].between(0.0, 6.0).all()
        assert results.frame("epochs")["validation_bits"].notna().all()


@pytest.mark.slow
def test_the_example_with_a_loop_of_its_own_runs_and_goes_on(tmp_path: Path) -> None:
    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, SCRIPTS / "own_model.py"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )

    first, again = run(), run()
    assert "starting" in first.stderr
    assert "own is finished: nothing is left to train" in again.stderr
    assert first.stdout == again.stdout
    results = indian_tune.open_study(storage=str(tmp_path / "indian-tune.db"))
    frame = results.frame("epochs")
    assert len(frame) == (3 * 3 + 3 * 2) * 3
    assert not frame.duplicated(["arm", "phase", "trial", "seed", "epoch"]).any()
    results.verdict()
    assert results.figures()


def record(storage: str) -> list[Any]:
    """Return all of a study's record but ids, times and places."""
    with LedgerReader.open(storage) as ledger:
        study = ledger.study("tiny")
        rows: list[Any] = [study.spec_hash, study.spec]
        for trial in ledger.trials(study.id):
            rows.append((trial.phase, trial.index, trial.state, trial.config))
            rows += [(run.seed, ledger.epochs(run.id)) for run in ledger.runs(trial.id)]
        for event in ledger.events(study.id):
            data = {key: each for key, each in event.data.items() if key != "artifacts"}
            rows.append((event.kind, data))
        return rows


def test_a_search_from_python_leaves_the_record_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = {"epochs": 1, "tune_epochs": 1, "confirm_seeds": [1000]}
    tiny = {
        **TINY,
        "protocol": {**TINY["protocol"], **short},
        "search": {**TINY["search"], "trials": 1},
    }
    (tmp_path / "tiny.toml").write_text(to_toml(tiny), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("INDIAN_TUNE_STORAGE", raising=False)
    records = []
    for place in ("command", "python"):
        if place == "command":
            words = ["search", "tiny.toml", "--engine", "inline", "--storage", "a.db"]
            monkeypatch.setattr(sys, "argv", ["indian-tune", *words])
            with pytest.raises(SystemExit) as ended:
                main()
            assert not ended.value.code
        else:
            told: list[Any] = []
            results = indian_tune.search(
                "tiny.toml", engine="inline", storage="a.db", on_trial=told.append
            )
            assert results.finished
            arms = [arm["name"] for arm in tiny["arms"]]
            assert [(each.path, each.state) for each in told] == [
                (f"{arm}{part}/0", "complete") for part in ("", "/confirm") for arm in arms
            ]
            scores = results.frame("trials").query("phase == 'tune'")["score"]
            assert [each.score for each in told[: len(arms)]] == list(scores)
            seeds = results.frame("runs")["seed"]
            assert sorted(seed for each in told for seed in each.seeds) == sorted(seeds)
            assert list(results.ranking["arm"]) == [each.name for each in results.status().ranked]
            assert results.best("sgd").keys() == {"gamma0"}
            assert len(results.frame("epochs")) == 4
            assert "<table" in results._repr_html_()
        with pytest.raises(StudyFileError, match=r"searched with `indian-tune search .*tiny.toml"):
            indian_tune.search("tiny", storage="a.db")
        records.append(record("a.db"))
        for file in tmp_path.glob("a.db*"):
            file.unlink()
    assert records[0] == records[1]


def test_a_study_is_the_same_however_it_is_given(tmp_path: Path) -> None:
    space = {"gamma0": Range(0.01, 1.0, log=True), "momentum": Choices((0.5, 0.9))}
    built = Study(
        "same",
        [Arm("momentum", space, name="sgd"), "adam"],
        {"dataset": "digits", "model": "nin-small"},
        **SMALL,
    )
    text = to_toml(
        {
            "name": "same",
            "problem": {"dataset": "digits", "model": "nin-small"},
            **SMALL,
            "arms": [
                {
                    "name": "sgd",
                    "optimizer": "momentum",
                    "space": {
                        "gamma0": {"low": 0.01, "high": 1.0, "log": True},
                        "momentum": {"choices": [0.5, 0.9]},
                    },
                },
                {"name": "adam", "optimizer": "adam"},
            ],
        }
    )
    (tmp_path / "same.toml").write_text(text, encoding="utf-8")
    given = (built, text, tmp_path / "same.toml", str(tmp_path / "same.toml"))
    assert len({find_study(each).spec.digest for each in given}) == 1
    # What is left out has the same defaults, too.
    problem, least = {"dataset": "digits", "model": "nin-small"}, ({"epochs": 1}, {"trials": 1})
    bare = {"name": "bare", "problem": problem, "protocol": least[0], "search": least[1]}
    text = to_toml({**bare, "arms": [{"name": "sgd", "optimizer": "sgd"}]})
    built = Study("bare", ["sgd"], problem, *least)
    assert find_study(built).spec.digest == find_study(text).spec.digest
    for optimizer in ("torch.optim:RMSprop", torch.optim.RMSprop):
        of_torch = Study("bare", [optimizer], problem, *least).plain()["arms"]
        assert of_torch == [{"name": "rmsprop", "optimizer": "torch.optim:RMSprop"}]
    assert Arm(indian_tune.Indian).plain() == {"name": "indian", "optimizer": "indian"}
    assert Arm(Own).plain() == {"name": "own", "optimizer": f"{__name__}:Own"}


class Own(torch.optim.SGD):
    """An optimizer of one's own in a module."""


def local_optimizer() -> type:
    class Local(torch.optim.SGD):
        """One that no module has."""

    return Local


def test_a_function_can_be_given_with_the_keys_of_its_problem() -> None:
    def problem() -> Loop:
        return Loop(report, "points", "line", 2)

    section = {"factory": problem, "dropout": 0.0, "batch_size": 64}
    found = find_study(Study("small", ["sgd"], section, **SMALL))
    assert list(found.functions.values()) == [problem]
    assert found.spec.digest == find_study(found.spec, problem).spec.digest
    assert (found.spec.problem.dropout, found.spec.problem.batch_size) == (0.0, 64)
    bare = find_study(Study("small", ["sgd"], problem, **SMALL))
    assert bare.spec.problem.factory == found.spec.problem.factory


def test_numbers_of_numpy_are_those_of_python() -> None:
    def made(number: Callable[[Any], Any]) -> Study:
        space = {
            "gamma0": Range(number(0.125), number(0.5)),
            "momentum": Choices((number(0.5), number(0.75))),
            "weight_decay": number(0.25),
        }
        arm = Arm("momentum", space, options={"first": [{"gamma0": number(0.25), "momentum": 0.5}]})
        protocol = {**SMALL["protocol"], "epochs": 2 if number is float else np.int64(2)}
        return Study("small", [arm], report, protocol, SMALL["search"])

    plain = find_study(made(float)).spec
    assert plain.digest == find_study(made(np.float32)).spec.digest


def small(problem: Callable[[], Loop]) -> Study:
    return Study("small", ["sgd"], problem, **SMALL)


def report(run: LoopRun) -> None:
    assert run.config
    for _ in run.epochs():
        run.report(train_loss=0.5, error=run.seed % 2 / 2, test_error=run.sealed(float))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (math.nan, "Warning: no arm has a winner, as all trials of all arms diverged"),
        (0.5, "Warning: sgd: nothing trained, as the best trial ends near chance level"),
    ],
)
def test_a_search_warns_of_results_that_are_worthless(
    error: float, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(run: LoopRun) -> None:
        assert run.config
        for _ in run.epochs():
            run.report(train_loss=error, error=0.5)

    indian_tune.search(
        small(lambda: Loop(train, "points", "line", 2)),
        storage=str(tmp_path / "a.db"),
        engine="inline",
        progress=False,
    )
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_function_in_hand_is_searched_and_its_source_recorded(tmp_path: Path) -> None:
    storage = str(tmp_path / "a.db")
    test = torch.tensor(0.25)

    def problem() -> Loop:
        return Loop(report, "points", "line", 2, test=test)

    results = indian_tune.search(small(problem), storage=storage, engine="inline", progress=False)
    frame = results.frame("runs")
    assert set(frame["execution"]) == {"own loop, which decides what repeats to the last bit"}
    assert "test_accuracy" not in frame
    with LedgerReader.open(storage) as ledger:
        study = ledger.study("small")
        (event,) = ledger.events(study.id, "own code")
    (source,) = event.data["sources"]
    assert source["module"].endswith("(in hand)")
    assert len(source["sha256"]) == 64
    # A loop of one's own does not say which examples are right.
    with Ledger.open(storage) as opened:
        opened.unseal(study.id, by="test")
        tables = study_tables(RegisteredStudy.open(opened, study), sealed=True)
    assert tables.keys() == {"trials", "runs", "epochs"}


@pytest.mark.parametrize(
    ("reported", "message"),
    [
        (
            {},
            r"2 runs on fresh seeds without a finite test_accuracy .*\(indian 1000, sgd 1000\).*: "
            "give the Loop test=… and report test_error=run",
        ),
        ({"loss": -1.0, "test_error": 0.25}, r"validation_loss = -1.0 \(indian 1000\) is below 0"),
        ({"test_error": 0.25}, ""),
    ],
)
def test_runs_that_cannot_be_judged_are_refused_while_their_results_are_sealed(
    reported: dict[str, float], message: str, tmp_path: Path
) -> None:
    def train(run: LoopRun) -> None:
        for _ in run.epochs():
            values = {k: run.sealed(float) if k == "test_error" else v for k, v in reported.items()}
            run.report(train_loss=0.5 + run.config["gamma0"], error=0.25, **values)

    study = Study(
        "small",
        ["indian", "sgd"],
        lambda: Loop(
            train,
            "points",
            "line",
            2,
            # Without test data there is nothing to report of them.
            test=torch.tensor(0.25) if "test_error" in reported else None,
        ),
        **{**SMALL, "claims": {"verdict": "none"}},
    )
    storage = str(tmp_path / "a.db")
    results = indian_tune.search(study, storage=storage, engine="inline", progress=False)
    if message:
        with pytest.raises(InputError, match=message):
            results.verdict()
    else:
        assert not any(str(name).startswith("test_") for name in results.frame("runs"))
        verdict = results.verdict()
        assert verdict.study == "small"
        assert " ".join(str(verdict).split()).startswith(verdict.sentence)
        shown = (results, results.status(), verdict, results.analysis())
        assert [repr(each) for each in shown] == [
            "<Results 'small': 4 of 4 trials done, finished>",
            "<StudyStatus 'small': 4 of 4 trials finished>",
            "<ReadableVerdict 'small': DESCRIPTIVE>",
            "<Analysis 'small': DESCRIPTIVE>",
        ]
        assert repr(indian_tune.plan(study, timing=False, storage=storage, workers=2)) == (
            "<ShownPlan 'small': 2 arms, 2 workers>"
        )
        # From now on they are open.
        assert [
            any(str(name).startswith("test_") for name in results.frame(rows))
            for rows in ("runs", "epochs", "trials")
        ] == [True, True, False]
    with LedgerReader.open(storage) as ledger:
        assert ledger.unsealed(ledger.study("small").id) == (not message)


def test_an_interrupt_keeps_everything_and_the_same_call_goes_on(tmp_path: Path) -> None:
    storage = str(tmp_path / "a.db")
    runs: list[int] = []

    def train(run: LoopRun) -> None:
        assert run.config
        for _ in run.epochs():
            runs.append(run.seed)
            # The first is the trial before the study is registered.
            if len(runs) == 2:
                os.kill(os.getpid(), signal.SIGINT)
            run.report(train_loss=0.5, error=0.25)

    study = small(lambda: Loop(train, "points", "line", 2))
    with pytest.raises(KeyboardInterrupt, match=r"(?s)all results are kept .*indian_tune.search"):
        indian_tune.search(study, storage=storage, engine="inline", progress=False)
    stopped = indian_tune.open_study(storage=storage)
    assert not stopped.finished
    assert repr(stopped) == "<Results 'small': 1 of 1 trial done, not finished>"
    gone = replace(stopped, storage=str(tmp_path / "gone.db"))
    assert repr(gone) == "<Results 'small': cannot be read, status() says why>"
    results = indian_tune.search(study, storage=storage, engine="inline", progress=False)
    assert results.finished
    assert len(results.frame("epochs")) == 2


def test_what_on_trial_raises_ends_the_search_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(following, "SECONDS", 0.0)
    storage = str(tmp_path / "a.db")
    told: list[str] = []

    def train(run: LoopRun) -> None:
        assert run.config
        for _ in run.epochs():
            run.report(train_loss=0.5, error=0.25)

    def tell(trial: FinishedTrial) -> None:
        # The search must stop before the next epoch.
        told.append(trial.path)
        if len(told) == 1:
            raise OSError("no space for notes")

    def again() -> indian_tune.Results:
        study = small(lambda: Loop(train, "points", "line", 2))
        return indian_tune.search(
            study, storage=storage, engine="inline", progress=False, on_trial=tell
        )

    with pytest.raises(OSError, match="no space for notes"):
        again()
    assert not indian_tune.open_study(storage=storage).finished
    results = again()
    assert results.finished
    assert told == ["sgd/0", "sgd/confirm/0"]
    again()
    assert len(told) == 2
    assert (
        "on_trial raised OSError: no space for notes. The search stops" in capsys.readouterr().err
    )


def test_what_a_loop_must_not_do_is_refused_before_its_study_is_registered(tmp_path: Path) -> None:
    def train(run: LoopRun) -> None:
        for _ in run.epochs():
            run.report(train_loss=0.5, error=25)

    study = small(lambda: Loop(train, "points", "line", 2))
    with pytest.raises(InputError, match=r"must be in \[0, 1\]: divide a percentage by 100"):
        indian_tune.search(study, storage=str(tmp_path / "a.db"), engine="inline", progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
# Ray's own code warns of itself.
@pytest.mark.filterwarnings("ignore")
def test_a_function_in_hand_is_sent_to_ray(tmp_path: Path) -> None:
    test = torch.tensor(0.25)

    def problem() -> Loop:
        return Loop(report, "points", "line", 2, test=test)

    storage = str(tmp_path / "a.db")
    results = indian_tune.search(
        small(problem), storage=storage, engine="ray", workers=1, progress=False
    )
    assert results.finished
    assert len(results.frame("epochs")) == 2


def test_a_function_that_cannot_be_sent_is_refused_with_the_reason(tmp_path: Path) -> None:
    lock = threading.Lock()

    def problem() -> Loop:
        return Loop(report, "points", "line", 2, data=lock)

    with pytest.raises(InputError, match=r'cannot be sent .*lock.*use engine="inline"'):
        indian_tune.search(small(problem), storage=str(tmp_path / "a.db"))
    assert not (tmp_path / "a.db").exists()


@pytest.mark.parametrize(
    ("seeds", "rate", "told"),
    [(0, 0.1, r"\(protocol.confirm_seeds = 0\)"), (2, 1e30, "no arm has a winner: all trials div")],
)
def test_a_study_without_fresh_runs_is_refused_with_the_reason(
    tmp_path: Path, seeds: int, rate: float, told: str
) -> None:
    study = indian_tune.Study(
        "none",
        [Arm("sgd", space={"gamma0": Range(rate, 2 * rate)})],
        {"dataset": "digits", "model": "nin-small", "sizes": {"train": 64, "validation": 64}},
        {"epochs": 1, "confirm_seeds": seeds},
        {"trials": 1, "sampler": "random"},
    )
    database = str(tmp_path / "none.db")
    results = indian_tune.search(study, storage=database, engine="inline", progress=False)
    with pytest.raises(InputError, match=told):
        results.verdict()


def test_the_winner_s_optimizer_has_its_configuration_and_steps_its_schedule(
    tmp_path: Path,
) -> None:
    spaces: dict[str, dict[str, Any]] = {
        "indian": {},
        "sgd": {},
        "adam": {"dropout": 0.25, "beta2": 0.99},
        "momentum": {"schedule": "linear"},
    }
    study = indian_tune.Study(
        "winners",
        [indian_tune.Arm(name, space=space) for name, space in spaces.items()],
        {"dataset": "digits", "model": "nin-small", "sizes": {"train": 64, "validation": 64}},
        {"epochs": 1, "confirm_seeds": 0},
        {"trials": 1, "sampler": "random"},
    )
    database = str(tmp_path / "winners.db")
    results = indian_tune.search(study, storage=database, engine="inline", progress=False)
    weight = torch.nn.Parameter(torch.ones(1))

    def rates(arm: str, **steps: Any) -> tuple[Any, list[float]]:
        optimizer, seen = results.optimizer([weight], arm, **steps), []
        for _ in range(3):
            seen.append(optimizer.param_groups[0]["lr"])
            weight.grad = torch.ones(1)
            optimizer.step()
        return optimizer, seen

    best = {arm: results.best(arm) for arm in spaces}
    assert best["momentum"]["schedule"] == "linear"
    # Another study can begin with it.
    begun = {"first": [best["momentum"]]}
    arm = indian_tune.Arm("momentum", space=spaces["momentum"], options=begun)
    again = replace(study, name="again", arms=[arm])
    repeated = indian_tune.search(again, storage=database, engine="inline", progress=False)
    assert repeated.best() == best["momentum"]
    indian, _ = rates("indian")
    group = indian.param_groups[0]
    assert {name: group[name] for name in ("alpha", "beta")} == {
        name: best["indian"][name] for name in ("alpha", "beta")
    }
    assert (group["lr"], group["decay_power"]) == (best["indian"]["gamma0"], 0.5)
    gamma0 = best["sgd"]["gamma0"]
    assert rates("sgd")[1] == pytest.approx([gamma0 / (k + 1) ** 0.5 for k in range(3)])
    adam, seen = rates("adam")
    assert adam.param_groups[0]["betas"] == (best["adam"]["beta1"], 0.99)
    assert seen == [best["adam"]["gamma0"]] * 3
    with pytest.raises(InputError, match="schedule of momentum ends with the run: give steps="):
        rates("momentum")
    falling = rates("momentum", steps=4)[1]
    assert falling[0] > falling[1] > falling[2]
    tuned = {**best["momentum"], "schedule_steps": 2}
    parameters = [torch.nn.Parameter(torch.ones(1))]
    for steps, rate in ((None, 0.0), (4, falling[2])):
        optimizer = winner_optimizer("momentum", tuned, parameters, steps)
        for _ in range(2):
            optimizer.step()
        assert optimizer.param_groups[0]["lr"] == pytest.approx(rate)


def points() -> Loop:
    return Loop(report, "points", "line", 2, test=torch.tensor(0.25))


def test_the_winner_s_optimizer_may_be_imported_where_the_search_might(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_rivals.py").write_text("import torch\nclass Sign(torch.optim.SGD): ...\n")
    monkeypatch.chdir(tmp_path)
    arms = [Arm("my_rivals:Sign", {"gamma0": Range(0.1, 1.0)})]
    study = Study("small", arms, points, **SMALL)
    searched = indian_tune.search(
        study, storage="a.db", engine="inline", allow_import=True, progress=False
    )
    weights = [torch.nn.Parameter(torch.ones(1))]
    opened = indian_tune.open_study(storage="a.db")
    with pytest.raises(InputError, match="then add allow_import=True"):
        opened.optimizer(weights)
    allowed = indian_tune.open_study(storage="a.db", allow_import=True)
    for optimizer in (
        allowed.optimizer(weights),
        opened.optimizer(weights, allow_import=True),
        searched.optimizer(weights),
    ):
        assert optimizer.param_groups[0]["lr"] == searched.best()["gamma0"]
    # Where the search looked, wherever the program is now.
    monkeypatch.delitem(sys.modules, "my_rivals")
    monkeypatch.setenv("INDIAN_TUNE_STORAGE", str(tmp_path / "a.db"))
    monkeypatch.chdir("/")
    assert type(replace(searched, storage=None).optimizer(weights)).__name__ == "Sign"
    monkeypatch.delitem(sys.modules, "my_rivals")


def test_a_name_that_is_taken_and_a_study_without_a_file_are_explained(tmp_path: Path) -> None:
    storage = str(tmp_path / "a.db")

    def searched(study: Study) -> None:
        indian_tune.search(study, storage=storage, engine="inline", progress=False)

    def another() -> Loop:
        return points()

    searched(small(points))
    with pytest.raises(StudyFileError, match=r"^another study, of another problem, has this name:"):
        searched(small(another))
    another.__name__, another.__module__ = "points", "__main__"
    with pytest.raises(StudyFileError, match=r"To continue it, import the function from tests\."):
        searched(small(another))
    longer = {**SMALL, "protocol": {"epochs": 2, "confirm_seeds": [1000]}}
    with pytest.raises(StudyFileError, match=r"^study 'small' is registered in .* other settings"):
        searched(Study("small", ["sgd"], points, **longer))
    with pytest.raises(StudyFileError) as caught:
        indian_tune.search("small", storage=storage, extend=2)
    told = str(caught.value)
    assert told.startswith(f"study 'small' is registered in sqlite:///{storage}, but it was made")
    assert "run its script again, or call indian_tune.search(study, extend=2) there" in told
    with pytest.raises(StudyFileError, match=r"'small' is registered in .* made in Python"):
        indian_tune.plan("small", storage=storage)


@pytest.mark.parametrize("names", [("model", "ema"), ("net",), ("generator", "critic")])
def test_the_weights_of_all_networks_of_a_loop_are_kept(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    ends: dict[int, dict[str, dict[str, torch.Tensor]]] = {}

    def train(run: LoopRun) -> None:
        networks = {name: nn.Linear(1, 1) for name in names}
        trained = networks[names[0]]
        optimizer = run.optimizer(trained.parameters())
        for _ in run.epochs(optimizer=optimizer, **networks):
            optimizer.zero_grad()
            trained(torch.ones(1, 1)).square().sum().backward()
            optimizer.step()
            run.report(train_loss=0.5, error=0.25)
        ends[run.seed] = {name: each.state_dict() for name, each in networks.items()}

    results = indian_tune.search(
        Study(
            "small",
            ["sgd"],
            lambda: Loop(train, "points", "line", 2),
            {**SMALL["protocol"], "keep_checkpoints": True},
            SMALL["search"],
        ),
        storage=str(tmp_path / "a.db"),
        engine="inline",
        progress=False,
    )
    (seed,) = results.frame("runs").query("phase == 'confirm'")["seed"]
    for name in names:
        found = results.weights("sgd", network=name)
        assert found.keys() == ends[seed][name].keys()
        assert all(torch.equal(found[part], ends[seed][name][part]) for part in found)
    if "generator" in names:
        with pytest.raises(InputError, match=r"^network = None must be .*: 'generator', 'critic'$"):
            results.weights("sgd")
    else:
        assert results.weights("sgd") == results.weights("sgd", network=names[0])
    with LedgerReader.open(str(tmp_path / "a.db")) as ledger:
        study = RegisteredStudy.open(ledger, ledger.study("small"))
        with pytest.raises(InputError, match="whose network and loss are not known here"):
            flatness_frame(study, tmp_path)


def test_a_loop_refuses_keys_that_only_it_can_do(tmp_path: Path) -> None:
    study = Study("small", ["sgd"], lambda: Loop(report, "points", "line", 2, test=0.25), **SMALL)
    for keys, message in (
        ({"train_eval_size": 10}, r"protocol.train_eval_size = 10 is not used"),
        ({"keep_checkpoints": True}, r"checkpoints of the loop: call run.*, or remove that key"),
    ):
        with pytest.raises(InputError, match=message):
            indian_tune.search(
                replace(study, protocol={**SMALL["protocol"], **keys}),
                storage=str(tmp_path / "a.db"),
                engine="inline",
            )
    clipped = Study("small", [Arm("sgd", {"clip_norm": 1.0})], study.problem, **SMALL)
    with pytest.raises(InputError, match=r"arms\[.sgd.\].space.clip_norm is not used with"):
        indian_tune.search(clipped, storage=str(tmp_path / "a.db"), engine="inline")
    assert not (tmp_path / "a.db").exists()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: indian_tune.search("nowhere"), "there is no study file nowhere"),
        (lambda: indian_tune.search("name = \n"), "the study's text is not valid TOML"),
        (lambda: indian_tune.search(3), "must be a path"),  # type: ignore[arg-type]
        (lambda: indian_tune.search("quickstart", phase="test"), "phase = 'test' is not known"),
        (lambda: indian_tune.search("quickstart", problem=3), "must be a function"),  # type: ignore[arg-type]
        (
            lambda: indian_tune.search(Study("x", ["sgd"], Loop(report, "points", "line", 2))),  # type: ignore[arg-type]
            "but it is a Loop: give the function itself, without calling it",
        ),
        (
            lambda: indian_tune.search(
                Study("x", ["sgd"], {"factory": Loop(report, "points", "line", 2)})
            ),
            "or a function that returns it: factory=lambda: loop",
        ),
        (
            lambda: indian_tune.search(Study("x", "indian", lambda: None)),
            "arms must be a list of optimizers and Arms, but is of type str: write ['indian']",
        ),
        (
            lambda: indian_tune.search(Study("x", [Arm("rms", "torch.optim:RMSprop")], {})),  # type: ignore[arg-type]
            "must be a dictionary from hyperparameters to values: write Arm(optimizer, space",
        ),
        (
            lambda: indian_tune.search(
                Study("x", ["sgd", Arm("adam", {"lr": 1})], report, **SMALL)
            ),
            "arms['adam'].space.lr: hyperparameter of adam = 'lr' is not known",
        ),
        (
            lambda: indian_tune.search(
                Study("x", ["sgd", Arm("adam", {"hidden": 32})], report, **SMALL)
            ),
            "Allowed: batch_size, beta1, beta2, clip_norm, cooldown, cooldown_shape, decay_power, "
            "decoupled_weight_decay, dropout, ema_decay, eps, floor, gamma0, schedule, warmup, "
            "weight_decay. Settings of the network cannot be searched: use one study for each",
        ),
        (
            lambda: indian_tune.search(Study("x", ["sgd", "sgd"], report, **SMALL)),
            "arms[1].name = 'sgd' is already the name of arms[0]",
        ),
        (
            lambda: indian_tune.search(
                Study("x", ["sgd"], lambda: Loop(lambda run: None, "points", "line", 2), **SMALL)
            ),
            "calling its loop for arm 'sgd'",
        ),
        (
            lambda: indian_tune.search(
                Study("x", [Arm("__main__:Sign", {"gamma0": Range(0.1, 1.0)})], report, **SMALL)
            ),
            "arms['sign'].optimizer = '__main__:Sign' is defined in a program, a notebook or a "
            "function, but a class must be in a module that can be imported: move it to a .py file",
        ),
        (
            lambda: indian_tune.search(Study("x", [local_optimizer()], report)),
            "optimizer of Arm = Local is defined in a program, a notebook or a function, but",
        ),
        (
            lambda: indian_tune.search(Study("x", [3], report)),  # type: ignore[list-item]
            "optimizer = 3 of Arm must be a name such as 'adam', or a class such as torch.optim.RM",
        ),
        (
            lambda: Arm("adam", fixed=True),  # type: ignore[call-arg]
            "Arm has no argument 'fixed': give a key of [[arms]] as options={'fixed': True}",
        ),
        (
            lambda: indian_tune.search(Study("x", ["sgd"], report, {"epochs": 2}, 20)),  # type: ignore[arg-type]
            "search = 20 of Study 'x' must be a dictionary: write search={\"trials\": …}",
        ),
        (lambda: indian_tune.plan("quickstart", sd=2.0), "must be above 0 and below 1"),
        (lambda: indian_tune.replay(seeds=1), "seeds = 1 must be a whole number of at least 2"),
        (lambda: indian_tune.replay(samplers="tpe"), "must be a list of names: write ['tpe']"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call: Callable[[], Any], message: str) -> None:
    with pytest.raises((InputError, StudyFileError)) as caught:
        call()
    assert message in str(caught.value)


def test_how_to_go_on_is_a_call_without_passwords() -> None:
    request = SearchRequest(
        "a.toml", storage="postgresql+psycopg://me:secret@host/db", options={"workers": 2}, extend=3
    )
    assert str(python_again(request)) == (
        "indian_tune.search('a.toml', storage='postgresql+psycopg://me@host/db', workers=2)"
    )
