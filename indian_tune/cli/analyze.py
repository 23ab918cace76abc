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
from indian_tune.service.verdict_files import REPORT, check_out, with_flatness, write_analysis

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd


FEWEST_REPLICATIONS = 500


def analyze(
    studies: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[STUDY]...",
            help="Name of a study; not needed if there is only one. Several with --combined.",
            autocompletion=complete_study,
        ),
    ] = None,
    combined: Annotated[
        bool,
        typer.Option(
            "--combined",
            help="Judge several studies together: whether the claim holds in each of them, and on "
            "average.",
        ),
    ] = False,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Runs trained elsewhere: a .parquet or .csv file."),
    ] = None,
    claims: Annotated[
        Path | None,
        typer.Option("--claims", help="TOML or JSON file of claims about the runs of --from."),
    ] = None,
    register: Annotated[
        Path | None,
        typer.Option(
            "--register",
            metavar="CLAIMS",
            help="Register claims before their runs exist: write their digest and date to a new "
            "file in the folder of CLAIMS, and to the database if there is one.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for report.html, verdict.json and their data."),
    ] = None,
    figures: Annotated[
        str, typer.Option("--figures", help="Also write figures in these formats: svg,png,pdf.")
    ] = "",
    details: Annotated[
        bool, typer.Option("--details", help="List every contrast and every gate.")
    ] = False,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate", help="Test the analysis itself on simulated studies with known effects."
        ),
    ] = False,
    replications: Annotated[
        int | None,
        typer.Option(
            "--replications", help="Studies per scenario for --calibrate.", show_default="2000"
        ),
    ] = None,
    flatness: Annotated[
        bool,
        typer.Option(
            "--flatness",
            help="Measure the flatness of the loss at the weights that protocol.keep_checkpoints "
            "kept.",
        ),
    ] = False,
    flatness_examples: Annotated[
        int | None,
        typer.Option(
            "--flatness-examples",
            min=1,
            help="Number of training examples for --flatness.",
            show_default="512",
        ),
    ] = None,
    artifacts: Artifacts = None,
    data_dir: DataDir = None,
    allow_import: AllowImport = False,
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Open the test results: rank the arms, and judge whether tuning (α, β) regularizes.

    The study must be finished, and the opening is recorded. Without a claim there is no verdict.
    """
    from indian_tune.errors import InputError
    from indian_tune.service.output import notices, print_json, results

    if register is not None:
        others: dict[str, object] = {"STUDY": studies, "--from": source, "--claims": claims}
        others |= {"--out": out, "--calibrate": calibrate, "--combined": combined}
        _refuse("--register", others)
        from indian_tune.service.own_runs import register_claims

        file, said = register_claims(register, storage)
        print(file)
        notices().print(said, soft_wrap=True)
        return
    if combined:
        others = {"--from": source, "--claims": claims, "--calibrate": calibrate}
        others |= {"--flatness": flatness, "--figures": figures}
        others["--replications"] = replications is not None
        _refuse("--combined", others)
    elif studies and len(studies) > 1:
        raise InputError(f"{len(studies)} studies are given: add --combined to judge them together")
    study = studies[0] if studies else None
    _check(study, source, claims, out, calibrate=calibrate, replications=replications)
    odd = sorted({*figures.split(",")} - {"", "svg", "png", "pdf"})
    if odd:
        raise InputError(
            f"--figures = {figures} contains {', '.join(odd)}: give svg, png or pdf, separated by "
            "commas"
        )
    if figures and out is None:
        raise InputError(f"--figures = {figures} needs --out: give a folder with --out")
    if flatness and (calibrate or source is not None):
        raise InputError("--flatness needs the weights of a STUDY: remove --from or --calibrate")
    if not flatness and (flatness_examples is not None or artifacts is not None):
        option = "--artifacts" if flatness_examples is None else "--flatness-examples"
        raise InputError(f"{option} needs --flatness: add it, or remove {option}")
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
    from indian_tune.analysis.verdict_text import WIDTH, evidence_lines, head_lines
    from indian_tune.service.ranking import arms_table

    head = "\n".join(head_lines(verdict))
    arms = arms_table(verdict, found.background.winners)
    for part in (head, arms) if verdict.claimed else (arms, f"\n{head}"):
        results().print(part, soft_wrap=isinstance(part, str))
    # A date or a study's name is not broken at its hyphens.
    looks = textwrap.wrap(found.looks, WIDTH, break_on_hyphens=False)
    closing = [*looks, *textwrap.wrap(found.remark, WIDTH)]
    print("\n".join([*evidence_lines(verdict, details=details), *closing]))
    if found.flatness is not None:
        from indian_tune.cli.flatness_table import flatness_table

        results().print(flatness_table(found.flatness))


def _refuse(option: str, others: Mapping[str, object]) -> None:
    """Refuse options that cannot be given together with another one."""
    from indian_tune.errors import InputError

    given = [name for name, value in others.items() if value]
    if given:
        raise InputError(
            f"{option} cannot be used with {', '.join(given)}: remove "
            f"{'it' if len(given) == 1 else 'them'}"
        )


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

    if calibrate:
        others = {"STUDY": study, "--from": source, "--claims": claims, "--out": out}
        _refuse("--calibrate", others)
    if replications is not None and not calibrate:
        raise InputError(f"--replications = {replications} needs --calibrate: add it")
    if (source is None) != (claims is None):
        given, other = ("--from", "--claims") if claims is None else ("--claims", "--from")
        raise InputError(f"{given} needs {other}: give both")
    if source is not None and study is not None:
        raise InputError(f"give either the study {study!r} or --from {source}, not both")
    if out is not None:
        check_out(out)


def _measure_flatness(
    storage: str | None,
    name: str | None,
    artifacts: Path | None,
    data_dir: Path | None,
    examples: int | None,
) -> pd.DataFrame:
    """Measure flatness, before the test results are opened: a mistake here opens nothing."""
    from indian_tune.engines import FLATNESS_EXAMPLES, flatness_frame, recorded_folder
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
                artifacts or recorded_folder(ledger, record),
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
            f"--replications = {count} must be at least {FEWEST_REPLICATIONS}: with fewer, the "
            "error rates are too uncertain to check"
        )
    processes = os.cpu_count() or 1
    notices().print(
        f"{count} simulated studies per scenario and number of searches, in {processes} "
        f"processes; the default of {REPLICATIONS} takes some minutes of CPU time …"
    )
    made = calibrate(count, processes=processes)
    if as_json:
        print_json(made.as_dict())
    else:
        print(made.text())
    failed = made.failures
    if failed:
        raise IndianTuneError(f"the analysis is not calibrated: {'; '.join(failed)}")
