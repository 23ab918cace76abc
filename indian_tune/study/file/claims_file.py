"""The claims about runs that were trained elsewhere: TOML or JSON in, frozen sections out."""

from __future__ import annotations

import json
import tomllib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator

from indian_tune.errors import InputError
from indian_tune.study.claims import ClaimsSection  # noqa: TC001 (pydantic reads it at run time)
from indian_tune.study.file.messages import explain
from indian_tune.study.file.problem_summary import OutcomeSection  # noqa: TC001 (as above)
from indian_tune.study.file.section import ADDED, MAX_COUNT, Count, Section
from indian_tune.study.file.space import parse_space
from indian_tune.text import digest_of, read_json, read_text, read_toml

if TYPE_CHECKING:
    from pathlib import Path

    from indian_tune.study.file.space import Space

# Such as a column of a table can hold.
Integer = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class ScopeSection(Section):
    """``[scope]``: what the runs are of; ``classes`` tells which runs did not train, and
    ``outcome`` what they are judged by where that is no accuracy.

    ``spaces`` holds what every arm was searched over, as in a study file:
    ``[scope.spaces.sgd]``, then ``gamma0 = { low = 0.01, high = 1.0, log = true }``.
    """

    network: str | None = None
    dataset: str | None = None
    classes: Annotated[int, Field(ge=2, le=MAX_COUNT)] | None = None
    trials: Count | None = None
    tune_epochs: Count | None = None
    outcome: Annotated[OutcomeSection | None, ADDED] = None
    spaces: Annotated[dict[str, dict[str, Any]], ADDED] = Field(default_factory=dict)

    @field_validator("spaces")
    @classmethod
    def _can_be_searched(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for arm, space in value.items():
            parse_space(space, f"scope.spaces.{arm}")
        return value

    @property
    def parsed_spaces(self) -> dict[str, Space]:
        """What every arm was searched over."""
        return {arm: parse_space(raw, arm) for arm, raw in self.spaces.items()}


class RegistrationSection(Section):
    """``[registration]``: what was fixed before the first run.

    ``seeds`` may hold a list for every search; they are read as one. ``digest`` is that of the file
    when it was registered, ``registered_at`` when that was (ISO 8601 with its zone); ``analyze
    --register`` writes both.
    """

    mode: Literal["honest", "paper"] = "honest"
    seeds: list[Integer]
    trials: dict[str, Integer] = Field(default_factory=dict)
    digest: str | None = None
    registered_at: Annotated[str | None, ADDED] = None

    @field_validator("seeds", mode="before")
    @classmethod
    def _of_all_searches(cls, value: Any) -> Any:
        if isinstance(value, list) and value and all(isinstance(own, list) for own in value):
            return [seed for own in value for seed in own]
        return value

    @field_validator("registered_at")
    @classmethod
    def _a_time(cls, value: str | None) -> str | None:
        try:
            zone = None if value is None else datetime.fromisoformat(value).tzinfo
        except ValueError:
            zone = None
        if value is not None and zone is None:
            raise ValueError("must be a time with its time zone, such as 2026-01-31T12:00:00+00:00")
        return value

    @property
    def at(self) -> datetime | None:
        """When the claims were registered, as the file says."""
        return None if self.registered_at is None else datetime.fromisoformat(self.registered_at)


class ClaimsFile(Section):
    """A whole file of claims."""

    claims: ClaimsSection
    scope: ScopeSection = Field(default_factory=ScopeSection)
    registration: RegistrationSection | None = None

    @property
    def content(self) -> dict[str, Any]:
        """All that is registered, as plain data: the digest and its date are not in it."""
        content = self.model_dump(mode="json")
        if self.registration is not None:
            content["registration"]["digest"] = None
            content["registration"].pop("registered_at", None)
        return content

    @property
    def digest(self) -> str:
        """SHA-256 of the content in canonical form."""
        return digest_of(self.content)

    @property
    def departures(self) -> list[str]:
        """In what the claims depart from their registration."""
        section = self.registration
        if section is None:
            return []
        if section.digest is None:
            return ["the claims were not registered before the runs: use analyze --register"]
        known = [self.digest]
        if section.at is None:
            # Files of earlier exports have a digest of the claims alone, and no date.
            known.append(digest_of(self.content["claims"]))
        if section.digest in known:
            return []
        return [f"the digest of the claims is {self.digest}, not the registered {section.digest}"]


def unregistered(path: Path) -> ClaimsFile:
    """Read claims that are to be registered.

    Raises:
        InputError: the file cannot be read, names no seeds, or is registered already.
    """
    file = load_claims(path)
    if file.registration is None:
        raise InputError(f"{path} has no [registration]: add it, with the fresh seeds = [1, 2, …]")
    if file.registration.digest is not None:
        raise InputError(f"{path} is already registered (registration.digest): use --claims")
    return file


def registered_file(path: Path) -> Path:
    """Return where the registered copy of a file of claims lies; there must be none yet.

    Raises:
        InputError: it exists.
    """
    out = path.with_name(f"{path.stem}.registered.json")
    if out.exists():
        raise InputError(f"{out} already exists: rename the claims file")
    return out


def write_registered(file: ClaimsFile, out: Path, at: datetime) -> None:
    """Write claims with their digest and the time of their registration.

    Args:
        file: from :func:`unregistered`.
        out: from :func:`registered_file`.
        at: when they were registered.

    Raises:
        InputError: the file exists or cannot be written.
    """
    assert file.registration is not None
    stamp = {"digest": file.digest, "registered_at": at.astimezone(UTC).isoformat()}
    registration = file.registration.model_copy(update=stamp)
    text = file.model_copy(update={"registration": registration}).model_dump_json(
        indent=2, exclude_none=True
    )
    try:
        with out.open("x", encoding="utf-8") as written:
            written.write(text + "\n")
    except FileExistsError as error:
        raise InputError(f"{out} already exists: rename the claims file") from error
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}") from error


def load_claims(path: Path) -> ClaimsFile:
    """Read a file of claims.

    Raises:
        InputError: it cannot be read, or does not say valid claims.
    """
    try:
        text = read_text(path)
        raw = read_json(text) if path.suffix == ".json" else read_toml(text)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise InputError(f"{path} is not valid {kind}: {error}") from error
    try:
        return ClaimsFile.model_validate(raw)
    except ValidationError as error:
        raise InputError(explain(error, ClaimsFile, str(path))) from error
