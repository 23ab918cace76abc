"""The metric that arms are judged by: its direction and its unit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from indian_tune.text import in_column

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["ACCURACY", "Outcome", "metrics_of", "outcome_of"]

FAR = 0.1
"""Share of the way from chance to ``best`` on which ``best`` may be out of reach."""


@dataclass(frozen=True)
class Outcome:
    """A metric that runs are judged by.

    Its *error* is what is to be small: the metric itself, or ``best`` minus it where greater is
    better. Its *score* is 1 - error, which the analysis computes with: of a share it is the metric,
    and a difference of scores is a difference of the metric, above 0 where the first is better.

    Attributes:
        name: in the record, after the split: ``test_accuracy``.
        title: in words, such as "accuracy" or "MSE".
        unit: of a difference, in words.
        greater_is_better: whether it is to be large.
        best: value that the error of such a metric is measured from.
        share: whether it is a share in [0, 1], which people are shown in percent.
        chance: error at chance level; ``None`` where it is not known.
    """

    name: str
    title: str
    unit: str
    greater_is_better: bool = False
    best: float = 0.0
    share: bool = False
    chance: float | None = None

    @property
    def scale(self) -> float:
        """What a difference is multiplied by to be shown: 100 for percentage points."""
        return 100.0 if self.share else 1.0

    @property
    def trained_share(self) -> float:
        """Share of the error at chance level that a run which has trained stays below.

        Of ten or more classes 0.8: a network that tells only two of them apart has not trained. Of
        fewer classes chance leaves less room, and of other metrics noise may leave hardly any: from
        0.95 for two classes to 0.8, and 0.995.
        """
        if not self.share or self.chance is None:
            return 0.995
        # Of K classes, (K - 1) / 9.
        part = 1.0 if self.chance >= 0.9 else self.chance / (1 - self.chance) / 9
        return 1 - max(0.05, 0.2 * part)

    @property
    def trained_error(self) -> float | None:
        """The largest training error of a run that has trained; ``None`` if chance is not known."""
        return None if self.chance is None else self.trained_share * self.chance

    @property
    def trained_score(self) -> float | None:
        """The smallest training score of a run that has trained; ``None`` likewise."""
        return None if self.trained_error is None else 1 - self.trained_error

    @property
    def untrained_words(self) -> str:
        """What a run that has not trained did, in words; empty if chance is not known."""
        limit, chance = self.trained_error, self.chance
        if limit is None or chance is None:
            return ""
        last, known = (self._limit(error) for error in (limit, chance))
        if self.rises:
            return (
                f"its training {self.title} ended below {last}, which is "
                f"{100 * (1 - self.trained_share):.3g} % of the way from chance ({known}) to best "
                f"({self.best:g})"
            )
        return (
            f"its training {self.error_title} ended above {last}, which is "
            f"{100 * self.trained_share:.3g} % of that at chance level ({known})"
        )

    def doubt(self, errors: Iterable[float | None]) -> str:
        """Return what to say where ``best`` may be out of reach; empty where it is not.

        Args:
            errors: of all runs; ``None`` and NaN where one is not known.
        """
        known = [error for error in errors if error is not None and not math.isnan(error)]
        if not self.rises or self.chance is None or not known:
            return ""
        way = 1 - min(known) / self.chance
        if not 0 < way <= FAR:
            return ""
        return (
            f"best = {self.best:g} may be out of reach: the best result is {self.title} "
            f"{self.value(min(known)):.4g}, {100 * way:.2g} % of the way from chance "
            f"({self.value(self.chance):g}) to it, but a run counts as trained from "
            f"{self._limit(self.trained_share * self.chance)} on. If no run can come near best, "
            "run a study whose best is a value that good runs come near"
        )

    def _limit(self, error: float) -> str:
        return f"{100 * error:.4g} %" if self.share else f"{self.value(error):.4g}"

    @property
    def rises(self) -> bool:
        """Whether the displayed value is better when larger. Of a share the error is displayed."""
        return self.greater_is_better and not self.share

    @property
    def error_column(self) -> str:
        """Name of a column that holds the displayed value: that of the metric where it rises."""
        return self.name if self.rises else "error"

    @property
    def error_title(self) -> str:
        """What people are shown for an error, in words: of a share "error", else the metric."""
        return "error" if self.share else self.title

    @property
    def unit_words(self) -> str:
        """What differences are in, to begin a sentence."""
        if self.share:
            return f"Percentage points of {self.title}"
        return f"Differences in {self.unit}, above 0 where the first arm is better,"

    @property
    def better(self) -> str:
        """Where a line goes that gets better: "rising" or "falling"."""
        return "rising" if self.greater_is_better else "falling"

    @property
    def gained(self) -> str:
        """What a difference of scores is of, in words: above 0 where the first is better."""
        return f"{self.unit} {'higher' if self.greater_is_better else 'lower'} on test"

    def error(self, value: Any) -> Any:
        """Return the error of a value, or of an array of them."""
        return self.best - value if self.greater_is_better else value

    def value(self, error: Any) -> Any:
        """Return the value that has an error."""
        return self.best - error if self.greater_is_better else error

    def shown(self, error: Any) -> Any:
        """Return what people are shown for an error: of a share the error, else the metric."""
        return error if self.share else self.value(error)

    def score(self, value: Any) -> Any:
        """Return the score of a value, or of an array or column of them."""
        return value if self.share else 1 - self.error(value)

    def measured(self, score: Any) -> Any:
        """Return the value that has a score, or those of an array of scores."""
        return score if self.share else self.value(1 - score)

    def column(self, name: str) -> str:
        """Return the column of the metric for one of accuracies, ``test_accuracy``; others stay."""
        return name.replace(ACCURACY.name, self.name)

    def label(self, name: str) -> str:
        """Return what an axis says that shows a column of scores, ``test_accuracy``."""
        return self.words(name) + ", %" * self.share

    def words(self, name: str) -> str:
        """Return a column of scores in words: "test MSE" for ``test_accuracy``."""
        return name.replace(ACCURACY.name, self.title).replace("_", " ")

    def text(self, value: float) -> str:
        """Return a value as people are shown it: of a share in percent."""
        return f"{100 * value:.2f} %" if self.share else f"{value:.4g}"

    def error_text(self, error: float | None) -> str:
        """Return an error as people are shown it: of a share in percent, else the metric."""
        return self.error_texts([error])[0]

    def error_texts(
        self, errors: Sequence[float | None], deviations: Sequence[float | None] = ()
    ) -> list[str]:
        """Return the errors of a column, with their standard deviations, likewise."""
        shown = [None if error is None else self.shown(error) for error in errors]
        return self.mean_texts(shown, deviations)

    def mean_texts(
        self, values: Sequence[float | None], deviations: Sequence[float | None] = ()
    ) -> list[str]:
        """Return the means of a column with their standard deviations: a share in percent.

        Args:
            values: the means.
            deviations: as many; none by default.
        """
        if self.share:
            texts = [
                "–" if value is None or not math.isfinite(value) else f"{100 * value:.2f}"
                for value in values
            ]
        else:
            texts = in_column(values)
        return [
            f"{text} ±{self._spread(deviation)}"
            if deviation is not None and math.isfinite(deviation) and text != "–"
            else text
            for text, deviation in zip_longest(texts, deviations)
        ]

    def _spread(self, deviation: float) -> str:
        return f"{100 * deviation:.1f}" if self.share else f"{deviation:.2g}"

    def signed(self, difference: float | None) -> str:
        """Return a difference of scores with its sign, without its unit."""
        if difference is None or math.isnan(difference):
            return "–"
        if math.isinf(difference):
            return "−∞" if difference < 0 else "∞"
        return self.plain(difference).replace("-", "−")

    def plain(self, difference: float) -> str:
        """Return a finite difference of scores with its sign, in ASCII, without its unit."""
        return f"{100 * difference:+.2f}" if self.share else f"{difference:+.3g}"

    def size(self, difference: float) -> str:
        """Return a difference of scores without its sign rule, and without its unit."""
        return f"{100 * difference:.2f}" if self.share else f"{difference:.3g}"

    def amount(self, difference: float) -> str:
        """Return a given difference, such as δ, with its unit."""
        number = f"{self.scale * difference:g}"
        return f"{number} {self.unit.removesuffix('s') if number == '1' else self.unit}"


ACCURACY = Outcome("accuracy", "accuracy", "points", greater_is_better=True, best=1.0, share=True)
"""What classification is judged by; its chance depends on the number of classes."""


def outcome_of(spec: Mapping[str, Any]) -> Outcome:
    """Return what a study is judged by, of its registered file as plain data.

    Of classification the chance is left open.
    """
    task = _task(spec)
    return ACCURACY if task is None else Outcome(**task["outcome"])


def metrics_of(spec: Mapping[str, Any]) -> dict[str, tuple[str, bool]] | None:
    """Return the metrics of a study: name → title and whether it is a share, in their order.

    ``None`` for classification as the package knows it.
    """
    task = _task(spec)
    return None if task is None else {n: (t, s) for n, t, s in task["metrics"]}


def _task(spec: Mapping[str, Any]) -> Mapping[str, Any] | None:
    facts = spec.get("problem", {}).get("facts") or {}
    task: Mapping[str, Any] | None = facts.get("task")
    return task
