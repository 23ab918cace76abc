"""The note that Optuna Dashboard shows with every Optuna study of ours, in Markdown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from indian_tune.errors import StudyFileError
from indian_tune.ledger import Phase, command_line
from indian_tune.ledger.slots import VERDICT
from indian_tune.optim.families import get_family
from indian_tune.study import RegisteredStudy
from indian_tune.study.description import budget_sentence, question, ranges, score_name
from indian_tune.study.optuna.parts import CONFIRM, FINAL, HALF
from indian_tune.study.optuna.shown_trial import OUTCOME
from indian_tune.study.space_history import latest_spaces
from indian_tune.text import counted

if TYPE_CHECKING:
    from indian_tune.ledger import ArmProgress, LedgerReader, StudyRecord
    from indian_tune.study import StudySpec
    from indian_tune.study.file.space import Space


def study_notes(ledger: LedgerReader, record: StudyRecord) -> dict[str, tuple[str, str]]:
    """Return what belongs to each Optuna study of a study.

    Args:
        ledger: to read from; nothing sealed is read.
        record: of the study whose Optuna studies are meant.

    Returns:
        Name of the Optuna study → the name of its objective, and its note.
    """
    try:
        study = RegisteredStudy.open(ledger, record)
    except StudyFileError:
        # Registered by a version whose study files were others; its trials can be shown still.
        return {}
    spec, parts = study.spec, ledger.progress(study.id)
    shared = _shared(study)
    objective = score_name(spec)
    notes = {}
    for arm, space in latest_spaces(ledger, record).items():
        about = _about_arm(spec, arm, space, parts)
        for replicate in range(spec.replicates):
            of = f"\n\nThis is search {replicate} of 0 to {spec.replicates - 1}."
            text = f"{about}{of if spec.replicates > 1 else ''}\n\n{shared}"
            notes[f"{study.name}/{record.search_name(arm, replicate)}"] = objective, text
    if spec.protocol.confirming_seeds:
        notes[f"{study.name}/{CONFIRM}"] = objective, f"{_about_confirm(spec, parts)}\n\n{shared}"
    if spec.protocol.finalists:
        notes[f"{study.name}/{FINAL}"] = objective, f"{_about_finalists(spec, parts)}\n\n{shared}"
    if spec.claims.half_budget:
        notes[f"{study.name}/{HALF}"] = objective, f"{_about_half(spec, parts)}\n\n{shared}"
    return notes


def _shared(study: RegisteredStudy[LedgerReader]) -> str:
    spec, problem = study.spec, study.spec.problem
    lines = (
        f"**Question.** {question(spec)}",
        f"**Problem.** {problem.network_name} on {problem.data_name}, dropout "
        f"{problem.dropout:g}, batches of {problem.batch_size}.",
        f"**Budget.** {budget_sentence(spec)}",
        f"**Verdict.** {_verdict(study)}",
        f"Values are the {score_name(spec)}, lower is better. A trial whose loss was no longer "
        f"finite counts at chance level ({spec.chance:.3g}) and carries `{OUTCOME}: diverged`. "
        + _about_test_results(study),
    )
    return "\n\n".join(lines)


def _about_test_results(study: RegisteredStudy[LedgerReader]) -> str:
    opened = study.ledger.unsealed(study.id)
    state = "were opened for the analysis" if opened else "are sealed"
    return f"Test results {state}; no value or effect of theirs is shown here."


def _verdict(study: RegisteredStudy[LedgerReader]) -> str:
    told = study.ledger.events(study.id, VERDICT)
    command = command_line(study.ledger.address, "analyze", study.name)
    if told:
        # The sentence behind the label gives effects on the test set.
        label = told[-1].data.get("label") or re.split("[.:]", told[-1].data["text"])[0]
        return f"{label}; `{command}` says on what grounds."
    return f"None yet; `{command}` gives one when the study is finished."


def _about_arm(spec: StudySpec, arm: str, space: Space, parts: list[ArmProgress]) -> str:
    section = spec.arm(arm)
    if section.response_of is not None:
        return _about_level(spec, arm, parts)
    lines = [f"# {spec.name}: tuning {arm}", f"{get_family(section.optimizer).title}, over"]
    lines.append("\n".join(f"- `{name}`: {text}" for name, text in ranges(space).items()))
    lines += [
        f"{part.finished} of {counted(part.total, 'trial')}{_all(spec)} finished."
        for part in parts
        if part.arm.name == arm and part.phase is Phase.TUNE
    ]
    return "\n\n".join(lines)


def _about_level(spec: StudySpec, arm: str, parts: list[ArmProgress]) -> str:
    mine = [part for part in parts if part.arm.name == arm and part.phase is Phase.MATCH]
    told = "The winner of its source is not frozen yet."
    if mine:
        told = f"{mine[0].finished} of {counted(mine[0].total, 'trial')}{_all(spec)} finished."
    return (
        f"# {spec.name}: the level of {arm}\n\n"
        f"SGD with the steps that the winner of {spec.arm(arm).response_of} takes on a steady "
        f"gradient, times a level. {told}"
    )


def _all(spec: StudySpec) -> str:
    return " of all searches" if spec.replicates > 1 else ""


def _about_finalists(spec: StudySpec, parts: list[ArmProgress]) -> str:
    runs = [part for part in parts if part.phase is Phase.FINAL]
    tried = (part.total // spec.replicates for part in parts if part.phase is Phase.TUNE)
    finalists = min(spec.protocol.finalists, max(tried, default=0))
    done, total = sum(part.finished for part in runs), sum(part.total for part in runs)
    return (
        f"# {spec.name}: the finalists\n\n"
        f"The {finalists} best configurations of every search on further tune seeds; "
        f"the best on all of them wins. {done} of {total} trials are finished."
    )


def _about_half(spec: StudySpec, parts: list[ArmProgress]) -> str:
    runs = [part for part in parts if part.phase is Phase.HALF]
    done, total = sum(part.finished for part in runs), sum(part.total for part in runs)
    return (
        f"# {spec.name}: the winners of half the budget on fresh seeds\n\n"
        "The best configuration of the first half of every search, where the second half found "
        f"another: what it does worse is what the second half has gained. {done} of {total} runs "
        "are finished."
    )


def _about_confirm(spec: StudySpec, parts: list[ArmProgress]) -> str:
    runs = [part for part in parts if part.phase is Phase.CONFIRM]
    done, total = sum(part.finished for part in runs), sum(part.total for part in runs)
    told = "The winners are not frozen yet."
    if runs:
        told = f"{done} of {counted(total, 'run')} finished."
    return (
        f"# {spec.name}: the winners on fresh seeds\n\n"
        "The best configuration of every arm, trained again on seeds that tuning has not seen, the "
        f"same for all arms. {told}"
    )
