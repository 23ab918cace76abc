"""What the name of a metric implies: whether it is one, and which direction is better."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from indian_tune.errors import InputError
from indian_tune.text import some

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Better = Literal["lower", "higher"]
_LOWER = re.compile(
    r"(?:^|[._/ -])(?:loss|nll|bpb|bpc|err|error|errors|perplexity|ppl|mse|rmse|mae|regret|wer|cer"
    r"|fid|seconds|time)(?:$|[._/ -])",
    re.IGNORECASE,
)
_HIGHER = re.compile(
    r"(?:^|[._/ -])(?:acc|accuracy|f1|auc|auroc|r2|bleu|rouge|reward|return|map|miou|iou|psnr|ssim"
    r"|precision|recall|top1|top5)(?:$|[._/@ -])",
    re.IGNORECASE,
)


def guessed_metric(names: Sequence[str]) -> str:
    """Return the only one of some names that can be a metric.

    Raises:
        InputError: there is none, or several.
    """
    plain = ("value", "score")
    able = [n for n in names if n in plain or _LOWER.search(n) or _HIGHER.search(n)]
    if len(able) == 1 or len(names) == 1:
        return (able or names)[0]
    said = f"{listed(able)} could be it" if able else f"the columns are {listed(names)}"
    raise InputError(f"name the metric with --metric: {said}")


def direction_of(metric: str, better: Better | None) -> Better:
    """Return whether a lower or a higher value of a metric is better, by its name if not said.

    Raises:
        InputError: the name does not tell.
    """
    if better is not None:
        if better not in ("lower", "higher"):
            raise InputError(f"better = {better!r} must be 'lower' or 'higher'")
        return better
    low, high = bool(_LOWER.search(metric)), bool(_HIGHER.search(metric))
    if low == high:
        raise InputError(
            f"it is not known whether a lower or a higher {metric} is better: give --better lower "
            "or --better higher"
        )
    return "lower" if low else "higher"


def listed(names: Iterable[object], most: int = 8) -> str:
    """Return names in a row, the first of many."""
    return some(names, most) or "none"
