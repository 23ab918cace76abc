"""`indian-tune analyze STUDY STUDY --combined`: several studies judged together."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from indian_tune.analysis.combined import Combined


def analyze_combined(
    names: Sequence[str], storage: str | None, out: Path | None, *, details: bool, as_json: bool
) -> None:
    """Judge studies of one database together, print it and, with ``out``, write reports.

    Raises:
        InputError: they cannot be combined, or one is not finished; nothing is opened then.
    """
    from indian_tune.analysis.combined import check_combined, combine, joint_rows
    from indian_tune.analysis.report import render_combined
    from indian_tune.ledger import Ledger
    from indian_tune.service.output import json_text, notices, print_json
    from indian_tune.service.own_study import from_study
    from indian_tune.service.verdict_files import REPORT, VERDICT, write_analysis
    from indian_tune.study import RegisteredStudy, check_finished

    with Ledger.open(storage, create=False) as ledger:
        opened = [RegisteredStudy.open(ledger, name) for name in names]
        check_combined([(study.name, study.spec.claims) for study in opened])
        for study in opened:
            check_finished(ledger, study.record)
    found = {name: from_study(storage, name, joins=True) for name in names}
    registered = {study.name: study.spec.claims.combined for study in opened}
    combined = combine([each.verdict for each in found.values()], registered)
    if out is not None:
        for name, each in found.items():
            write_analysis(out / name, each, [])
        (out / REPORT).write_text(render_combined(combined, joint_rows(combined)), encoding="utf-8")
        (out / VERDICT).write_text(json_text(combined.as_dict()) + "\n", encoding="utf-8")
        notices().print(f"Report: {out / REPORT}", soft_wrap=True)
    if as_json:
        print_json(combined.as_dict())
    else:
        print("\n".join(combined_lines(combined, details=details)))


def combined_lines(combined: Combined, *, details: bool = False) -> Iterator[str]:
    """Yield the lines of several studies judged together, at most 80 columns each.

    Args:
        combined: to be shown.
        details: whether to print the whole verdict of every study.
    """
    from indian_tune.analysis.combined import joint_rows
    from indian_tune.analysis.verdict_text import INDENT, WIDTH, verdict_lines

    count = len(combined.studies)
    for of, label, sentence in (
        (f"on all of {count} studies", combined.on_all, combined.all_sentence),
        (f"on the average of these {count}", combined.on_average, combined.average_sentence),
    ):
        yield f"Tuning (α, β) regularizes, {of}: {label}"
        yield from textwrap.wrap(sentence, WIDTH)
    for reason in combined.exploratory:
        yield from textwrap.wrap(f"Exploratory, because {reason}.", WIDTH)
    yield ""
    for row in joint_rows(combined):
        name, symbol, *numbers, of = row
        cells = " ".join(f"{number:>8}" for number in numbers)
        yield f"{symbol:1} {cells}  {name}"[:WIDTH].rstrip()
        if of and symbol:
            yield f"{INDENT}smallest in {of}"[:WIDTH]
    yield ""
    for verdict in combined.studies:
        if details:
            yield f"Study {verdict.study}"
            yield from verdict_lines(verdict, details=True)
            yield ""
        else:
            yield f"{verdict.study}: {verdict.label}"
            yield from textwrap.wrap(
                verdict.sentence, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT
            )
    first = combined.studies[0]
    yield from textwrap.wrap(
        f"{first.scope.judged.unit_words} at the last epoch. “smallest” is the smallest lower "
        f"bound of all studies. Bounds are one-sided: “at least” at level {first.alpha:g}, “at "
        f"most” at {first.alpha:g}/{first.contrasts}. The average holds for these studies only.",
        WIDTH,
    )
