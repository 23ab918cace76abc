"""`indian-tune analyze`: does tuning (α, β) regularize?"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from indian_tune.cli.options import AllowImport, Artifacts, DataDir, Json, Storage, StudyName

if TYPE_CHECKING:
    import pandas as pd

    from indian_tune.analysis import Verdict
    from indian_tune.analysis.report import Background
    from indian_tune.study.claims import ClaimsSection
    from indian_tune.study.file.space import Parameter

REPORT = "report.html"
FEWEST_REPLICATIONS = 500
VERDICT, RUNS, EXAMPLES = "verdict.json", "runs.parquet", "examples.parquet"
FLATNESS = "flatness.csv"
# Columns of text, whatever their values look like: null, NA, 1, True.
TEXT = ("study", "arm", "optimizer", "phase", "trial_state", "run_state", "objective")


@dataclass(frozen=True)
class Analysis:
    """A verdict, and what a report shows beside it.

    Attributes:
        verdict: what was found.
        frames: the data behind it, by the name of their file.
        claims: what was tested.
        background: protocol, budget and provenance.
        ranges: arm → range of γ0 that was searched last.
        flatness: of every run on the fresh seeds, where it was asked for.
        looks: which studies of the database have opened the test set, a sentence; empty for runs
            that were trained elsewhere.
        looked: their names.
    """

    verdict: Verdict
    frames: dict[str, pd.DataFrame]
    claims: ClaimsSection
    background: Background
    ranges: dict[str, Parameter]
    flatness: pd.DataFrame | None = None
    looks: str = ""
    looked: tuple[str, ...] = ()


def analyze(
    study: StudyName = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Runs trained elsewhere: a .parquet or .csv file."),
    ] = None,
    claims: Annotated[
        Path | None, typer.Option("--claims", help="TOML or JSON file of claims about --from.")
    ] = None,
    register: Annotated[
        Path | None,
        typer.Option(
            "--register",
            metavar="CLAIMS",
            help="Register claims before their runs exist: writes digest and date beside it.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Folder for report.html, verdict.json and the data behind them."
        ),
    ] = None,
    figures: Annotated[
        str, typer.Option("--figures", help="Write figures in these formats too: png,pdf.")
    ] = "",
    details: Annotated[bool, typer.Option("--details", help="List every contrast.")] = False,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate", help="Test the analysis itself on simulated studies with known truth."
        ),
    ] = False,
    replications: Annotated[
        int | None, typer.Option("--replications", help="Studies per scenario for --calibrate.")
    ] = None,
    flatness: Annotated[
        bool,
        typer.Option(
            "--flatness",
            help="Measure how flat the loss is at the weights that protocol.keep_checkpoints kept.",
        ),
    ] = False,
    flatness_examples: Annotated[
        int | None,
        typer.Option(
            "--flatness-examples",
            min=1,
            help="Training examples that --flatness is measured on.",
            show_default="512",
        ),
    ] = None,
    artifacts: Artifacts = None,
    data_dir: DataDir = None,
    allow_import: AllowImport = False,
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Answer with evidence whether tuning (α, β) regularizes.

    Opens the test results of a finished study, and records that it did.
    """
    from indian_tune.cli.output import notices, print_json, results
    from indian_tune.errors import InputError

    if register is not None:
        if study or source or claims or out or calibrate:
            raise InputError("--register takes no STUDY, --from, --claims or --out: leave them out")
        from indian_tune.study.file.claims_file import register_claims

        print(register_claims(register))
        notices().print("The registration is self-declared: keep it where its date can be shown.")
        return
    _check(study, source, claims, out, calibrate=calibrate, replications=replications)
    odd = sorted({*figures.split(",")} - {"", "svg", "png", "pdf"})
    if odd or (figures and out is None):
        raise InputError(
            f"--figures {figures} goes with --out, and takes svg, png and pdf, joined by commas"
        )
    if flatness and (calibrate or source is not None):
        raise InputError("--flatness needs the weights of a STUDY: give no --from or --calibrate")
    if not flatness and (flatness_examples is not None or artifacts is not None):
        option = "--artifacts" if flatness_examples is None else "--flatness-examples"
        raise InputError(f"{option} goes with --flatness")
    if calibrate:
        _calibrate(replications, as_json=as_json)
        return
    if source is not None and claims is not None:
        found = _from_file(source, claims)
    else:
        measured = None
        if flatness:
            from indian_tune.engines.own_code import folders
            from indian_tune.imports import imports_allowed

            with imports_allowed(folders() if allow_import else None):
                measured = _measure_flatness(storage, study, artifacts, data_dir, flatness_examples)
        found = replace(_from_study(storage, study), flatness=measured)
    verdict = found.verdict
    if out is not None:
        _write(out, found, [form for form in figures.split(",") if form])
        notices().print(f"Report: {out / REPORT}", soft_wrap=True)
    if as_json:
        print_json(_with_flatness(found))
        return
    from indian_tune.cli.verdict_text import verdict_lines

    print("\n".join([*verdict_lines(verdict, details=details), *filter(None, [found.looks])]))
    if found.flatness is not None:
        from indian_tune.cli.flatness_table import flatness_table

        results().print(flatness_table(found.flatness))


def _check(
    study: str | None,
    source: Path | None,
    claims: Path | None,
    out: Path | None,
    *,
    calibrate: bool,
    replications: int | None,
) -> None:
    """Refuse options that do not go together, before anything is opened."""
    from indian_tune.errors import InputError

    if calibrate and (study or source or claims or out):
        raise InputError("--calibrate simulates its studies: give no STUDY, --from or --out")
    if replications is not None and not calibrate:
        raise InputError(f"--replications = {replications} goes with --calibrate")
    if (source is None) != (claims is None):
        given, other = ("--from", "--claims") if claims is None else ("--claims", "--from")
        raise InputError(f"{given} needs {other} beside it")
    if source is not None and study is not None:
        raise InputError(f"give either the study {study!r} or --from {source}, not both")
    if out is not None and (out / VERDICT).exists():
        raise InputError(f"{out / VERDICT} exists: choose another folder for --out")
    if out is not None and out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is not a folder")


def _from_file(source: Path, claims: Path) -> Analysis:
    from indian_tune import analysis
    from indian_tune.analysis.report import Background
    from indian_tune.study.file.claims_file import load_claims

    file = load_claims(claims)
    frame = _read(source)
    registration = None
    if file.registration is not None:
        registration = analysis.Registration(
            mode=file.registration.mode,
            seeds=tuple(file.registration.seeds),
            trials=file.registration.trials,
            breaks=tuple(file.departures),
            note="The registration is self-declared: its date is in a file only.",
        )
    verdict = analysis.analyze(
        frame,
        file.claims,
        registration=registration,
        scope=analysis.Scope(**file.scope.model_dump()),
    )
    background = Background(provenance=[("Runs", str(source)), ("Claims", str(claims))])
    return Analysis(verdict, {RUNS: frame}, file.claims, background, {})


def _read(source: Path) -> pd.DataFrame:
    import pandas as pd

    from indian_tune.errors import InputError

    if source.suffix not in (".parquet", ".csv"):
        raise InputError(f"--from {source} must end with .parquet or .csv")
    try:
        if source.suffix == ".parquet":
            frame = pd.read_parquet(source)
        else:
            text = pd.read_csv(
                source, usecols=lambda name: name in TEXT, dtype=str, keep_default_na=False
            )
            frame = pd.read_csv(source, usecols=lambda name: name not in TEXT)
            frame = pd.concat([text, frame], axis=1)
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{source} cannot be read as {source.suffix[1:]}: {error}") from error
    for name in set(TEXT) & set(frame):
        frame[name] = frame[name].where(frame[name] != "", None)
    return frame


def _from_study(storage: str | None, name: str | None) -> Analysis:
    from indian_tune import analysis
    from indian_tune.cli.background import background, step_size_ranges
    from indian_tune.cli.output import notices
    from indian_tune.cli.status import choose_study
    from indian_tune.ledger import Ledger
    from indian_tune.ledger.frames import epoch_frame, example_frame
    from indian_tune.study.looks import looks_sentence
    from indian_tune.study.ranking import winner_places
    from indian_tune.study.registered_study import RegisteredStudy
    from indian_tune.study.registration_check import check_finished, departures

    with Ledger.open(storage, create=False) as ledger:
        record = choose_study(ledger, name)
        opened = RegisteredStudy.open(ledger, record)
        spec = opened.spec
        check_finished(ledger, record)
        if ledger.unseal(record.id, by="analyze"):
            notices().print(
                f"The test results of {record.name} are open from now on, and its record says so.",
                soft_wrap=True,
            )
        breaks = departures(opened)
        frame = epoch_frame(ledger, record.id, sealed=True, objective=spec.protocol.score)
        examples = example_frame(ledger, record.id)
        winners = winner_places(ledger, record)
        looks = ledger.looks(record.data_name)
        about = background(opened)
        ranges = step_size_ranges(opened)
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
            classes=spec.problem.classes,
            epochs=spec.protocol.epochs,
            trials=spec.search.trials,
            tune_epochs=spec.protocol.tuning_epochs,
        ),
        winners=winners,
        examples=examples,
    )
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


def _measure_flatness(
    storage: str | None,
    name: str | None,
    artifacts: Path | None,
    data_dir: Path | None,
    examples: int | None,
) -> pd.DataFrame:
    """Measure flatness, before the test results are opened: a mistake here opens nothing."""
    from indian_tune.cli.output import notices
    from indian_tune.cli.status import choose_study
    from indian_tune.engines.flatness import EXAMPLES, flatness_frame
    from indian_tune.engines.session import artifacts_folder
    from indian_tune.ledger import Ledger
    from indian_tune.study.registered_study import RegisteredStudy
    from indian_tune.study.registration_check import check_finished

    with Ledger.open(storage, create=False) as ledger:
        record = choose_study(ledger, name)
        opened = RegisteredStudy.open(ledger, record)
        check_finished(ledger, record)
        with notices().status("Flatness …") as status:
            return flatness_frame(
                opened,
                artifacts or artifacts_folder(ledger.url),
                data_dir,
                examples=examples or EXAMPLES,
                on_run=lambda done, runs: status.update(f"Flatness: {done} of {runs} runs"),
            )


def _with_flatness(found: Analysis) -> dict[str, Any]:
    """Return a verdict as plain data, with what was looked up and measured beside it."""
    said = found.verdict.as_dict()
    if found.looks:
        said["looks"] = list(found.looked)
    if found.flatness is None:
        return said
    from indian_tune.analysis.flatness import summarise_flatness

    arms = [made.as_dict() for made in summarise_flatness(found.flatness)]
    return {**said, "flatness": {"descriptive": True, "arms": arms}}


def _remember(storage: str | None, study_id: int, verdict: Verdict) -> None:
    """Record the verdict with the study, once: the dashboard shows it."""
    from indian_tune.ledger import Ledger
    from indian_tune.ledger.slots import VERDICT as KIND

    data = {"label": str(verdict.label), "text": f"{verdict.label}. {verdict.sentence}"}
    with Ledger.open(storage, create=False) as ledger:
        known = ledger.events(study_id, KIND)
        if not known or known[-1].data != data:
            ledger.record_event(study_id, KIND, data)


def _write(out: Path, found: Analysis, formats: list[str]) -> None:
    from indian_tune.analysis.figures import Material, exhibits
    from indian_tune.analysis.report import write_report
    from indian_tune.cli.output import json_text

    out.mkdir(parents=True, exist_ok=True)
    for name, frame in found.frames.items():
        frame.to_parquet(out / name, index=False)
    if found.flatness is not None:
        found.flatness.to_csv(out / FLATNESS, index=False, lineterminator="\n")
    material = Material(
        found.frames[RUNS],
        found.claims,
        found.verdict,
        ranges=found.ranges,
        flatness=found.flatness,
    )
    write_report(out, found.verdict, exhibits(material), found.background, formats)
    # Last, so that a folder with a verdict is a whole one.
    (out / VERDICT).write_text(json_text(_with_flatness(found)) + "\n", encoding="utf-8")


def _calibrate(replications: int | None, *, as_json: bool) -> None:
    from indian_tune.analysis.calibration import REPLICATIONS, calibrate
    from indian_tune.cli.output import notices, print_json
    from indian_tune.errors import IndianTuneError, InputError

    count = REPLICATIONS if replications is None else replications
    if count < FEWEST_REPLICATIONS:
        raise InputError(
            f"--replications = {count} must be at least {FEWEST_REPLICATIONS}: with fewer, chance "
            "hides what is to be seen"
        )
    processes = os.cpu_count() or 1
    notices().print(
        f"{count} simulated studies per scenario and number of seeds in {processes} processes; "
        f"the usual {REPLICATIONS} take some minutes of processor time …"
    )
    made = calibrate(count, processes=processes)
    if as_json:
        print_json(made.as_dict())
    else:
        print(made.text())
    failed = made.failures
    if failed:
        raise IndianTuneError(f"the analysis is not calibrated: {'; '.join(failed)}")
