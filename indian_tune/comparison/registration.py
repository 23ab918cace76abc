"""A comparison that is registered before its runs: what is compared, how, and since when."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indian_tune.errors import InputError
from indian_tune.text import digest_of, read_json, read_text

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Plan:
    """What a comparison is, before its runs exist.

    Attributes:
        a: the arm that may be better; ``None`` where many are compared.
        b: the other one; likewise.
        baseline: the arm that all others are compared with; ``None`` for all pairs.
        metric: that is compared.
        better: "lower" or "higher".
        delta: smallest effect of interest; ``None`` for none.
        alpha: level of the two-sided interval.
        pairing: "auto", "seed" or "none".
        sequential: whether the interval holds after every seed.
        where: column → value of the rows that are read.
        missing: what a missing value means, "refuse" or "failed".
        names: role → column that it is read from, where that is not its own name.
        sources: that are read, as they are named on the command line; empty if not registered.
        folder: in which they were named; empty if not registered.
    """

    a: str | None
    b: str | None
    baseline: str | None
    metric: str
    better: str
    delta: float | None
    alpha: float
    pairing: str
    sequential: bool
    where: dict[str, str]
    missing: str
    names: dict[str, str]
    sources: tuple[str, ...] = ()
    folder: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 of the plan."""
        return digest_of(asdict(self))


@dataclass(frozen=True)
class Registered:
    """A plan as it was registered.

    Attributes:
        plan: what was registered, as plain data.
        digest: of it.
        at: when; ``None`` where the file does not say.
    """

    plan: dict[str, Any]
    digest: str
    at: datetime | None

    @property
    def sources(self) -> tuple[str, ...]:
        """Sources that were registered; none where any may be read."""
        named = self.plan.get("sources")
        return tuple(str(each) for each in named) if isinstance(named, list) else ()

    @property
    def _folder(self) -> str:
        """Folder that registered paths are relative to; the current one if theirs is not here."""
        folder = str(self.plan.get("folder") or "")
        return folder if Path(folder).is_dir() else ""

    def _same_sources(self, plan: Plan) -> bool:
        # A name without a folder or an ending may be that of a study, which is in no folder.
        names = all(not Path(each).suffix and "/" not in each for each in self.sources)
        if names and sorted(self.sources) == sorted(plan.sources):
            return True
        return _resolved(self.sources, self._folder) == _resolved(plan.sources, plan.folder)

    def departures(self, plan: Plan) -> list[str]:
        """Return where a comparison is not the registered one, a clause each."""
        wanted = asdict(plan)
        del wanted["sources"], wanted["folder"]
        found = [
            f"{key} = {value!r} differs from the registered value {self.plan.get(key)!r}"
            for key, value in wanted.items()
            if self.plan.get(key) != value
        ]
        if self.sources and not self._same_sources(plan):
            read, named = list(plan.sources), list(self.sources)
            if sorted(read) == sorted(named):
                # Files of one name in two folders.
                read = _resolved(read, plan.folder)
                named = _resolved(named, self._folder)
            found.append(
                f"the source {', '.join(read)} differs from the registered source "
                f"{', '.join(named)}"
            )
        if digest_of(self.plan) != self.digest:
            found.append("the file was changed after registration: its digest differs")
        return found


def _resolved(sources: Sequence[str], folder: str) -> list[str]:
    """Return sources in order: paths from the root without links, addresses without passwords."""
    return sorted(
        each.replace(":***@", "@") if "://" in each else str((Path(folder) / each).resolve())
        for each in sources
    )


def write_plan(plan: Plan, out: Path, at: datetime) -> None:
    """Write a plan with its digest and the time of its registration.

    Raises:
        InputError: the file exists or cannot be written.
    """
    content = {
        "compare": asdict(plan),
        "digest": plan.digest,
        "registered_at": at.astimezone(UTC).isoformat(),
    }
    try:
        with out.open("x", encoding="utf-8") as written:
            written.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    except FileExistsError as error:
        raise InputError(f"{out} already exists: choose another file") from error
    except OSError as error:
        raise InputError(f"cannot write {out} ({error.strerror}): choose another file") from error


def read_plan(path: Path) -> Registered:
    """Read what was registered.

    Raises:
        InputError: the file cannot be read, or is none of these.
    """
    try:
        raw = read_json(read_text(path))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid JSON: {error}") from error
    if (
        not isinstance(raw, dict)
        or not isinstance(raw.get("compare"), dict)
        or not isinstance(raw.get("digest"), str)
    ):
        raise InputError(
            f"{path} is not a registered comparison: create one with indian-tune compare --register"
        )
    try:
        at = datetime.fromisoformat(str(raw.get("registered_at")))
    except ValueError:
        at = None
    if at is not None and at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return Registered(raw["compare"], raw["digest"], at)
