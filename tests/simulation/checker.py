"""What must hold of the record of a study, judged from its rows alone.

It imports nothing of the package: the rules are written here a second time, from what the guides
promise. It reads any database of the package, SQLite or PostgreSQL, also one that real workers
filled under faults, and beside it what workers were told, where that was noted.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TABLES = ("study", "arm", "trial", "run", "epoch", "sealed_epoch", "event", "worker")
OPEN = ("waiting", "running")
FINISHED = ("complete", "pruned", "diverged", "failed")
ATTEMPTS = 3

Row = dict[str, Any]
Rows = dict[str, list[Row]]


@dataclass(frozen=True)
class Answer:
    """What a worker was told: its request was carried out.

    Attributes:
        what: ``claimed``, ``reported`` or ``finished``.
        worker: whom.
        trial: of the request.
        asked: place in the history at which it asked.
        told: place at which it had the answer.
        detail: run, epoch and metrics of a report; the state that a trial got.
    """

    what: str
    worker: str
    trial: int
    asked: float
    told: float
    detail: Any = None


def read_rows(address: str) -> Rows:
    """Read the tables of a database."""
    engine = sa.create_engine(address)
    rows: Rows = {}
    with engine.connect() as connection:
        for name in TABLES:
            result = connection.execute(sa.text(f"SELECT * FROM ledger_{name}"))
            rows[name] = [_decoded(row) for row in result.mappings()]
        known = set(sa.inspect(connection).get_table_names())
        if "trial_user_attributes" in known:
            slots = "SELECT value_json FROM trial_user_attributes WHERE key = 'slot'"
            rows["slots"] = [{"slot": each} for (each,) in connection.execute(sa.text(slots))]
    engine.dispose()
    return rows


def _decoded(row: Any) -> Row:
    decoded = dict(row)
    for key in ("spec", "config", "values", "metrics", "data"):
        if isinstance(decoded.get(key), str):
            decoded[key] = json.loads(decoded[key])
    return decoded


def violations(rows: Rows, answers: Sequence[Answer] = (), *, ended: bool = True) -> list[str]:
    """Return what does not hold, in sentences.

    Args:
        rows: of the database, by table.
        answers: what workers were told, in the order in which they were.
        ended: whether the study must be at its end, which is not so in the middle of a search.
    """
    found = [*_structure(rows), *_leases(rows), *_acknowledged(rows, answers), *_fencing(answers)]
    for study in rows["study"]:
        found += [*_budget(rows, study), *_freezing(rows, study)]
        if ended:
            found += _end(rows, study)
    return found


def _structure(rows: Rows) -> Iterable[str]:
    """Nothing is there twice, and no epoch is missing below one that is there."""
    keys = {
        "trial": ("arm_id", "phase", "replicate", "index"),
        "run": ("trial_id", "seed"),
        "epoch": ("run_id", "epoch"),
        "sealed_epoch": ("run_id", "epoch"),
        "slots": ("slot",),
    }
    for name, columns in keys.items():
        count = Counter(tuple(row[c] for c in columns) for row in rows.get(name, ()))
        yield from (f"{name} {key} is there {n} times" for key, n in count.items() if n > 1)
    epochs = defaultdict(list)
    for row in rows["epoch"]:
        epochs[row["run_id"]].append(row["epoch"])
    sealed = Counter(row["run_id"] for row in rows["sealed_epoch"])
    trials = {row["id"]: row for row in rows["trial"]}
    for run in rows["run"]:
        there = sorted(epochs[run["id"]])
        if there != list(range(1, run["epochs_done"] + 1)) or sealed[run["id"]] != len(there):
            yield f"run {run['id']} counts {run['epochs_done']} epochs and has {there}"
        if run["state"] == "complete" and run["epochs_done"] != run["epochs_planned"]:
            yield f"run {run['id']} is complete after {run['epochs_done']} epochs"
        if run["trial_id"] not in trials:
            yield f"run {run['id']} has lost its trial"
            continue
        state = trials[run["trial_id"]]["state"]
        if state in FINISHED and run["state"] in OPEN:
            yield f"run {run['id']} is {run['state']} and its trial {state}"
        if state == "complete" and run["state"] != "complete":
            yield f"run {run['id']} is {run['state']} and its trial complete"
    with_runs = {run["trial_id"] for run in rows["run"]}
    for trial in rows["trial"]:
        if trial["state"] in ("complete", "pruned", "diverged") and trial["id"] not in with_runs:
            yield f"trial {trial['id']} is {trial['state']} without a run"


def _leases(rows: Rows) -> Iterable[str]:
    """A trial is leased exactly while it runs, and fails only after enough attempts."""
    deaths: dict[int, int] = defaultdict(int)
    for event in sorted(rows["event"], key=lambda event: event["id"]):
        if event["kind"] in ("broke", "taken over"):
            deaths[event["trial_id"]] += 1
        if event["kind"] == "put back":
            deaths[event["trial_id"]] = 0
    for trial in rows["trial"]:
        leased = trial["lease_expires_at"] is not None
        if leased != (trial["state"] == "running"):
            yield f"trial {trial['id']} is {trial['state']} and leased: {leased}"
        if trial["attempts"] < 0:
            yield f"trial {trial['id']} has {trial['attempts']} attempts"
        # The last death is no takeover: nobody takes the trial over.
        if trial["state"] == "failed" and deaths[trial["id"]] < ATTEMPTS - 1:
            yield f"trial {trial['id']} failed after {deaths[trial['id']]} attempts"


def _budget(rows: Rows, study: Row) -> Iterable[str]:
    """Every search has the registered trials, those that were added, and no others."""
    spec, search = study["spec"], study["spec"]["search"]
    events = [e for e in rows["event"] if e["study_id"] == study["id"]]
    for arm in (a for a in rows["arm"] if a["study_id"] == study["id"]):
        section = next(each for each in spec["arms"] if each["name"] == arm["name"])
        searched = not any(section.get(k) for k in ("fixed", "response_of", "matched_rate_of"))
        if not searched or search["sampler"] == "grid":
            continue
        added = sum(e["data"]["added"][arm["name"]] for e in events if e["kind"] == "extended")
        for replicate in range(search.get("replicates", 1)):
            unused = sum(
                e["data"]["unused"]
                for e in events
                if e["kind"] == "budget spent"
                and (e["data"]["arm_id"], e["data"].get("replicate", 0)) == (arm["id"], replicate)
            )
            there = sorted(
                trial["index"]
                for trial in rows["trial"]
                if (trial["arm_id"], trial["phase"], trial["replicate"])
                == (arm["id"], "tune", replicate)
            )
            if there != list(range(search["trials"] + added - unused)):
                yield f"search {arm['name']}/r{replicate} has the trials {there}"


def _freezing(rows: Rows, study: Row) -> Iterable[str]:
    """Winners are frozen once per set of trials, and are the best of those there are."""
    frozen, stands = 0, False
    last: Row = {}
    for event in sorted(rows["event"], key=lambda event: event["id"]):
        if event["study_id"] != study["id"]:
            continue
        if event["kind"] == "frozen":
            frozen, last = frozen + 1, event["data"]
            if stands or event["data"]["freezing"] != frozen:
                yield f"freezing {event['data']['freezing']} is number {frozen}, stands: {stands}"
            stands = True
        elif event["kind"] in ("extended", "retried"):
            stands = False
    if not stands or study["spec"]["protocol"].get("finalists"):
        return
    searches = study["spec"]["search"].get("replicates", 1)
    for arm in (a for a in rows["arm"] if a["study_id"] == study["id"]):
        for replicate in range(searches):
            done = [
                (trial["value"], trial["index"])
                for trial in rows["trial"]
                if (trial["arm_id"], trial["phase"], trial["replicate"], trial["state"])
                == (arm["id"], "tune", replicate, "complete")
            ]
            name = arm["name"] if searches == 1 else f"{arm['name']}/r{replicate}"
            winner = last["winners"].get(name, {}).get("trial")
            if done and winner != min(done)[1]:
                yield f"search {name} froze trial {winner}, and the best is {min(done)[1]}"


def _acknowledged(rows: Rows, answers: Sequence[Answer]) -> Iterable[str]:
    """What a worker was told is recorded stays recorded."""
    metrics = {(row["run_id"], row["epoch"]): row["metrics"] for row in rows["epoch"]}
    states = {row["id"]: row["state"] for row in rows["trial"]}
    for answer in answers:
        if answer.what == "reported":
            run, epoch, told = answer.detail
            if metrics.get((run, epoch)) != told:
                yield f"epoch {epoch} of run {run} was reported by {answer.worker} and is not there"
        over = answer.what == "finished" and answer.detail != "failed"
        if over and states.get(answer.trial) != answer.detail:
            yield f"trial {answer.trial} ended as {answer.detail}, is {states.get(answer.trial)}"


def _fencing(answers: Sequence[Answer]) -> Iterable[str]:
    """Whoever asks after another was given the trial is refused."""
    grants = defaultdict(list)
    for answer in answers:
        if answer.what == "claimed":
            grants[answer.trial].append(answer)
    for answer in answers:
        if answer.what == "claimed":
            continue
        mine = [g for g in grants[answer.trial] if g.told <= answer.asked]
        latest = max(mine, key=lambda grant: grant.asked, default=None)
        if latest is None or (
            latest.worker != answer.worker
            and latest.asked > max((g.told for g in mine if g.worker == answer.worker), default=-1)
        ):
            yield f"{answer.worker} {answer.what} trial {answer.trial} without its lease"


def _end(rows: Rows, study: Row) -> Iterable[str]:
    """A study that is at its end has frozen its winners, and nothing is open."""
    mine = [trial for trial in rows["trial"] if trial["study_id"] == study["id"]]
    left = [trial["id"] for trial in mine if trial["state"] in OPEN]
    if left:
        yield f"trials {left} are open at the end"
    kinds = {event["kind"] for event in rows["event"] if event["study_id"] == study["id"]}
    if "frozen" not in kinds and not any(trial["state"] == "failed" for trial in mine):
        yield "no winners are frozen at the end"
