"""How torch multiplies float32 numbers: reads and sets all flags of this process.

Torch has two sets of functions for them, and raises where one is asked after the other was used.
Here the new ones are asked for every backend and operation; of the old ones, what they still say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

# In this order, since a backend's "all" and the old functions change those of its operations.
_OPERATIONS = (
    ("generic", "all"),
    *((backend, name) for backend in ("cuda", "mkldnn") for name in ("all", "conv", "rnn")),
    ("cuda", "matmul"),
    ("mkldnn", "matmul"),
)
_OLD: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "matmul": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "cudnn": (torch._C._get_cudnn_allow_tf32, torch._C._set_cudnn_allow_tf32),
}


def read_float32() -> dict[str, Any]:
    """Return every setting by name; of the old ones those that do not contradict the new ones."""
    settings: dict[str, Any] = {}
    for name, (read, _) in _OLD.items():
        try:
            settings[name] = read()
        except RuntimeError:
            continue
    for backend, operation in _OPERATIONS:
        settings[f"{backend}.{operation}"] = torch._C._get_fp32_precision_getter(backend, operation)
    return settings


def shortens_products() -> bool:
    """Return whether a GPU shortens the factors of float32 products now, whoever has said so."""
    precision: str = torch._C._get_fp32_precision_getter("cuda", "matmul")
    return precision == "tf32"


def _agreeing(settings: dict[str, Any]) -> dict[str, Any]:
    """Return old settings that say the same as the new ones, as far as they can."""
    products = settings["mkldnn.matmul"], settings["cuda.matmul"]
    matmul = "medium" if "bf16" in products else "high" if "tf32" in products else "highest"
    return {"matmul": matmul, "cudnn": settings["cuda.conv"] == "tf32"}


def write_float32(settings: dict[str, Any]) -> None:
    """Bring every setting back to what :func:`read_float32` returned.

    An old setting that contradicted the new ones becomes what agrees with them.
    """
    for name, (_, write) in _OLD.items():
        write(settings.get(name, _agreeing(settings)[name]))
    for backend, operation in _OPERATIONS:
        torch._C._set_fp32_precision_setter(backend, operation, settings[f"{backend}.{operation}"])
