"""The claims about runs that were trained elsewhere: TOML or JSON in, frozen sections out."""

from __future__ import annotations

import hashlib
import json
import tomllib
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, ValidationError

from indian_tune.errors import InputError
from indian_tune.study.claims import ClaimsSection  # noqa: TC001 (pydantic reads it at run time)
from indian_tune.study.file.messages import explain
from indian_tune.study.file.section import Section
from indian_tune.text import read_text, read_toml

if TYPE_CHECKING:
    from pathlib import Path


class ScopeSection(Section):
    """``[scope]``: what the runs are of; a run that diverged scores ``1 / classes``."""

    network: str | None = None
    dataset: str | None = None
    classes: Annotated[int, Field(ge=2)] | None = None
    trials: Annotated[int, Field(ge=1)] | None = None
    tune_epochs: Annotated[int, Field(ge=1)] | None = None


class RegistrationSection(Section):
    """``[registration]``: what was fixed before the first run.

    ``digest`` is that of the claims when they were registered; the message that a verdict is
    EXPLORATORY tells the present one.
    """

    mode: Literal["honest", "paper"] = "honest"
    seeds: list[int]
    trials: dict[str, int] = Field(default_factory=dict)
    digest: str | None = None


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
        if self.registration is None or self.registration.digest in (None, self.digest):
            return []
        return [
            f"the claims have the digest {self.digest}, registered was {self.registration.digest}"
        ]


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
