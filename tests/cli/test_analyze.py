"""`indian-tune analyze` as its users meet it."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from indian_tune.analysis.simulation import (
    ARMS,
    direct,
    simulate,
    simulated_claims,
)
from indian_tune.ledger import Ledger, LedgerReader
from indian_tune.ledger.slots import UNSEALED
from indian_tune.service.output import config_text
from indian_tune.service.own_runs import register_claims
from indian_tune.study.file.claims_file import load_claims
from tests.analysis.simulated import simulated_frame
from tests.conftest import to_toml

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Ended

    Finished = tuple[Path, subprocess.CompletedProcess[str]]

SPACES = {arm: {"gamma0": 0.1} for arm in ARMS}
SEEDS = [100 * search + seed for search in range(10) for seed in range(5)]


@pytest.fixture
def runs(tmp_path: Path, claims: Path) -> Path:
    """Runs of a simulated study in which tuning gains two points, after their registration."""
    assert claims.exists()
    file = tmp_path / "runs.parquet"
    simulated_frame(simulate(direct(0.02), 10, np.random.default_rng(0))).to_parquet(file)
    return file


@pytest.fixture
def claims(tmp_path: Path, command: Callable[..., Ended]) -> Path:
    command("analyze", "--register", write_claims(tmp_path / "claims.toml"))
    return tmp_path / "claims.registered.json"


def write_claims(file: Path, **sections: Any) -> Path:
    body = {
        "claims": simulated_claims().model_dump(mode="json", exclude_none=True),
        "scope": {"network": "small", "dataset": "digits", "classes": 10, "spaces": SPACES},
        "registration": {"seeds": SEEDS},
        **sections,
    }
    file.write_text(to_toml(body), encoding="utf-8")
    return file


@pytest.fixture
def database(finished: Finished, tmp_path: Path) -> Path:
    """A copy of the finished study, to open its test results."""
    copy = tmp_path / "copy.db"
    shutil.copy(finished[0], copy)
    return copy


def events(database: Path) -> list[dict[str, Any]]:
    with sqlite3.connect(database) as connection:
        rows = connection.execute("SELECT data FROM ledger_event WHERE kind = 'unsealed'")
        found = [json.loads(data) for (data,) in rows]
    connection.close()
    return found


def test_a_finished_study_is_unsealed_once_and_judged(
    database: Path, command: Callable[..., Ended]
) -> None:
    ended = command("analyze", "tiny", "--storage", database)
    assert (ended.status, "Traceback" in ended.err) == (0, False)
    assert "are now open" in ended.err
    assert [event["by"] for event in events(database)] == ["analyze"]
    assert "1 search of every arm with 2 seeds" in " ".join(ended.out.split())
    assert max(map(len, ended.out.splitlines())) <= 100
    again = command("analyze", "tiny", "--storage", database)
    assert (again.out, again.err) == (ended.out, "")
    assert len(events(database)) == 1


def test_without_a_claim_the_arms_come_first_and_nothing_speaks_of_a_verdict(
    database: Path, command: Callable[..., Ended], tmp_path: Path
) -> None:
    ended = command("analyze", "--storage", database, "--out", tmp_path / "report")
    words = " ".join(ended.out.split())
    assert words.startswith("Arms, best first: mean over the fresh seeds")
    assert "The study tests no claim on (α, β), so no verdict is given." in words
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    for text in (words, page):
        for word in ("regularizes:", "NOT TESTED", "EXPLORATORY", "To test it", "mallest effect"):
            assert word not in text
    told = json.loads((tmp_path / "report" / "verdict.json").read_text(encoding="utf-8"))
    winners = {
        each["arm"]: config_text(each["config"])
        for each in json.loads(command("status", "--storage", database, "--json").out)["arms"]
    }
    start = page.index('<table class="arms"')
    table = page[start : page.index("</table>", start)]
    assert start < page.index("<p>The study tests no claim")
    for place, row in enumerate(told["trained"], 1):
        result = "–" if row["test"] is None else f"{100 * row['test']:.2f}"
        assert f"<td>{place}</td><td>{row['arm']}</td><td>{result}" in table
        assert f"<td>{winners[row['arm']]}</td>" in table
        assert {row["arm"], result, *winners[row["arm"]].split()} <= set(words.split())


def test_json_holds_every_finding_and_no_infinities(
    database: Path, command: Callable[..., Ended]
) -> None:
    told = json.loads(command("analyze", "--storage", database, "--json").out)
    assert [found["hypothesis"] for found in told["findings"]] == ["H1", "H2", "H3a", "H3b", "H4"]
    h1 = told["findings"][0]
    assert (h1["label"], h1["beside"][0]["pairs"]) == ("EXPLORATORY", 2)


def test_out_writes_the_verdict_and_the_frames_behind_it(
    database: Path, command: Callable[..., Ended], tmp_path: Path
) -> None:
    folder = tmp_path / "report"
    command("analyze", "--storage", database, "--out", folder)
    verdict = json.loads((folder / "verdict.json").read_text(encoding="utf-8"))
    frame = pd.read_parquet(folder / "runs.parquet")
    assert verdict["study"] == "tiny"
    assert frame["test_accuracy"].notna().all()
    assert len(pd.read_parquet(folder / "examples.parquet")["correct"][0]) == 359
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert "indian-tune that trained" in report
    again = command("analyze", "--storage", database, "--out", folder)
    assert (again.status, "verdict.json already exists" in again.err) == (2, True)


def test_nothing_is_opened_for_a_folder_that_takes_no_report(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
    command: Callable[..., Ended],
    tmp_path: Path,
) -> None:
    database = tmp_path / "copy.db"
    shutil.copy(finished[0], database)
    (tmp_path / "file").touch()
    refused = command("analyze", "--storage", database, "--out", tmp_path / "file" / "report")
    assert (refused.status, "is not a folder: choose another" in refused.err) == (2, True)
    with LedgerReader.open(str(database)) as ledger:
        assert not ledger.events(ledger.study("tiny").id, UNSEALED)


def test_a_changed_registration_is_exploratory(
    database: Path, command: Callable[..., Ended]
) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE ledger_study SET spec_hash = 'other'")
    connection.close()
    ended = command("analyze", "--storage", database)
    assert "No verdict is given" in ended.out
    assert "its hash differs" in " ".join(ended.out.split())


def test_results_that_were_opened_too_early_make_it_exploratory(
    database: Path, command: Callable[..., Ended]
) -> None:
    command("analyze", "--storage", database)
    with sqlite3.connect(database) as connection:
        connection.execute(
            "UPDATE ledger_event SET data = json_set(data, '$.finished', json('false')) "
            "WHERE kind = 'unsealed'"
        )
    connection.close()
    ended = command("analyze", "--storage", database)
    assert "opened before the study was finished" in " ".join(ended.out.split())


@pytest.mark.parametrize(
    ("names", "message"),
    [(("tiny", "tiny"), "'tiny' is given twice"), (("tiny",), "at least 2 studies, got 1")],
)
def test_studies_that_cannot_be_combined_stay_sealed(
    database: Path, command: Callable[..., Ended], names: tuple[str, ...], message: str
) -> None:
    ended = command("analyze", *names, "--combined", "--storage", database)
    assert (ended.status, ended.out, message in ended.err) == (2, "", True)
    assert events(database) == []


def test_an_unfinished_study_stays_sealed(database: Path, command: Callable[..., Ended]) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute(
            "UPDATE ledger_trial SET state = 'waiting' WHERE phase = 'confirm' AND \"index\" = 0"
        )
    connection.close()
    ended = command("analyze", "--storage", database)
    assert (ended.status, ended.out) == (2, "")
    assert "is not finished (left: 2 trials)" in ended.err
    assert events(database) == []


def test_runs_trained_elsewhere_are_judged(
    runs: Path, claims: Path, command: Callable[..., Ended]
) -> None:
    ended = command("analyze", "--from", runs, "--claims", claims)
    assert ended.status == 0
    assert "Tuning (α, β) regularizes: strongly SUPPORTED" in ended.out
    assert "small on digits, this pool of examples, 10 searches" in " ".join(ended.out.split())
    words = " ".join(ended.out.split())
    assert words.index("SUPPORTED") < words.index("Arms, best first") < words.index("H1 NOT TESTED")
    detailed = command("analyze", "--from", runs, "--claims", claims, "--details").out
    listed = [line.strip() for line in detailed.splitlines() if ": Δ " in line]
    names = [line.partition(":")[0] for line in listed]
    assert {"full - control", "full - rate", "full - sgd"} <= set(names)
    assert sorted(set(names)) == sorted(names)
    # A row of numbers is not shown beside them.
    assert "contrast\n" not in detailed


def test_a_csv_file_gives_the_same_verdict(
    runs: Path, claims: Path, command: Callable[..., Ended], tmp_path: Path
) -> None:
    table = tmp_path / "runs.csv"
    pd.read_parquet(runs).to_csv(table, index=False)
    first, second = (
        command("analyze", "--from", file, "--claims", claims).out for file in (runs, table)
    )
    assert first == second


def test_examples_beside_exported_epochs_widen_the_bounds(
    runs: Path, claims: Path, command: Callable[..., Ended], tmp_path: Path
) -> None:
    epochs, beside = tmp_path / "epochs.parquet", tmp_path / "examples.parquet"
    shutil.copy2(runs, epochs)
    arguments = ("analyze", "--from", epochs, "--claims", claims)
    assert "Bounds do not include the variation between test examples" in " ".join(
        command(*arguments).out.split()
    )

    def low() -> float:
        return float(
            json.loads(command(*arguments, "--json").out)["findings"][1]["contrasts"][0]["test"][
                "low"
            ]
        )

    without, rng = low(), np.random.default_rng(0)
    frame = pd.read_parquet(runs)
    ends = frame[frame["epoch"] == frame["epoch"].max()]
    # Most examples are right or wrong for all runs of an arm.
    right = {arm: rng.random(40) < 0.7 for arm in ARMS}
    correct = [
        "".join("01"[int(one)] for one in right[arm] ^ (rng.random(40) < 0.05))
        for arm in ends["arm"]
    ]
    ends[["arm", "phase", "replicate", "seed"]].assign(correct=correct).to_parquet(beside)
    bounded = low()
    assert bounded < without
    # As `analyze --out` writes them, beside runs of whatever name.
    rows = [[one == "1" for one in row] for row in correct]
    ends[["arm", "phase", "replicate", "seed"]].assign(correct=rows).to_parquet(beside)
    assert low() == bounded
    epochs.rename(tmp_path / "runs-of-mine.parquet")
    arguments = ("analyze", "--from", tmp_path / "runs-of-mine.parquet", "--claims", claims)
    assert low() == bounded
    ends[["arm", "seed"]].assign(correct="012").to_parquet(beside)
    ended = command(*arguments)
    assert (ended.status, "lacks a 0 or 1 for every test example" in ended.err) == (2, True)


def test_claims_that_changed_since_their_registration_are_exploratory(
    runs: Path, claims: Path, command: Callable[..., Ended], tmp_path: Path
) -> None:
    digest = load_claims(claims).digest
    at = {"registered_at": "2026-01-31T12:00:00+00:00"}
    kept, changed, undated = (
        write_claims(
            tmp_path / f"{name}.toml", registration={"seeds": SEEDS, "digest": value, **date}
        )
        for name, value, date in (
            ("kept", digest, at),
            ("changed", "0" * 64, at),
            ("undated", digest, {}),
        )
    )
    assert "SUPPORTED" in command("analyze", "--from", runs, "--claims", kept).out
    ended = command("analyze", "--from", runs, "--claims", changed)
    assert "regularizes: EXPLORATORY" in ended.out
    assert digest in "".join(ended.out.split())
    ended = command("analyze", "--from", runs, "--claims", undated)
    assert "regularizes: EXPLORATORY" in ended.out
    assert "the registration has no date" in ended.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--from", "{runs}"), "--from needs --claims: give both"),
        (("--claims", "{claims}"), "--claims needs --from: give both"),
        (("study", "--from", "{runs}", "--claims", "{claims}"), "not both"),
        (("--from", "absent.csv", "--claims", "{claims}"), "cannot read absent.csv"),
        (("--from", "{claims}", "--claims", "{claims}"), "must be a .parquet or .csv file"),
        (("--from", "{runs}", "--claims", "absent.toml"), "cannot read absent.toml"),
        (("--calibrate", "study"), "--calibrate cannot be used with"),
        (("--calibrate", "--replications", "5"), "--replications = 5 must be at least 500"),
        (("--replications", "500"), "needs --calibrate"),
        (("absent",), "there is no database"),
        (("one", "two"), "2 studies are given: add --combined"),
        (("--combined", "one", "two", "--calibrate"), "--combined cannot be used with"),
    ],
)
def test_bad_options_end_with_2_and_write_nothing(
    runs: Path,
    claims: Path,
    command: Callable[..., Ended],
    tmp_path: Path,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    before = sorted(tmp_path.iterdir())
    words = [word.format(runs=runs, claims=claims) for word in arguments]
    ended = command("analyze", *words)
    assert (ended.status, ended.out) == (2, "")
    assert message in ended.err
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda first, rows: [first.partition(",")[2], *rows],
            "line 2 has 10 values, but the first line has 9 column names",
        ),
        (
            lambda first, rows: [first, *(f"{row},1" for row in rows)],
            "line 2 has 11 values, but the",
        ),
        (lambda first, _: [first], "the frame has no rows"),
        (lambda *_: [], "No columns to parse from file"),
        (lambda first, rows: [first, *rows, rows[0] + ",1"], "has 11 values, but the"),
    ],
)
def test_a_table_whose_lines_do_not_go_together_is_refused(
    change: Callable[[str, list[str]], list[str]],
    message: str,
    runs: Path,
    claims: Path,
    command: Callable[..., Ended],
    tmp_path: Path,
) -> None:
    first, *rows = pd.read_parquet(runs).to_csv(index=False).splitlines()
    bad = tmp_path / "bad.csv"
    bad.write_text("\n".join(change(first, rows)), encoding="utf-8")
    ended = command("analyze", "--from", bad, "--claims", claims)
    assert (ended.status, ended.out) == (2, "")
    assert message in ended.err


def test_a_mistake_in_the_claims_names_its_key(
    runs: Path, command: Callable[..., Ended], tmp_path: Path
) -> None:
    bad = write_claims(tmp_path / "bad.toml", scope={"classes": 1})
    ended = command("analyze", "--from", runs, "--claims", bad)
    assert (ended.status, "scope.classes = 1 must be at least 2" in ended.err) == (2, True)
    wrong = {"sgd": {"gamma0": {"low": 1.0, "high": 0.1}}}
    bad = write_claims(tmp_path / "ranges.toml", scope={"spaces": wrong})
    ended = command("analyze", "--from", runs, "--claims", bad)
    assert (ended.status, "scope.spaces.sgd.gamma0: low = 1.0 must be below" in ended.err) == (
        2,
        True,
    )


@pytest.mark.parametrize("digits", [30, 4299, 4400])
@pytest.mark.parametrize(
    "place",
    ["claims.delta", "scope.classes", "scope.trials", "registration.seeds", "registration.trials"],
)
def test_a_number_of_any_length_in_the_claims_is_one_short_message(
    place: str, digits: int, command: Callable[..., Ended], tmp_path: Path
) -> None:
    section, key = place.split(".")
    raw = load_claims(write_claims(tmp_path / "claims.toml")).content
    before, values = raw[section].get(key), {"seeds": ["HUGE"], "trials": "HUGE"}
    raw[section][key] = {"sgd": "HUGE"} if isinstance(before, dict) else values.get(key, "HUGE")
    text = json.dumps(raw).replace('"HUGE"', "9" * digits)
    (tmp_path / "huge.json").write_text(text, encoding="utf-8")
    before = sorted(tmp_path.iterdir())
    ended = command("analyze", "--register", tmp_path / "huge.json")
    assert (ended.status, ended.out) == (2, "")
    assert ("too many digits" if digits > 4300 else place) in ended.err
    assert len(ended.err) < 400
    assert sorted(tmp_path.iterdir()) == before


def test_ranges_in_the_claims_are_registered_and_claims_without_them_keep_their_digest(
    runs: Path, command: Callable[..., Ended], tmp_path: Path
) -> None:
    scope = {"network": "small", "dataset": "digits", "classes": 10}
    former = load_claims(write_claims(tmp_path / "former.toml", scope=scope))
    assert set(former.content["scope"]) == {*scope, "trials", "tune_epochs"}
    ranges = {**SPACES, "sgd": {"gamma0": {"low": 0.01, "high": 1.0, "log": True}}}
    mine = write_claims(tmp_path / "mine.toml", scope={**scope, "spaces": ranges})
    assert load_claims(mine).digest != former.digest
    frame = pd.read_parquet(runs)
    frame["config.gamma0"] = np.where(frame["arm"] == "sgd", 0.9, np.nan)
    frame.to_parquet(runs)
    command("analyze", "--register", mine)
    os.utime(runs)
    for claims, said in (
        (tmp_path / "mine.registered.json", "10 of 10 winners of sgd at the upper end of gamma0"),
        (tmp_path / "former.toml", 'Give the ranges as scope.spaces."sgd" in the claims'),
    ):
        ended = command("analyze", "--from", runs, "--claims", claims)
        assert said in " ".join(ended.out.split())


@pytest.mark.parametrize("place", ["file", "default", "named"])
def test_claims_are_registered_once_with_digest_and_date(
    command: Callable[..., Ended],
    tmp_path: Path,
    runs: Path,
    place: str,
) -> None:
    file = write_claims(tmp_path / "mine.toml", scope={"classes": 10, "spaces": SPACES})
    plain = command("analyze", "--from", runs, "--claims", file).out
    assert "regularizes: EXPLORATORY" in plain
    assert "not registered before the runs" in " ".join(plain.split())
    if place == "default":
        Ledger.open(None).close()
    given = ("--storage", tmp_path / "named.db") if place == "named" else ()
    ended = command("analyze", "--register", file, *given)
    copy = tmp_path / "mine.registered.json"
    assert ended.out.strip() == str(copy)
    assert f"Give {copy}, not mine.toml, to --claims." in ended.err
    assert ("self-declared" in ended.err) == (place == "file")
    registered = load_claims(copy).registration
    assert registered is not None
    assert registered.digest == load_claims(file).digest
    os.utime(runs)
    said = " ".join(command("analyze", "--from", runs, "--claims", copy, *given).out.split())
    assert "regularizes: strongly SUPPORTED" in said
    assert ("self-declared: it is only in a file" in said) == (place == "file")
    assert ("Registered in sqlite:///" in said) == (place != "file")
    assert "It cannot be checked whether the runs began later: they have no started_at" in said
    again = command("analyze", "--register", file, *given)
    assert (again.status, "rename the claims file" in again.err) == (2, True)


@pytest.mark.parametrize(
    ("name", "value"), [("seeds", [1, 2]), ("trials", {"full": 3}), ("registered_at", None)]
)
def test_what_is_changed_after_a_registration_is_seen(
    command: Callable[..., Ended], runs: Path, claims: Path, name: str, value: Any
) -> None:
    body = json.loads(claims.read_text(encoding="utf-8"))
    body["registration"][name] = value
    claims.write_text(json.dumps(body), encoding="utf-8")
    said = command("analyze", "--from", runs, "--claims", claims).out
    # A digest without a date is that of an earlier version, over the claims alone.
    changed = name != "registered_at"
    assert ("the digest of the claims is" in " ".join(said.split())) == changed


@pytest.mark.parametrize("dated", ["by the file", "by a column"])
def test_a_registration_that_came_after_the_runs_is_said(
    command: Callable[..., Ended], runs: Path, claims: Path, dated: str
) -> None:
    frame = pd.read_parquet(runs)
    if dated == "by a column":
        frame.assign(started_at="2020-01-31T12:00:00+00:00").to_parquet(runs)
    else:
        os.utime(runs, (1_580_472_000, 1_580_472_000))
    ended = command("analyze", "--from", runs, "--claims", claims)
    said = " ".join(ended.out.split())
    assert "regularizes: EXPLORATORY" in said
    what = "the first run began" if dated == "by a column" else "runs.parquet was written"
    assert f"after {what} at 2020-01-31 12:00:00 UTC" in said


def test_a_date_in_the_file_does_not_outweigh_that_of_the_database(
    command: Callable[..., Ended], runs: Path, tmp_path: Path
) -> None:
    file = write_claims(tmp_path / "mine.toml", scope={"classes": 10, "spaces": SPACES})
    os.utime(runs, (1_580_472_000, 1_580_472_000))
    copy, _ = register_claims(file, str(tmp_path / "named.db"))
    body = json.loads(copy.read_text(encoding="utf-8"))
    body["registration"]["registered_at"] = "2019-01-01T00:00:00+00:00"
    copy.write_text(json.dumps(body), encoding="utf-8")
    files = ("--from", runs, "--claims", copy)
    assert "regularizes: strongly SUPPORTED" in command("analyze", *files).out
    named = command("analyze", *files, "--storage", tmp_path / "named.db").out
    assert "regularizes: EXPLORATORY" in named


@pytest.mark.parametrize(("first", "second"), [("null", "NA"), ("1", "True"), ("0.10", "indian")])
@pytest.mark.parametrize("seeds", [1, 3])
def test_arms_are_text_whatever_they_look_like(
    command: Callable[..., Ended], tmp_path: Path, first: str, second: str, seeds: int
) -> None:
    rows = ["study,arm,seed,epoch,train_loss,test_accuracy"]
    rows += [
        f"1,{arm},{seed},{epoch},{1 / epoch},{0.5 + 0.1 * epoch + 0.01 * seed * k}"
        for k, arm in enumerate((first, second))
        for seed in range(seeds)
        for epoch in (1, 2)
    ]
    (tmp_path / "runs.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    body = {"claims": {"h1": {"arms": [first], "baselines": [second]}}}
    (tmp_path / "c.toml").write_text(to_toml(body), encoding="utf-8")
    ended = command("analyze", "--from", "runs.csv", "--claims", "c.toml", "--details")
    assert (ended.status, ended.err) == (0, "")
    assert f"{first} - {second}: Δ " in ended.out


@pytest.mark.parametrize(
    ("column", "row", "value", "message"),
    [
        ("seed", 0, np.inf, "column seed must contain whole numbers"),
        ("epoch", 0, np.nan, "column epoch has empty values: give every row its epoch"),
        ("train_loss", 0, -1.0, "is below 0"),
        ("run_state", 0, "diverged", "differs between its epochs"),
        ("epoch", "gap", 0, "has gaps in its epochs (3 of 1 to 4)"),
        ("test_accuracy", "drop", 0, "export STUDY --unseal"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(
    command: Callable[..., Ended],
    runs: Path,
    claims: Path,
    column: str,
    row: int | str,
    value: Any,
    message: str,
) -> None:
    frame = pd.read_parquet(runs).assign(run_state="complete")
    if row == "gap":
        frame.loc[frame["epoch"] == 3, "epoch"] = 4
    elif row == "drop":
        frame = frame.drop(columns=column)
    else:
        frame[column] = frame[column].astype(object if isinstance(value, str) else float)
        frame.loc[row, column] = value
    frame.to_parquet(runs)
    ended = command("analyze", "--from", runs, "--claims", claims)
    assert (ended.status, ended.out) == (2, "")
    assert message in " ".join(ended.err.split())
