"""Writes the claims of a study to a file, so that its exported runs can be analysed alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from indian_tune.study import departures
from indian_tune.study.file.claims_file import ClaimsFile, RegistrationSection, ScopeSection
from indian_tune.study.space_history import latest_raw_spaces, trials_added

if TYPE_CHECKING:
    from indian_tune.ledger import LedgerReader
    from indian_tune.study import RegisteredStudy


def exported_claims(study: RegisteredStudy[LedgerReader]) -> dict[str, Any]:
    """Return the claims, the scope and the registration of a study as ``load_claims`` reads them.

    A study that departs from its registration is exported without one: what is analysed from the
    files is exploratory, as it is in the database.
    """
    spec = study.spec
    task = None if spec.problem.facts is None else spec.problem.facts.task
    outcome = None if task is None else task.outcome
    file = ClaimsFile(
        claims=spec.claims,
        scope=ScopeSection(
            network=spec.problem.network_name,
            dataset=spec.problem.data_name,
            classes=spec.problem.classes if outcome is None else None,
            outcome=outcome,
            trials=spec.search.trials + max(trials_added(study.ledger, study.record), default=0),
            tune_epochs=spec.protocol.tuning_epochs,
            spaces=latest_raw_spaces(study.ledger, study.record),
        ),
    )
    if not departures(study):
        registration = RegistrationSection(mode=spec.protocol.mode, seeds=list(spec.fresh_seeds))
        file = file.model_copy(update={"registration": registration})
        dated = {"digest": file.digest, "registered_at": study.record.created_at.isoformat()}
        registration = registration.model_copy(update=dated)
        file = file.model_copy(update={"registration": registration})
    return file.model_dump(mode="json", exclude_none=True)
