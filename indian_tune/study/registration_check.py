"""Whether a study that is analysed is finished, and as it was registered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.errors import InputError
from indian_tune.ledger import EXTENDED, FROZEN, LEVELS, Phase, command_line
from indian_tune.ledger.slots import OWN_CODE, UNSEALED
from indian_tune.study.completion import completion, search_command
from indian_tune.text import ADDRESS_HINT, counted, digest_of

if TYPE_CHECKING:
    from indian_tune.ledger import LedgerReader, StudyRecord
    from indian_tune.study.file.spec import StudySpec
    from indian_tune.study.registered_study import RegisteredStudy


def check_finished(ledger: LedgerReader, study: StudyRecord) -> None:
    """Refuse a study whose trials are not all finished: its test results stay sealed.

    Raises:
        InputError: trials wait or run, or nothing was confirmed on fresh seeds.
    """
    now = completion(ledger, study)
    command = search_command(ledger, study.id) or command_line(ledger.address, "search", "STUDY")
    secret = ledger.url.password or {"password", "sslpassword"} & ledger.url.query.keys()

    def hint(shown: str) -> str:
        return f"\n  {ADDRESS_HINT}" if secret and "--storage" in shown else ""

    if now.withheld:
        raise InputError(
            f"{now.failures}, so {now.withheld}: run them again, or choose among the others\n"
            f"  {command} --retry-failed\n"
            f"  {command} --freeze-anyway{hint(command)}"
        )
    if not now.finished():
        raise InputError(
            f"study {study.name!r} is not finished (left: {counted(now.left(), 'trial')}): an "
            "analysis opens the test results, so finish the study first\n"
            f"  {command}{hint(command)}"
        )
    if not ledger.confirms(study.id):
        if study.spec["protocol"].get("confirm_seeds") not in (0, []):
            show = command_line(ledger.address, "show", study.name)
            raise InputError(
                f"study {study.name!r} has no runs on fresh seeds, because no arm has a winner: "
                "all trials diverged. First look for a fault in the data, the loss or the network; "
                "if there is none, run a study with smaller step sizes, or with a metric that is "
                f"finite. This shows the trials:\n  {show}{hint(show)}"
            )
        raise InputError(
            f"study {study.name!r} has no runs on fresh seeds (protocol.confirm_seeds = 0), and "
            "winners cannot be tested on the seeds that they were chosen on: run it with --as "
            "NEW-NAME and confirm_seeds of at least 2"
        )


def departures(study: RegisteredStudy[LedgerReader]) -> list[str]:
    """Return in what a study departs from its registration, one clause each; usually nothing."""
    found = []
    ledger, spec = study.ledger, study.spec
    if digest_of(study.record.spec) != study.record.spec_hash:
        found.append("the registered study file was changed after registration (its hash differs)")
    for arm in ledger.arms(study.id):
        trials = ledger.count_trials(study.id, phase=Phase.TUNE, arm_id=arm.id)
        planned = spec.trials_of(arm.name) * spec.replicates
        # A budget of epochs or seconds may be spent before the trials are.
        if trials > planned or (trials < planned and spec.budget is None):
            found.append(f"arm {arm.name!r} had {counted(trials, 'trial')}, registered: {planned}")
    for kind, what, phase in (
        (FROZEN, "the winners", Phase.TUNE),
        (LEVELS, "the levels of controls", Phase.MATCH),
    ):
        frozen = ledger.events(study.id, kind)
        passed_over = frozen[-1].data.get("passed_over") if frozen else None
        if passed_over:
            count = sum(map(len, passed_over.values()))
            found.append(
                f"{what} were frozen although {counted(count, f'{phase} trial')} had failed"
            )
    if len(ledger.events(study.id, OWN_CODE)) > 1:
        found.append("the code that the study names was changed after registration")
    # The first event opens the results; a later extension may have been decided knowing them.
    events = ledger.events(study.id)
    opened = next((event for event in events if event.kind == UNSEALED), None)
    if opened is not None and not opened.data["finished"]:
        found.append("the test results were opened before the study was finished")
    if opened is not None and any(e.kind == EXTENDED and e.id > opened.id for e in events):
        found.append("trials were added after the test results were opened")
    return found


def control_fault(spec: StudySpec) -> str | None:
    """Return why what the claims name as a control is none; ``None`` if it is one."""
    claim = spec.claims.h2
    if claim is None or claim.matched_rate is None:
        return None
    follows = spec.arm(claim.matched_rate).source
    if follows == claim.arm:
        return None
    how = "is searched by itself" if follows is None else f"follows {follows!r}"
    return (
        f"the control {claim.matched_rate!r} {how}, and does not follow {claim.arm!r}: it needs "
        f"response_of = {claim.arm!r} and no space"
    )
