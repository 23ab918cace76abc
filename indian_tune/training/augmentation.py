"""Random crops and flips whose choice is a function of (seed, step, place in the batch)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from indian_tune.problems.randomness import WORD, uniform_bits

if TYPE_CHECKING:
    from torch import Tensor

AUGMENTATIONS = ("none", "crop-flip")
PADDING = 4
"""Black pixels put around an image before a part of its own size is cut out."""
SHIFTS = 2 * PADDING + 1
# No dropout layer has this number.
LAYER = WORD


def augmentation_bits(size: int, *, seed: int | Tensor, steps: Tensor) -> Tensor:
    """Return what decides the crop and the flip of each image of some batches.

    Args:
        size: images per batch.
        seed: the run's, or int64 [n].
        steps: int64 [n], optimizer steps that the run has taken before each batch.

    Returns:
        int32 [n, size].
    """
    return uniform_bits((size,), seed=seed, step=steps, layer=LAYER, device=steps.device)


def crop_and_flip(images: Tensor, bits: Tensor) -> Tensor:
    """Shift each image by up to 4 pixels in both directions, and mirror half of them.

    All 81 shifts are equally likely; black moves in from the border. It is what padding by 4, a
    random crop and a random horizontal flip come to.

    Args:
        images: [*batch, height, width, channels].
        bits: int32 [*batch], uniform.

    Returns:
        Of ``images``' shape.
    """
    height, width, channels = images.shape[-3:]
    down = ((bits & 0x7FFF) * SHIFTS >> 15).long().view(-1, 1, 1)
    right = ((bits >> 15 & 0x7FFF) * SHIFTS >> 15).long().view(-1, 1, 1)
    mirrored = (bits < 0).view(-1, 1, 1)
    rows = torch.arange(height, device=images.device).view(1, -1, 1) + down
    columns = torch.arange(width, device=images.device)
    columns = torch.where(mirrored, columns.flip(0), columns) + right
    padded = functional.pad(images.flatten(0, -4), (0, 0, PADDING, PADDING, PADDING, PADDING))
    place = (rows * padded.shape[2] + columns).flatten(1).unsqueeze(2)
    pixels = padded.flatten(1, 2).gather(1, place.expand(-1, -1, channels))
    return pixels.view(images.shape)
