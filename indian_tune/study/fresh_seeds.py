"""The fresh seeds of a study: derived from what is registered, and written out with it.

Studies that all confirmed on 1000, 1001, … would share the luck of these seeds, and what was seen
on one of them would tell of the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from indian_tune.ledger.records import replicates_of
from indian_tune.study.file.section import MAX_COUNT, MAX_SEED
from indian_tune.study.optuna.samplers import derived_seed
from indian_tune.text import digest_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from indian_tune.study.file.spec import StudySpec

# Above every tune seed that is counted: of 100 searches on 10,000 seeds each.
FIRST = MAX_COUNT

Seeds = list[int] | list[list[int]]


def with_fresh_seeds(spec: StudySpec) -> StudySpec:
    """Return a study as it is registered: fresh seeds that its file counts are listed."""
    seeds = _derived(spec.canonical())
    return spec if seeds is None else _with(spec, seeds)


def with_recorded_seeds(spec: StudySpec, recorded: Mapping[str, Any]) -> StudySpec:
    """Return a study with the fresh seeds that were derived when it was registered, if they were.

    Args:
        spec: as its file says it.
        recorded: the canonical form of what is registered under its name.
    """
    seeds = recorded["protocol"]["confirm_seeds"]
    if counted(recorded)["protocol"]["confirm_seeds"] == spec.protocol.confirm_seeds != seeds:
        return _with(spec, seeds)
    return spec


def counted(recorded: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what is registered with the number of its fresh seeds in place of derived ones.

    Args:
        recorded: the canonical form; returned as it is if its file listed the seeds.
    """
    seeds = recorded["protocol"]["confirm_seeds"]
    if isinstance(seeds, int) or not seeds:
        return recorded
    first = seeds[0]
    count = len(seeds) if isinstance(first, int) else len(first)
    plain = {**recorded, "protocol": {**recorded["protocol"], "confirm_seeds": count}}
    return plain if _derived(plain) == seeds else recorded


def _derived(plain: Mapping[str, Any]) -> Seeds | None:
    """Return successive seeds from one that depends on all that results depend on."""
    count = plain["protocol"]["confirm_seeds"]
    if not isinstance(count, int) or count == 0:
        return None
    replicates = replicates_of(plain)
    protocol = {key: each for key, each in plain["protocol"].items() if key != "epoch_timeout"}
    digest = digest_of({**plain, "protocol": protocol})
    tuned = plain["protocol"]["tune_seeds"]
    avoided = set() if isinstance(tuned, int) else set(tuned)
    most = replicates * count
    room = MAX_SEED - FIRST - most - len(avoided)
    seed = FIRST + derived_seed("fresh seeds", plain["name"], digest) % room
    seeds: list[int] = []
    while len(seeds) < most:
        if seed not in avoided:
            seeds.append(seed)
        seed += 1
    if replicates == 1:
        return seeds
    return [seeds[first : first + count] for first in range(0, most, count)]


def _with(spec: StudySpec, seeds: Seeds) -> StudySpec:
    protocol = spec.protocol.model_copy(update={"confirm_seeds": seeds})
    return spec.model_copy(update={"protocol": protocol})
