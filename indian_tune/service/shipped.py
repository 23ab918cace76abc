"""The study files shipped with the package."""

from __future__ import annotations

from importlib.metadata import files
from pathlib import Path

from indian_tune.errors import StudyFileError, nearest


def shipped_studies() -> list[Path]:
    """Return the study files of this installation, by name."""
    beside = sorted((Path(__file__).parents[2] / "studies").glob("*.toml"))
    return beside or sorted(_installed())


def _installed() -> list[Path]:
    # Where they lie depends on who installs (environment, user, system): the record says it.
    recorded = files("indian-tune") or []
    return [
        Path(str(file.locate())).resolve()
        for file in recorded
        if file.match("indian-tune/studies/*.toml")
    ]


def find_study_file(given: str) -> Path:
    """Return a study file, given by its path or by the name of a shipped one.

    Raises:
        StudyFileError: there is neither.
    """
    path = Path(given)
    if path.exists() or path.suffix:
        if path.suffix == ".py":
            raise StudyFileError(
                f"{given} is a Python script, not a study file: run it with `python {given}`"
            )
        if path.exists():
            return path
        raise StudyFileError(
            f"there is no study file {given}: `indian-tune studies` lists the shipped ones"
        )
    for shipped in shipped_studies():
        if shipped.stem == given:
            return shipped
    names = [shipped.stem for shipped in shipped_studies()]
    raise StudyFileError(
        f"there is no study file {given}, and none of that name is shipped (shipped are "
        f"{', '.join(names) or 'none'}).{nearest(given, names)} "
        "A study of a Python script continues when the script is run again"
    )


def question(path: Path) -> str:
    """Return the first line of a study file's header: the question it answers."""
    with path.open(encoding="utf-8") as lines:
        first = next(lines, "")
    return first.removeprefix("#").strip()
