"""Registering a study: once, whole, and before its first trial."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from indian_tune.errors import StudyFileError
from indian_tune.ledger import ArmPlan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indian_tune.ledger import Ledger, StudyRecord
    from indian_tune.study.spec import StudySpec


def register(ledger: Ledger, spec: StudySpec, *, host: str | None = None) -> StudyRecord:
    """Record a study with every slot of its tune phase, or take it up again.

    Args:
        ledger: open for writing.
        spec: of the study.
        host: where this happens.

    Raises:
        StudyFileError: a different study is registered under that name; the message prints the
            difference.
    """
    record = ledger.register(
        spec.name,
        spec.canonical(),
        spec.digest,
        [ArmPlan(arm.name, arm.optimizer, spec.trials_of(arm.name)) for arm in spec.arms],
        host=host,
    )
    if record.spec_hash != spec.digest:
        lines = "\n".join(f"  {line}" for line in differences(record.spec, spec.canonical()))
        raise StudyFileError(
            f"study {spec.name!r} is registered in {ledger.address} with other settings:\n{lines}\n"
            "A registered study does not change: give this one another name"
        )
    return record


def differences(old: Any, new: Any) -> list[str]:
    """Return what differs between two studies as plain data, one line a key."""
    before, after = dict(_flat(old)), dict(_flat(new))
    lines = []
    for key in dict.fromkeys((*before, *after)):
        if before.get(key) != after.get(key):
            was = repr(before[key]) if key in before else "not there"
            now = repr(after[key]) if key in after else "not there"
            lines.append(f"{key}: registered {was}, now {now}")
    return lines


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from _flat(part, f"{key}.{name}" if key else name)
    elif isinstance(value, list) and any(isinstance(part, dict) for part in value):
        for n, part in enumerate(value, 1):
            yield from _flat(part, f"{key}[{n}]")
    else:
        yield key, value
