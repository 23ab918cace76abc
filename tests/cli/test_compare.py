"""`indian-tune compare`: what it prints, writes and refuses."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from indian_tune.comparison.registration import Plan, Registered
from tests.comparison.test_compare import A, B, frame_of

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from tests.cli.conftest import Ended

ARMS = ("--a", "A", "--b", "B")
PLAN = Plan("A", "B", None, "loss", "lower", None, 0.05, "auto", False, {}, "refuse", {})


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    frame_of(A=A, B=B).to_csv(tmp_path / "runs.csv", index=False)
    return tmp_path / "runs.csv"


def test_the_answer_is_printed_as_text_markdown_and_json(
    command: Callable[..., Ended], runs: Path
) -> None:
    text = command("compare", runs, *ARMS, "--delta", "0.01")
    assert (text.status, text.err) == (0, "")
    assert text.out.startswith("Exploratory: no comparison was registered before the runs.\n")
    assert "SUPPORTED: A is better than B, by more than 0.01" in text.out
    assert "? Were the configurations chosen on other data" in text.out
    said = command("compare", runs, *ARMS, "--markdown")
    assert said.out.startswith("**SUPPORTED** (Exploratory: no comparison was registered")
    assert "| – | +0.0306 | +0.0280, +0.0332 | 5 | 0, 0 | SUPPORTED |" in said.out
    answer = json.loads(command("compare", runs, *ARMS, "--json").out)
    assert (answer["label"], answer["contrast"]["paired"]) == ("SUPPORTED", True)
    # The exit status does not depend on the label.
    turned = command("compare", runs, "--a", "B", "--b", "A", "--json")
    assert (turned.status, json.loads(turned.out)["label"]) == (0, "REFUTED")


def test_a_page_is_written_once_and_fetches_nothing(
    command: Callable[..., Ended], runs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "page.html"
    done = command("compare", runs, *ARMS, "--sequential", "--out", out)
    assert (done.status, f"Page: {out}" in done.err) == (0, True)
    page = out.read_text(encoding="utf-8")
    assert page.count("<svg") == 3
    assert "http" not in page.replace("http://www.w3.org/", "").replace("https://www.w3.org/", "")
    assert "Exploratory: no comparison was registered before the runs" in page
    again = command("compare", runs, *ARMS, "--out", out)
    assert (again.status, "already exists: choose another file" in again.err) == (2, True)


def test_all_arms_are_compared_with_one_or_with_each_other(
    command: Callable[..., Ended], tmp_path: Path
) -> None:
    file = tmp_path / "runs.csv"
    frame_of(A=A, B=B, C=[value + 0.001 for value in B]).to_csv(file, index=False)
    every = json.loads(command("compare", file, "--all", "--json").out)
    assert [(r["contrast"]["a"], r["contrast"]["b"]) for r in every["rows"]] == [
        ("A", "B"),
        ("A", "C"),
        ("B", "C"),
    ]
    out = tmp_path / "page.html"
    said = command("compare", file, "--baseline", "B", "--markdown", "--out", out)
    assert "<svg" in out.read_text(encoding="utf-8")
    assert "p (Holm)" in command("compare", file, "--all").out
    assert "| A | B | +0.0306 | +0.0280, +0.0332 | 5 | 0, 0 |" in said.out


def test_a_comparison_that_was_registered_before_its_runs_is_not_exploratory(
    command: Callable[..., Ended], tmp_path: Path
) -> None:
    plan, late = tmp_path / "plan.json", tmp_path / "late.json"
    asked = (*ARMS, "--metric", "accuracy", "--delta", "0.01")
    done = command("compare", *asked, "--register", plan)
    assert (done.status, "self-declared" in done.err) == (0, True)
    frame = frame_of(A=A, B=B).assign(started_at="2100-01-01T00:00:00+00:00")
    frame.to_csv(tmp_path / "runs.csv", index=False)
    registered = command("compare", "runs.csv", *asked, "--registered", plan)
    file_alone = "Registered by the date in a file, which is before the runs; no registration in a"
    assert registered.out.startswith(file_alone)
    other = command("compare", "runs.csv", *ARMS, "--delta", "0.02", "--registered", plan)
    assert "Exploratory: delta = 0.02 differs from the registered value 0.01" in other.out
    assert "It names no source" in " ".join(registered.out.split())
    done = command("compare", "./runs.csv", *asked, "--register", tmp_path / "bound.json")
    bound = ("--registered", tmp_path / "bound.json")
    said = command("compare", "runs.csv", *asked, *bound).out
    assert said.startswith(file_alone)
    assert "It names no source" not in " ".join(said.split())
    frame.to_csv(tmp_path / "other.csv", index=False)
    said = " ".join(command("compare", "other.csv", *asked, *bound).out.split())
    assert "the source other.csv differs from the registered source runs.csv" in said
    address = "postgresql://me:secret@127.0.0.1/runs"
    command("compare", address, *asked, "--register", tmp_path / "server.json")
    written = (tmp_path / "server.json").read_text(encoding="utf-8")
    assert ("secret" in written, "me:***@127.0.0.1" in written) == (False, True)
    again = command("compare", *asked, "--register", plan)
    assert (again.status, "already exists: choose another file" in again.err) == (2, True)
    frame.assign(started_at="2001-01-01T00:00:00+00:00").to_csv("runs.csv", index=False)
    command("compare", *asked, "--register", late)
    said = " ".join(command("compare", "runs.csv", *asked, "--registered", late).out.split())
    assert "after the first run began at 2001-01-01 00:00:00 UTC" in said
    frame.to_csv("runs.csv", index=False)
    fewer = command("compare", "runs.csv", *asked, "--where", "seed=1", "--registered", plan)
    assert "Exploratory: where = {'seed': '1'} differs from the registered value {}" in fewer.out
    moved = command("compare", "runs.csv", *asked, "--map", "seed=seed", "--registered", plan)
    assert "names = {'seed': 'seed'} differs from the registered value {}" in " ".join(
        moved.out.split()
    )
    frame.assign(started_at=1700000000).to_csv("runs.csv", index=False)
    said = " ".join(command("compare", "runs.csv", *asked, "--registered", plan).out.split())
    assert said.startswith("Exploratory: started_at = '1700000000' is not an ISO 8601 time")
    changed = json.loads(plan.read_text(encoding="utf-8"))
    changed["compare"]["delta"] = 0.005
    plan.write_text(json.dumps(changed), encoding="utf-8")
    said = command("compare", "runs.csv", *ARMS, "--delta", "0.005", "--registered", plan).out
    assert "the file was changed after registration" in " ".join(said.split())
    # It need not be there: the study may be to come.
    named = ("--storage", "named.db")
    command("compare", *asked, "--register", "sure.json", *named)
    sure = ("compare", "runs.csv", *asked, "--registered", "sure.json")
    frame.to_csv("runs.csv", index=False)
    assert command(*sure, *named).out.startswith("Registered before the runs.\n")
    assert command(*sure).out.startswith(file_alone)
    # A copy of old runs is a new file: without times their order is not shown.
    untimed = "Exploratory: when the runs began is not recorded, so it is not shown that they began"
    for times in (None, [None, *frame["started_at"][1:]]):
        kept = frame.drop(columns="started_at") if times is None else frame.assign(started_at=times)
        kept.to_csv("runs.csv", index=False)
        said = " ".join(command(*sure, *named).out.split())
        assert said.startswith(f"{untimed} after the registration. SUPPORTED: ")
        assert "! The source does not say when every run began, and a copy of old runs is" in said
    several = ("--metric", "accuracy", "--delta", "0.01", "--all")
    command("compare", *several, "--register", "all.json", *named)
    said = " ".join(
        command("compare", "runs.csv", *several, "--registered", "all.json").out.split()
    )
    assert untimed in said
    assert "! The source does not say when every run began" in said


def test_a_study_is_compared_on_what_is_open_and_nothing_is_written(
    command: Callable[..., Ended],
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    database, _ = finished
    with sqlite3.connect(database) as connection:
        events = connection.execute("SELECT count(*) FROM ledger_event").fetchone()
    arms = ("--a", "indian", "--b", "sgd", "--json")
    ways = [("tiny", "--storage", f"sqlite:///{database}"), (str(database),)]
    answers = [json.loads(command("compare", *way, *arms).out) for way in ways]
    assert answers[0] == answers[1]
    assert (answers[0]["metric"], answers[0]["delta"]) == ("validation_accuracy", 0.005)
    assert answers[0]["contrast"]["out_of"] == 2
    assert [curve["trials"] for curve in answers[0]["best_of"]] == [2, 2]
    assert answers[0]["notes"] == ["Test results are sealed: validation results are compared."]
    sealed = command("compare", *ways[0], *arms, "--metric", "test_accuracy")
    assert (sealed.status, "is sealed: compare a validation metric" in sealed.err) == (2, True)
    assert " --storage " in sealed.err
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM ledger_event").fetchone() == events
    connection.close()


def test_a_study_whose_test_results_are_open_is_compared_on_them_and_that_is_said(
    command: Callable[..., Ended],
    finished: tuple[Path, subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    own = tmp_path / "own.db"
    assert command("export", "--db", own, "--storage", finished[0]).status == 0
    arms = ("--a", "indian", "--b", "sgd", "--json", "--storage", own)
    assert command("export", "tiny", "--unseal", "--format", "csv", "--storage", own).status == 0
    answer = json.loads(command("compare", "tiny", *arms).out)
    assert answer["metric"] == "test_accuracy"
    (note,) = answer["notes"]
    assert note.startswith("Test results are compared: they were opened at 20")


def test_a_registered_file_may_be_named_from_any_folder(
    command: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sources(*given: str, folder: Path = tmp_path) -> str:
        monkeypatch.chdir(folder)
        asked = (*given, *ARMS, "--metric", "accuracy", "--registered", plan)
        return " ".join(command("compare", *asked).out.split())

    plan = tmp_path / "plan.json"
    asked = (*ARMS, "--metric", "accuracy", "--register")
    assert command("compare", "runs.csv", *asked, plan).status == 0
    frame = frame_of(A=A, B=B).assign(started_at="2100-01-01T00:00:00+00:00")
    other = tmp_path / "other"
    other.mkdir()
    for folder in (tmp_path, other):
        frame.to_csv(folder / "runs.csv", index=False)
    (other / "link.csv").symlink_to(tmp_path / "runs.csv")
    same = "Registered by the date in a file"
    for name in ("../runs.csv", str(tmp_path / "runs.csv"), "./../other/../runs.csv", "link.csv"):
        assert sources(name, folder=other).startswith(same)
    assert sources(str(tmp_path / "runs.csv")).startswith(same)
    differs = f"the source {other}/runs.csv differs from the registered source {tmp_path}/runs.csv"
    assert differs in sources("runs.csv", folder=other)


def test_a_registered_study_and_address_are_compared_by_name_without_a_password() -> None:
    def plan(*sources: str, folder: str) -> Plan:
        return replace(PLAN, sources=sources, folder=folder)

    def same(registered: Plan, now: Plan) -> bool:
        known = json.loads(json.dumps(asdict(registered)))
        return not Registered(known, registered.digest, None).departures(now)

    address = "postgresql://me{}@host/runs"
    first = plan(address.format(":***"), folder="/")
    assert same(first, plan(address.format(""), folder="/tmp"))
    assert not same(first, plan(address.format("").replace("runs", "other"), folder="/"))
    assert same(plan("tiny", folder="/"), plan("tiny", folder="/tmp"))
    # Where the folder is not there, as on another machine, the path is that from the current one.
    assert same(plan("runs.csv", folder="/not/here"), plan("runs.csv", folder=str(Path.cwd())))
    assert not same(plan("tiny", folder="/"), plan("other", folder="/"))


REFUSED: list[tuple[tuple[Any, ...], str]] = [
    ((), "name a source: a study, a file"),
    (("runs.csv",), "name two arms with --a and --b, or use --all: the arms are A, B"),
    (("runs.csv", "--a", "A"), "name two arms with --a and --b"),
    (("runs.csv", *ARMS, "--all"), "--a and --b cannot be used with --all or --baseline"),
    (("runs.csv", "--all", "--baseline", "B"), "--all and --baseline cannot be used together"),
    (("runs.csv", "--all", "--sequential"), "--sequential compares two arms"),
    (("runs.csv", *ARMS, "--json", "--markdown"), "cannot be used together: give one"),
    (("runs.csv", *ARMS, "--map", "seed"), "--map = 'seed' must be NAME=VALUE"),
    (("runs.csv", *ARMS, "--map", "seed=seed,seed=arm"), "--map sets seed twice"),
    (("runs.csv", *ARMS, "--map", "seed=sead"), ". Did you mean 'seed'?"),
    (("runs.csv", "--a", "A", "--b", "b"), "b = 'b' has no runs. Allowed: A, B"),
    (("runs.csv", *ARMS, "--registered", "no.json"), "cannot read no.json"),
    (("runs.csv", *ARMS, "--registered", "runs.csv"), "runs.csv is not valid JSON"),
    ((*ARMS, "--target", "1", "--register", "x.json"), "--register cannot be used with --regist"),
    ((*ARMS, "--register", "x.json"), "--register needs --metric"),
    (("nothing", *ARMS), "no database"),
    (("runs.csv", *ARMS, "--delta", "nan"), "delta = nan must be a number above 0"),
]


@pytest.mark.parametrize(("arguments", "said"), REFUSED)
def test_what_cannot_be_done_is_refused_in_one_sentence(
    arguments: tuple[Any, ...], said: str, command: Callable[..., Ended], runs: Path
) -> None:
    before = sorted(runs.parent.iterdir())
    ended = command("compare", *arguments)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("Error: ")
    assert ended.err.count("\n") == 1
    assert said in ended.err
    assert sorted(runs.parent.iterdir()) == before


def test_a_table_of_many_arms_fits_a_terminal(
    command: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    names = ("sgd", "indian-usual", "sgd-matched")
    rows = [
        {"arm": arm, "seed": seed, "accuracy": 0.8 + 0.01 * n + 0.003 * (seed * (n + 2) % 5)}
        for n, arm in enumerate(names)
        for seed in range(6)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "many.csv", index=False)
    lines = command("compare", "many.csv", "--baseline", "sgd", "--delta", "0.01").out.splitlines()
    assert "accuracy, higher is better; each minus sgd" in map(str.strip, lines)
    (heading,) = [line.split() for line in lines if "difference" in line and "label" in line]
    assert heading == ["a", "difference", "interval", "n", "p", "(Holm)", "label"]
    labels = ("SUPPORTED", "NEGLIGIBLE", "REFUTED", "INCONCLUSIVE")
    told = [line.split() for line in lines if line.startswith(names[1:])]
    assert [(row[0], row[-1] in labels) for row in told] == [(name, True) for name in names[1:]]
