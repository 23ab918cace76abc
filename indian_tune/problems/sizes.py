"""How large the splits of a problem are to be."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from indian_tune.errors import InputError


@dataclass(frozen=True)
class SplitSizes:
    """How many examples are drawn for each split, at random and stratified by class.

    Attributes:
        train: of the training examples there are.
        validation: likewise, others; ``None`` for no validation part.
        test: of the test examples there are; ``None`` for all.
    """

    train: int
    validation: int | None = None
    test: int | None = None

    def check(self, train: int, test: int, owner: str) -> None:
        """Check that there are examples enough.

        Args:
            train: how many training examples there are.
            test: how many test examples there are.
            owner: whose they are, such as ``dataset = 'digits'``.

        Raises:
            InputError: a size is below 1, or there are not enough examples.
        """
        for name, size in asdict(self).items():
            if size is not None and size < 1:
                raise InputError(f"problem.sizes.{name} = {size} must be at least 1")
        held_out = self.validation or 0
        if self.train + held_out > train:
            both = f" and problem.sizes.validation = {held_out} are together" if held_out else " is"
            raise InputError(
                f"problem.sizes.train = {self.train}{both} more than the {train:,} training "
                f"examples of {owner}: give at most {train:,}"
            )
        if self.test is not None and self.test > test:
            raise InputError(
                f"problem.sizes.test = {self.test} is more than the {test:,} test examples of "
                f"{owner}: give at most {test:,}, or leave it out to use all"
            )
