"""Context of a verdict in a report: protocol, budget and provenance."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from indian_tune._version import __version__
from indian_tune.analysis.report import Background
from indian_tune.ledger import Phase
from indian_tune.ledger.frames import run_frame
from indian_tune.ledger.slots import FROZEN, OWN_CODE, UNSEALED
from indian_tune.service.output import config_text
from indian_tune.service.ranking import former_notes
from indian_tune.study import rank
from indian_tune.study.description import budget_sentence, judged_name, question
from indian_tune.study.examples import example_counts
from indian_tune.study.file.space import Constant
from indian_tune.study.looks import looks_sentence
from indian_tune.study.space_history import latest_spaces

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from indian_tune.ledger import LedgerReader, StudyRecord
    from indian_tune.outcome import Outcome
    from indian_tune.study import RegisteredStudy, StudySpec
    from indian_tune.study.file.space import Parameter

# Columns of a run's provenance that a report shows, in words.
COMPUTED_WITH = {
    "device": "Device",
    "device_name": "Processor",
    "torch_version": "torch",
    "precision": "Precision",
    "execution": "Execution",
    "version": "indian-tune that trained",
    "commit": "Commit that trained",
    "resumed_from": "Resumed runs, computed before with",
}


def background(study: RegisteredStudy[LedgerReader]) -> Background:
    """Return what a report shows beside the verdict; nothing sealed is read."""
    ranked = rank(study.ledger, study.record)
    former = [("Former winners", note) for note in former_notes(ranked)]
    return Background(
        question=question(study.spec),
        protocol=_protocol(study.spec),
        budget=_spending(study.ledger, study.id),
        provenance=[*_provenance(study.ledger, study.record), *former],
        spec=json.dumps(study.record.spec, indent=2, ensure_ascii=False),
        winners={
            result.name: config_text(result.config)
            for result in ranked
            if result.config is not None
        },
    )


def step_size_ranges(study: RegisteredStudy[LedgerReader]) -> dict[str, Parameter]:
    """Return the range of γ0 that every arm searched last, where it searched one."""
    return {
        arm: space["gamma0"]
        for arm, space in latest_spaces(study.ledger, study.record).items()
        if "gamma0" in space and not isinstance(space["gamma0"], Constant)
    }


def _protocol(spec: StudySpec) -> list[tuple[str, str]]:
    problem, protocol = spec.problem, spec.protocol
    held = "none: all training images train"
    if protocol.mode == "honest":
        held = f"{100 * problem.validation_fraction:g} % of the training images"
    if problem.own_loop:
        held = "set by the study's training loop"
    elif problem.facts is not None:
        held = f"{problem.facts.validation} of {problem.facts.train + problem.facts.validation}"
    if problem.sizes is not None:
        train, validation, _ = example_counts(spec)
        held = f"{validation:,} examples, and {train:,} for training"
    # A network of the user's may do with the rate what it likes.
    dropout = "Dropout" if problem.factory is None else "Dropout, as passed to the own code"
    return [
        ("Network", problem.network_name),
        ("Data", problem.data_name),
        ("Held out for validation", held),
        (dropout, f"{problem.dropout:g}"),
        ("Batch size", str(problem.batch_size)),
        ("Mode", protocol.mode),
        ("Judged in the search by", judged_name(spec)),
        ("Budget", budget_sentence(spec)),
        ("Tuning seeds", _listed(_tuning_seeds(spec))),
        ("Fresh seeds", _listed(spec.fresh_seeds)),
        *_thresholds(spec),
    ]


def _thresholds(spec: StudySpec) -> list[tuple[str, str]]:
    claims, outcome = spec.claims, spec.problem.outcome
    level = ("Level of lower bounds", f"{claims.alpha:g}, one-sided")
    if not claims.claimed:
        return [level]
    least = f"{outcome.scale * claims.delta:g} {_unit(outcome)}"
    return [("Smallest effect of interest", least), level]


def _unit(outcome: Outcome) -> str:
    return "percentage points" if outcome.share else outcome.unit


def _tuning_seeds(spec: StudySpec) -> list[int]:
    searches = range(spec.replicates)
    return [seed for r in searches for seed in spec.protocol.tuning_seeds_of(r)]


def _spending(ledger: LedgerReader, study_id: int) -> list[list[str]]:
    parts: dict[str, dict[Phase, tuple[str, int, str]]] = {}
    for part in ledger.progress(study_id):
        odd = ", ".join(
            f"{count} {state}" for state, count in part.counts.items() if state != "complete"
        )
        entry = (f"{part.finished}/{part.total}", part.epochs_done, odd)
        parts.setdefault(part.arm.name, {})[part.phase] = entry
    nothing = ("–", 0, "")
    titles = {
        **{Phase.TUNE: "trials", Phase.FINAL: "finalists", Phase.MATCH: "levels"},
        **{Phase.HALF: "half budget", Phase.CONFIRM: "fresh seeds"},
    }
    for phase in (Phase.FINAL, Phase.MATCH, Phase.HALF):
        if not any(phase in phases for phases in parts.values()):
            del titles[phase]
    columns = [column for title in titles.values() for column in (title, "their epochs")]
    rows = [["arm", *columns, "not complete"]]
    for arm, phases in parts.items():
        filled = [phases.get(phase, nothing) for phase in titles]
        cells = [cell for done, epochs, _ in filled for cell in (done, str(epochs))]
        rows.append([arm, *cells, ", ".join(filter(None, (odd for _, _, odd in filled)))])
    return rows


def _provenance(ledger: LedgerReader, study: StudyRecord) -> list[tuple[str, str]]:
    # A run that counts for half the budget and for the whole is shown twice.
    recorded = run_frame(ledger, study.id)
    runs = recorded.drop_duplicates(["arm", "trial", "seed", "started_at"])
    events = {event.kind: event for event in ledger.events(study.id)}
    rows = [
        ("Study", study.name),
        ("Registered", f"{study.created_at:%Y-%m-%d %H:%M} UTC"),
        ("Hash of what was registered", study.spec_hash),
        ("indian-tune", f"{study.version} at registration, {__version__} for this report"),
    ]
    commit = _commit()
    if commit is not None:
        rows.append(("Commit of this report's code", commit))
    for number, event in enumerate(ledger.events(study.id, OWN_CODE)):
        since = f", changed at {event.at:%Y-%m-%d %H:%M} UTC" if number else ""
        for source in event.data["sources"]:
            known = source["version"] or f"SHA-256 {source['sha256']}"
            rows.append((f"Own code {source['reference']}{since}", known))
    if FROZEN in events:
        rows.append(("Winners frozen", f"{events[FROZEN].at:%Y-%m-%d %H:%M} UTC"))
    if UNSEALED in events:
        opened = events[UNSEALED]
        rows.append(
            ("Test results opened", f"{opened.at:%Y-%m-%d %H:%M} UTC, by {opened.data['by']}")
        )
        sentence = looks_sentence(study.data_name, ledger.looks(study.data_name))
        rows.append(("Looks at the test set", sentence))
    rows += [
        (title, ", ".join(_values(runs, name)))
        for name, title in COMPUTED_WITH.items()
        if name in runs and runs[name].notna().any()
    ]
    hours = runs["seconds"].sum() / 3600
    text = f"{len(runs)} trained, together {hours:.2f} hours"
    if twice := len(recorded) - len(runs):
        text += f"; {twice} of them count twice: for half the budget and for the whole"
    return [*rows, ("Runs", text)]


def _commit() -> str | None:
    """Return the commit of the source tree that this is, ``None`` when it is installed from one."""
    git = shutil.which("git")
    here = Path(__file__).parents[2]
    if git is None or not (here / ".git").exists():
        return None
    asked = subprocess.run(  # noqa: S603 - a program of the user's own, with fixed arguments
        [git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip() or None


def _values(runs: pd.DataFrame, name: str) -> list[str]:
    return sorted({str(value) for value in runs[name].dropna()})


def _listed(seeds: Sequence[int]) -> str:
    if len(seeds) > 3 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds)) or "none"
