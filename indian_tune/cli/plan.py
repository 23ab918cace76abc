"""`indian-tune plan`: what a study will cost and can show, before anything runs."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated

import typer

from indian_tune.cli.options import AllowImport, DataDir, Json, Storage

if TYPE_CHECKING:
    from pathlib import Path

    from indian_tune.analysis import Power
    from indian_tune.cli.plan_report import Memory
    from indian_tune.engines.estimate import Estimate
    from indian_tune.study.spec import StudySpec

# Where nothing is known: between the spread of runs on digits and that of long runs on CIFAR.
DEFAULT_SD = 0.01


def plan(
    study: Annotated[
        str,
        typer.Argument(metavar="STUDY", help="Study file, or the name of one that comes along."),
    ],
    workers: Annotated[
        int | None,
        typer.Option(help="Worker processes.", show_default="one per GPU, or per CPU core"),
    ] = None,
    devices: Annotated[
        str, typer.Option(help="auto, cpu, or a list such as cuda:0,cuda:1.")
    ] = "auto",
    threads_per_worker: Annotated[int, typer.Option(help="CPU threads of a worker.")] = 1,
    timing: Annotated[
        bool, typer.Option("--timing/--no-timing", help="Time a few training steps on the devices.")
    ] = True,
    sd: Annotated[
        float | None,
        typer.Option(
            help="Assumed standard deviation of paired differences, as a share of accuracy.",
            show_default=str(DEFAULT_SD),
        ),
    ] = None,
    pilot: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Finished study in --storage to take the standard deviations from, on validation "
            "images and its fresh seeds.",
        ),
    ] = None,
    storage: Storage = None,
    data_dir: DataDir = None,
    allow_import: AllowImport = False,
    as_json: Json = False,
) -> None:
    """Say what a study will cost and what it can show; nothing is run, nothing is written."""
    given = dict(locals())

    from indian_tune.cli.output import print_json, results
    from indian_tune.cli.plan_report import Report, print_report
    from indian_tune.cli.shipped import find_study_file
    from indian_tune.engines.devices import device_slots
    from indian_tune.engines.own_code import folders, prepared
    from indian_tune.errors import InputError
    from indian_tune.study.spec import load_study

    if sd is not None and pilot is not None:
        raise InputError(
            f"--sd {sd} and --pilot {pilot} both say how far runs differ: give one of them"
        )
    if sd is not None and not 0 < sd < 1:
        raise InputError(
            f"--sd = {sd} must be above 0 and below 1: 0.01 is one percentage point of accuracy"
        )
    file = find_study_file(study)
    imports = folders(file.parent) if allow_import else None
    spec = prepared(load_study(file), imports)
    slots = device_slots(devices, workers, threads_per_worker)
    powers = _powers(spec, sd, pilot, storage)
    reason, estimate = _estimate(spec, slots, data_dir, threads_per_worker, imports, timing=timing)
    report = Report(
        spec=spec,
        slots=tuple(slots),
        estimate=estimate,
        not_timed=reason,
        memory=_memory(spec, estimate, imports) if timing else None,
        powers=powers,
        assumed=pilot is None,
        pilot=pilot,
    )
    if as_json:
        print_json(report.as_dict())
    else:
        from indian_tune.cli.again import command_line
        from indian_tune.cli.output import print_lines
        from indian_tune.cli.search import search

        print_report(results(), report)
        shared = inspect.signature(search).parameters.keys() & given.keys() - {"as_json"}
        command = command_line(search, {name: given[name] for name in shared})
        print_lines(results(), "\nStart it with:", command)


def _estimate(
    spec: StudySpec,
    slots: list[str],
    data_dir: Path | None,
    threads: int,
    imports: tuple[str, ...] | None,
    *,
    timing: bool,
) -> tuple[str | None, Estimate | None]:
    """Return why nothing was timed, or what was."""
    from indian_tune.cli.plan_report import NOT_ASKED
    from indian_tune.engines.runs import missing_data

    missing = missing_data(spec, data_dir)
    if missing is not None:
        return missing, None
    if not timing:
        return NOT_ASKED, None

    from indian_tune.cli.output import notices
    from indian_tune.engines.estimate import estimate

    notices().print(f"Timing a few steps with {len(slots)} workers on {', '.join(set(slots))} …")
    return None, estimate(spec, slots, data_dir=data_dir, threads=threads, imports=imports)


def _memory(spec: StudySpec, estimate: Estimate | None, imports: tuple[str, ...] | None) -> Memory:
    from indian_tune.cli.plan_report import Memory
    from indian_tune.engines.memory import count_bytes

    speeds = [] if estimate is None else [s for row in estimate.speeds.values() for s in row]
    run_bytes, data_bytes = count_bytes(spec, imports)
    return Memory(
        run_bytes=run_bytes,
        data_bytes=data_bytes,
        device_bytes=max(
            (s.device_bytes for s in speeds if s.device_bytes is not None), default=None
        ),
        process_bytes=max(
            (s.process_bytes for s in speeds if s.process_bytes is not None), default=None
        ),
    )


def _powers(
    spec: StudySpec, sd: float | None, pilot: str | None, storage: str | None
) -> dict[str, Power]:
    """Return what the units of a study can find, by contrast."""
    from indian_tune.analysis import power

    protocol, claims = spec.protocol, spec.claims
    contrasts = sum(kind.contrasts for kind in claims.links())
    # A designed grid, which confirms nothing, is compared on its tuning seeds.
    n = len(protocol.confirming_seeds or protocol.tuning_seeds)
    spreads: dict[str, float | tuple[float, ...]] = {"any two arms": sd or DEFAULT_SD}
    if pilot is not None:
        spreads = dict(_pilot(pilot, storage))
    return {
        name: power(spread, claims.delta, claims.alpha, n=n if n > 1 else None, contrasts=contrasts)
        for name, spread in spreads.items()
    }


def _pilot(name: str, storage: str | None) -> dict[str, tuple[float, ...]]:
    """Return the paired differences of every INDIAN arm and rival of a study in the database."""
    from indian_tune.analysis.descriptive import final_contrast
    from indian_tune.errors import InputError
    from indian_tune.ledger import LedgerReader, Phase
    from indian_tune.ledger.frames import epoch_frame
    from indian_tune.optim.families import get_family

    metric = "validation_accuracy"
    with LedgerReader.open(storage) as ledger:
        record = ledger.study(name)
        frame = epoch_frame(ledger, record.id, Phase.CONFIRM)
        arms = [arm for arm in ledger.arms(record.id) if arm.name in set(frame["arm"])]
    ours = [arm.name for arm in arms if get_family(arm.optimizer).role == "ours"]
    rivals = [arm.name for arm in arms if arm.name not in ours]
    if not ours or not rivals or frame[metric].isna().all():
        raise InputError(
            f"--pilot {name}: there is no INDIAN arm and rival with validation accuracy on fresh "
            "seeds; take a study with mode = 'honest' that has confirmed its winners, or --sd"
        )
    found = {}
    for arm in ours:
        for rival in rivals:
            try:
                made = final_contrast(frame, arm, rival, metric)
            except InputError as error:
                raise InputError(f"--pilot {name}: {error}; use --sd instead") from error
            found[made.name] = made.differences
    return found
