"""Runs from folders of TensorBoard's event files: a run is a folder that holds some.

Arm and seed are read from the hyperparameters of a run where it has them, else from its path:
``sgd/seed-3``, ``sgd_s3`` and ``sgd/3`` are the arm sgd with the seed 3.
"""

from __future__ import annotations

import re
import struct
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pandas as pd

from indian_tune.columns import CONFIG
from indian_tune.comparison.metric_names import guessed_metric
from indian_tune.errors import InputError, alternatives

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EVENTS = "*tfevents*"
# What ours, and others, call the phase of a study.
_PHASE = re.compile(r"^(tune|match|half|final|confirm)-(\d+)$")
_SEED = re.compile(r"^(?P<arm>.*?)[-_. ]?(?:seed|rep|run|s)?[-_=]?(?P<seed>\d+)$", re.IGNORECASE)
_STAMP = re.compile(r"^\d{9,11}\.\d+$")
# Of the protocol buffers of TensorFlow: DT_FLOAT and DT_DOUBLE.
_FORMATS = {1: "f", 2: "d"}


def has_events(folder: Path) -> bool:
    """Return whether there are event files in a folder or below it."""
    return next(folder.rglob(EVENTS), None) is not None


def read_events(folder: Path, metric: str | None) -> tuple[pd.DataFrame, str]:
    """Return the scalars of one tag of all runs below a folder.

    Args:
        folder: with a folder for every run.
        metric: the tag; ``None`` where only one can be it.

    Returns:
        Columns arm, seed (where every run has one), phase and trial (where the path says them),
        started_at (the time of the first event), step, the metric and ``config.`` for
        hyperparameters; and the metric.

    Raises:
        InputError: a file is not what its name says, or there is no such tag.
    """
    scalars: dict[Path, dict[str, dict[int, float]]] = {}
    settings: dict[Path, dict[str, Any]] = {}
    began: dict[Path, float] = {}
    for file in sorted(folder.rglob(EVENTS)):
        run = file.parent
        if run != folder and _STAMP.match(run.name):
            # Where PyTorch writes the hyperparameters of a run.
            run = run.parent
        for event in _events(file):
            if event.wall_time > 0:
                began[run] = min(began.get(run, event.wall_time), event.wall_time)
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "hparams":
                    settings.setdefault(run, {}).update(_hyperparameters(value))
                number = _scalar(value)
                if number is not None:
                    # Of a run that continued, the later file has the last word on a step.
                    scalars.setdefault(run, {}).setdefault(value.tag, {})[event.step] = number
    tags = list(dict.fromkeys(tag for found in scalars.values() for tag in found))
    if metric is None:
        metric = guessed_metric(tags)
    elif metric not in tags:
        raise InputError(
            f"metric = {metric!r} is not a scalar in {folder}.{alternatives(metric, tags)}"
        )
    rows = []
    for run, found in scalars.items():
        names = _named(run.relative_to(folder).parts or (folder.name,), settings.get(run, {}))
        if run in began:
            names["started_at"] = datetime.fromtimestamp(began[run], UTC).isoformat()
        # A run that lacks it is refused, or has failed: its row says so.
        values: dict[int, float | None] = {**found.get(metric, {})} or {0: None}
        rows += [{**names, "step": step, metric: value} for step, value in values.items()]
    frame = pd.DataFrame(rows)
    if "seed" in frame and frame["seed"].isna().any():
        frame = frame.drop(columns="seed")
    if "seed" not in frame:
        frame["trial"] = frame.groupby("arm")["run"].transform(lambda part: pd.factorize(part)[0])
    if "phase" in frame and frame["phase"].isna().any():
        frame = frame.drop(columns=["phase", "trial"])
    return frame.drop(columns="run").astype({metric: object}), metric


def last_steps(run: Path) -> dict[str, int]:
    """Return the last step of every scalar in the event files of a run's folder, by tag.

    Raises:
        InputError: a file is not what its name says.
    """
    last: dict[str, int] = {}
    for file in run.glob(EVENTS):
        for event in _events(file):
            for value in event.summary.value:
                if _scalar(value) is not None:
                    last[value.tag] = max(last.get(value.tag, 0), event.step)
    return last


def _named(parts: tuple[str, ...], settings: dict[str, Any]) -> dict[str, Any]:
    """Return arm, seed, phase and trial of a run from its path and its hyperparameters."""
    names: dict[str, Any] = {"run": "/".join(parts)}
    rest = []
    for part in parts:
        phase = _PHASE.match(part)
        if phase:
            names |= {"phase": phase[1], "trial": int(phase[2])}
        else:
            rest.append(part)
    last = _SEED.match(rest[-1]) if rest else None
    if "seed" in settings:
        names["seed"] = settings.pop("seed")
        if last and str(int(last["seed"])) == f"{names['seed']:g}":
            rest = [*rest[:-1], *filter(None, [last["arm"]])]
    elif last:
        names["seed"] = int(last["seed"])
        rest = [*rest[:-1], *filter(None, [last["arm"]])]
    elif len(rest) > 1:
        # Runs without numbers lie in the folder of their arm.
        rest = rest[:-1]
    names["arm"] = settings.pop("arm", "/".join(rest) or "runs")
    return names | {f"{CONFIG}{name}": value for name, value in settings.items()}


def _events(file: Path) -> Iterator[Any]:
    """Yield the events of a file; one that was cut off ends with its last whole event.

    Raises:
        InputError: the file is none of events, or cannot be read.
    """
    from tensorboardX.crc32c import crc32c
    from tensorboardX.proto.event_pb2 import Event

    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}") from error
    place = 0
    while place + 12 <= len(content):
        head = content[place : place + 8]
        (length,) = struct.unpack("<Q", head)
        (mask,) = struct.unpack("<I", content[place + 8 : place + 12])
        check = crc32c(head)
        if (((check >> 15) | (check << 17)) + 0xA282EAD8) & 0xFFFFFFFF != mask:
            raise InputError(
                f"{file} is not a TensorBoard event file, or is damaged: remove it from the folder"
            )
        end = place + 12 + length
        if end + 4 > len(content):
            return
        event = Event()
        try:
            event.ParseFromString(content[place + 12 : end])
        except Exception as error:
            raise InputError(f"{file} is damaged ({error}): remove it from the folder") from error
        yield event
        place = end + 4


def _scalar(value: Any) -> float | None:
    """Return a scalar summary, of either version of the format; ``None`` of anything else."""
    if value.HasField("simple_value"):
        return float(value.simple_value)
    if not value.HasField("tensor") or value.metadata.plugin_data.plugin_name not in (
        "scalars",
        "",
    ):
        return None
    tensor = value.tensor
    if any(dim.size != 1 for dim in tensor.tensor_shape.dim) or tensor.dtype not in _FORMATS:
        return None
    form = _FORMATS[tensor.dtype]
    if tensor.tensor_content:
        (number,) = struct.unpack(f"<{form}", tensor.tensor_content)
        return float(number)
    values = tensor.float_val if form == "f" else tensor.double_val
    return float(values[0]) if len(values) else None


def _hyperparameters(value: Any) -> dict[str, Any]:
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

    data = HParamsPluginData.FromString(value.metadata.plugin_data.content)
    found = {}
    for name, field in data.session_start_info.hparams.items():
        kind = field.WhichOneof("kind")
        if kind is not None:
            found[name] = getattr(field, kind)
    return found
