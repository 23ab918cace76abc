"""`indian-tune status`: how far a study is and how its arms stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.cli.options import Json, Storage, StudyName

if TYPE_CHECKING:
    from indian_tune.ledger import LedgerReader, StudyRecord


def status(study: StudyName = None, storage: Storage = None, as_json: Json = False) -> None:
    """Show how far a study is, who works on it, and how its arms stand."""
    from indian_tune.cli.output import print_json, results, table
    from indian_tune.cli.ranking import edge_notes, outcomes, ranking_json, ranking_table
    from indian_tune.ledger import LedgerReader
    from indian_tune.study.ranking import rank

    with LedgerReader.open(storage) as ledger:
        record = choose_study(ledger, study)
        ranked = rank(ledger, record)
        workers = [worker for worker in ledger.workers(record.id) if worker.left_at is None]
        held = _held_trials(ledger, record.id)
        if as_json:
            print_json(
                {
                    "study": record.name,
                    "storage": ledger.address,
                    "created_at": record.created_at.isoformat(),
                    "finished": all(
                        part.finished == part.total
                        for result in ranked
                        for part in (result.tune, result.confirm)
                        if part is not None
                    ),
                    "workers": [
                        {**vars(worker), "trial": held.get(worker.id)} for worker in workers
                    ],
                    "arms": ranking_json(ranked),
                }
            )
            return
        console = results()
        console.print(
            f"[bold]{record.name}[/bold], registered {record.created_at:%Y-%m-%d %H:%M} UTC, "
            f"in {ledger.address}"
        )
        made = table("arm", "tune", "fresh seeds", "epochs", "", right=("tune", "fresh seeds"))
        for result in sorted(ranked, key=lambda result: result.position):
            tune, confirm = result.tune, result.confirm
            made.add_row(
                result.name,
                "–" if tune is None else f"{tune.finished}/{tune.total}",
                "–" if confirm is None else f"{confirm.finished}/{confirm.total}",
                str(sum(part.epochs_done for part in (tune, confirm) if part is not None)),
                ", ".join(filter(None, (outcomes(tune), outcomes(confirm)))),
            )
        console.print(made)
        if workers:
            made = table("worker", "host", "device", "trial", "last heartbeat", title="Workers")
            for worker in workers:
                trial = held.get(worker.id, "–")
                beat = f"{worker.heartbeat_at:%Y-%m-%d %H:%M:%S} UTC"
                made.add_row(worker.id, worker.host, worker.device, trial, beat)
            console.print(made)
        if any(result.value is not None for result in ranked):
            console.print(ranking_table(ranked))
            for note in edge_notes(ranked):
                console.print(note)


def _held_trials(ledger: LedgerReader, study_id: int) -> dict[str, str]:
    """Return the trial that each worker holds."""
    from indian_tune.cli.show import trial_path
    from indian_tune.ledger import State

    names = {arm.id: arm.name for arm in ledger.arms(study_id)}
    return {
        trial.worker_id: trial_path(names[trial.arm_id], trial)
        for trial in ledger.trials(study_id, states=(State.RUNNING,))
        if trial.worker_id is not None
    }


def choose_study(ledger: LedgerReader, name: str | None) -> StudyRecord:
    """Return the study of that name, or the only one there is.

    Raises:
        InputError: there is no such study, or several and no name.
    """
    from indian_tune.errors import InputError

    if name is not None:
        return ledger.study(name)
    studies = ledger.studies()
    if len(studies) == 1:
        return studies[0]
    names = ", ".join(study.name for study in studies) or "none"
    raise InputError(f"name a study: {ledger.address} holds {names}")
