"""Converts torch data sets and tables to the tensors of a split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Subset

from indian_tune.errors import InputError
from indian_tune.imports import blamed
from indian_tune.problems.task import get_task
from indian_tune.text import with_article

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from torch import Tensor

    from indian_tune.problems.task import Task

# How many examples are read a second time, to find random transforms: few, and each may be left as
# it is by a flip.
READ_AGAIN = 8
# A float64 table would be rounded to float32 when it is used anyway.
NARROWED = {torch.float64: torch.float32, torch.int32: torch.int64, torch.int16: torch.int64}


def split_of_dataset(dataset: Any, task: Task | str) -> tuple[Tensor, Tensor]:
    """Return the inputs and the labels of a data set; see :meth:`Split.from_dataset`."""
    name = type(dataset).__name__
    if isinstance(dataset, DataLoader):
        raise InputError(f"got a {name}: give the data set, not its loader")
    try:
        count = len(dataset)
    except TypeError as error:
        raise InputError(
            f"{name} has no length, so it cannot be read into memory: give a part of it as a "
            "list, or use your own training loop (indian_tune.Loop)"
        ) from error
    if count == 0:
        raise InputError(f"{name} is empty: give at least one example")
    inputs: list[Tensor] = []
    labels: list[Tensor] = []
    for n in range(count):
        try:
            item = dataset[n]
        except Exception:
            with blamed(place_of(dataset, n), "reading it"):
                raise
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise InputError(
                f"{name}[{n}] is {with_article(type(item).__name__)}: it must be a pair of an "
                f"input and a label{several_inputs(item)}"
            )
        inputs.append(_tensor(item[0], f"{name}[{n}][0]"))
        labels.append(_label(item[1], f"{name}[{n}][1]", get_task(task)))
        if labels[n].shape != labels[0].shape:
            raise InputError(
                f"{name}[{n}][1] has the shape {list(labels[n].shape)}, but the first label "
                f"{list(labels[0].shape)}: give all labels the same shape"
            )
        if inputs[n].shape != inputs[0].shape:
            raise InputError(
                f"{name}[{n}][0] has the shape {list(inputs[n].shape)}, but the first input "
                f"{list(inputs[0].shape)}: give all inputs the same shape"
            )
    for n in range(min(count, READ_AGAIN)):
        again = _tensor(dataset[n][0], f"{name}[{n}][0]")
        if again.shape != inputs[n].shape or not torch.equal(
            again.nan_to_num(), inputs[n].nan_to_num()
        ):
            raise InputError(
                f"{name}[{n}] is another input when it is read again, so its transform is random. "
                "Every example is read once here: give a data set without random transforms, and "
                "for augmentation a DataLoader as train, or problem.augmentation"
            )
    return torch.stack(inputs), torch.stack(labels)


def several_inputs(found: object) -> str:
    """Return what to do with several tensors per example, such as tokens and an attention mask.

    Args:
        found: what a data set gives; the text is empty where it does not contain several tensors.
    """
    if not isinstance(found, Mapping):
        parts = found if isinstance(found, tuple | list) else ()
        if sum(isinstance(each, torch.Tensor) for each in parts) < 2:
            return ""
    return (
        ". Stack several inputs, such as tokens and an attention mask, into one tensor, and split "
        "them in the network's forward, or use your own training loop (indian_tune.Loop)"
    )


def place_of(dataset: Any, n: int) -> str:
    """Return where an example is, with its file if the data set lists its files as torchvision's.

    Args:
        dataset: of which it is.
        n: its position.
    """
    place = f"{type(dataset).__name__}[{n}]"
    while isinstance(dataset, Subset):
        dataset, n = dataset.dataset, dataset.indices[n]
    files = getattr(dataset, "samples", getattr(dataset, "imgs", None))
    if isinstance(files, list) and n < len(files):
        file = files[n][0] if isinstance(files[n], tuple | list) else files[n]
        if isinstance(file, str | Path):
            return f"{place} ({file})"
    return place


def split_of_frame(
    frame: pd.DataFrame | str | Path, label: str | Sequence[str], task: Task | str
) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Return inputs, labels and names of the inputs of a table; see :meth:`Split.from_frame`."""
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        path = Path(frame)
        try:
            frame = pd.read_csv(path)
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read as CSV: {error}") from error
    columns = [label] if isinstance(label, str) else list(label)
    for own in columns:
        if own not in frame:
            there = ", ".join(map(str, frame.columns))
            raise InputError(f"label = {own!r} is not a column. Allowed: {there}")
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise InputError(f"the table has two columns {twice!r}: give every column its own name")
    if len(set(columns)) == len(frame.columns):
        raise InputError("the table has no columns except labels: add input columns")
    classes = get_task(task).name == "classification"
    for name, column in frame.items():
        if not pd.api.types.is_numeric_dtype(column) or column.isna().any():
            what = "has missing values" if column.isna().any() else "does not contain numbers"
            raise InputError(
                f"column {name!r} {what}: give numbers, and labels as whole numbers from 0"
                if classes
                else f"column {name!r} {what}: give numbers"
            )
    # A copy, as torch takes no memory that cannot be written.
    features = frame.drop(columns=columns)
    names = tuple(map(str, features.columns))
    inputs = features.to_numpy(dtype=np.float32, copy=True)
    labels = frame[columns[0] if isinstance(label, str) else columns].to_numpy()
    if get_task(task).name == "regression":
        return torch.from_numpy(inputs), torch.from_numpy(labels.astype(np.float32)), names
    if not np.array_equal(labels, labels.astype(np.int64)):
        raise InputError(
            f"label = {label!r} must contain whole numbers from 0, one for every class; to "
            "predict numbers, give task = 'regression'"
        )
    return torch.from_numpy(inputs), torch.from_numpy(labels.astype(np.int64)), names


def _tensor(value: Any, where: str) -> Tensor:
    if not isinstance(value, torch.Tensor):
        try:
            value = torch.from_numpy(np.array(value))
        except (TypeError, ValueError) as error:
            found = with_article(type(value).__name__)
            raise InputError(
                f"{where} is {found}, which numpy cannot convert to an array of numbers: give the "
                f"data set a transform that returns tensors{several_inputs(value)}"
            ) from error
    tensor: Tensor = value.detach().cpu()
    return tensor.to(NARROWED.get(tensor.dtype, tensor.dtype))


def _label(value: Any, where: str, task: Task) -> Tensor:
    if task.name != "classification":
        tensor = _tensor(value, where)
        return tensor.float() if task.name == "regression" else tensor
    if shape := getattr(value, "shape", ()):
        raise InputError(
            f"{where} has shape {list(shape)}: give a number or a tensor without dimensions; for "
            "another task, give task = 'regression' or 'tokens'"
        )
    number = value.item() if hasattr(value, "item") and np.ndim(value) == 0 else value
    if isinstance(number, bool) or not isinstance(number, int):
        raise InputError(
            f"{where} = {value!r} is not a whole number: labels are 0 to classes - 1, one per "
            "example; for another task, give task = 'regression' or 'tokens'"
        )
    return torch.tensor(number, dtype=torch.int64)
