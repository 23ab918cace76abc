"""The command line as its users meet it: what it prints, where, and how it ends."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

import indian_tune
from indian_tune import __version__, errors
from indian_tune.cli.app import COMMANDS, app
from indian_tune.cli.show import TRIAL
from indian_tune.engines import TrialsInHand
from indian_tune.errors import InputError
from indian_tune.ledger import Ledger, Phase, State
from indian_tune.ledger.connections import database_time
from indian_tune.ledger.slots import BROKE, record_event
from indian_tune.service.output import notices, results
from indian_tune.study.file.spec import parse_study
from indian_tune.study.registration import register
from tests.conftest import TINY, to_toml

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Ended

ROOT = Path(__file__).parents[2]


def test_a_search_ends_with_a_ranking_on_stdout_and_progress_on_stderr(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    _, done = finished
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert "Arms, best first" in done.stdout
    assert re.search(r"α=[\d.]+ β=[\d.]+ γ0=[\d.]+", done.stdout)
    assert "indian - sgd" in done.stdout
    assert re.search(r"^Database: sqlite:////\S+/indian-tune\.db$", done.stdout, re.MULTILINE)
    assert "indian-tune analyze tiny --out report" in done.stdout
    assert "indian-tune show tiny" in done.stdout
    assert "tiny: nin-small on digits, 2 arms, 4 trials" in done.stderr
    assert "epochs" in done.stderr
    assert "epochs/s" not in done.stdout


def test_the_same_command_again_trains_nothing_and_ranks_again(
    finished: tuple[Path, subprocess.CompletedProcess[str]], command: Callable[..., Ended]
) -> None:
    database, done = finished
    before = epochs_in(database)
    study = database.parent / "tiny.toml"
    again = command("search", study, "--engine", "inline", "--storage", database)
    assert again.status == 0
    assert table_of(again.out) == table_of(done.stdout)
    assert epochs_in(database) == before == 16


def test_status_tells_people_and_programs_the_same(
    finished: tuple[Path, subprocess.CompletedProcess[str]], command: Callable[..., Ended]
) -> None:
    database, _ = finished
    people = command("status", "--storage", database)
    assert people.status == 0
    assert re.search(r"indian +2/2 +2/2 +8", people.out)
    told = json.loads(command("status", "tiny", "--storage", database, "--json").out)
    assert told["finished"] is True
    assert {arm["arm"]: arm["tune"]["states"] for arm in told["arms"]} == {
        "indian": {"complete": 2},
        "sgd": {"complete": 2},
    }
    indian = next(arm for arm in told["arms"] if arm["arm"] == "indian")
    config = indian["config"]
    assert indian["effective_learning_rate"] == config["gamma0"] / config["alpha"]


def test_watching_a_finished_study_shows_it_once_and_ends(
    finished: tuple[Path, subprocess.CompletedProcess[str]], command: Callable[..., Ended]
) -> None:
    database, _ = finished
    watched = command("status", "--watch", "--storage", database).out
    rows = re.findall(r"^(indian|sgd) +2/2 +(\S+) +2/2 +8/8", watched, re.MULTILINE)
    assert [arm for arm, _ in rows] == ["indian", "sgd"]
    # The same number has the same heading in both tables.
    ranked = dict(re.findall(r"^\d +(indian|sgd) +(\S+)", watched, re.MULTILINE))
    assert dict(rows) == ranked
    assert watched.count("error %") == 3
    assert "best " not in watched.partition("Arms, best first")[0]
    assert "\n16 epochs\n" in re.sub(" +\n", "\n", watched)
    assert watched.count("Arms, best first") == 1
    refused = command("status", "--watch", "--json", "--storage", database)
    assert (refused.status, "--watch cannot be used with --json" in refused.err) == (2, True)


def test_watching_shows_every_change_until_the_study_is_finished(
    command: Callable[..., Ended], storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Ledger.open(storage) as ledger:
        spec = parse_study(TINY, source="test")
        study = register(ledger, spec)
        ledger.join(study.id, "worker", host="here", pid=1, started="0", device="cpu")

        def work(seconds: float) -> None:
            """Finish a trial, or do nothing every second time."""
            assert seconds == 7
            waits.append(seconds)
            lease = ledger.claim(study.id, Phase.TUNE, "worker") if len(waits) % 2 else None
            if lease is None and not ledger.open_trials(study.id, Phase.TUNE):
                raise KeyboardInterrupt
            if lease is not None:
                ledger.begin(lease, {}, 1, seeds=(0,), epochs=1, provenance={})
                ledger.finish(lease, State.PRUNED, 0.5, None)

        waits: list[float] = []
        monkeypatch.setattr("time.sleep", work)
        ended = command("status", "--watch", "--every", "7", "--storage", storage)
    assert ended.status == 0
    assert re.findall(r"^indian +(\d)/2", ended.out, re.MULTILINE) == ["0", "1", "1", "2", "2"]
    assert re.findall(r"^sgd +(\d)/2", ended.out, re.MULTILINE) == ["0", "0", "1", "1", "2"]


def test_show_lists_trials_and_shows_one_epoch_by_epoch(
    finished: tuple[Path, subprocess.CompletedProcess[str]], command: Callable[..., Ended]
) -> None:
    database, _ = finished
    listed = command("show", "tiny", "--storage", database)
    assert re.findall(r"^((?:indian|sgd)\S*) +complete", listed.out, re.MULTILINE) == [
        f"{arm}{phase}/{index}"
        for arm in ("indian", "sgd")
        for phase in ("", "/confirm")
        for index in (0, 1)
    ]
    one = command("show", "tiny", "indian/confirm/1", "--storage", database)
    assert "seed 1001: complete, 2/2 epochs" in one.out
    assert "effective learning rate" in one.out
    assert re.search(r"train loss +valid\. error %", one.out)
    assert re.search(r"┤█+▁* +[\d.]+ ┤", one.out)
    told = json.loads(command("show", "tiny", "sgd/0", "--storage", database, "--json").out)
    assert [epoch["epoch"] for epoch in told["runs"][0]["epochs"]] == [1, 2]
    assert told["runs"][0]["provenance"]["device"] == "cpu"


def test_show_tells_of_every_attempt_that_broke_also_of_a_trial_that_was_finished_later(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
    command: Callable[..., Ended],
    tmp_path: Path,
) -> None:
    database = tmp_path / "copy.db"
    shutil.copy(finished[0], database)
    with Ledger.open(f"sqlite:///{database}") as ledger:
        study = ledger.study("tiny")
        trial = ledger.trials(study.id)[0]
        data = {"attempt": 1, "epochs": 0, "reason": "it hung", "traceback": "in forward\nit hung"}
        with ledger._writing() as connection:
            now = database_time(connection)
            record_event(connection, study.id, BROKE, data, now, trial_id=trial.id)
    shown = command("show", "tiny", "indian/0", "--storage", database).out
    assert re.search(r"Attempt 1 failed at \S+ \S+ UTC:\nin forward\nit hung", shown)
    assert "broke" not in command("show", "tiny", "indian/1", "--storage", database).out
    told = json.loads(command("show", "tiny", "indian/0", "--storage", database, "--json").out)
    assert [each["traceback"] for each in told["broken_attempts"]] == ["in forward\nit hung"]
    with Ledger.open(f"sqlite:///{database}") as ledger, ledger._writing() as connection:
        again = {**data, "attempt": 2}
        record_event(connection, study.id, BROKE, again, now, trial_id=trial.id)
    shown = command("show", "tiny", "indian/0", "--storage", database).out
    assert "Attempts 1, 2 failed in the same way, the last one at" in " ".join(shown.split())
    assert shown.count("in forward") == 1


def test_a_search_whose_engine_cannot_go_on_prints_json_too(
    command: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A checkpoint after every epoch: a short trial may end without one.
    monkeypatch.setattr(TrialsInHand, "checkpoint_due", lambda _: True)
    (tmp_path / "tiny.toml").write_text(to_toml(TINY), encoding="utf-8")
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "checkpoints").touch()
    options = ("--engine", "inline", "--artifacts", "files", "--json")
    ended = command("search", "tiny.toml", *options)
    assert ended.status == 1
    assert "Continue with:\n  indian-tune search tiny.toml --engine inline" in ended.err
    told = json.loads(ended.out)
    assert (told["study"], told["finished"], told["failed"]) == ("tiny", False, [])


def test_show_stops_where_nobody_reads_on_and_says_how_to_see_the_rest(
    finished: tuple[Path, subprocess.CompletedProcess[str]], command: Callable[..., Ended]
) -> None:
    database, _ = finished
    some = command("show", "tiny", "--storage", database, "--limit", "3")
    assert re.findall(r"^((?:indian|sgd)\S*) +complete", some.out, re.MULTILINE) == [
        *("indian/0", "indian/1", "indian/confirm/0")
    ]
    assert "3 of 8 trials. --limit 0 shows all" in " ".join(some.err.split())
    every = command("show", "tiny", "--storage", database, "--limit", "0")
    assert "validation error %" in every.out.splitlines()[0]
    assert every.out == command("show", "tiny", "--storage", database).out
    assert every.err == ""
    told = json.loads(
        command("show", "tiny", "indian/tune", "--best", "--storage", database, "--json").out
    )
    scores = [trial["value"] for trial in told]
    assert len(scores) == 2
    assert scores == sorted(scores)
    (best,) = json.loads(
        command(
            *("show", "tiny", "indian/tune", "--best", "--limit", "1"),
            *("--storage", database, "--json"),
        ).out
    )
    assert best == told[0]
    # Those on fresh seeds are of other lengths and seeds, so that their scores say something else.
    mixed = json.loads(command("show", "tiny", "--best", "--storage", database, "--json").out)
    assert [trial["phase"] for trial in mixed] == ["tune"] * 4 + ["confirm"] * 4
    assert [trial["value"] for trial in mixed[:4]] == sorted(t["value"] for t in mixed[:4])


@pytest.mark.parametrize("name", ["show", "worker", "status", "analyze", "export"])
def test_a_shell_completes_the_names_of_studies(
    name: str,
    finished: tuple[Path, subprocess.CompletedProcess[str]],
    command: Callable[..., Ended],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("_INDIAN_TUNE_COMPLETE", "complete_bash")
    for storage, start, found in (
        (finished[0], "t", "tiny"),
        (finished[0], "x", ""),
        ("no", "", ""),
    ):
        words = f"indian-tune {name} --storage {storage} {start}"
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", "4")
        ended = command()
        assert (ended.out.strip(), ended.err) == (found, "")


@pytest.mark.parametrize("where", ["before", "after"])
def test_more_is_logged_wherever_the_option_stands(
    where: str, command: Callable[..., Ended]
) -> None:
    logger = logging.getLogger("indian_tune")
    for words in (("studies",), ("data", "list")):
        try:
            command(*(("-v", *words) if where == "before" else (*words, "-v")))
            assert logger.level == logging.INFO
        finally:
            logger.setLevel(logging.WARNING)


def test_a_search_that_compares_nothing_loads_no_statistics(tmp_path: Path) -> None:
    study = {**TINY, "protocol": {"epochs": 1, "confirm_seeds": 0}}
    (tmp_path / "study.toml").write_text(to_toml(study), encoding="utf-8")
    script = (
        "import sys, typer\n"
        "from indian_tune.cli.app import app\n"
        "try:\n"
        "    app(['search', 'study.toml', '--engine', 'inline'], standalone_mode=False)\n"
        "finally:\n"
        "    print('loaded', sorted({'torch', 'pandas', 'statsmodels'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.splitlines()[-1] == "loaded ['torch']"


def test_no_command_reveals_the_test_set(
    finished: tuple[Path, subprocess.CompletedProcess[str]], command: Callable[..., Ended]
) -> None:
    database, _ = finished
    with sqlite3.connect(database) as connection:
        sealed = connection.execute(
            "SELECT metrics FROM ledger_sealed_epoch JOIN ledger_run ON id = run_id"
        ).fetchall()
    connection.close()
    assert len(sealed) == 16
    said = "".join(
        command(*arguments, "--storage", database, "--json").out
        for arguments in (("status",), ("show", "tiny"), ("show", "tiny", "indian/0"))
    )
    assert "test_" not in said
    assert not [text for (text,) in sealed if repr(json.loads(text)["test_loss"]) in said]


def test_show_names_what_there_is_when_asked_for_what_there_is_not(
    finished: tuple[Path, subprocess.CompletedProcess[str]], command: Callable[..., Ended]
) -> None:
    database, _ = finished
    for arguments, message in (
        (("show", "other"), "Allowed: tiny; `indian-tune search STUDY.toml` registers a study"),
        (("worker", "other.toml"), "Give the name of a registered study, not its file"),
        (("show", "tiny", "adam/0"), "one of the arms indian, sgd"),
        (("show", "tiny", "sgd/9"), "arm 'sgd' has no tune trial 9: it has 2, numbered from 0"),
        (("status", "other"), "Allowed: tiny"),
        (("status", "tinny"), "Did you mean 'tiny'? Allowed: tiny"),
    ):
        ended = command(*arguments, "--storage", database)
        assert (ended.status, ended.out) == (2, "")
        assert message in ended.err


def test_a_changed_study_under_the_same_name_is_refused(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
    command: Callable[..., Ended],
    tiny: dict[str, Any],
    write_study: Callable[[dict[str, Any]], Path],
) -> None:
    database, _ = finished
    tiny["protocol"]["confirm_seeds"] = 3
    ended = command("search", write_study(tiny), "--storage", database)
    assert ended.status == 2
    assert "protocol.confirm_seeds: registered [1000, 1001], now 3" in ended.err


def test_studies_lists_files_and_what_is_registered(
    finished: tuple[Path, subprocess.CompletedProcess[str]], command: Callable[..., Ended]
) -> None:
    database, _ = finished
    told = json.loads(command("studies", "--storage", database, "--json").out)
    assert "quickstart" in [file["name"] for file in told["files"]]
    assert all(file["question"].endswith("?") for file in told["files"])
    (registered,) = told["registered"]
    assert (registered["name"], registered["trials_finished"], registered["trials"]) == (
        "tiny",
        8,
        8,
    )
    assert registered["state"] == "finished"
    people = command("studies")
    assert (people.status, "quickstart" in people.out) == (0, True)
    assert not Path("indian-tune.db").exists()


def test_status_lists_the_studies_of_a_database_where_there_are_several(
    storage: str, tiny: dict[str, Any], command: Callable[..., Ended]
) -> None:
    with Ledger.open(storage) as ledger:
        for name in ("first", "second"):
            study = register(ledger, parse_study({**tiny, "name": name}, source="study.toml"))
        ledger.join(study.id, "worker", host="here", pid=1, started="0", device="cpu")
    ended = command("status", "--storage", storage)
    words = " ".join(ended.out.split())
    assert (ended.status, ended.err) == (0, "")
    for name, state in (("first", "not finished"), ("second", "running")):
        row = next(line.split() for line in ended.out.splitlines() if line.startswith(name))
        assert " ".join(row[4:]) == f"{state} 0/4"
    assert "give its name: indian-tune status second --storage" in words
    told = json.loads(command("status", "--storage", storage, "--json").out)
    assert [each["name"] for each in told["studies"]] == ["first", "second"]
    watched = command("status", "--storage", storage, "--watch")
    assert (watched.status, "contains first, second" in watched.err) == (2, True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("search", "trials", 0), "search.trials = 0 must be at least 1"),
        (("problem", "dataset", "cifar1000"), "Did you mean 'cifar100'?"),
        (("search", "sampler", "bayes"), "Did you mean 'tpe' or 'gp'?"),
        (("protocol", "epoch", 3), "protocol.epoch is not a key"),
    ],
)
def test_a_mistake_in_a_study_file_ends_with_2_and_writes_nothing(
    command: Callable[..., Ended],
    tiny: dict[str, Any],
    write_study: Callable[[dict[str, Any]], Path],
    change: tuple[str, str, Any],
    message: str,
) -> None:
    section, key, value = change
    tiny[section][key] = value
    file = write_study(tiny)
    ended = command("search", file)
    assert (ended.status, ended.out) == (2, "")
    assert message in ended.err
    assert ended.err.count("\n") == 1
    assert list(file.parent.iterdir()) == [file]


def test_a_missing_data_set_is_named_with_the_command_that_gets_it(
    command: Callable[..., Ended],
    tiny: dict[str, Any],
    write_study: Callable[[dict[str, Any]], Path],
    tmp_path: Path,
) -> None:
    tiny["problem"] |= {"dataset": "cifar100", "model": "nin"}
    file = write_study(tiny)
    ended = command("search", file, "--data-dir", tmp_path / "data")
    assert ended.status == 2
    assert "indian-tune data fetch cifar100" in ended.err
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("search", "absent.toml"), "there is no study file absent.toml"),
        (("search", "absent"), "and none of that name is shipped (shipped are"),
        (("search", "quickstart", "--workers", "0"), "--workers = 0 must be at least 1"),
        (("search", "quickstart", "--devices", "gpu"), "'gpu' is not a device"),
        (("search", "quickstart", "--storage", "no/folder.db"), "/no does not exist"),
        (
            ("search", "quickstart", "--storage", "mysql://host/db"),
            "'mysql' in --storage or INDIAN_TUNE_STORAGE is not supported",
        ),
        (
            ("search", "mine.py"),
            "is a Python script, not a study file: run it with `python mine.py`",
        ),
        (("status",), "/indian-tune.db: run this in the folder in which the search was run"),
        (("show", "tiny"), "there is no database"),
        (
            ("studies", "--storage", "absent.db"),
            "/absent.db: run this in the folder in which the search was run",
        ),
    ],
)
def test_bad_input_ends_with_2_one_message_and_nothing_written(
    command: Callable[..., Ended], tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    ended = command(*arguments)
    assert (ended.status, ended.out) == (2, "")
    assert message in ended.err
    assert "Traceback" not in ended.err
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_cannot_be_written_is_refused(command: Callable[..., Ended]) -> None:
    # Nobody may make files there, not even root.
    ended = command("search", "quickstart", "--storage", "/proc/study.db")
    assert ended.status == 2
    assert "database sqlite:////proc/study.db: unable to open database file" in ended.err


def test_the_program_runs_as_a_module_and_knows_its_version() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "indian_tune", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == f"indian-tune {__version__}"


@pytest.mark.parametrize(
    "arguments", [("--help",), ("status", "--storage", "{database}"), ("studies",)]
)
def test_what_does_not_train_loads_nothing_heavy(
    finished: tuple[Path, subprocess.CompletedProcess[str]], arguments: tuple[str, ...]
) -> None:
    database, _ = finished
    words = [word.format(database=database) for word in arguments]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "indian_tune", *words],
        capture_output=True,
        text=True,
        check=True,
        cwd=database.parent,
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "typer" in loaded
    heavy = {"torch", "ray", "pandas", "matplotlib", "optuna", "scipy", "numpy", "alembic"}
    # What only a writer or a study with code of its own needs.
    rare = {"indian_tune.ledger.writer", "indian_tune.optim.own_family", "indian_tune.imports"}
    assert loaded & (heavy | rare) == set()


def test_the_list_of_commands_is_shown_without_importing_them() -> None:
    code = (
        "import sys\n"
        "from indian_tune.cli import app\n"
        "app(['--help'], standalone_mode=False)\n"
        "print('loaded', {'rich', 'pydantic', 'sqlalchemy'} & set(sys.modules),\n"
        "      sorted(name for name in sys.modules if name.startswith('indian_tune.cli.')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert done.splitlines()[-1] == (
        "loaded set() ['indian_tune.cli.app', 'indian_tune.cli.deferred']"
    )


def test_lanes_can_be_given_under_their_former_name_which_no_help_shows() -> None:
    for name in ("search", "worker"):
        helped = CliRunner().invoke(app, [name, "--help"]).output
        assert ("--lanes" in helped, "--slots" in helped) == (True, False)
        for option in ("--lanes", "--slots"):
            refused = CliRunner().invoke(app, [name, "x", option, "0"])
            assert refused.exit_code == 2
            assert "Invalid value for '--lanes'" in refused.output


def test_every_command_has_help_and_is_in_the_guide() -> None:
    guide = (ROOT / "studies/guides/commands.md").read_text(encoding="utf-8")
    shown = CliRunner().invoke(app, ["--help"]).output
    listed = re.findall(r"^  ([a-z]+) ", shown.partition("Commands:")[2], re.MULTILINE)
    assert listed == list(COMMANDS)
    for name, summary in COMMANDS.items():
        helped = CliRunner().invoke(app, [name, "--help"])
        assert (helped.exit_code, "Usage:" in helped.output) == (0, True)
        assert "{" not in helped.output.partition("\n")[0]
        # The list of commands is shown without their modules, and so has its own copy.
        first = helped.output.split("\n\n")[1]
        assert " ".join(first.split()) == summary
        assert f"indian-tune {name}" in guide


@pytest.mark.parametrize("name", ["plan", "search", "worker", "analyze"])
def test_the_help_names_every_kind_of_code_that_a_study_may_bring(name: str) -> None:
    helped = " ".join(CliRunner().invoke(app, [name, "--help"]).output.split())
    asked = helped.partition("--allow-import ")[2].partition(" --")[0]
    for kind in ("problem", "optimizers", "sampler", "pruner"):
        assert kind in asked


@pytest.mark.parametrize(
    ("line", "completions"),
    [
        ("indian-tune da", "dashboard data"),
        ("indian-tune search --ext", "--extend --extend-space"),
        ("indian-tune reproduce fig", "figure1 figure2"),
    ],
)
def test_the_shell_completes_commands_and_their_options(line: str, completions: str) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.argv = ['indian-tune']; from indian_tune.cli import main; main()",
        ],
        capture_output=True,
        text=True,
        check=True,
        env={
            **os.environ,
            "_INDIAN_TUNE_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split()) - 1),
        },
    )
    assert done.stdout.split() == completions.split()


def epochs_in(database: Path) -> int:
    with sqlite3.connect(database) as connection:
        (count,) = connection.execute("SELECT COUNT(*) FROM ledger_epoch").fetchone()
    connection.close()
    return int(count)


def table_of(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines() if re.match(r"^\d ", line)]


def test_a_name_between_colons_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    results().print("runs:key:3")
    notices().print("runs:key:3")
    assert capsys.readouterr() == ("runs:key:3\n", "runs:key:3\n")


@pytest.mark.parametrize("phase", list(Phase))
def test_show_takes_every_phase_that_a_trial_can_be_of(phase: Phase) -> None:
    found = TRIAL.fullmatch(f"indian/r3/{phase}/5")
    assert found is not None
    assert found.groups() == ("indian", "3", str(phase), "5")


def test_windows_is_refused_before_anything_else(
    command: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[Any] = [indian_tune.search, indian_tune.register, indian_tune.plan]
    monkeypatch.setattr(errors, "sys", SimpleNamespace(platform="win32"))
    for name in ("search", "status"):
        ended = command(name, "isolate-digits")
        assert (ended.status, "do not run on Windows: use Linux, macOS" in ended.err) == (2, True)
    for job in jobs:
        with pytest.raises(InputError, match=r"Windows Subsystem for Linux \(WSL\)"):
            job("isolate-digits")


@pytest.mark.parametrize(("status", "ignored"), [(130, True), (0, False)])
def test_after_ctrl_c_another_one_does_not_disturb_the_end_of_python(
    status: int, ignored: bool
) -> None:
    ends = (
        "import atexit, os, signal, sys, indian_tune.cli; "
        "app = sys.modules['indian_tune.cli.app']; "
        f"app._status = lambda: {status}; "
        "atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT)); app.main()"
    )
    done = subprocess.run([sys.executable, "-c", ends], capture_output=True, text=True, check=False)
    assert ("KeyboardInterrupt" not in done.stderr) == ignored
    assert done.returncode == status
