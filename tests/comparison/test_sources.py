"""Runs of every kind of source, from files that the real packages write here."""

from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING, Any

import optuna
import pytest
import tensorboardX
from tensorboardX.proto.event_pb2 import Event

from indian_tune.comparison import runs_of
from indian_tune.comparison.sources import Request, read
from indian_tune.errors import InputError
from tests.comparison.test_compare import A, B, frame_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd


def values_of(request: Request, arm: str = "A") -> list[float]:
    """Return the values of an arm of a source, in the order of its seeds."""
    table = read(request).runs.table
    values: list[float] = table[table["arm"] == arm]["value"].tolist()
    return values


WRITERS: dict[str, Callable[[pd.DataFrame, Path], object]] = {
    "csv": lambda frame, path: frame.to_csv(path, index=False),
    "tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    "jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True),
    "json": lambda frame, path: frame.to_json(path, orient="records"),
    "parquet": lambda frame, path: frame.to_parquet(path, index=False),
}


@pytest.mark.parametrize("form", WRITERS)
def test_tables_are_read_and_their_columns_mapped(form: str, tmp_path: Path) -> None:
    frame = frame_of(A=A, B=B).rename(columns={"arm": "optimizer", "seed": "run_seed"})
    file = tmp_path / f"runs.{form}"
    WRITERS[form](frame, file)
    names = {"arm": "optimizer", "seed": "run_seed"}
    source = read(Request([str(file)], names=names))
    assert (source.runs.seeded, source.runs.better) == (True, "higher")
    assert values_of(Request([str(file)], names=names)) == A
    assert source.written is not None


def test_arms_keep_names_that_look_like_missing_values(tmp_path: Path) -> None:
    file = tmp_path / "runs.csv"
    file.write_text("﻿arm;seed;accuracy\nNA;0;0.5\nNA;1;0.6\n1;0;0.4\n1;1;0.7\n", encoding="utf-8")
    assert read(Request([str(file)])).runs.arms == ["NA", "1"]


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "NaN"])
def test_a_written_nan_is_a_failed_run_and_an_empty_field_a_missing_value(
    text: str, tmp_path: Path
) -> None:
    file = tmp_path / "runs.csv"
    file.write_text(f"arm,seed,accuracy\nA,0,{text}\nA,1,0.5\n", encoding="utf-8")
    assert read(Request([str(file)])).runs.table["failed"].tolist() == [True, False]
    file.write_text("arm,seed,accuracy\nA,0,\nA,1,0.5\n", encoding="utf-8")
    with pytest.raises(InputError, match="accuracy is missing in 1 run"):
        read(Request([str(file)]))
    lines = tmp_path / "runs.jsonl"
    rows = [{"arm": "A", "seed": seed, "accuracy": v} for seed, v in enumerate([math.nan, None])]
    lines.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with pytest.raises(InputError, match=r"missing in 1 run \(arm 'A', seeds 1\)"):
        read(Request([str(lines)]))


def test_files_without_arms_are_an_arm_each(tmp_path: Path) -> None:
    for arm, values in (("A", A), ("B", B)):
        (tmp_path / f"{arm}.txt").write_text("\n".join(map(str, values)), encoding="utf-8")
    request = Request([str(tmp_path / "A.txt"), str(tmp_path / "B.txt")], better="lower")
    runs = read(request).runs
    assert (runs.arms, runs.seeded, runs.metric) == (["A", "B"], False, "value")
    assert values_of(request, "B") == B


FEW = 3


def write_optuna(url: str, seed_as: str, directions: tuple[Any, Any]) -> None:
    """Write two studies with Optuna itself."""
    fixed = optuna.distributions.FloatDistribution(0.1, 0.1)
    seeds = optuna.distributions.IntDistribution(0, 99)
    for arm, values, direction in zip("AB", (A, B), directions, strict=True):
        study = optuna.create_study(storage=url, study_name=arm, direction=direction)
        for seed, value in enumerate(values[:FEW], start=7):
            known = {"seed": seed}
            study.add_trial(
                optuna.create_trial(
                    params={"lr": 0.1, **(known if seed_as == "parameter" else {})},
                    distributions={"lr": fixed, **({"seed": seeds} if "p" in seed_as else {})},
                    user_attrs=known if seed_as == "attribute" else {},
                    intermediate_values={1: 0.5, 2: value},
                    value=value,
                )
            )


@pytest.fixture(scope="module")
def optuna_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Databases of Optuna's: by how they say the seed, and one with mixed directions."""
    folder = tmp_path_factory.mktemp("optuna")
    found = {}
    for name in ("parameter", "attribute", "nothing", "mixed"):
        found[name] = folder / f"{name}.db"
        other = "minimize" if name == "mixed" else "maximize"
        write_optuna(f"sqlite:///{found[name]}", name, ("maximize", other))
    return found


@pytest.mark.parametrize("seed_as", ["parameter", "attribute", "nothing"])
def test_a_database_of_optuna_s_is_read(seed_as: str, optuna_files: dict[str, Path]) -> None:
    file = optuna_files[seed_as]
    before = file.read_bytes()
    runs = read(Request([str(file)])).runs
    assert (runs.seeded, runs.better, runs.metric) == (seed_as != "nothing", "higher", "value")
    assert runs.table["value"].tolist() == [*A[:FEW], *B[:FEW]]
    assert runs.configurations == {"A": 1, "B": 1}
    assert (runs.began is not None, runs.selected) == (True, ())
    assert file.read_bytes() == before


def test_values_that_were_reported_to_optuna_are_steps(optuna_files: dict[str, Path]) -> None:
    url = f"sqlite:///{optuna_files['attribute']}"
    runs = read(Request([url], metric="intermediate")).runs
    assert runs.curves is not None
    assert runs.table["value"].tolist() == [*A[:FEW], *B[:FEW]]
    with pytest.raises(InputError, match="metric = 'acc' is not an objective or user attribute"):
        read(Request([url], metric="acc"))
    with pytest.raises(InputError, match="in the source a higher value is better"):
        read(Request([url], better="lower"))
    with pytest.raises(InputError, match="only table files can be read together"):
        read(Request([url, url]))


def test_a_value_that_is_the_best_reported_one_is_recognised(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    study = optuna.create_study(storage=url, study_name="A")
    for n in range(2):
        steps = {1: 0.3 + n / 100, 2: 0.5}
        study.add_trial(optuna.create_trial(value=steps[1], intermediate_values=steps))
    (said,) = read(Request([url])).runs.selected
    assert said.startswith("most trials of study 'A' have the best of their reported values")


def test_studies_of_optuna_s_with_mixed_directions_are_refused(
    optuna_files: dict[str, Path],
) -> None:
    with pytest.raises(InputError, match="the studies have different directions"):
        read(Request([str(optuna_files["mixed"])]))


def test_other_studies_and_unfinished_trials_of_optuna_s_do_not_matter(tmp_path: Path) -> None:
    """A study beside the two arms has other objectives; a killed process left a trial running."""
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    for arm in ("A", "B"):
        study = optuna.create_study(storage=url, study_name=arm, direction="maximize")
        for seed in range(3):
            study.enqueue_trial({"seed": seed})
            trial = study.ask()
            trial.suggest_int("seed", 0, 9)
            study.tell(trial, 0.9 + seed / 100)
    study.ask()
    study.enqueue_trial({"seed": 4})
    optuna.create_study(storage=url, study_name="other", directions=["minimize", "maximize"])
    runs = read(Request([str(tmp_path / "optuna.db")], only=("A", "B"))).runs
    assert runs.arms == ["A", "B"]
    assert len(runs.table) == 6
    assert runs.notes == ("Study 'B' has 1 RUNNING and 1 WAITING of 5 trials: these are left out",)
    with pytest.raises(InputError, match="has several objectives"):
        read(Request([str(tmp_path / "optuna.db")]))
    with pytest.raises(InputError, match=r"study 'AB' is not in the database. .*A, B, other"):
        read(Request([str(tmp_path / "optuna.db")], only=("AB", "B")))


def test_arms_may_be_values_of_one_study_of_optuna_s(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    for name in ("mine", "other"):
        study = optuna.create_study(storage=url, study_name=name)
        for n in range(4):
            study.enqueue_trial({"optimizer": "ab"[n % 2], "lr": 0.1 * (n + 1)})
            trial = study.ask()
            trial.suggest_categorical("optimizer", ["a", "b"])
            trial.suggest_float("lr", 0.01, 1)
            study.tell(trial, n)
    names = {"arm": "config.optimizer"}
    request = Request([url], names=names, where={"study": "mine"}, only=("a", "b"))
    runs = read(request).runs
    assert (runs.arms, runs.configurations) == (["a", "b"], {"a": 2, "b": 2})
    frame = optuna.load_study(study_name="mine", storage=url).trials_dataframe()
    runs = runs_of(frame, metric="value", better="lower", names={"arm": "params_optimizer"})
    assert (runs.arms, runs.configurations) == (["a", "b"], {"a": 2, "b": 2})


def test_failed_and_pruned_trials_of_optuna_s_are_told_apart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    study = optuna.create_study(storage=url, study_name="A")
    for _ in range(2):
        study.tell(study.ask(), 0.5)
    study.tell(study.ask(), state=optuna.trial.TrialState.FAIL)
    assert read(Request([url])).runs.table["failed"].tolist() == [False, False, True]
    study.tell(study.ask(), state=optuna.trial.TrialState.PRUNED)
    with pytest.raises(
        InputError, match=r"a run of arm .A. \(trial 3\) is pruned: give --missing failed"
    ):
        read(Request([url]))
    failed = read(Request([url], missing="failed")).runs.table["failed"].tolist()
    assert failed == [False, False, True, True]


@pytest.mark.parametrize("layout", ["{arm}/seed-{seed}", "{arm}_s{seed}", "{arm}/{seed}"])
def test_event_files_are_read_by_their_paths(layout: str, tmp_path: Path) -> None:
    began = time.time()
    for arm, values in (("A", A), ("B", B)):
        for seed, value in enumerate(values):
            path = tmp_path / layout.format(arm=arm, seed=seed)
            with tensorboardX.SummaryWriter(str(path)) as writer:
                for step in (1, 2):
                    writer.add_scalar("valid/accuracy", value * step / 2, step)
                    writer.add_scalar("lr", 0.1, step)
    runs = read(Request([str(tmp_path)])).runs
    assert (runs.metric, runs.better, runs.seeded, runs.arms) == (
        "valid/accuracy",
        "higher",
        True,
        ["A", "B"],
    )
    assert values_of(Request([str(tmp_path)])) == pytest.approx(A)
    assert runs.curves is not None
    assert runs.timed
    assert runs.began is not None
    assert began <= runs.began.timestamp() <= time.time()
    with pytest.raises(InputError, match=r"not a scalar in .* Did you mean 'valid/accuracy'"):
        read(Request([str(tmp_path)], metric="valid/acuracy"))


def test_event_files_with_tensors_and_hyperparameters_are_read(tmp_path: Path) -> None:
    for n, value in enumerate(A):
        with tensorboardX.SummaryWriter(str(tmp_path / f"job-{n}x")) as writer:
            first, second, third = tensorboardX.summary.hparams(
                {"arm": "A", "seed": 40 + n, "lr": 0.1}, {"loss": 0.0}
            )
            for summary in (first, second, third):
                writer.file_writer.add_summary(summary)
            event = Event(step=3)
            made = event.summary.value.add(tag="loss")
            made.tensor.dtype = 1
            made.tensor.float_val.append(value)
            made.metadata.plugin_data.plugin_name = "scalars"
            writer.file_writer.event_writer.add_event(event)
    runs = read(Request([str(tmp_path)])).runs
    assert runs.table["seed"].tolist() == [40, 41, 42, 43, 44]
    assert (runs.arms, runs.better) == (["A"], "lower")
    assert runs.table["value"].tolist() == pytest.approx(A)


def test_hyperparameters_in_a_folder_of_their_own_belong_to_the_run_above(tmp_path: Path) -> None:
    for n, value in enumerate(A[:2]):
        run = tmp_path / f"job{'xy'[n]}"
        with tensorboardX.SummaryWriter(str(run)) as writer:
            writer.add_scalar("loss", value, 1)
        # As PyTorch's add_hparams writes them.
        with tensorboardX.SummaryWriter(str(run / "1795739811.2539356")) as writer:
            for summary in tensorboardX.summary.hparams({"arm": "A", "seed": n}, {"loss": 0.0}):
                writer.file_writer.add_summary(summary)
    runs = read(Request([str(tmp_path)])).runs
    assert (runs.arms, runs.table["seed"].tolist()) == (["A"], [0, 1])


def test_an_event_file_that_was_cut_off_ends_with_its_last_whole_event(tmp_path: Path) -> None:
    with tensorboardX.SummaryWriter(str(tmp_path / "A" / "1")) as writer:
        for step in range(5):
            writer.add_scalar("loss", step, step)
    (file,) = (tmp_path / "A" / "1").iterdir()
    file.write_bytes(file.read_bytes()[:-7])
    assert values_of(Request([str(tmp_path)])) == [3.0]
    file.write_bytes(b"something else that is long enough to be read as a record")
    with pytest.raises(InputError, match="is not a TensorBoard event file, or is damaged"):
        read(Request([str(tmp_path)]))


BAD_FILES: list[tuple[str, bytes, str]] = [
    ("runs.csv", b"PAR1....PAR1", "is a Parquet file, which does not match its name"),
    ("runs.parquet", b"arm,seed\nA,1\n", "is not a Parquet file, which does not match its name"),
    ("runs.parquet", b"PAR1 and no more", "cannot be read as parquet"),
    ("runs.csv", b'{"arm": "A"}\n', "contains JSON"),
    ("runs.csv", b"\xff\xfe\x00a", "is not UTF-8 text"),
    ("runs.csv", b"3.28\n3.27\n", "has no line of column names"),
    ("runs.csv", b"", "is empty: give a line of column names"),
    ("runs.csv", b"arm,seed,acc\nA,0,.5,7\n", "line 2 has 4 fields, but there are 3 column names"),
    ("runs.csv", b"arm,acc,acc\nA,0,.5\n", "has the column 'acc' twice"),
    ("runs.csv", b'arm,acc\nA,"0.5\n', "cannot be read as csv"),
    ("runs.jsonl", b"arm,seed\nA,1\n", "line 1 is not JSON"),
    ("runs.json", b'{"arm": "A"}', "must contain a list of objects"),
    ("runs.txt", b"3.28\nfast\n", "must contain numbers only, got 'fast'"),
    ("runs.xlsx", b"PK", "has an unknown file type"),
    ("runs.db", b"arm,seed\nA,1\n", "is not an SQLite database"),
]


@pytest.mark.parametrize(("name", "content", "said"), BAD_FILES)
def test_files_of_another_kind_than_they_say_are_refused(
    name: str, content: bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said) as refused:
        read(Request([str(tmp_path / name)]))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        ([], "name a source"),
        (["no.csv"], "no.csv does not exist"),
        (["no.db"], "no.db does not exist"),
        (["."], "has no TensorBoard event files"),
    ],
)
def test_sources_that_are_not_there_are_refused(
    sources: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=said):
        read(Request(sources))


def test_other_metrics_of_a_json_file_may_be_nested(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"arm": "A", "seed": seed, "summary": {"loss": value, "steps": 10}}
        for seed, value in enumerate(A)
    ]
    (tmp_path / "runs.json").write_text(json.dumps(rows), encoding="utf-8")
    assert values_of(Request([str(tmp_path / "runs.json")])) == A
