"""Tests of the tests: does a test fail when an operator, a number or a decision is changed?

python -m tests.night.mutants                  # continues with what is left of the sample
python -m tests.night.mutants --report         # prints what there is

cosmic-ray (in no extra: `pip install cosmic-ray`) makes the mutants, in a copy of the last commit.
A seed draws the sample. Each mutant is tried with the fast tests of what it is in, chosen by which
files run its lines.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build/mutants"
# Of each part.
SAMPLE, SEED = 15, 0
TIMEOUT_SECONDS = 400
# To import what the package needs takes longer than most of its tests.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["pytest", "torch", "optuna", "sqlalchemy", "pandas", "scipy.stats"])


@dataclass(frozen=True)
class Part:
    """Modules that are mutated together, and the tests that are to see it."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]


PARTS = {
    "leases": Part(
        ("indian_tune/ledger/leases.py",),
        (
            "tests/ledger/test_generations.py",
            "tests/ledger/test_repository.py",
            "tests/simulation",
            "tests/study/test_controller.py",
        ),
    ),
    "controller": Part(
        ("indian_tune/study/controller.py", "indian_tune/study/assigner.py"),
        (
            "tests/study/test_claiming.py",
            "tests/study/test_controller.py",
            "tests/study/test_budgets.py",
            "tests/study/test_finalists.py",
            "tests/study/optuna/test_constraints.py",
            "tests/study/test_levels.py",
        ),
    ),
    "verdict": Part(
        ("indian_tune/analysis/verdict.py",),
        (
            "tests/analysis/test_verdict.py",
            "tests/analysis/test_gates.py",
            "tests/analysis/test_known_answers.py",
            "tests/analysis/test_combined.py",
            "tests/analysis/test_label.py",
            "tests/analysis/test_outcomes.py",
        ),
    ),
    "gates": Part(
        ("indian_tune/analysis/gates.py",),
        (
            "tests/analysis/test_gate_bounds.py",
            "tests/analysis/test_gates.py",
            "tests/analysis/test_known_answers.py",
            "tests/analysis/test_combined.py",
        ),
    ),
}


def prepare(name: str, part: Part) -> Path:
    """Make a copy of the last commit, and list every mutant; return the list's file."""
    tree = FOLDER / name
    session = FOLDER / f"{name}.sqlite"
    if session.exists():
        return session
    tree.mkdir(parents=True, exist_ok=True)
    packed = subprocess.run(
        ["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    subprocess.run(["tar", "x"], cwd=tree, input=packed, check=True)
    modules = ", ".join(f'"{module}"' for module in part.modules)
    (tree / "mutants.toml").write_text(
        f"[cosmic-ray]\nmodule-path = [{modules}]\ntimeout = {TIMEOUT_SECONDS}\n"
        f'test-command = "true"\n[cosmic-ray.distributor]\nname = "local"\n',
        encoding="utf-8",
    )
    assert passes(tree, part.tests), "the tests fail without a mutant"
    new = FOLDER / f"{name}.new"
    make = [sys.executable, "-m", "cosmic_ray.cli", "init", "mutants.toml", str(new)]
    subprocess.run(make, cwd=tree, check=True)
    new.rename(session)
    return session


def passes(tree: Path, tests: Sequence[str]) -> bool:
    """Whether tests pass in a copy, within the time limit."""
    process = FORKS.Process(target=_run_tests, args=(tree, tests))
    process.start()
    process.join(TIMEOUT_SECONDS)
    if process.is_alive():
        os.killpg(process.pid or 0, signal.SIGKILL)
        process.join()
    return process.exitcode == 0


def _run_tests(tree: Path, tests: Sequence[str]) -> None:
    # Whatever the tests start ends with them.
    os.setpgid(0, 0)
    os.chdir(tree)
    # This module's own package is that of the checkout.
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]
    sys.path[:] = [str(tree), *(path for path in sys.path if path not in ("", str(ROOT)))]
    os.environ["PYTHONPATH"] = str(tree)
    # A file may change twice within the resolution of its time.
    sys.dont_write_bytecode = True
    import pytest

    options = (
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "-m",
        "not slow and not night and not postgres",
    )
    sys.exit(pytest.main([*options, *tests]))


def in_annotations(module: Path) -> Callable[[tuple[int, int]], bool]:
    """Return what tells whether a place is in an annotation, which nothing evaluates."""
    ranges = []
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        for name in ("annotation", "returns"):
            part = getattr(node, name, None)
            if isinstance(part, ast.expr):
                assert part.end_lineno is not None
                assert part.end_col_offset is not None
                begin = part.lineno, part.col_offset
                ranges.append((begin, (part.end_lineno, part.end_col_offset)))
    return lambda place: any(begin <= place <= end for begin, end in ranges)


def draw(name: str, session: Path, size: int, seed: int) -> None:
    """Leave a sample of the mutants of a part, and let the others be skipped.

    An operator is replaced by every other one, so that a place would be drawn the more often the
    more operators there are: a place is drawn first, and then one of its mutants.
    """
    from cosmic_ray.work_db import WorkDB, use_db
    from cosmic_ray.work_item import WorkerOutcome, WorkResult

    places: dict[tuple[str, str, Any], list[str]] = {}
    annotated = {
        module: in_annotations(FOLDER / name / module) for module in map(Path, PARTS[name].modules)
    }
    with use_db(session, WorkDB.Mode.open) as work:
        if work.num_results:
            return
        for item in work.work_items:
            (mutation,) = item.mutations
            if annotated[mutation.module_path](mutation.start_pos):
                continue
            kind = mutation.operator_name.split("_")[0]
            place = (str(mutation.module_path), kind, mutation.start_pos)
            places.setdefault(place, []).append(item.job_id)
        chooser = random.Random(seed)
        chosen = {
            chooser.choice(sorted(places[place])) for place in chooser.sample(sorted(places), size)
        }
        others = [item.job_id for item in work.work_items if item.job_id not in chosen]
        work.set_multiple_results(others, WorkResult(worker_outcome=WorkerOutcome.SKIPPED))


def try_mutants(name: str, session: Path, most: int) -> None:
    """Try mutants of a part that were not tried yet."""
    from cosmic_ray.mutating import use_mutation
    from cosmic_ray.plugins import get_operator
    from cosmic_ray.work_db import WorkDB, use_db
    from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkResult

    tree = FOLDER / name
    with use_db(session, WorkDB.Mode.open) as work:
        for item in list(work.pending_work_items)[:most]:
            (mutation,) = item.mutations
            module = tree / mutation.module_path
            operator = get_operator(mutation.operator_name)(**mutation.operator_args)
            with use_mutation(module, operator, mutation.occurrence) as (before, after):
                survived = passes(tree, PARTS[name].tests)
            changed = difflib.unified_diff(
                before.splitlines(), after.splitlines(), lineterm="", n=0
            )
            outcome = TestOutcome.SURVIVED if survived else TestOutcome.KILLED
            result = WorkResult(WorkerOutcome.NORMAL, "", outcome, "\n".join(changed))
            work.set_result(item.job_id, result)
            print(f"{name}, {mutation.definition_name}: {outcome}", flush=True)


def report(sessions: dict[str, Path]) -> str:
    """Return what came of the mutants as a page."""
    from cosmic_ray.work_db import WorkDB, use_db
    from cosmic_ray.work_item import TestOutcome, WorkerOutcome

    rows, survivors = [], []
    for name, session in sessions.items():
        killed = survived = open_ = 0
        with use_db(session, WorkDB.Mode.open) as work:
            results = dict(work.results)
            for item in work.work_items:
                result = results.get(item.job_id)
                if result is None:
                    open_ += 1
                elif result.worker_outcome is WorkerOutcome.SKIPPED:
                    continue
                elif result.test_outcome is TestOutcome.SURVIVED:
                    survived += 1
                    (mutation,) = item.mutations
                    changed = [
                        line
                        for line in (result.diff or "").splitlines()
                        if line[:1] in "+-" and line[:3] not in ("+++", "---")
                    ]
                    survivors += [f"- `{mutation.module_path}:{mutation.start_pos[0]}`", ""]
                    survivors += ["  ```diff", *(f"  {line}" for line in changed), "  ```", ""]
                else:
                    killed += 1
        rows.append((name, killed, survived, open_))
    lines = ["| part | killed | survived | not tried |", "|---|---|---|---|"]
    lines += [f"| {name} | {k} | {s} | {o} |" for name, k, s, o in rows]
    total = " | ".join(str(sum(counts)) for counts in list(zip(*rows, strict=True))[1:])
    lines += [f"| all | {total} |", "", *survivors]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Try what is left of the sample, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=SAMPLE)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--parts", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--most", type=int, default=SAMPLE, help="of each part, in this call")
    parser.add_argument("--report", action="store_true", help="try nothing")
    asked = parser.parse_args()
    sessions = {name: prepare(name, PARTS[name]) for name in asked.parts}
    for name, session in sessions.items():
        draw(name, session, asked.sample, asked.seed)
        if not asked.report:
            try_mutants(name, session, asked.most)
    print(report(sessions))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
