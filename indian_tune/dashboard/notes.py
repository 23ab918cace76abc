"""The note that Optuna Dashboard shows with every Optuna study of ours, in Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.errors import StudyFileError
from indian_tune.ledger import Phase
from indian_tune.ledger.slots import VERDICT
from indian_tune.optim.families import get_family
from indian_tune.study.description import budget, question, ranges, score_name
from indian_tune.study.projection import CONFIRM, OUTCOME
from indian_tune.study.space import parse_space
from indian_tune.study.space_history import latest_spaces
from indian_tune.study.spec import parse_study

if TYPE_CHECKING:
    from indian_tune.ledger import ArmProgress, LedgerReader, StudyRecord
    from indian_tune.study.space import Space
    from indian_tune.study.spec import StudySpec


def study_notes(ledger: LedgerReader, study: StudyRecord) -> dict[str, tuple[str, str]]:
    """Return what belongs to each Optuna study of a study.

    Args:
        ledger: to read from; nothing sealed is read.
        study: whose Optuna studies are meant.

    Returns:
        Name of the Optuna study → the name of its objective, and its note.
    """
    try:
        spec = parse_study(study.spec, source=f"study {study.name!r}")
    except StudyFileError:
        # Registered by a version whose study files were others; its trials can be shown still.
        return {}
    parts = ledger.progress(study.id)
    shared = _shared(ledger, study, spec)
    objective = score_name(spec)
    spaces = {
        arm: parse_space(raw, f"arm {arm!r}") for arm, raw in latest_spaces(ledger, study).items()
    }
    notes = {
        f"{study.name}/{arm}": (objective, f"{_about_arm(spec, arm, space, parts)}\n\n{shared}")
        for arm, space in spaces.items()
    }
    if spec.protocol.confirming_seeds:
        notes[f"{study.name}/{CONFIRM}"] = objective, f"{_about_confirm(spec, parts)}\n\n{shared}"
    return notes


def _shared(ledger: LedgerReader, study: StudyRecord, spec: StudySpec) -> str:
    problem = spec.problem
    lines = (
        f"**Question.** {question(spec)}",
        f"**Problem.** {problem.network_name} on {problem.data_name}, dropout "
        f"{problem.dropout:g}, batches of {problem.batch_size}.",
        f"**Budget.** {budget(spec)}",
        f"**Verdict.** {_verdict(ledger, study)}",
        f"Values are the {score_name(spec)}, lower is better. A trial whose loss was no longer "
        f"finite counts at chance level ({spec.chance:.3g}) and carries `{OUTCOME}: diverged`. "
        + _about_test_results(ledger, study),
    )
    return "\n\n".join(lines)


def _about_test_results(ledger: LedgerReader, study: StudyRecord) -> str:
    opened = any(event.kind == "unsealed" for event in ledger.events(study.id))
    state = "were opened for the analysis" if opened else "are sealed"
    return f"Test results {state} and not shown here."


def _verdict(ledger: LedgerReader, study: StudyRecord) -> str:
    told = ledger.events(study.id, VERDICT)
    if told:
        return str(told[-1].data["text"])
    return f"None yet; `indian-tune analyze {study.name}` gives one when the study is finished."


def _about_arm(spec: StudySpec, arm: str, space: Space, parts: list[ArmProgress]) -> str:
    lines = [f"# {spec.name}: tuning {arm}", f"{get_family(spec.arm(arm).optimizer).title}, over"]
    lines.append("\n".join(f"- `{name}`: {text}" for name, text in ranges(space).items()))
    lines += [
        f"{part.finished} of {part.total} trials are finished."
        for part in parts
        if part.arm.name == arm and part.phase is Phase.TUNE
    ]
    return "\n\n".join(lines)


def _about_confirm(spec: StudySpec, parts: list[ArmProgress]) -> str:
    runs = [part for part in parts if part.phase is Phase.CONFIRM]
    done, total = sum(part.finished for part in runs), sum(part.total for part in runs)
    told = f"{done} of {total} runs are finished." if runs else "The winners are not frozen yet."
    return (
        f"# {spec.name}: the winners on fresh seeds\n\n"
        "The best configuration of every arm, trained again on seeds that tuning has not seen, the "
        f"same for all arms. {told}"
    )
