"""A figure of a report with its caption, table and alternative text.

A module of figures names its exhibits in ``EXHIBITS``: place in the report → function. Nothing else
has to know of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from indian_tune.errors import NoDataError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from indian_tune.analysis.verdict import Verdict
    from indian_tune.study.claims import ClaimsSection
    from indian_tune.study.file.space import Parameter


@dataclass(frozen=True)
class Material:
    """What the figures of a study are made of.

    Attributes:
        frame: one row per run and epoch, as ``ledger.frames.epoch_frame`` returns it.
        claims: which arms the hypotheses compare.
        verdict: from ``analyze``; without one, the figures of contrasts are left out.
        ranges: arm → range of γ0 that was searched last.
        published: published end points, as ``learning_curves`` takes them.
        flatness: one row per run, as ``flatness_table`` takes it.
    """

    frame: pd.DataFrame
    claims: ClaimsSection
    verdict: Verdict | None = None
    ranges: Mapping[str, Parameter] | None = None
    published: pd.DataFrame | None = None
    flatness: pd.DataFrame | None = None

    @property
    def judged(self) -> Verdict:
        """The verdict.

        Raises:
            NoDataError: there is none.
        """
        if self.verdict is None:
            raise NoDataError("the figure needs a verdict, but none was given")
        return self.verdict


@dataclass(frozen=True)
class Exhibit:
    """A figure as a report shows it.

    Attributes:
        name: of its files.
        title: above it.
        caption: what to see in it.
        alt: what it shows, for those who cannot see it; with the numbers that matter.
        figure: the figure.
        table: the numbers behind it.
    """

    name: str
    title: str
    caption: str = field(repr=False)
    alt: str = field(repr=False)
    figure: Figure = field(repr=False)
    table: pd.DataFrame = field(repr=False)


Exhibits = Mapping[int, Callable[[Material], Exhibit]]
"""Place in the report, from small to large → what makes the exhibit of a study.

It raises ``NoDataError`` where the study does not have the data.
"""
