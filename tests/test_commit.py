"""The commit is what git says it is, without asking git."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from indian_tune.commit import commit_of

if TYPE_CHECKING:
    from pathlib import Path


def git(tree: Path, *words: str) -> str:
    program = shutil.which("git")
    if program is None:
        pytest.skip("git is not installed")
    identity = ("-c", "user.name=tester", "-c", "user.email=tester@example.org")
    done = subprocess.run(
        [program, *identity, *words], cwd=tree, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_it_is_what_git_says_in_every_state_of_a_checkout(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    git(tree, "init")
    git(tree, "commit", "--allow-empty", "-m", "first")
    first = git(tree, "rev-parse", "HEAD")
    assert commit_of(tree) == first
    git(tree, "worktree", "add", "-b", "other", str(tmp_path / "other"))
    git(tmp_path / "other", "commit", "--allow-empty", "-m", "second")
    second = git(tmp_path / "other", "rev-parse", "HEAD")
    assert (commit_of(tmp_path / "other"), commit_of(tree)) == (second, first)
    git(tree, "pack-refs", "--all")
    assert (commit_of(tmp_path / "other"), commit_of(tree)) == (second, first)
    git(tree, "checkout", "--detach")
    assert commit_of(tree) == first


def test_no_checkout_and_a_broken_one_have_none(tmp_path: Path) -> None:
    assert commit_of(tmp_path) is None
    (tmp_path / ".git").write_bytes(b"\xff\xfe")
    assert commit_of(tmp_path) is None
