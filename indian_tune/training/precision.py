"""The arithmetic that networks are trained and measured with."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from indian_tune.errors import InputError, unknown_name
from indian_tune.training.float32 import read_float32, write_float32

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

PRECISIONS = ("float32", "bfloat16", "float64")


@dataclass(frozen=True)
class Precision:
    """How numbers are kept and multiplied.

    Attributes:
        name: ``float32``; ``bfloat16``, whose forward and backward passes multiply in bfloat16
            where torch's autocast finds that safe, while parameters, their gradients, the
            optimizer and the losses stay in float32; or ``float64``, for checks.
        tf32: whether a GPU may shorten the factors of float32 products to 10 bits; without
            meaning elsewhere.

    Raises:
        InputError: the name is not known.
    """

    name: str = "float32"
    tf32: bool = False

    def __post_init__(self) -> None:
        if self.name not in PRECISIONS:
            raise InputError(unknown_name("precision", self.name, PRECISIONS))

    @property
    def dtype(self) -> torch.dtype:
        """Type of inputs, parameters and optimizer states."""
        return torch.float64 if self.name == "float64" else torch.float32

    def forward(self, device: torch.device) -> AbstractContextManager[object]:
        """Return the context of a forward pass; the backward pass belongs outside of it."""
        if self.name != "bfloat16":
            return nullcontext()
        # The cache would keep bfloat16 copies of weights that a step changes in place, and every
        # weight is used once in a forward pass.
        return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)

    @contextmanager
    def arithmetic(self, device: torch.device) -> Iterator[None]:
        """On CUDA: products that repeat to the bit, with TF32 as asked for and not by default."""
        if device.type != "cuda":
            yield
            return
        before = read_float32()
        try:
            # What own code has set for all operations at once would contradict the old switches.
            for backend in ("generic", "cuda"):
                torch._C._set_fp32_precision_setter(backend, "all", "none")
            # By the old switches, which torch's compiler asks for. To set them is allowed also
            # where own code has used the new ones and asking would raise.
            torch.backends.cuda.matmul.allow_tf32 = self.tf32
            torch._C._set_cudnn_allow_tf32(self.tf32)
            with torch.backends.cudnn.flags(
                enabled=True, benchmark=False, deterministic=True, allow_tf32=self.tf32
            ):
                yield
        finally:
            write_float32(before)


FLOAT32 = Precision()
