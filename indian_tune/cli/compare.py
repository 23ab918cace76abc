"""`indian-tune compare`: is the difference real?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from indian_tune.cli.options import Json, Storage, complete_study

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indian_tune.comparison import Comparison, Many


def compare(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SOURCE]...",
            help="A study; files of runs (.csv, .tsv, .jsonl, .json, .parquet, .txt); a database "
            "of this program or of Optuna; or a folder of TensorBoard event files.",
            autocompletion=complete_study,
        ),
    ] = None,
    a: Annotated[str | None, typer.Option("--a", help="The arm that may be better.")] = None,
    b: Annotated[str | None, typer.Option("--b", help="The arm it is compared with.")] = None,
    baseline: Annotated[
        str | None,
        typer.Option("--baseline", help="Compare all other arms with this one (Holm-corrected)."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Compare all pairs of arms (Holm-corrected).")
    ] = False,
    metric: Annotated[
        str | None,
        typer.Option("--metric", help="Metric to compare.", show_default="the only one"),
    ] = None,
    better: Annotated[
        Literal["lower", "higher"] | None,
        typer.Option(
            "--better", help="Which values are better.", show_default="by the metric's name"
        ),
    ] = None,
    delta: Annotated[
        float | None,
        typer.Option(
            "--delta",
            help="Smallest effect of interest, in the unit of the metric.",
            show_default="a study's claims.delta, else none",
        ),
    ] = None,
    alpha: Annotated[
        float, typer.Option("--alpha", help="One minus the confidence level of the interval.")
    ] = 0.05,
    mapped: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="ROLE=COLUMN,...",
            help="Column to read arm, seed, step, task, replicate, trial, state or phase from; "
            "repeatable.",
        ),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where", metavar="COLUMN=VALUE", help="Rows to read; repeatable: all must hold."
        ),
    ] = None,
    pairing: Annotated[
        Literal["auto", "seed", "none"],
        typer.Option(
            "--pairing",
            help="auto: pair runs by seed if the arms share at least half of their seeds; seed: "
            "pair on any shared seed; none: do not pair.",
        ),
    ] = "auto",
    missing: Annotated[
        Literal["refuse", "failed"],
        typer.Option(
            "--missing",
            help="Refuse missing values, or count the run as failed.",
        ),
    ] = "refuse",
    sequential: Annotated[
        bool,
        typer.Option(
            "--sequential", help="Use an interval that stays valid if you look after every seed."
        ),
    ] = False,
    target: Annotated[
        float | None,
        typer.Option("--target", help="Also compare the steps until this value."),
    ] = None,
    register: Annotated[
        Path | None,
        typer.Option(
            "--register",
            metavar="FILE",
            help="Register this comparison before its runs exist, and read nothing. Name the "
            "SOURCE that will hold the runs: a comparison of another one is then exploratory.",
        ),
    ] = None,
    registered: Annotated[
        Path | None,
        typer.Option(
            "--registered", metavar="FILE", help="File that --register wrote before the runs."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="New HTML file with figures.")] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown, for a pull request.")
    ] = False,
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Test whether the difference between two arms is real, with runs from any source.

    --json prints the answer as `label`; the exit status is 0 whatever the answer is.
    """
    from indian_tune.comparison.sources import Request
    from indian_tune.errors import InputError
    from indian_tune.service.comparing import CompareRequest, register_comparison, run_compare
    from indian_tune.service.output import notices, print_json
    from indian_tune.text import printable, unused_path

    if markdown and as_json:
        raise InputError("--markdown and --json cannot be used together: give one")
    if out is not None and out.exists():
        raise InputError(
            f"--out = {out} already exists: choose another file, such as {unused_path(out)}"
        )
    request = CompareRequest(
        Request(
            sources or [],
            storage=storage,
            metric=metric,
            better=better,
            names=_equations("--map", [part for each in mapped or [] for part in each.split(",")]),
            where=_equations("--where", where or []),
            missing=missing,
            only=() if a is None or b is None else (a, b),
        ),
        a=a,
        b=b,
        baseline=baseline,
        every_pair=every,
        delta=delta,
        alpha=alpha,
        pairing=pairing,
        sequential=sequential,
        target=target,
        registered=registered,
    )
    if register is not None:
        if registered or out or target is not None:
            raise InputError(
                "--register cannot be used with --registered, --target or --out: remove them"
            )
        said = register_comparison(request, register)
        print(register)
        notices().print(said, soft_wrap=True)
        return
    found = run_compare(request)
    if out is not None:
        _write_page(found, out)
        notices().print(f"Page: {out}", soft_wrap=True)
    if as_json:
        print_json(found.as_dict())
    elif markdown:
        print(printable(found.markdown()), end="")
    else:
        _print(found)


def _equations(option: str, given: Sequence[str]) -> dict[str, str]:
    from indian_tune.errors import InputError

    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise InputError(f"{option} = {text!r} must be NAME=VALUE, such as seed=run_seed")
        if name in found:
            raise InputError(f"{option} sets {name} twice: give it once")
        found[name] = value
    return found


def _write_page(found: Comparison | Many, out: Path) -> None:
    from indian_tune.errors import InputError
    from indian_tune.text import printable

    page = printable(found.page())
    try:
        with out.open("x", encoding="utf-8") as written:
            written.write(page)
    except OSError as error:
        raise InputError(f"--out = {out} cannot be written: {error.strerror}") from error


def _told(lines: list[tuple[str, ...]], title: str) -> tuple[list[tuple[str, ...]], str]:
    """Return a table without columns that say the same in every row, and its title."""
    columns = list(zip(*lines, strict=True))
    if len(lines) > 2 and len(set(columns[1][1:])) == 1:
        title = f"{title}; each minus {columns[1][1]}"
        columns[1] = ()
    kept = [
        column
        for column in columns
        if column and not (column[0] == "failed" and set(column[1:]) == {"0, 0"})
    ]
    return list(zip(*kept, strict=True)), title


def _print(found: Comparison | Many) -> None:
    """Print an answer for people."""
    from indian_tune.comparison import Comparison
    from indian_tune.comparison.words import headings, many_rows, remarks, rows
    from indian_tune.service.output import headed, results, table

    console = results()
    console.print(f"{headings(found)}.")
    if isinstance(found, Comparison):
        console.print(headed(f"{found.label}: ", found.sentence))
        lines, title = rows(found), None
    else:
        lines, title = _told(many_rows(found), f"{found.metric}, {found.better} is better")
    shown = table(*lines[0], title=title, right=("difference", "n", "p (Holm)"))
    for column in shown.columns:
        # Names are folded where there is no room, not these.
        column.no_wrap = column.header in ("difference", "interval", "label")
    for row in lines[1:]:
        shown.add_row(*row)
    if not isinstance(found, Comparison) or found.tasks:
        console.print(shown)
    said = [*remarks(found), *found.notes] if isinstance(found, Comparison) else []
    for line in said:
        console.print(f"- {line}")
    if isinstance(found, Comparison):
        for caution in found.cautions:
            console.print(f"{'?' if caution.asked else '!'} {caution.sentence}")
    else:
        for line in found.cautions:
            console.print(f"! {line}")
