from __future__ import annotations

from itertools import combinations

import pytest
import torch
from torch import Tensor

from indian_tune.problems.randomness import (
    generator,
    keep_threshold,
    key_hash,
    seeded_global_generator,
    uniform_bits,
)

COUNT = 200_000


def scrambled(word: int) -> int:
    """The 32-bit permutation, in Python's own integers."""
    word ^= word >> 16
    word = word * 0x7FEB352D % 2**32
    word ^= word >> 15
    word = word * 0x846CA68B % 2**32
    return word ^ (word >> 16)


def expected_bits(seed: int, step: int, layer: int, element: int) -> int:
    """What ``uniform_bits`` promises for one element, in Python's own integers."""
    words = [0x9E3779B9, 0x3C6EF372]
    for part in (seed % 2**32, seed // 2**32 % 2**32, step, layer):
        words = [scrambled(word ^ part) for word in words]
    bits = (element + words[0]) % 2**32
    bits = (bits ^ (bits >> 16)) * 0x7FEB352D % 2**32
    bits ^= words[1]
    bits = (bits ^ (bits >> 15)) * 0x846CA68B % 2**32
    bits ^= bits >> 16
    return bits - 2**32 if bits >= 2**31 else bits


def uniform(*, seed: int = 1, step: int = 1, layer: int = 1, count: int = COUNT) -> Tensor:
    """Numbers in [0, 1), float64."""
    bits = uniform_bits((count,), seed=seed, step=step, layer=layer)
    return (bits.double() + 2**31) / 2**32


def correlation(first: Tensor, second: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([first, second]))[0, 1])


def test_the_same_key_gives_the_same_generator() -> None:
    first = torch.randn(5, generator=generator("weights", 3))
    second = torch.randn(5, generator=generator("weights", 3))
    assert torch.equal(first, second)


def test_keys_that_differ_in_any_part_or_only_in_type_or_grouping_give_other_streams() -> None:
    keys: list[tuple[int | str, ...]]
    keys = [("a", 1), ("a", 2), ("b", 1), ("a", "1"), ("a1",), (1, "a"), ("a",), (1,), (-1,), ()]
    draws = [tuple(torch.randn(4, generator=generator(*key)).tolist()) for key in keys]
    assert len(set(draws)) == len(keys)


def test_the_hash_of_a_key_never_changes() -> None:
    assert key_hash("order", 0, 1) == 13029867909223278927


def test_bits_are_those_of_the_definition_in_exact_integers() -> None:
    for seed, step, layer in [(0, 0, 0), (7, 3, 1), (2**63 - 1, 2**32 - 1, 5), (2**40 + 1, 9, 0)]:
        bits = uniform_bits((3, 50), seed=seed, step=step, layer=layer)
        expected = [expected_bits(seed, step, layer, element) for element in range(150)]
        assert bits.dtype == torch.int32
        assert bits.flatten().tolist() == expected


def test_bits_of_many_seeds_and_steps_in_tensors_are_those_of_each_alone() -> None:
    seeds, steps = torch.tensor([3, 2**40 + 5, 0]), torch.tensor([0, 17, 2**31])
    together = uniform_bits((4, 6), seed=seeds, step=steps, layer=2)
    for row, seed, step in zip(together, seeds.tolist(), steps.tolist(), strict=True):
        assert torch.equal(row, uniform_bits((4, 6), seed=seed, step=step, layer=2))


def test_bits_can_be_drawn_under_vmap() -> None:
    def draw(seed: Tensor, step: Tensor) -> Tensor:
        return uniform_bits((4, 6), seed=seed, step=step, layer=2)

    seeds, steps = torch.tensor([3, 4]), torch.tensor([5, 6])
    together = torch.func.vmap(draw)(seeds, steps)
    assert torch.equal(together, uniform_bits((4, 6), seed=seeds, step=steps, layer=2))


def test_a_shape_may_be_empty_or_a_single_number() -> None:
    for shape in ((0, 3), (1,), ()):
        assert uniform_bits(shape, seed=1, step=1, layer=1).shape == shape


def test_numbers_are_uniform() -> None:
    numbers = uniform()
    assert abs(numbers.mean().item() - 0.5) < 4 * (1 / 12 / COUNT) ** 0.5
    for scale in (1, 2**8, 2**16, 2**24):
        counts = torch.histc(numbers * scale % 1, bins=256, min=0, max=1)
        chi_square = ((counts - COUNT / 256) ** 2 / (COUNT / 256)).sum().item()
        assert 255 - 5 * 510**0.5 < chi_square < 255 + 5 * 510**0.5


def test_every_bit_is_set_half_of_the_time() -> None:
    bits = uniform_bits((COUNT,), seed=1, step=1, layer=1)
    for position in range(32):
        share = ((bits >> position) & 1).double().mean().item()
        assert abs(share - 0.5) < 4 * 0.5 / COUNT**0.5, position


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 2},
        {"seed": 1 + 2**32},
        {"step": 2},
        {"step": 1 + 2**16},
        {"layer": 2},
        {"step": 0, "layer": 0},
    ],
    ids=str,
)
def test_numbers_of_another_seed_step_or_layer_are_independent(other: dict[str, int]) -> None:
    first, second = uniform(), uniform(**other)
    assert abs(correlation(first, second)) < 4 / COUNT**0.5
    # Linear correlation alone would miss a mask that is repeated with some elements flipped.
    agreement = ((first < 0.5) == (second < 0.5)).double().mean().item()
    assert abs(agreement - 0.5) < 4 * 0.5 / COUNT**0.5


def test_neighbouring_elements_are_independent() -> None:
    numbers = uniform()
    for apart in (1, 2, 3, 13, 32, 96, 169, 1024, 65536):
        assert abs(correlation(numbers[apart:], numbers[:-apart])) < 4 / (COUNT - apart) ** 0.5


def test_no_mask_is_another_one_in_another_order() -> None:
    sorted_masks = [
        tuple(uniform_bits((64,), seed=1, step=step, layer=layer).sort().values.tolist())
        for step in range(300)
        for layer in range(2)
    ]
    assert len(set(sorted_masks)) == len(sorted_masks)


def test_one_element_over_many_steps_is_uniform_and_uncorrelated() -> None:
    steps = torch.arange(100_000)
    bits = uniform_bits((4,), seed=torch.zeros_like(steps), step=steps, layer=0)
    numbers = (bits.double() + 2**31) / 2**32
    assert (numbers.mean(0) - 0.5).abs().max().item() < 4 * (1 / 12 / 100_000) ** 0.5
    for first, second in combinations(numbers.T, 2):
        assert abs(correlation(first, second)) < 4 / 100_000**0.5
    assert abs(correlation(numbers[1:, 0], numbers[:-1, 0])) < 4 / 100_000**0.5


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_the_threshold_drops_at_the_rate(rate: float) -> None:
    bits = uniform_bits((COUNT,), seed=5, step=5, layer=5)
    dropped = (bits < keep_threshold(rate)).double().mean().item()
    assert abs(dropped - rate) < 4 * (rate * (1 - rate) / COUNT) ** 0.5


def test_the_threshold_fits_32_bits_at_the_ends() -> None:
    assert keep_threshold(0.0) == -(2**31)
    assert keep_threshold(1 - 1e-12) == 2**31 - 1


def test_the_global_generator_is_neither_read_nor_set() -> None:
    def draw() -> list[Tensor]:
        return [
            torch.randn(3, generator=generator("a", 1)),
            uniform_bits((3,), seed=1, step=2, layer=3),
        ]

    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = draw()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert all(map(torch.equal, first, draw()))


def test_the_lent_global_generator_is_given_back_as_found_even_after_an_error() -> None:
    before = torch.get_rng_state()

    def draw_and_fail() -> None:
        with seeded_global_generator("a", 1):
            torch.rand(3)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        draw_and_fail()
    assert torch.equal(torch.get_rng_state(), before)


def test_the_lent_global_generator_is_a_function_of_the_key() -> None:
    def draw(*key: int | str) -> list[float]:
        with seeded_global_generator(*key):
            numbers: list[float] = torch.rand(3).tolist()
        return numbers

    first = draw("a", 1)
    torch.rand(1)
    assert draw("a", 1) == first
    assert draw("a", 2) != first
