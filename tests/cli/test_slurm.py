"""`indian-tune slurm` where no cluster is needed: what it would submit, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from indian_tune.engines import JobRequest
from indian_tune.engines.slurm.arrays import DROPPED, INTENDED, SLURM, SUBMITTED, worker_arrays
from indian_tune.engines.slurm.limits import limit_seconds, notice_seconds, short_limit
from indian_tune.errors import InputError
from indian_tune.ledger import ArmPlan, Ledger
from indian_tune.service import slurm
from indian_tune.service.slurm import SlurmRequest, submit

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Ended

STORAGE = "postgresql+psycopg://me:secret@host/tuning"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("90", 5400), ("1:30", 90), ("4:00:00", 14400), ("1-0", 86400), ("2-12:30", 217800)),
        *(("1-00:00:01", 86401), ("infinite", None), ("4h", None), ("-5", None), ("", None)),
    ],
)
def test_time_limits_are_read_as_slurm_reads_them(text: str, seconds: int | None) -> None:
    assert limit_seconds(text) == seconds


def test_a_worker_s_notice_is_longer_than_an_epoch_and_leaves_time_for_one() -> None:
    assert notice_seconds("4", 0.0) == 120
    assert notice_seconds("4:00:00", 300.5) == 601
    assert short_limit("4:00:00") == short_limit("30") == short_limit("0:05:00") == ""
    with pytest.raises(InputError, match=r"0:04:00; 3:30 is 3 minutes 30 seconds; 3 hours 30 m"):
        notice_seconds("3:30", 0.0)
    with pytest.raises(InputError, match=r"'0:03:59' is too short: a worker .* at least 0:04:00"):
        notice_seconds("0:03:59", 0.0)
    with pytest.raises(InputError, match=r"took 30000 s, .* Give at least 1-1:01:00"):
        notice_seconds("1-0", 30000.0)


@pytest.fixture
def script(command: Callable[..., Ended]) -> Callable[..., str]:
    """Return the script that would be submitted."""

    def printed(*options: object) -> str:
        given = ("slurm", "quickstart", "--workers", 32, "--time", "4:00:00", "--dry-run")
        ended = command(*given, *options)
        assert ended.status == 0
        if "--storage" in options:
            assert ended.err == ""
        else:
            assert ended.err.startswith("Warning: database ")
            assert "is an SQLite file, and jobs on other machines could not use it" in ended.err
        return ended.out

    return printed


def test_a_dry_run_warns_of_a_database_that_only_this_machine_can_reach(
    command: Callable[..., Ended],
) -> None:
    given = ("slurm", "quickstart", "--workers", 1, "--time", "4:00:00", "--dry-run", "--storage")
    ended = command(*given, "postgres://me@127.0.0.1/tuning")
    told = "Warning: the database's host, 127.0.0.1, is this machine itself, and jobs on other"
    assert (ended.status, ended.err.startswith(told)) == (0, True)
    assert "is this machine itself" in command(*given, "postgresql:///tuning").err


def test_a_dry_run_prints_the_script_and_does_nothing(
    script: Callable[..., str], tmp_path: Path
) -> None:
    text = script(
        *("--gpus", 1, "--partition", "gpu", "--sbatch-option", "mem=8G", "--lanes", 4),
        *("--threads", 2, "--artifacts", "my files/100%", "--data-dir", "data", "--allow-import"),
    )
    assert list(tmp_path.iterdir()) == []
    options = [line.split(" ", 1)[1] for line in text.splitlines() if line.startswith("#SBATCH")]
    folder = tmp_path / "my files/100%"
    assert options == [
        *("--job-name=indian-tune-quickstart", "--array=0-31", "--time=4:00:00", "--ntasks=1"),
        *("--cpus-per-task=2", "--gres=gpu:1", "--partition=gpu", "--mem=8G", "--export=ALL"),
        *("--requeue", "--signal=B:USR1@120", "--open-mode=append"),
        f"'--output={folder}%/slurm/indian-tune-quickstart-%A_%a.log'",
    ]
    (started,) = [line for line in text.splitlines() if line.endswith("&")]
    assert started == (
        f"{sys.executable} -P -m indian_tune worker quickstart --device cuda:0 --artifacts "
        f"'{folder}' --data-dir {tmp_path / 'data'} --allow-import --threads 2 --lanes 4 &"
    )
    (own_code,) = [line for line in text.splitlines() if line.startswith("export PYTHONPATH=")]
    # Beside the study file.
    assert own_code.removeprefix("export PYTHONPATH=").startswith(
        str(Path(__file__).parents[2] / "studies")
    )


def test_submitting_warns_once_before_a_study_is_registered_that_can_get_no_verdict(
    storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "Cluster", lambda: None)
    monkeypatch.setattr(slurm, "_check_partition", lambda *_: None)
    monkeypatch.setattr(slurm, "submit_workers", lambda *_, **__: None)
    asked = SlurmRequest(
        "regularization-cpu", 1, JobRequest("4:00:00"), storage=storage, artifacts=tmp_path / "own"
    )
    said: list[str] = []
    submit(asked, said.append, lambda: None)
    assert [text.partition(" = ")[0] for text in said[:2]] == [
        "Warning: search.replicates",
        "Warning: claims.half_budget",
    ]
    assert "`indian-tune plan STUDY`, or" in said[2]
    submit(asked, said.append, lambda: None)
    assert len(said) == 3


def test_a_script_holds_the_address_of_the_database_but_no_password(
    script: Callable[..., str],
) -> None:
    plain = script("--storage", "postgresql+psycopg://me@host/tuning")
    assert "export INDIAN_TUNE_STORAGE=postgresql+psycopg://me@host/tuning\n" in plain
    text = script("--storage", STORAGE)
    assert "secret" not in text
    assert ': "${INDIAN_TUNE_STORAGE:?' in text


def test_a_script_is_sound_for_the_shell(script: Callable[..., str], tmp_path: Path) -> None:
    file = tmp_path / "job.sh"
    file.write_text(script("--storage", STORAGE), encoding="utf-8")
    checker = Path(sys.executable).with_name("shellcheck")
    subprocess.run([checker, file], check=True)


def test_a_limit_that_may_have_been_meant_in_hours_is_read_out(
    command: Callable[..., Ended],
) -> None:
    given = ("slurm", "quickstart", "--workers", 1, "--time", "4:00", "--dry-run")
    ended = command(*given, "--storage", STORAGE)
    assert (ended.status, "--time=4:00" in ended.out) == (0, True)
    assert ended.err == "Warning: --time 4:00 is 4 minutes; 4 hours is 4:00:00\n"


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("array=1-9", "array is set by this command; remove it"),
        ("gres=gpu:2", "gres is set by this command; give --gpus instead"),
        ("--mem=8G", "must be NAME=VALUE, or NAME alone, without dashes"),
        ("=8G", "must be NAME=VALUE"),
    ],
)
def test_options_that_the_command_sets_itself_are_refused(
    option: str, told: str, command: Callable[..., Ended]
) -> None:
    given = ("slurm", "quickstart", "--workers", 1, "--time", "60", "--dry-run")
    ended = command(*given, f"--sbatch-option={option}")
    assert ended.status == 2
    assert f"--sbatch-option = {option!r}" in ended.err
    assert told in ended.err


def test_without_slurm_it_says_what_to_do(
    command: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    ended = command("slurm", "quickstart", "--workers", 1, "--time", "60")
    assert ended.status == 2
    assert ended.err.startswith(
        "Error: sbatch is not on the PATH: run this on a machine from which Slurm"
    )
    assert list(tmp_path.iterdir()) == []


def test_what_is_known_of_arrays_is_in_the_record(storage: str) -> None:
    with Ledger.open(storage) as ledger:
        study = ledger.register("tiny", {}, "hash", [ArmPlan("sgd", "sgd", 1)])

        def note(name: str, step: str, **more: object) -> None:
            ledger.record_event(study.id, SLURM, {"name": name, "step": step, **more})

        for name in ("first", "second", "third"):
            note(name, INTENDED, workers=3, logs="/logs")
            # The answer to the first was lost.
            note(name, INTENDED, workers=3, logs="/logs")
        note("first", SUBMITTED, job="17")
        note("second", DROPPED)
        arrays = worker_arrays(ledger, study.id)
    assert [(each.name, each.job, each.dropped) for each in arrays] == [
        ("first", "17", False),
        ("second", None, True),
        ("third", None, False),
    ]


def test_a_dry_run_of_a_study_that_is_nowhere_is_refused(
    command: Callable[..., Ended], storage: str
) -> None:
    with Ledger.open(storage):
        pass
    given = ("slurm", "nope", "--workers", 1, "--time", "60", "--dry-run", "--storage", storage)
    ended = command(*given)
    assert ended.status == 2
    assert "no study 'nope'" in ended.err
    assert ended.out == ""
