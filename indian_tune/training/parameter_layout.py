"""Where the parameters of a network lie in one row of a [K, N] tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import Tensor

ALIGNMENT = 16
"""Every parameter begins at a multiple of so many numbers: 64 bytes in float32.

Matrix products may sum in another order where memory is aligned otherwise, so without it the bits
of a run would depend on its row.
"""


class ParameterLayout:
    """Places for named tensors, one after the other, with gaps for the alignment.

    Args:
        parameters: of one network, by name.

    Attributes:
        size: N, length of a row.
    """

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        self._places: dict[str, tuple[int, torch.Size]] = {}
        self.size = 0
        for name, parameter in parameters.items():
            self._places[name] = (self.size, parameter.shape)
            self.size += -(-parameter.numel() // ALIGNMENT) * ALIGNMENT

    def views(self, rows: Tensor) -> dict[str, Tensor]:
        """Return each parameter as a view.

        Args:
            rows: [K, N], or [N] for one network.

        Returns:
            By name, of shape [K, *shape] or ``shape``.
        """
        return {
            name: rows.narrow(-1, start, shape.numel()).view((*rows.shape[:-1], *shape))
            for name, (start, shape) in self._places.items()
        }

    def gaps(self, rows: Tensor) -> list[Tensor]:
        """Return zeros for the gap after each parameter, some of them empty.

        Args:
            rows: [K, N], as they are to be written.
        """
        lengths = [-shape.numel() % ALIGNMENT for _, shape in self._places.values()]
        zeros = {length: rows.new_zeros(rows.shape[0], length) for length in lengths}
        return [zeros[length] for length in lengths]
