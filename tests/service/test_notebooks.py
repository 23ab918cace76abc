"""The notebooks run as they are committed, and name no folder of anybody's machine.

`python -m tests.service.test_notebooks` runs them and writes their output.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

import nbformat
import pytest

FOLDER = Path(__file__).parents[2] / "studies/notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def executed(notebook: Path, folder: str) -> Any:
    """Run a notebook in a folder; return it with its output."""
    from nbclient import NotebookClient

    opened = nbformat.read(notebook, as_version=4)
    client = NotebookClient(
        opened, timeout=300, resources={"metadata": {"path": folder}}, record_timing=False
    )
    # tqdm warns, with its path, where widgets are not installed.
    client.execute(env={**os.environ, "PYTHONWARNINGS": "ignore:IProgress not found"})
    return opened


def outputs(notebook: Any) -> list[tuple[str, list[str]]]:
    """Return what every cell of code shows: the kinds of its outputs, times and numbers aside."""
    return [
        (cell.source, [output.output_type for output in cell.outputs])
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def test_there_are_notebooks_and_the_guide_links_to_each() -> None:
    guide = (FOLDER.parent / "guides/python.md").read_text(encoding="utf-8")
    assert len(NOTEBOOKS) == 2
    assert all(f"(../notebooks/{path.name})" in guide for path in NOTEBOOKS)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_with_output_that_names_no_machine(notebook: Path) -> None:
    text = notebook.read_text(encoding="utf-8")
    assert not re.search(r"(/home|/root|/tmp|/work|/usr|C:\\\\)", text)
    cells = [cell for cell in nbformat.reads(text, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not any(output.output_type == "error" for cell in cells for output in cell.outputs)


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
# Of the kernel's own client.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_notebook_runs_and_shows_what_it_showed(notebook: Path, tmp_path: Path) -> None:
    before = nbformat.read(notebook, as_version=4)
    assert outputs(executed(notebook, str(tmp_path))) == outputs(before)


if __name__ == "__main__":
    for path in NOTEBOOKS:
        with tempfile.TemporaryDirectory() as place:
            nbformat.write(executed(path, place), path)
