"""Stateless randomness: every random number is a function of a key, never of a history.

A run that is interrupted, moved to another process or trained beside others draws the same
numbers as one that is not, because nothing is carried from one draw to the next.

Two sources, for two needs:

- ``generator``: an ordinary torch generator on the CPU, seeded from a key, for what is drawn once
  or once an epoch (initial weights, the order of an epoch).
- ``uniform_bits``: 32 random bits per element, computed in integer arithmetic that gives the same
  bits on every device and inside a captured graph, for what is drawn at every step (dropout).

Neither reads nor sets torch's global generator. ``seeded_global_generator`` is for code of others
that draws from it.
"""

from __future__ import annotations

from contextlib import contextmanager
from hashlib import blake2b
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

WORD = 0xFFFFFFFF
"""Mask of a 32-bit word."""


def key_hash(*key: int | str) -> int:
    """Return a 64-bit hash of a key, the same in every process and on every machine.

    The parts are told apart by type and length: ``("a", "b")``, ``("ab",)`` and ``("1",)``,
    ``(1,)`` hash differently.
    """
    digest = blake2b(digest_size=8)
    for part in key:
        kind = "i" if isinstance(part, int) else "s"
        text = str(int(part) if kind == "i" else part).encode()
        digest.update(f"{kind}{len(text)}:".encode() + text)
    return int.from_bytes(digest.digest(), "little")


def generator(*key: int | str) -> torch.Generator:
    """Return a new CPU generator that is a function of the key alone.

    torch's CPU generator (a Mersenne Twister) takes the low 32 bits of a seed, so two given keys
    share a stream with probability 2⁻³².

    Args:
        *key: what is drawn and for whom, as in ``generator("order", seed, epoch)``.
    """
    return torch.Generator().manual_seed(key_hash(*key))


def uniform_bits(
    shape: tuple[int, ...],
    *,
    seed: int | Tensor,
    step: int | Tensor,
    layer: int,
    device: torch.device | str | None = None,
) -> Tensor:
    """Return 32 uniform bits per element, a function of (seed, step, layer, element) alone.

    Elements are numbered in row-major order of ``shape``. Each number passes through two rounds
    of multiply and xor-shift, with one word of a 64-bit key of (seed, step, layer) entering before
    and one between them; integers wrap modulo 2³² on every device.

    ``seed`` and ``step`` may be int64 tensors (on ``device``) of shape [] or [K]: the numbers are
    then computed without a transfer to the host, so that a captured graph or ``torch.func.vmap``
    draws afresh at each step, and a shape of [K] is put in front of ``shape``.

    Args:
        shape: of the result.
        seed: the run's; 64 bits count.
        step: of the run, from 0; 32 bits count.
        layer: tells apart what one step draws; 32 bits count.
        device: of the result.

    Returns:
        int32, shape ``shape`` or [K, *shape], uniform over all 2³² values.
    """
    return bits_of_key(shape, stream_key(seed, step, layer), device)


def stream_key(
    seed: int | Tensor, step: int | Tensor, layer: int
) -> tuple[int | Tensor, int | Tensor]:
    """Return the two words that the bits of (seed, step, layer) come from; see ``uniform_bits``.

    Args:
        seed: the run's, or int64 of any shape.
        step: of the run, likewise; the two are broadcast.
        layer: tells apart what one step draws.

    Returns:
        Signed 32-bit numbers, or int32 of the shape of both with a 1 at its end.
    """
    first, second = _stream_key(seed, step, layer)
    return _as_int32(first), _as_int32(second)


def bits_of_key(
    shape: tuple[int, ...],
    key: tuple[int | Tensor, int | Tensor],
    device: torch.device | str | None = None,
) -> Tensor:
    """Return the bits of a key; see ``uniform_bits``, which computes the key as well.

    Args:
        shape: of the result.
        key: of ``stream_key``; of shape [K, 1] for K runs.
        device: of the result.
    """
    before, between = key
    elements = torch.arange(prod(shape), dtype=torch.int32, device=device)
    bits = elements + before
    bits.bitwise_xor_(_shifted(bits, 16)).mul_(0x7FEB352D)
    bits.bitwise_xor_(between)
    bits.bitwise_xor_(_shifted(bits, 15)).mul_(0x846CA68B - 2**32)
    bits.bitwise_xor_(_shifted(bits, 16))
    return bits.reshape((*bits.shape[:-1], *shape))


def host_bits(shape: tuple[int, ...], keys: Sequence[tuple[int | Tensor, int | Tensor]]) -> Tensor:
    """Return the bits of several keys, as ``bits_of_key`` on the CPU but in less time.

    Computed by NumPy, which shifts many numbers at once where torch shifts one by one.

    Args:
        shape: of the result for one key.
        keys: of ``stream_key``, numbers.

    Returns:
        int32 [keys, *shape].
    """
    before, between = np.array(keys, dtype=np.int32).view(np.uint32).T[..., None]
    bits = np.arange(prod(shape), dtype=np.uint32) + before
    high = bits >> np.uint32(16)
    bits ^= high
    bits *= np.uint32(0x7FEB352D)
    bits ^= between
    bits ^= np.right_shift(bits, np.uint32(15), out=high)
    bits *= np.uint32(0x846CA68B)
    bits ^= np.right_shift(bits, np.uint32(16), out=high)
    return torch.from_numpy(bits.view(np.int32)).view(len(keys), *shape)


def keep_threshold(rate: float) -> int:
    """Return t such that ``uniform_bits(…) >= t`` is true with probability ``1 - rate``.

    Args:
        rate: probability of being dropped, in [0, 1); rounded to a multiple of 2⁻³².
    """
    return min(round(rate * 2**32), 2**32 - 1) - 2**31


@contextmanager
def seeded_global_generator(*key: int | str, device: torch.device | str = "cpu") -> Iterator[None]:
    """Seed torch's global generators from a key within the block, then put them back as found.

    For modules that draw from the global generator (``torch.nn.Dropout``, default initial
    weights): inside the block their draws are a function of the key. Other threads that draw
    meanwhile would see the lent state.

    Args:
        *key: as for ``generator``.
        device: whose generator is lent beside the CPU's.
    """
    cuda = torch.device(device) if torch.device(device).type == "cuda" else None
    found = torch.default_generator.get_state()
    found_cuda = None if cuda is None else torch.cuda.get_rng_state(cuda)
    seed = key_hash(*key)
    try:
        torch.default_generator.manual_seed(seed)
        if cuda is not None:
            with torch.cuda.device(cuda):
                torch.cuda.manual_seed(seed)
        yield
    finally:
        torch.default_generator.set_state(found)
        if cuda is not None and found_cuda is not None:
            torch.cuda.set_rng_state(found_cuda, cuda)


def _stream_key(
    seed: int | Tensor, step: int | Tensor, layer: int
) -> tuple[int | Tensor, int | Tensor]:
    """Two 32-bit words, each a chain over (seed, step, layer) with its own start."""
    first: int | Tensor = 0x9E3779B9
    second: int | Tensor = 0x3C6EF372
    for word in (seed & WORD, (seed >> 32) & WORD, step & WORD, layer & WORD):
        first = _scrambled(first ^ word)
        second = _scrambled(second ^ word)
    return first, second


def _scrambled(word: int | Tensor) -> int | Tensor:
    """Permute the 32-bit words such that every bit depends on all; int64 if a tensor."""
    word = ((word ^ (word >> 16)) * 0x7FEB352D) & WORD
    word = ((word ^ (word >> 15)) * 0x846CA68B) & WORD
    return word ^ (word >> 16)


def _as_int32(word: int | Tensor) -> int | Tensor:
    """The same 32 bits as a signed number; a tensor of shape [K] becomes an int32 [K, 1]."""
    signed = (word ^ 2**31) - 2**31
    return signed if isinstance(signed, int) else signed.to(torch.int32).unsqueeze(-1)


def _shifted(bits: Tensor, by: int) -> Tensor:
    """Shift right, filling with zeros: torch's own shift of int32 repeats the sign."""
    return (bits >> by).bitwise_and_((1 << (32 - by)) - 1)
