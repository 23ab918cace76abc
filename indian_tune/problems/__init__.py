"""Data sets, their splits, and networks.

Names whose modules load torch, or are needed by few commands, are looked up on first use, so that
the catalog can be read without loading torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.lazy import lazy_names
from indian_tune.problems.catalog import (
    DATASETS,
    MODELS,
    ModelInfo,
    check_fit,
    get_dataset_info,
    get_model_info,
)
from indian_tune.problems.dataset import Archive, DatasetInfo, StoredFile
from indian_tune.problems.folder import data_folder
from indian_tune.problems.loop import Loop
from indian_tune.problems.problem import ModelBuilder, Problem, Split
from indian_tune.problems.sizes import SplitSizes
from indian_tune.problems.task import Metric, Task, get_task

if TYPE_CHECKING:
    from indian_tune.problems.fetching import fetch
    from indian_tune.problems.loading import load_arrays
    from indian_tune.problems.models import CounterDropout, build_model, replace_dropout
    from indian_tune.problems.own import make_problem
    from indian_tune.problems.splits import load_problem
    from indian_tune.problems.stream import Stream
    from indian_tune.problems.tasks.classification import Classification
    from indian_tune.problems.tasks.regression import Regression
    from indian_tune.problems.verification import DataState, DataStatus, verify

__all__ = [
    "DATASETS",
    "MODELS",
    "Archive",
    "Classification",
    "CounterDropout",
    "DataState",
    "DataStatus",
    "DatasetInfo",
    "Loop",
    "Metric",
    "ModelBuilder",
    "ModelInfo",
    "Problem",
    "Regression",
    "Split",
    "SplitSizes",
    "StoredFile",
    "Stream",
    "Task",
    "build_model",
    "check_fit",
    "data_folder",
    "fetch",
    "get_dataset_info",
    "get_model_info",
    "get_task",
    "load_arrays",
    "load_problem",
    "make_problem",
    "replace_dropout",
    "verify",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "fetching": ("fetch",),
        "loading": ("load_arrays",),
        "models": ("CounterDropout", "build_model", "replace_dropout"),
        "own": ("make_problem",),
        "splits": ("load_problem",),
        "stream": ("Stream",),
        "tasks.classification": ("Classification",),
        "tasks.regression": ("Regression",),
        "verification": ("DataState", "DataStatus", "verify"),
    },
)
