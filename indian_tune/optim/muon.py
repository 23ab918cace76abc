"""Muon for matrices, ADAMW for all other parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from indian_tune.optim.by_shape import ByShape

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

__all__ = ["MuonAdamW"]


class MuonAdamW(ByShape):
    """torch's Muon on the parameters with two dimensions, torch's ADAMW on the others.

    Muon moves a matrix by an approximately orthogonal matrix, its momentum with all singular values
    near 1. Kernels of convolutions have four dimensions and belong to the others.

    Args:
        params: parameters, no groups.
        lr: step size of Muon, > 0.
        rest_lr: step size of ADAMW, > 0.
        momentum: of Muon, in [0, 1).
        weight_decay: decoupled, of both.

    Raises:
        InputError: groups are given.
        ValueError: torch refuses a value.

    Source: "Muon: an optimizer for hidden layers in neural networks" (Jordan et al., 2024).
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 0.02,
        rest_lr: float = 1e-3,
        *,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(
            params,
            matrices=lambda own: torch.optim.Muon(
                own, lr=lr, momentum=momentum, weight_decay=weight_decay
            ),
            rest=lambda own: torch.optim.AdamW(own, lr=rest_lr, weight_decay=weight_decay),
        )
