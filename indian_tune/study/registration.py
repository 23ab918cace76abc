"""Registering a study: once, whole, and before its first trial."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from indian_tune.errors import InputError, StudyFileError
from indian_tune.ledger import EPOCH_TIMEOUT, ArmPlan, Phase
from indian_tune.study.file.spec import parse_study
from indian_tune.study.fresh_seeds import counted, with_fresh_seeds, with_recorded_seeds
from indian_tune.study.ranking import rank
from indian_tune.study.registered_study import RegisteredStudy
from indian_tune.study.space_extension import extended_space, new_cells
from indian_tune.study.space_history import SpaceHistory, trials_added
from indian_tune.text import plain_number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from indian_tune.ledger import Ledger, LedgerReader, StudyRecord
    from indian_tune.study.file.spec import StudySpec


def register(
    ledger: Ledger, spec: StudySpec, *, host: str | None = None
) -> RegisteredStudy[Ledger]:
    """Record a study with every slot of its tune phase, or take it up again.

    Args:
        ledger: open for writing.
        spec: of the study.
        host: where this happens.

    Raises:
        StudyFileError: a different study is registered under that name; the message prints the
            difference.
    """
    written = with_fresh_seeds(spec)
    record = ledger.register(
        spec.name,
        written.canonical(),
        written.digest,
        [
            ArmPlan(arm.name, arm.trained_with, spec.trials_of(arm.name), spec.replicates)
            for arm in spec.arms
        ],
        host=host,
    )
    known, now = counted(record.spec), with_recorded_seeds(spec, record.spec)
    if record.spec_hash != now.digest and spec.digest not in _digests_now(ledger, known, spec):
        lines = "\n".join(f"  {line}" for line in differences(known, spec.canonical()))
        other = _data(known) != _data(spec.canonical())
        raise StudyFileError(
            f"{'another study, of another problem, has this name: ' if other else ''}"
            f"study {spec.name!r} is registered in {ledger.address} with other settings:\n{lines}\n"
            f"A registered study does not change: run this one beside it with --as NEW-NAME"
            f"{_about_trials(ledger, record, known, spec)}{_about_factory(known, spec)}"
        )
    wanted = spec.protocol.epoch_timeout
    recorded = RegisteredStudy.open(ledger, record)
    if epoch_timeout(recorded) != wanted:
        ledger.record_event(record.id, EPOCH_TIMEOUT, {"seconds": wanted})
    # The file may propose a hypothesis that was not known when the study was registered.
    spec = now.model_copy(update={"claims": recorded.spec.claims})
    return RegisteredStudy(ledger, record, spec)


def epoch_timeout(study: RegisteredStudy[LedgerReader]) -> float | None:
    """Return the seconds that an epoch of a registered study may take; ``None`` for the default.

    No result depends on it, so it is the one key that may be changed later: the newest study file
    that was searched counts.
    """
    changes = study.ledger.events(study.id, EPOCH_TIMEOUT)
    if not changes:
        return study.spec.protocol.epoch_timeout
    seconds: float | None = changes[-1].data["seconds"]
    return seconds


def renamed(spec: StudySpec, name: str) -> StudySpec:
    """Return the same study under another name.

    Raises:
        StudyFileError: it cannot be a study's name.
    """
    return parse_study({**spec.canonical(), "name": name}, source="--as")


def extend(study: RegisteredStudy[Ledger], trials: int) -> None:
    """Add tune trials to every search of every arm of a registered study, finished or not.

    Nothing that is there changes. The winners are judged again when the new trials are finished:
    an arm whose winner still leads keeps its trials on the fresh seeds, a new winner gets its own,
    and those of the old one stay in the record. The events tell that the study was extended, and
    what was frozen before and after.

    Raises:
        InputError: ``trials`` is less than 1, or the study searches a grid, which has no more
            points, or spends a budget of epochs or seconds.
    """
    _refuse_budget(study)
    if study.spec.search.sampler.enumerates:
        raise InputError(
            f"study {study.name!r} searches a grid, and all its points are trials already: use "
            "--extend-space to add cells beyond an end at which a winner is, or write a larger "
            "grid and run it with --as NEW-NAME"
        )
    study.ledger.extend(study.id, trials)


def _digests_now(ledger: Ledger, recorded: Mapping[str, Any], spec: StudySpec) -> tuple[str, str]:
    """Return the digests under which a study file is the registered study.

    An older version may not have written out all that is written out now, and a study may have been
    registered before its file said that it gives no verdict. No result depends on the timeout of
    an epoch.
    """
    known = parse_study(recorded, source=f"study {spec.name!r} in {ledger.address}")
    protocol = known.protocol.model_copy(update={"epoch_timeout": spec.protocol.epoch_timeout})
    known = known.model_copy(update={"protocol": protocol})
    verdict = spec.claims.verdict if known.claims.verdict == "claim" else known.claims.verdict
    claims = known.claims.model_copy(update={"verdict": verdict})
    return known.digest, known.model_copy(update={"claims": claims}).digest


def extend_space(study: RegisteredStudy[Ledger], trials: int | None) -> None:
    """Search on beyond the ends of the ranges at which winners lie.

    Every arm gets the same number of new trials, so that budgets stay equal; those of an arm whose
    winner lies at an end are drawn from the wider space. On a grid only the new cells are added.

    Args:
        study: open for writing; its tune phase must be over.
        trials: how many new trials for each arm; as many as the file gives it if ``None``.

    Raises:
        InputError: the tune phase is not over, no winner lies at an end, the number of trials is
            given for a grid, or the budget is not one of trials.
    """
    _refuse_budget(study)
    grid = study.spec.search.sampler.enumerates
    if grid and trials is not None:
        raise InputError(
            f"--extend {trials} cannot be given with --extend-space for study {study.name!r}, "
            "which searches a grid: its new cells are the new trials"
        )
    if study.ledger.open_trials(study.id, Phase.TUNE):
        raise InputError(
            f"the tune phase of study {study.name!r} is not finished, so its winners are not "
            "known yet: finish it first, then use --extend-space"
        )
    history = SpaceHistory(study)
    spaces, cells = {}, {}
    for result in rank(study.ledger, study.record):
        if not result.edges or result.tune is None:
            continue
        before = history.raw(result.name, result.tune.total // study.spec.replicates - 1)
        after = extended_space(result.optimizer, before, result.edges, grid=grid)
        if after is not None:
            spaces[result.name] = after
            cells[result.name] = new_cells(before, after) if grid else 0
    if not spaces:
        raise InputError(
            f"no winner of study {study.name!r} is at an end of a range that can be extended: use "
            "--extend for more trials"
        )
    study.ledger.extend(study.id, cells if grid else trials or study.spec.search.trials, spaces)


def _refuse_budget(study: RegisteredStudy[Ledger]) -> None:
    budget = study.spec.budget
    if budget is not None:
        raise InputError(
            f"study {study.name!r} has a budget of {plain_number(budget.limit)} {budget.kind} per "
            "arm, and more trials would not change that: raise the budget in the file and run it "
            "with --as NEW-NAME"
        )


def _data(canonical: Mapping[str, Any]) -> tuple[object, ...]:
    """Return what tells the problem of a study from that of another."""
    problem = canonical["problem"]
    facts = problem.get("facts") or {}
    return problem.get("dataset"), problem.get("factory"), facts.get("dataset")


def _about_trials(
    ledger: Ledger, record: StudyRecord, recorded: Mapping[str, Any], spec: StudySpec
) -> str:
    """Return how to get another number of trials, when that is all that was changed."""
    before, now = recorded["search"]["trials"], spec.search.trials
    same = {**recorded, "search": {**recorded["search"], "trials": now}}
    if same != spec.canonical() or spec.search.sampler.enumerates or spec.budget is not None:
        return ""
    there = before + max(trials_added(ledger, record), default=0)
    has = f". It has {there} trials in every search now" if there != before else ""
    if now <= there:
        return f"{has}. Its trials are kept: to continue, set search.trials = {before} again"
    return (
        f"{has}. For {now} trials in every search of every arm, set search.trials = {before} again "
        f"and add --extend {now - there} once"
    )


def _about_factory(recorded: Mapping[str, Any], spec: StudySpec) -> str:
    """Return how to continue, when the same function was named by another program."""
    before, now = recorded["problem"].get("factory"), spec.problem.factory
    if before is None or now is None or before == now:
        return ""
    same = {**recorded, "problem": {**recorded["problem"], "factory": now}}
    if same != spec.canonical() or before.partition(":")[2] != now.partition(":")[2]:
        return ""
    if before.startswith("__main__:"):
        return ". To continue it, run the script or notebook that defines the function"
    return f". To continue it, import the function from {before.partition(':')[0]}"


# Keys of the canonical form that have another name in a study file.
_NAMES = {"search.batch_size": "search.generation"}


def differences(old: Any, new: Any) -> list[str]:
    """Return what differs between two studies as plain data, one line a key."""
    before, after = dict(_flat(old)), dict(_flat(new))
    lines = [
        f"{_NAMES.get(key, key)}: registered {_at(key, before)}, now {_at(key, after)}"
        for key in dict.fromkeys((*before, *after))
        if before.get(key) != after.get(key)
    ]
    # What was filled in follows what was written.
    return sorted(lines, key=lambda line: line.startswith("claims.h"))


def _at(key: str, flat: dict[str, Any]) -> str:
    if key in flat:
        return repr(flat[key])
    return "a table" if any(known.startswith(f"{key}.") for known in flat) else "not there"


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from _flat(part, f"{key}.{name}" if key else name)
    elif isinstance(value, list) and any(isinstance(part, dict) for part in value):
        for n, part in enumerate(value, 1):
            yield from _flat(part, f"{key}[{n}]")
    else:
        yield key, value
