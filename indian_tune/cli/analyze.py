"""`indian-tune analyze`: does tuning (α, β) regularize?"""

from __future__ import annotations

import os
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from indian_tune.cli.options import (
    AllowImport,
    Artifacts,
    DataDir,
    Json,
    Storage,
    complete_study,
)
from indian_tune.service.verdict_files import REPORT, VERDICT, with_flatness, write_analysis

if TYPE_CHECKING:
    import pandas as pd


FEWEST_REPLICATIONS = 500


def analyze(
    studies: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[STUDY]...",
            help="Name of a study; may be left out if there is only one. Several with --combined.",
            autocompletion=complete_study,
        ),
    ] = None,
    combined: Annotated[
        bool,
        typer.Option(
            "--combined",
            help="Judge several studies together: on all of them, and on average of these.",
        ),
    ] = False,
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
            help="Register claims before their runs exist: digest and date go into a file beside "
            "it and, where there is one, into the database.",
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
    details: Annotated[
        bool, typer.Option("--details", help="List every contrast and every gate.")
    ] = False,
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
    from indian_tune.errors import InputError
    from indian_tune.service.output import notices, print_json, results

    if register is not None:
        if studies or source or claims or out or calibrate or combined:
            raise InputError("--register takes no STUDY, --from, --claims or --out: leave them out")
        from indian_tune.service.own_runs import register_claims

        file, said = register_claims(register, storage)
        print(file)
        notices().print(said, soft_wrap=True)
        return
    if combined:
        if source or claims or calibrate or flatness or figures or replications is not None:
            raise InputError(
                "--combined takes studies, --storage, --out, --details and --json alone"
            )
    elif studies and len(studies) > 1:
        raise InputError(f"{len(studies)} studies are given: add --combined to judge them together")
    study = studies[0] if studies else None
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
    if combined:
        from indian_tune.cli.combined import analyze_combined

        analyze_combined(studies or [], storage, out, details=details, as_json=as_json)
        return
    if source is not None and claims is not None:
        from indian_tune.service.own_runs import from_file

        found = from_file(source, claims, storage)
    else:
        from indian_tune.service.own_study import from_study

        measured = None
        if flatness:
            from indian_tune.engines.own_code import folders
            from indian_tune.imports import imports_allowed

            with imports_allowed(folders() if allow_import else None):
                measured = _measure_flatness(storage, study, artifacts, data_dir, flatness_examples)
        found = replace(from_study(storage, study), flatness=measured)
    verdict = found.verdict
    if out is not None:
        write_analysis(out, found, [form for form in figures.split(",") if form])
        notices().print(f"Report: {out / REPORT}", soft_wrap=True)
    if as_json:
        print_json(with_flatness(found))
        return
    from indian_tune.cli.verdict_text import WIDTH, verdict_lines

    closing = filter(None, [found.looks, *textwrap.wrap(found.remark, WIDTH)])
    print("\n".join([*verdict_lines(verdict, details=details), *closing]))
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


def _measure_flatness(
    storage: str | None,
    name: str | None,
    artifacts: Path | None,
    data_dir: Path | None,
    examples: int | None,
) -> pd.DataFrame:
    """Measure flatness, before the test results are opened: a mistake here opens nothing."""
    from indian_tune.engines import FLATNESS_EXAMPLES, artifacts_folder, flatness_frame
    from indian_tune.ledger import Ledger
    from indian_tune.service.output import notices
    from indian_tune.service.study_status import choose_study
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
                examples=examples or FLATNESS_EXAMPLES,
                on_run=lambda done, runs: status.update(f"Flatness: {done} of {runs} runs"),
            )


def _calibrate(replications: int | None, *, as_json: bool) -> None:
    from indian_tune.analysis.calibration import REPLICATIONS, calibrate
    from indian_tune.errors import IndianTuneError, InputError
    from indian_tune.service.output import notices, print_json

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
