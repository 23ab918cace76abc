"""Random crops and flips whose choice is a function of (seed, step, place in the batch).

Each image is shifted by up to 4 pixels in both directions, and half of them are mirrored. All 81
shifts are equally likely; black moves in from the border. It is what padding by 4, a random crop
and a random horizontal flip come to.
"""

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
        seed: the run's, or int64 that broadcasts to ``steps``.
        steps: int64 [*n], optimizer steps that the run has taken before each batch.

    Returns:
        int32 [*n, size].
    """
    return uniform_bits((size,), seed=seed, step=steps, layer=LAYER, device=steps.device)


def crops(bits: Tensor, width: int) -> Tensor:
    """Return which crop of each image is taken, as :func:`cut` takes it.

    Args:
        bits: int32 [*batch], uniform.
        width: of the images.

    Returns:
        int64 [2, *batch]: the place of its first pixel among those of the padded image, and whether
        it is mirrored.
    """
    down = ((bits & 0x7FFF) * SHIFTS >> 15).long()
    right = ((bits >> 15 & 0x7FFF) * SHIFTS >> 15).long()
    return torch.stack([down * (width + 2 * PADDING) + right, (bits < 0).long()])


def crop_patterns(height: int, width: int, device: torch.device) -> Tensor:
    """Return the places of a crop's pixels after its first one, int64 [2, pixels]; see ``cut``."""
    rows = torch.arange(height, device=device).unsqueeze(1) * (width + 2 * PADDING)
    columns = torch.arange(width, device=device)
    return torch.stack([(rows + columns).flatten(), (rows + columns.flip(0)).flatten()])


def cut(images: Tensor, chosen: Tensor, patterns: Tensor) -> Tensor:
    """Return a crop of each image, with black around it.

    Args:
        images: [*batch, height, width, channels].
        chosen: of :func:`crops`, [2, *batch].
        patterns: of :func:`crop_patterns`: as the pixels lie, and mirrored.
    """
    start, mirrored = chosen.flatten(1)
    padded = functional.pad(images.flatten(0, -4), (0, 0, PADDING, PADDING, PADDING, PADDING))
    place = (patterns.index_select(0, mirrored) + start.unsqueeze(1)).unsqueeze(2)
    pixels = padded.flatten(1, 2).gather(1, place.expand(-1, -1, images.shape[-1]))
    return pixels.view(images.shape)
