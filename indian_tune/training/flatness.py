"""How flat the training loss is around the weights that a run ended at.

All measures are of the mean loss of the task (cross-entropy in classification) on a fixed set of
examples in evaluation mode (dropout off), and are functions of weights, examples and a seed:
nothing is drawn from a global generator.
They are descriptive. The Hessian depends on how a network is parametrised: multiplying the weights
into a rectifier by a constant and dividing those out of it by the same leaves the network as it is
and changes its eigenvalues (Dinh et al., "Sharp Minima Can Generalize For Deep Nets", 2017). The
two adaptive measures do not change then.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from math import nan, sqrt
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from indian_tune.errors import InputError
from indian_tune.problems.randomness import generator
from indian_tune.problems.task import get_task

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor, nn

    from indian_tune.problems.task import Task
    from indian_tune.training.feed import Batch, Feed

log = logging.getLogger(__name__)

BATCH = 128
"""Examples per pass: what a pass keeps for its second derivatives grows with it."""

EIGENVALUE_TOLERANCE = 1e-4
"""Of the largest eigenvalue, relative."""


@dataclass(frozen=True)
class FlatnessSettings:
    """What is drawn, how often, and how far the weights are moved.

    Attributes:
        seed: of everything that is drawn.
        probes: vectors of Hutchinson's estimator, and pairs of opposite moves of the average
            sharpness; at least 2.
        radius: ρ of the worst-case adaptive sharpness, the length of a move relative to the
            weights; 0.5 is that of Kwon et al. for their smallest data set.
        noise: standard deviation of the moves of the average sharpness, relative to each weight.
        ascents: steps of the search for the worst move.

    Raises:
        InputError: a value is out of its range.
    """

    seed: int = 0
    probes: int = 32
    radius: float = 0.5
    noise: float = 0.05
    ascents: int = 10

    def __post_init__(self) -> None:
        for name, value, least in (("probes", self.probes, 2), ("ascents", self.ascents, 1)):
            if value < least:
                raise InputError(f"{name} = {value!r} is not allowed: it must be at least {least}")
        for name, length in (("radius", self.radius), ("noise", self.noise)):
            if not 0 < length < float("inf"):
                raise InputError(
                    f"{name} = {length!r} is not allowed: it must be finite and above 0"
                )


DEFAULTS = FlatnessSettings()


@dataclass(frozen=True)
class Flatness:
    """How flat the loss is at some weights.

    Attributes:
        loss: mean loss of the task; of classification the cross-entropy in nats.
        top_eigenvalue: largest eigenvalue of the Hessian, by the Lanczos method on products of
            Hessian and vector; NaN if that did not converge.
        trace: of the Hessian, by Hutchinson's estimator (mean of z·Hz over random signs z).
        trace_error: standard error of ``trace``, from the spread over probes.
        sharpness: worst-case adaptive sharpness, max of L(w + |w|·u) - L(w) over moves u of length
            at most ρ (Kwon et al., "ASAM", 2021), as far as ascent finds it: a lower bound.
        average_sharpness: average adaptive sharpness, mean of L(w + |w|·u) - L(w) over normal u
            (Andriushchenko et al., "A Modern Look at the Relationship between Sharpness and
            Generalization", 2023).
        average_error: its standard error, from the spread over pairs of moves.
    """

    loss: float
    top_eigenvalue: float
    trace: float
    trace_error: float
    sharpness: float
    average_sharpness: float
    average_error: float


def measure_flatness(
    model: nn.Module,
    feed: Feed,
    settings: FlatnessSettings = DEFAULTS,
    task: Task | str = "classification",
) -> Flatness:
    """Measure how flat a network's loss is around its weights, which stay as they are.

    Args:
        model: on the feed's device and in its floating type; float64 is advised, since second
            derivatives and small differences of losses are computed.
        feed: the examples.
        settings: what is drawn and how far the weights are moved.
        task: whose loss is measured.

    Raises:
        InputError: the network has fewer than 3 parameters, or its loss is not finite.
    """
    training = model.training
    model.eval()
    try:
        surface = _Surface(model, feed, get_task(task))
        loss = surface.loss_at(surface.weights)
        if not np.isfinite(loss):
            raise InputError(f"the loss at these weights is {loss}: flatness is not defined there")
        trace, trace_error = _trace(surface, settings)
        average, average_error = _average_sharpness(surface, loss, settings)
        return Flatness(
            loss=loss,
            top_eigenvalue=_top_eigenvalue(surface, settings),
            trace=trace,
            trace_error=trace_error,
            sharpness=_worst_sharpness(surface, loss, settings),
            average_sharpness=average,
            average_error=average_error,
        )
    finally:
        model.train(training)


class _Surface:
    """The loss as a function of all weights, one vector of shape [P]."""

    def __init__(self, model: nn.Module, feed: Feed, task: Task) -> None:
        self._model = model
        self._task = task
        self._count = task.count(feed.labels)
        self._names = [name for name, _ in model.named_parameters()]
        parameters = [parameter.detach() for parameter in model.parameters()]
        self._shapes = [parameter.shape for parameter in parameters]
        self._feed = feed
        self.weights = torch.cat([parameter.reshape(-1) for parameter in parameters])
        if self.size < 3:
            raise InputError(f"flatness needs at least 3 parameters, the network has {self.size}")

    @property
    def size(self) -> int:
        return int(self.weights.numel())

    @torch.no_grad()
    def loss_at(self, weights: Tensor) -> float:
        return float(sum(self._share(weights, batch) for batch in self._batches()))

    def gradient_at(self, weights: Tensor) -> Tensor:
        """∇L, [P]."""
        total = torch.zeros_like(weights)
        for batch in self._batches():
            leaf = weights.detach().requires_grad_()
            total += torch.autograd.grad(self._share(leaf, batch), leaf)[0]
        return total

    def hessian_times(self, vector: Tensor) -> Tensor:
        """∇²L · vector at the weights, [P]."""
        total = torch.zeros_like(vector)
        for batch in self._batches():
            leaf = self.weights.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self._share(leaf, batch), leaf, create_graph=True)
            total += torch.autograd.grad(slope @ vector, leaf)[0]
        return total

    def draw(self, kind: Callable[..., Tensor], *key: int | str) -> Tensor:
        """Draw a vector [P], the same on every device."""
        drawn = kind(self.size, generator=generator("flatness", *key), dtype=torch.float64)
        return drawn.to(self.weights)

    def _batches(self) -> Sequence[Batch]:
        return list(self._feed.batches(BATCH))

    def _share(self, weights: Tensor, batch: Batch) -> Tensor:
        """What a batch adds to the mean loss."""
        parts = torch.split(weights, [shape.numel() for shape in self._shapes])
        named = {
            name: part.view(shape)
            for name, part, shape in zip(self._names, parts, self._shapes, strict=True)
        }
        inputs, labels = batch
        outputs = torch.func.functional_call(self._model, named, (inputs,))
        return self._task.summed_loss(outputs, labels) / self._count


def _top_eigenvalue(surface: _Surface, settings: FlatnessSettings) -> float:
    def times(vector: np.ndarray) -> np.ndarray:
        given = torch.as_tensor(np.ascontiguousarray(vector).reshape(-1)).to(surface.weights)
        return surface.hessian_times(given).double().cpu().numpy()

    operator = LinearOperator((surface.size, surface.size), matvec=times, dtype=np.float64)
    start = surface.draw(torch.randn, "eigenvector", settings.seed).double().cpu().numpy()
    try:
        (top,) = eigsh(
            operator,
            k=1,
            which="LA",
            v0=start,
            tol=EIGENVALUE_TOLERANCE,
            return_eigenvectors=False,
        )
    except ArpackNoConvergence as error:
        log.warning("The largest eigenvalue did not converge: %s", error)
        return nan
    return float(top)


def _trace(surface: _Surface, settings: FlatnessSettings) -> tuple[float, float]:
    values = []
    for probe in range(settings.probes):
        drawn = surface.draw(torch.rand, "trace", settings.seed, probe)
        signs = torch.where(drawn < 0.5, -1.0, 1.0).to(surface.weights)
        values.append(float(signs @ surface.hessian_times(signs)))
    return _mean_and_error(values)


def _average_sharpness(
    surface: _Surface, loss: float, settings: FlatnessSettings
) -> tuple[float, float]:
    values = []
    for probe in range(settings.probes):
        drawn = surface.draw(torch.randn, "average", settings.seed, probe)
        move = settings.noise * surface.weights.abs() * drawn
        # There and back: the slope, which has mean 0 over moves, would drown the curvature.
        ahead, behind = (
            surface.loss_at(surface.weights + move),
            surface.loss_at(surface.weights - move),
        )
        values.append((ahead + behind) / 2 - loss)
    return _mean_and_error(values)


def _worst_sharpness(surface: _Surface, loss: float, settings: FlatnessSettings) -> float:
    """Ascend by the best move of the linearised loss, again and again; return the highest found.

    On a quadratic this is the power method. It starts from a random move, since at a minimum the
    gradient tells nothing.
    """
    size = surface.weights.abs()
    move = surface.draw(torch.randn, "worst", settings.seed)
    move = settings.radius * move / move.norm()
    highest = 0.0
    for _ in range(settings.ascents):
        slope = size * surface.gradient_at(surface.weights + size * move)
        length = slope.norm()
        if length == 0:
            break
        move = settings.radius * slope / length
        highest = max(highest, surface.loss_at(surface.weights + size * move) - loss)
    return highest


def _mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1)) / sqrt(len(values))
