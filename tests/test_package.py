"""The package as it is published: what is in it, and that it works without the checkout."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

from indian_tune import __version__

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
STUDIES = {path.name for path in (ROOT / "studies").glob("*.toml")}


def run(*command: object, cwd: Path) -> str:
    """Run a program outside the checkout and without its path; return what it printed."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "HOME": str(cwd), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(folder: Path) -> Path:
    """Build a copy of the checkout, without what earlier builds left there."""
    left = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info", "results")
    # As in a fresh clone, the files are as old as the copy.
    tree = shutil.copytree(ROOT, folder / "tree", ignore=left, copy_function=shutil.copyfile)
    # The environment stays: it may say where the build requirements come from.
    done = subprocess.run(
        [sys.executable, "-m", "build", "--outdir", folder, tree],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, and the wheel that was built from it."""
    return build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """The programs of an environment into which pip has installed the wheel.

    What it depends on is taken from this environment, which spares gigabytes; pip checks that
    everything that the wheel demands is there.
    """
    home = tmp_path_factory.mktemp("elsewhere")
    venv.create(home / "venv", with_pip=False)
    python = home / "venv/bin/python"
    own = Path(
        run(
            python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=home
        ).strip()
    )
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-index", wheel, cwd=home)
    return python.parent


def test_the_wheel_holds_every_file_of_the_package_and_every_study(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    info = f"indian_tune-{__version__}.dist-info"
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "indian_tune").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"indian_tune/py.typed", "indian_tune/analysis/templates/report.html.jinja"} < package
    data = f"indian_tune-{__version__}.data/data/share/indian-tune/studies"
    assert {name for name in names if not name.startswith(info)} == package | {
        f"{data}/{study}" for study in STUDIES
    }
    assert f"{info}/licenses/LICENSE" in names


def test_the_source_distribution_holds_what_the_wheel_is_built_from(built: Path) -> None:
    (found,) = built.glob("*.tar.gz")
    with tarfile.open(found) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "indian_tune/py.typed"} <= names
    assert {f"studies/{study}" for study in STUDIES} <= names


def test_two_builds_are_the_same_bytes(built: Path, tmp_path: Path) -> None:
    again = build(tmp_path)
    for suffix in (".whl", ".tar.gz"):
        first, second = ([*folder.glob(f"*{suffix}")] for folder in (built, again))
        assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
        assert len(first) == 1


def test_the_installed_package_brings_its_studies(installed: Path, tmp_path: Path) -> None:
    assert (
        run(installed / "indian-tune", "--version", cwd=tmp_path) == f"indian-tune {__version__}\n"
    )
    answer: Any = json.loads(run(installed / "indian-tune", "studies", "--json", cwd=tmp_path))
    paths = [Path(file["path"]) for file in answer["files"]]
    assert {path.name for path in paths} == STUDIES
    assert all(path.is_relative_to(installed.parent) for path in paths)


def test_the_installed_package_runs_the_quickstart_outside_the_checkout(
    installed: Path, tmp_path: Path, short_quickstart: Path
) -> None:
    where = run(
        installed / "python", "-c", "import indian_tune; print(indian_tune.__file__)", cwd=tmp_path
    )
    assert Path(where.strip()).is_relative_to(installed.parent)
    done = run(
        installed / "indian-tune",
        "search",
        short_quickstart,
        "--workers",
        "2",
        "--json",
        cwd=tmp_path,
    )
    answer: Any = json.loads(done)
    assert answer["finished"]
    assert {arm["arm"] for arm in answer["arms"]} == {"indian", "sgd", "adagrad", "adam"}
    assert (tmp_path / "indian-tune.db").exists()
