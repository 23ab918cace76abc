"""A problem of one's own: a small network on a table in a CSV file.

``table_mlp.toml`` names ``make_problem``, which is called with the file's ``problem.arguments`` and
returns a :class:`indian_tune.problems.Problem`. Everything else (what is held out for validation,
seeds, epochs, optimizers) is the study's.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from indian_tune.problems import CounterDropout, Problem, Split


def make_problem(path: str, label: str, test_every: int = 5, hidden: int = 32) -> Problem:
    """Read a table of numbers and get a network for it ready.

    Args:
        path: of the CSV file, as seen from this one.
        label: column that is to be predicted; the others are numbers.
        test_every: every so manieth row of each class is a test row.
        hidden: width of both hidden layers.
    """
    # A file beside this one is found wherever a worker runs.
    table = pd.read_csv(Path(__file__).parent / path)
    codes, names = pd.factorize(table[label], sort=True)
    labels = torch.tensor(codes, dtype=torch.int64)
    rows = torch.tensor(table.drop(columns=label).to_numpy(), dtype=torch.float32)
    place_in_class = torch.tensor(table.groupby(label).cumcount().to_numpy())
    is_test = place_in_class % test_every == 0
    train = rows[~is_test]
    return Problem(
        dataset=Path(path).stem,
        model="mlp",
        classes=len(names),
        train=Split(train, labels[~is_test]),
        test=Split(rows[is_test], labels[is_test]),
        build_model=partial(build_mlp, rows.shape[1], hidden, len(names)),
        # Of the training rows alone: the test rows are not to be known.
        mean=tuple(train.mean(0).tolist()),
        std=tuple(train.std(0).tolist()),
    )


def build_mlp(features: int, hidden: int, classes: int, *, seed: int, dropout: float) -> nn.Module:
    """Return a network with two hidden layers.

    torch draws the initial weights from its global generator, which was seeded with ``seed``.
    """
    del seed
    return nn.Sequential(
        nn.Linear(features, hidden),
        nn.ReLU(),
        CounterDropout(dropout, layer=0),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        CounterDropout(dropout, layer=1),
        nn.Linear(hidden, classes),
    )
