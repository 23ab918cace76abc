"""``indian-tune reproduce``: the paper's own figures and its theorem in numbers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from indian_tune.cli.options import DataDir, Json, Storage
from indian_tune.errors import EngineError, InputError
from indian_tune.service.output import number, percent, print_json, results, table
from indian_tune.text import counted

if TYPE_CHECKING:
    from indian_tune.reproduce import ConvergenceRow, Difference, Discretisation

app = typer.Typer(
    help="Reproduce the figures and the theorem of the INDIAN paper.", no_args_is_help=True
)

Out = Annotated[Path, typer.Option(help="Folder for the figure and its numbers.")]
DEFAULT_OUT = Path("reproduced")
REPLICATION = "descriptive replication, underpowered"


@app.command("figure1")
def figure1(out: Out = DEFAULT_OUT, as_json: Json = False) -> None:
    """Draw Figure 1 as printed and as fitted, and show where they differ.

    The published curves with the caption α = 0.5 are those of α = 0.3. All start with velocity
    -0.1 ∇J, but the text of the paper says -∇J. Takes a few seconds.
    """
    from indian_tune.reproduce import (
        compute_figure1,
        differences,
        distance_to_din,
        write_figure1,
    )

    _make_folder(out)
    figure = compute_figure1()
    gaps, approach = differences(figure), distance_to_din()
    files = write_figure1(figure, out)
    if as_json:
        print_json(
            {
                "differences": [asdict(gap) for gap in gaps],
                "distance_to_din": {
                    panel: {**asdict(one), "order": one.order} for panel, one in approach.items()
                },
                "files": files,
            }
        )
        return
    _print_differences(gaps)
    _print_approach(approach)
    parted = [gap for gap in gaps if gap.parted_at is not None]
    orders = sorted(one.order for one in approach.values())
    results().print(
        "\n"
        f"Shown: with the captions as printed, {len(parted)} of {counted(len(gaps), 'curve')} "
        f"differ from the fitted ones, by up to {max(gap.largest for gap in gaps):.1f} powers of "
        "ten in J. As γ becomes smaller, INDIAN approaches the differential equation, with order "
        f"{orders[0]:.2f} to {orders[-1]:.2f}."
    )
    _print_files(files)


@app.command("theorem1")
def theorem1(
    out: Out = DEFAULT_OUT,
    steps: Annotated[int, typer.Option(min=100, help="Steps per run.")] = 60_000,
    seeds: Annotated[int, typer.Option(min=1, help="Runs for each decay power.")] = 5,
    as_json: Json = False,
) -> None:
    """Follow INDIAN with mini-batches on nonsmooth objectives towards D-critical points.

    For step sizes γ0/(k+1)^a with a in (0, 1] the theorem says that J converges and that limit
    points are D-critical: 0 is in D J, the sum of the subdifferentials of the mini-batches. Takes
    about half a minute.
    """
    from indian_tune.reproduce import (
        convergence_table,
        default_objectives,
        run_convergence,
        write_convergence,
    )

    _make_folder(out)
    runs = []
    for objective in default_objectives():
        typer.echo(f"running on {objective.title}", err=True)
        runs.append(run_convergence(objective, steps=steps, seeds=seeds))
    rows = convergence_table(runs)
    files = write_convergence(runs, out)
    if as_json:
        print_json(
            {
                "steps": steps,
                "seeds": seeds,
                "radius": runs[0].radius,
                "rows": [asdict(row) for row in rows],
                "files": files,
            }
        )
        return
    _print_rows(rows, radius=runs[0].radius)
    _print_files(files)


@app.command("figure2")
def figure2(
    scale: Annotated[
        Literal["full", "cpu"],
        typer.Option(help="full: CIFAR-100 on GPUs; cpu: digits on two cores."),
    ] = "full",
    out: Out = DEFAULT_OUT,
    storage: Storage = None,
    data_dir: DataDir = None,
    workers: Annotated[
        int | None, typer.Option(help="Worker processes.", show_default="one per GPU or CPU core")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run or continue Figure 2, and draw it together with the published end points.

    It is a descriptive replication: five seeds, and results are reported on the test set. The
    study is paper-figure2. After an interruption, the same command continues it.
    """
    import contextlib
    import sys

    from indian_tune.cli.search import search
    from indian_tune.ledger import Ledger, Phase, State
    from indian_tune.ledger.frames import epoch_frame
    from indian_tune.reproduce.figure2 import end_points, published_end_points, write_figure2
    from indian_tune.service.command import other_command
    from indian_tune.study import check_finished

    if out.exists() and not out.is_dir():
        raise InputError(f"--out = {out} is not a folder: choose another")
    name = "paper-figure2" if scale == "full" else "paper-figure2-cpu"
    # What the search says of itself is a remark here.
    with contextlib.redirect_stdout(sys.stderr):
        search(study=name, storage=storage, data_dir=data_dir, workers=workers)
    with Ledger.open(storage, create=False) as ledger:
        study = ledger.study(name)
        check_finished(ledger, study)
        failed = ledger.trials(study.id, states=(State.FAILED,))
        if failed:
            again = other_command("search", name, "--retry-failed", storage=storage)
            raise EngineError(
                f"{counted(len(failed), 'trial')} of study {name!r} failed, so its test results "
                f"stay sealed: correct the cause, then run\n{again.line}"
            )
        ledger.unseal(study.id, by="reproduce figure2")
        frame = epoch_frame(ledger, study.id, Phase.CONFIRM, sealed=True)
    comparable = scale == "full"
    files = write_figure2(frame, out, comparable=comparable)
    ours = end_points(frame).to_dict("records")
    theirs = {(row["arm"], row["metric"]): row for row in published_end_points().to_dict("records")}
    if as_json:
        print_json(
            {
                "study": name,
                "label": REPLICATION,
                "comparable": comparable,
                "end_points": ours,
                "published": list(theirs.values()) if comparable else None,
                "files": files,
            }
        )
        return
    _print_end_points(ours, theirs if comparable else None)
    _print_files(files)


def _print_end_points(
    ours: list[dict[Any, Any]], theirs: dict[tuple[str, str], dict[Any, Any]] | None
) -> None:
    shown = table(
        *("arm", "", "ours", "published", "diverged"),
        title=f"Figure 2 at the last epoch, mean [worst to best run]: {REPLICATION}",
        right=("ours", "published", "diverged"),
    )
    for row in ours:
        published = None if theirs is None else theirs.get((row["arm"], row["metric"]))
        shown.add_row(
            row["arm"],
            {"train_loss": "training loss", "test_accuracy": "test accuracy %"}[row["metric"]],
            _range(row),
            "–" if published is None else _range(published),
            str(row["diverged"]) if row["diverged"] else "",
        )
    results().print(shown)
    typer.echo(
        "Accuracy is measured on the 10,000 test images; there is no validation part. The step "
        "sizes are not from the paper, which does not print its grids."
        if theirs is not None
        else "The published numbers are for CIFAR-100 and cannot be compared with digits."
    )


def _range(row: dict[Any, Any]) -> str:
    """Return mean and range; of accuracies as percentages, as everywhere."""
    show = percent if row["metric"] == "test_accuracy" else number
    return f"{show(row['mean'])} [{show(row['min'])} to {show(row['max'])}]"


def _make_folder(out: Path) -> None:
    """Make the folder before any work is spent."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--out = {out}: the folder cannot be created ({error.strerror}): choose another"
        ) from error


def _print_differences(gaps: list[Difference]) -> None:
    titles = {
        "printed": "Captions as printed, fitted start: distance from the fitted curves",
        "text": "Captions as printed, start of the text: distance from the fitted curves",
    }
    numbers = ("α", "s", "fitted α", "fitted s", "median", "largest", "largest |Δθ|")
    for variant, title in titles.items():
        shown = table("panel", *numbers, "differs from step", title=title, right=numbers)
        for gap in gaps:
            if gap.variant == variant:
                shown.add_row(
                    gap.panel,
                    number(gap.alpha),
                    number(gap.speed),
                    number(gap.fitted_alpha),
                    number(gap.fitted_speed),
                    number(gap.median),
                    number(gap.largest),
                    number(gap.largest_distance),
                    "never" if gap.parted_at is None else f"{gap.parted_at:,}",
                )
        results().print(shown)
    typer.echo("Median, largest: of |Δ log10 J| over the steps. s: the initial velocity is -s ∇J.")


def _print_approach(approach: dict[str, Discretisation]) -> None:
    gammas = [f"γ = {gamma:g}" for gamma in next(iter(approach.values())).gammas]
    shown = table(
        "panel",
        *gammas,
        "order",
        title="Largest distance from the differential equation DIN up to t = 1",
        right=(*gammas, "order"),
    )
    for panel, one in approach.items():
        shown.add_row(panel, *map(number, one.errors), f"{one.order:.2f}")
    results().print(shown)


def _print_rows(rows: list[ConvergenceRow], *, radius: float) -> None:
    columns = ("a", "γ0", "Σγ", "J", "swing of J", "dist(0, D J)", "at θ alone", "dist(0, ∂J)")
    for objective in dict.fromkeys(row.objective for row in rows):
        shown = table(*columns, title=objective, right=columns)
        for row in rows:
            if row.objective == objective:
                shown.add_row(
                    f"{row.decay_power:g}" if row.admissible else f"* {row.decay_power:g}",
                    number(row.gamma0),
                    number(row.time),
                    number(row.value),
                    number(row.tail_swing, 2),
                    number(row.distance, 2),
                    number(row.distance_at_point, 2),
                    number(row.clarke_distance, 2),
                )
        results().print(shown)
    typer.echo(
        "Medians after the last step. Swing: largest minus smallest J over the last tenth.\n"
        f"Distances include the kinks within {radius:g} of θ; ∂J is Clarke's subdifferential, – "
        "if unknown.\n"
        "* a constant step size, which the theorem does not cover"
    )
    covered = [row for row in rows if row.admissible]
    rest = [row for row in rows if not row.admissible]

    def most(of: list[ConvergenceRow]) -> str:
        return (
            f"J swings by at most {max(row.tail_swing for row in of):.2g} over the last tenth, and "
            f"0 is at most {max(row.distance for row in of):.2g} from D J"
        )

    results().print(
        f"\nShown: with the step sizes of the theorem, {most(covered)}."
        + (f" With a constant step size, {most(rest)}." if rest else "")
        + " Runs of finite length illustrate a limit but do not prove it."
    )


def _print_files(files: list[Path]) -> None:
    typer.echo("")
    for file in files:
        typer.echo(f"wrote {file}")
