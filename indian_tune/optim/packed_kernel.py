"""The packed steps of all families as one kernel, which reads and writes each number once.

The steps of the families' ``Packed`` are the specification. Triton compiles the kernel for each
rule by itself: what another rule needs is not in it.
"""

from __future__ import annotations

from collections.abc import Sequence  # noqa: TC003 - torch reads the types of an operation

import torch
import triton
import triton.language as tl
from torch import Tensor, library

BLOCK = 1024
RULES = ("sgd", "momentum", "nesterov", "qhm", "lion", "adagrad", "adam", "indian", "innaprop")
"""Names of the rules. A rule's factors come in the order in which its family returns them."""
DECAYS = ("none", "decoupled", "coupled")

# Triton reads numbers of the module only as constants of its own.
_DECOUPLED, _COUPLED = tl.constexpr(1), tl.constexpr(2)
_SGD, _MOMENTUM, _NESTEROV, _QHM, _LION, _ADAGRAD, _ADAM, _INDIAN, _INNAPROP = (
    tl.constexpr(number) for number in range(len(RULES))
)


@triton.jit  # type: ignore[untyped-decorator]
def step_kernel(  # type: ignore[no-untyped-def]
    theta_at,
    grad_at,
    first_at,
    second_at,
    factors_at,
    step_at,
    size,
    rows,
    rule: tl.constexpr,
    decay: tl.constexpr,
    count: tl.constexpr,
    start: tl.constexpr,
    block: tl.constexpr,
):
    """Step a block of a row.

    Args:
        theta_at: parameters [rows, size].
        grad_at: gradients, likewise.
        first_at: the first state, likewise; anything for a rule that has none.
        second_at: the second state.
        factors_at: [steps, factors, rows].
        step_at: int64 [1], the step whose factors are taken.
        size: of a row.
        rows: K.
        rule: place in ``RULES``.
        decay: place in ``DECAYS``; its factor is the last one.
        count: factors.
        start: whether INDIAN's velocity is given by its fifth factor before the first step.
        block: numbers of a program.
    """
    row = tl.program_id(1).to(tl.int64)
    place = tl.program_id(0) * block + tl.arange(0, block)
    inside = place < size
    at = row * size + place
    theta = tl.load(theta_at + at, mask=inside)
    grad = tl.load(grad_at + at, mask=inside)
    factor = factors_at + tl.load(step_at) * (count * rows) + row
    if decay == _DECOUPLED:
        theta -= theta * tl.load(factor + (count - 1) * rows)
    elif decay == _COUPLED:
        grad += theta * tl.load(factor + (count - 1) * rows)
    if rule != _SGD:
        first = tl.load(first_at + at, mask=inside)
    if rule == _SGD:
        theta -= grad * tl.load(factor)
    elif rule == _MOMENTUM or rule == _NESTEROV:  # noqa: SIM109 - Triton has no `in`
        momentum = tl.load(factor + rows)
        first = first * momentum + grad
        move = first
        if rule == _NESTEROV:
            move = grad + first * momentum
        theta -= move * tl.load(factor)
    elif rule == _QHM:
        first += tl.load(factor) * (grad - first)
        theta -= grad * tl.load(factor + rows)
        theta -= first * tl.load(factor + 2 * rows)
    elif rule == _LION:
        looked = first + tl.load(factor + rows) * (grad - first)
        sign = tl.where(looked > 0, 1.0, tl.where(looked < 0, -1.0, looked))
        theta -= sign * tl.load(factor)
        first += tl.load(factor + 2 * rows) * (grad - first)
    elif rule == _ADAGRAD:
        first += grad * grad
        length = tl.sqrt_rn(first) + tl.load(factor + rows)
        theta -= tl.div_rn(grad * tl.load(factor), length)
    elif rule == _ADAM:
        second = tl.load(second_at + at, mask=inside)
        first += tl.load(factor) * (grad - first)
        second = second * tl.load(factor + 2 * rows) + tl.load(factor + 3 * rows) * grad * grad
        root = tl.div_rn(tl.sqrt_rn(second), tl.load(factor + 4 * rows) + tl.zeros_like(second))
        length = root + tl.load(factor + 5 * rows)
        theta -= tl.div_rn(first * tl.load(factor + rows), length)
        tl.store(second_at + at, second, mask=inside)
    else:
        if rule == _INNAPROP:
            second = tl.load(second_at + at, mask=inside)
            newest = tl.load(factor + 5 * rows)
            second = second * tl.load(factor + 4 * rows) + newest * grad * grad
            root = tl.div_rn(tl.sqrt_rn(second), tl.load(factor + 6 * rows) + tl.zeros_like(second))
            grad = tl.div_rn(grad, root + tl.load(factor + 7 * rows))
            tl.store(second_at + at, second, mask=inside)
        if start:
            first += grad * tl.load(factor + 4 * rows)
        theta += first * tl.load(factor)
        theta -= grad * tl.load(factor + rows)
        first -= first * tl.load(factor + 2 * rows)
        first -= grad * tl.load(factor + 3 * rows)
    if rule != _SGD:
        tl.store(first_at + at, first, mask=inside)
    tl.store(theta_at + at, theta, mask=inside)


@library.custom_op("indian_tune::packed_step", mutates_args=("params", "states"))
def packed_step(
    params: Tensor,
    grads: Tensor,
    states: Sequence[Tensor],
    factors: Tensor,
    step: Tensor,
    rule: str,
    decay: str,
    start: bool,
) -> None:
    """Take one step in every row.

    Args:
        params: float32 [K, N], changed in place.
        grads: likewise, left as they are.
        states: of the family, in its order, each likewise, changed in place.
        factors: float32 [steps, factors, K, 1].
        step: int64 [1], of those of ``factors``.
        rule: one of ``RULES``.
        decay: one of ``DECAYS``.
        start: whether INDIAN's velocity has a factor before the first step.
    """
    rows, size = params.shape
    # A rule does not touch what it has no use for.
    first, second = ([*states, params, params])[:2]
    # Triton starts kernels on the present device, wherever the tensors are.
    with torch.cuda.device_of(params):  # type: ignore[no-untyped-call]
        step_kernel[triton.cdiv(size, BLOCK), rows](
            *(params, grads, first, second, factors, step, size, rows),
            rule=RULES.index(rule),
            decay=DECAYS.index(decay),
            count=factors.shape[1],
            start=start,
            block=BLOCK,
        )


@packed_step.register_fake
def _(
    params: Tensor,
    grads: Tensor,
    states: Sequence[Tensor],
    factors: Tensor,
    step: Tensor,
    rule: str,
    decay: str,
    start: bool,
) -> None:
    del params, grads, states, factors, step, rule, decay, start
