"""The verdict on a study in a database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.service.verdict_files import EXAMPLES, RUNS, Analysis

if TYPE_CHECKING:
    from indian_tune.analysis import Verdict
    from indian_tune.ledger import LedgerReader, StudyRecord
    from indian_tune.study.registered_study import RegisteredStudy


def from_study(storage: str | None, name: str | None, *, joins: bool = False) -> Analysis:
    """Judge a finished study, and open its test results.

    Args:
        storage: the database.
        name: of the study; ``None`` for the only one.
        joins: whether it is combined with others.
    """
    from indian_tune import analysis
    from indian_tune.ledger import Ledger, LedgerReader, sqlite_file, storage_url
    from indian_tune.ledger.database import is_kept
    from indian_tune.ledger.frames import epoch_frame, example_frame
    from indian_tune.service.background import background, step_size_ranges
    from indian_tune.service.output import notices
    from indian_tune.service.study_status import choose_study
    from indian_tune.study.looks import looks_sentence
    from indian_tune.study.registered_study import RegisteredStudy
    from indian_tune.study.registration_check import check_finished, control_fault, departures
    from indian_tune.study.space_history import latest_spaces, trials_added

    file = sqlite_file(storage_url(storage))
    # In an archive what was opened before can be judged again, and nothing has to be written.
    kept = file is not None and file.exists() and is_kept(file)
    with LedgerReader.open(storage) if kept else Ledger.open(storage, create=False) as ledger:
        record = choose_study(ledger, name)
        opened = RegisteredStudy.open(ledger, record)
        spec = opened.spec
        check_finished(ledger, record)
        _check_measured(opened)
        if not isinstance(ledger, Ledger):
            _require_unsealed(ledger, record)
        elif ledger.unseal(record.id, by="analyze"):
            notices().print(
                f"The test results of {record.name} are now open; this is recorded.",
                soft_wrap=True,
            )
        breaks = departures(opened)
        fault = control_fault(spec)
        breaks += [] if fault is None else [fault]
        frame = epoch_frame(ledger, record.id, sealed=True, objective=spec.protocol.score)
        examples = example_frame(ledger, record.id)
        spaces = latest_spaces(ledger, record)
        extended = trials_added(ledger, record)
        looks = ledger.looks(record.data_name)
        about = background(opened)
        ranges = step_size_ranges(opened)
    task = None if spec.problem.facts is None else spec.problem.facts.task
    verdict = analysis.analyze(
        frame,
        spec.claims,
        registration=analysis.Registration(
            mode=spec.protocol.mode,
            seeds=spec.fresh_seeds,
            breaks=tuple(breaks),
        ),
        scope=analysis.Scope(
            network=spec.problem.network_name,
            dataset=spec.problem.data_name,
            classes=spec.problem.classes if task is None else None,
            outcome=None if task is None else task.outcome.outcome,
            epochs=spec.protocol.epochs,
            trials=spec.search.trials + max(extended, default=0),
            tune_epochs=spec.protocol.tuning_epochs,
            extended=extended,
        ),
        spaces=spaces,
        examples=examples,
        joins=joins,
    )
    if not kept:
        _remember(storage, record.id, verdict)
    frames = {RUNS: frame, EXAMPLES: examples}
    return Analysis(
        verdict,
        frames,
        spec.claims,
        about,
        ranges,
        looks=looks_sentence(record.data_name, looks),
        looked=tuple(look.study for look in looks),
    )


def _check_measured(study: RegisteredStudy[LedgerReader]) -> None:
    """Refuse runs that cannot be analysed before their test results are opened.

    Raises:
        InputError: runs on fresh seeds lack test results, or hold what no analysis takes.
    """
    from indian_tune.analysis.frame import confirm_rows, scored
    from indian_tune.errors import InputError
    from indian_tune.ledger import Phase
    from indian_tune.ledger.frames import epoch_frame, unmeasured_runs
    from indian_tune.text import counted, some

    problem = study.spec.problem
    metric = problem.outcome.column("test_accuracy")
    missing = unmeasured_runs(study.ledger, study.id, metric)
    if missing:
        fix = "correct the metric"
        if problem.own_loop:
            fix = "give the Loop test=… and report test_error=run.sealed(evaluate) in every epoch"
        raise InputError(
            f"study {study.name!r} has {counted(len(missing), 'run')} on fresh seeds without a "
            f"finite {metric} in every epoch ({some(missing, 5)}), and a verdict compares "
            f"test results: {fix}, and search under another name (--as NEW-NAME)"
        )
    for phase in (Phase.CONFIRM, Phase.HALF):
        frame = epoch_frame(study.ledger, study.id, phase)
        if len(frame):
            # With a test result in every row, what is refused is in the other columns.
            filled = scored(frame.assign(**{metric: 0.0}), problem.outcome)
            confirm_rows(filled, str(phase))


def _require_unsealed(ledger: LedgerReader, record: StudyRecord) -> None:
    from indian_tune.errors import StorageError

    if not ledger.unsealed(record.id):
        raise StorageError(
            f"database {ledger.address} is read-only, but opening the sealed test results of "
            f"{record.name} must be recorded in it: make it writable, or use a copy"
        )


def _remember(storage: str | None, study_id: int, verdict: Verdict) -> None:
    """Record the verdict with the study, once: the dashboard shows it."""
    from indian_tune.ledger import Ledger
    from indian_tune.ledger.slots import VERDICT as KIND

    data = {"label": str(verdict.label), "text": f"{verdict.label}. {verdict.sentence}"}
    with Ledger.open(storage, create=False) as ledger:
        known = ledger.events(study_id, KIND)
        if not known or known[-1].data != data:
            ledger.record_event(study_id, KIND, data)
