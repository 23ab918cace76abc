"""Sizes of the splits of a problem."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from indian_tune.errors import InputError


@dataclass(frozen=True)
class SplitSizes:
    """How many examples are drawn for each split, at random and stratified by class.

    Attributes:
        train: of the training examples there are.
        validation: likewise, others; ``None`` for no validation part.
        test: of the test examples there are; ``None`` for all. A data set without an official test
            part gives more, from the training examples.
    """

    train: int
    validation: int | None = None
    test: int | None = None

    def check(self, train: int, test: int, owner: str, *, official_test: bool = True) -> None:
        """Check that there are examples enough.

        Args:
            train: how many training examples there are.
            test: how many test examples there are.
            owner: whose they are, such as ``dataset = 'digits'``.
            official_test: whether no training example may be used for testing.

        Raises:
            InputError: a size is below 1, or there are not enough examples.
        """
        for name, size in asdict(self).items():
            if size is not None and size < 1:
                raise InputError(f"problem.sizes.{name} = {size} must be at least 1")
        held_out, tested = self.validation or 0, self.test or 0
        if tested > test and not official_test:
            if self.train + held_out + tested > train + test:
                raise InputError(
                    f"problem.sizes.train = {self.train}, problem.sizes.validation = {held_out} "
                    f"and problem.sizes.test = {tested} are together more than the "
                    f"{train + test:,} examples of {owner}: give at most {train + test:,}"
                )
            return
        if self.train + held_out > train:
            both = f" and problem.sizes.validation = {held_out} are together" if held_out else " is"
            raise InputError(
                f"problem.sizes.train = {self.train}{both} more than the {train:,} training "
                f"examples of {owner}: give at most {train:,}"
            )
        if tested > test:
            raise InputError(
                f"problem.sizes.test = {self.test} is more than the {test:,} test examples of "
                f"{owner}: give at most {test:,}, or remove it to use all"
            )
