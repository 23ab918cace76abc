"""What is too long for every change, job by job: `make test-night`.

python -m tests.night                       # all that has not passed on this commit
python -m tests.night --jobs lowest         # some of it
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results.md"
# One note per job, so that an interrupted night continues.
NOTES = ROOT / "build/night"
UNIT = "not slow and not night and not image"
# Per cent of the package's statements that the unit tests run at least; 93 when it was set.
COVERAGE_FLOOR = 90
FAULT_MINUTES = 20
FUZZ_MINUTES = 20
SIMULATION_MINUTES = 10
PASSED = "passed"

Outcome = tuple[str, str]


def lower_bounds(project: dict[str, object]) -> list[str]:
    """Return pip constraints that hold every dependency at its lower bound.

    Bug-fix releases of the lower bound are allowed: ``numpy>=2.0`` gives ``numpy==2.0.*``.

    Args:
        project: the table ``project`` of ``pyproject.toml``.
    """
    metadata = json.loads(json.dumps(project))
    listed = metadata["dependencies"] + metadata["optional-dependencies"]["dev"]
    return [
        f"{requirement.name}=={bound.version}.*"
        for requirement in map(Requirement, listed)
        for bound in requirement.specifier
        if bound.operator == ">="
    ]


def run(*command: object) -> Outcome:
    """Run a program in the checkout; return how it ended, and its last line."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(done.stdout, flush=True)
    lines = done.stdout.strip().splitlines() or [""]
    told = [*(line for line in lines if "Total coverage" in line), lines[-1].strip("= ")]
    last = "; ".join(told)
    return (PASSED if done.returncode == 0 else "FAILED"), last


def pytest(python: Path | str, *options: str) -> Outcome:
    return run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options)


def in_environment(
    interpreter: Path | str,
    constraints: list[str] | None,
    *,
    packages: tuple[str, ...] = (),
    tests: tuple[str, ...] = ("-m", UNIT, "-n", "2", "--dist", "worksteal"),
) -> Outcome:
    """Run tests in an environment of their own.

    Args:
        interpreter: Python program that makes it.
        constraints: lines for pip; those of the repository if ``None``.
        packages: installed beside the extra ``dev``.
        tests: arguments of pytest; the unit tests if left out.
    """
    with tempfile.TemporaryDirectory(prefix="night-") as made:
        folder = Path(made)
        listed = ROOT / "constraints.txt"
        if constraints is not None:
            listed = folder / "constraints.txt"
            listed.write_text("\n".join(constraints) + "\n", encoding="utf-8")
        python = folder / "venv/bin/python"
        install = (python, "-m", "pip", "install", "--quiet", "--no-cache-dir")
        for command in (
            (interpreter, "-m", "venv", folder / "venv"),
            (*install, "--constraint", listed, f"{ROOT}[dev]", *packages),
        ):
            outcome = run(*command)
            if outcome[0] != PASSED:
                return outcome
        # Old releases warn of new ones that they meet, and new ones of what will change.
        lenient = () if constraints is None else ("-o", "filterwarnings=default")
        return pytest(python, *tests, *lenient)


def night() -> Outcome:
    return pytest(sys.executable, "-m", "night and not image")


def lowest() -> Outcome:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return in_environment(sys.executable, lower_bounds(project))


def find_python(version: str) -> Path | str | None:
    """Return a Python of a version that works: on the path, or one of pyenv's, active or not.

    Args:
        version: such as ``3.12``.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    on_path = shutil.which(f"python{version}")
    managed = sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"), reverse=True)
    for program in (on_path, *managed):
        # On the path may be pyenv's stand-in for a Python that is not active.
        if program is not None and run(program, "-c", "import venv, ensurepip")[0] == PASSED:
            return program
    return None


def python_3_12() -> Outcome:
    program = find_python("3.12")
    if program is None:
        return "not run", "there is no python3.12"
    return in_environment(program, None)


def newest() -> Outcome:
    """The newest release of every dependency, as a user's installation gets them."""
    return in_environment(find_python("3.13") or sys.executable, [])


def tensorflow() -> Outcome:
    tests = ("tests/optim/test_frameworks.py",)
    return in_environment(sys.executable, None, packages=("tensorflow-cpu",), tests=tests)


def optimizers() -> Outcome:
    tests = ("tests/night/test_optimizers.py", "-m", "night")
    return in_environment(sys.executable, None, packages=("pytorch_optimizer",), tests=tests)


def faults() -> Outcome:
    return run(sys.executable, "-m", "tests.night.faults", "--minutes", FAULT_MINUTES)


def fuzz() -> Outcome:
    return run(sys.executable, "-m", "tests.night.fuzz", "--minutes", FUZZ_MINUTES)


def simulation() -> Outcome:
    # Other seeds every day.
    first = str(1_000_000 * datetime.datetime.now(datetime.UTC).date().toordinal())
    limits = ("--minutes", str(SIMULATION_MINUTES), "--first", first)
    return run(sys.executable, "-m", "tests.simulation", *limits)


def coverage() -> Outcome:
    measured = ("--cov=indian_tune", "--cov-report=", f"--cov-fail-under={COVERAGE_FLOOR}")
    return pytest(sys.executable, "-m", UNIT, "-n", "2", "--dist", "worksteal", *measured)


JOBS: dict[str, Callable[[], Outcome]] = {
    "night": night,
    "faults": faults,
    "fuzz": fuzz,
    "simulation": simulation,
    "lowest": lowest,
    "python3.12": python_3_12,
    "newest": newest,
    "tensorflow": tensorflow,
    "optimizers": optimizers,
    "coverage": coverage,
}


def commit() -> str:
    """Return the commit that is tested, marked where files differ from it."""
    described = ("git", "describe", "--always", "--dirty", "--exclude=*")
    done = subprocess.run(described, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def table(notes: dict[str, dict[str, str]]) -> str:
    """Return the results as a page."""
    lines = [
        "# Results of the night tests",
        "",
        "Written by `make test-night`. A row tells of its commit only; what was not run is not "
        "passed.",
        "",
        "| job | outcome | commit | date | Python | detail |",
        "|---|---|---|---|---|---|",
    ]
    for job in JOBS:
        note = notes.get(job, dict.fromkeys(("commit", "date", "python"), "–"))
        outcome, detail = note.get("outcome", "not run"), note.get("detail", "–")
        cells = (job, outcome, note["commit"], note["date"], note["python"], detail)
        lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", choices=list(JOBS), nargs="+", help="not all of them")
    given = parser.parse_args()
    NOTES.mkdir(parents=True, exist_ok=True)
    notes = {file.stem: json.loads(file.read_text()) for file in NOTES.glob("*.json")}
    tested = commit()
    failed = False
    for job in given.jobs or JOBS:
        before = notes.get(job, {})
        if (before.get("commit"), before.get("outcome")) == (tested, PASSED):
            print(f"{job}: passed before on {tested}")
            continue
        outcome, detail = JOBS[job]()
        failed |= outcome == "FAILED"
        notes[job] = {
            "outcome": outcome,
            "detail": detail,
            "commit": tested,
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "python": {"python3.12": "3.12", "newest": "3.13"}.get(job, platform.python_version()),
        }
        (NOTES / f"{job}.json").write_text(json.dumps(notes[job]), encoding="utf-8")
        RESULTS.write_text(table(notes), encoding="utf-8")
    sys.exit(failed)


if __name__ == "__main__":
    main()
