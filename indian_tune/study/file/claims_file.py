"""The claims about runs that were trained elsewhere: TOML or JSON in, frozen sections out."""

from __future__ import annotations

import hashlib
import json
import tomllib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, ValidationError

from indian_tune.errors import InputError
from indian_tune.study.claims import ClaimsSection  # noqa: TC001 (pydantic reads it at run time)
from indian_tune.study.file.messages import explain
from indian_tune.study.file.section import ADDED, Section
from indian_tune.text import read_text, read_toml

if TYPE_CHECKING:
    from pathlib import Path


class ScopeSection(Section):
    """``[scope]``: what the runs are of; ``classes`` tells which runs did not train."""

    network: str | None = None
    dataset: str | None = None
    classes: Annotated[int, Field(ge=2)] | None = None
    trials: Annotated[int, Field(ge=1)] | None = None
    tune_epochs: Annotated[int, Field(ge=1)] | None = None


class RegistrationSection(Section):
    """``[registration]``: what was fixed before the first run.

    ``digest`` is that of the claims when they were registered, ``registered_at`` when that was
    (UTC); ``analyze --register`` writes both.
    """

    mode: Literal["honest", "paper"] = "honest"
    seeds: list[int]
    trials: dict[str, int] = Field(default_factory=dict)
    digest: str | None = None
    registered_at: Annotated[str | None, ADDED] = None


class ClaimsFile(Section):
    """A whole file of claims."""

    claims: ClaimsSection
    scope: ScopeSection = Field(default_factory=ScopeSection)
    registration: RegistrationSection | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of the claims in canonical form."""
        text = json.dumps(
            self.claims.model_dump(mode="json"), sort_keys=True, separators=(",", ":")
        )
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def departures(self) -> list[str]:
        """In what the claims depart from their registration."""
        if self.registration is None or self.registration.digest == self.digest:
            return []
        if self.registration.digest is None:
            return ["the claims have no digest from before the runs: use analyze --register"]
        return [
            f"the claims have the digest {self.digest}, registered was {self.registration.digest}"
        ]


def register_claims(path: Path) -> Path:
    """Write a file of claims with their digest and the time beside it, before the runs exist.

    Args:
        path: of the claims, with the fresh seeds under ``[registration]``.

    Returns:
        The file that was written, ``NAME.registered.json``.

    Raises:
        InputError: the file names no seeds, is registered already, or its copy cannot be written.
    """
    file = load_claims(path)
    if file.registration is None:
        raise InputError(f"{path} has no [registration]: write the fresh seeds, seeds = [1, 2, …]")
    if file.registration.digest is not None:
        raise InputError(f"{path} has a registration.digest already: it is registered")
    at = datetime.now(UTC).isoformat(timespec="seconds")
    registration = file.registration.model_copy(update={"digest": file.digest, "registered_at": at})
    text = file.model_copy(update={"registration": registration}).model_dump_json(
        indent=2, exclude_none=True
    )
    out = path.with_name(f"{path.stem}.registered.json")
    try:
        with out.open("x", encoding="utf-8") as written:
            written.write(text + "\n")
    except FileExistsError as error:
        raise InputError(f"{out} exists: a registration is not written over") from error
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}") from error
    return out


def load_claims(path: Path) -> ClaimsFile:
    """Read a file of claims.

    Raises:
        InputError: it cannot be read, or does not say valid claims.
    """
    try:
        text = read_text(path)
        raw = json.loads(text) if path.suffix == ".json" else read_toml(text)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise InputError(f"{path} is not valid {kind}: {error}") from error
    try:
        return ClaimsFile.model_validate(raw)
    except ValidationError as error:
        raise InputError(explain(error, ClaimsFile, str(path))) from error
