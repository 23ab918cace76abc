from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

import indian_tune.cli
from indian_tune.cli.data import app
from indian_tune.errors import InputError
from indian_tune.problems import DATASETS, Archive, StoredFile

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ["digits", "mnist", "fashion-mnist", "mnist-5k", "cifar10", "cifar100"]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder that the environment names; nothing is in it."""
    monkeypatch.delenv("INDIAN_TUNE_MIRROR", raising=False)
    monkeypatch.setenv("INDIAN_TUNE_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A mirror of a `mnist` that is one small file."""
    packed = gzip.compress(b"pixels")
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "small.gz").write_bytes(packed)
    archive = Archive("small.gz", hashlib.md5(packed).hexdigest(), (), (StoredFile("small"),))
    small = replace(DATASETS["mnist"], archives=(archive,))
    monkeypatch.setitem(DATASETS, "mnist", small)
    return (tmp_path / "mirror").as_uri()


def run(*arguments: str, exit_code: int = 0) -> str:
    """Standard output of a command."""
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    return result.stdout


def test_list_shows_every_data_set_with_its_models_and_state(data: Path) -> None:
    lines = run("list").splitlines()
    rows = [" ".join(line.split()) for line in lines]
    assert "digits 1×8×8 10 1,438 359 nin-small, mlp intact" in rows
    assert "cifar100 3×32×32 100 50,000 10,000 nin, mlp missing" in rows
    assert lines[-1] == f"Data folder: {data}"


def test_list_tells_programs_the_same(data: Path, mirror: str) -> None:
    run("fetch", "mnist", "--mirror", mirror)
    listed = json.loads(run("list", "--json"))
    assert listed["data_dir"] == str(data)
    assert [entry["name"] for entry in listed["datasets"]] == NAMES
    states = {entry["name"]: entry["state"] for entry in listed["datasets"]}
    # Not "intact": listing compares no checksums.
    assert (states["mnist"], states["cifar10"]) == ("present", "missing")
    cifar = listed["datasets"][5]
    assert (cifar["classes"], cifar["train_images"], cifar["models"]) == (
        100,
        50_000,
        ["nin", "mlp"],
    )


def test_fetch_gets_a_data_set_and_says_where_it_is(data: Path, mirror: str) -> None:
    assert run("fetch", "mnist", "--mirror", mirror) == f"mnist: intact\nData folder: {data}\n"
    assert (data / "small").read_bytes() == b"pixels"


def test_fetch_tells_its_progress_on_standard_error(data: Path, mirror: str) -> None:
    result = CliRunner().invoke(app, ["fetch", "mnist", "--mirror", mirror])
    assert result.stderr == "downloading small.gz (0.0 MB)\n"


def test_fetch_into_a_folder_leaves_the_usual_one_alone(
    data: Path, mirror: str, tmp_path: Path
) -> None:
    run("fetch", "mnist", "--data-dir", str(tmp_path / "other"), "--mirror", mirror)
    assert (tmp_path / "other" / "small").is_file()
    assert not data.exists()


def test_fetch_fails_on_a_file_that_cannot_be_had(data: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["fetch", "cifar10", "--mirror", tmp_path.as_uri()])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "cifar-10-python.tar.gz was not downloaded" in result.stderr


@pytest.mark.parametrize("command", ["fetch", "verify"])
def test_an_unknown_name_is_left_to_the_caller(data: Path, command: str) -> None:
    with pytest.raises(InputError, match=r"'cifar'.*Allowed: cifar10, cifar100"):
        run(command, "cifar")


def test_verify_passes_over_what_was_never_fetched(data: Path) -> None:
    lines = run("verify").splitlines()
    assert "digits: intact" in lines
    assert lines[lines.index("cifar100: missing") + 1].strip() == (
        "get it with `indian-tune data fetch cifar100`"
    )


def test_verify_fails_on_a_named_data_set_that_is_missing(data: Path) -> None:
    assert run("verify", "cifar10", exit_code=1).startswith("cifar10: missing\n")


def test_verify_fails_on_damage_and_names_the_file(data: Path, mirror: str) -> None:
    run("fetch", "mnist", "--mirror", mirror)
    assert run("verify", "mnist").startswith("mnist: intact\n")
    (data / "small").write_bytes(b"flipped")
    said = run("verify", exit_code=1)
    assert f"mnist: damaged\n    {data / 'small'} (7 bytes) has the MD5 checksum" in said


def test_verify_tells_programs_the_same(data: Path) -> None:
    found = json.loads(run("verify", "--json"))
    assert found["data_dir"] == str(data)
    assert {"name": "mnist", "state": "missing", "details": []} in found["datasets"]


def test_path_prints_the_folder_and_nothing_else(data: Path, tmp_path: Path) -> None:
    assert run("path") == f"{data}\n"
    assert run("path", "--data-dir", str(tmp_path)) == f"{tmp_path}\n"


@pytest.mark.parametrize("command", ["list", "fetch", "verify", "path"])
def test_every_command_has_help(command: str) -> None:
    assert "--data-dir" in run(command, "--help")


def test_the_list_of_commands_has_whole_sentences() -> None:
    shown = CliRunner().invoke(indian_tune.cli.app, ["data", "--help"]).output
    assert "and whether they are present." in " ".join(shown.split())


def test_no_data_command_loads_torch(data: Path) -> None:
    code = (
        "import sys\n"
        "from indian_tune.cli.data import app\n"
        "for command in (['list'], ['verify'], ['fetch', 'digits'], ['path']):\n"
        "    app(command, standalone_mode=False)\n"
        "loaded = {'torch', 'torchvision', 'sklearn', 'pandas', 'ray'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
