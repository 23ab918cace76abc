"""``[problem]`` of a study file: what is trained, and on what."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from indian_tune.imports import check_form
from indian_tune.outcome import ACCURACY
from indian_tune.problems.catalog import check_fit, get_dataset_info, get_model_info
from indian_tune.problems.sizes import SplitSizes
from indian_tune.study.file.problem_summary import ProblemSummary, check_plain
from indian_tune.study.file.section import ADDED, Count, Section, Seed

if TYPE_CHECKING:
    from indian_tune.outcome import Outcome
    from indian_tune.problems.catalog import ModelInfo
    from indian_tune.study.file.protocol import Mode


def _known_dataset(name: str) -> str:
    return get_dataset_info(name).name


def _known_model(name: str) -> str:
    return get_model_info(name).name


def _factory(reference: str) -> str:
    check_form(reference, "problem.factory", "function")
    return reference


# Weights grow with the square of the width, and beyond the largest no device holds the network.
MAX_WIDTH = 100.0
MAX_INIT_STD = 1e6
# A hidden layer of the largest width after another has a gibibyte of weights.
MAX_UNITS = 16_384
MAX_LAYERS = 32
# Pixels of a side, as the largest photographs have.
MAX_SIZE = 4_096


Units = Annotated[int, Field(ge=1, le=MAX_UNITS)]


class SizesSection(Section):
    """``sizes`` of ``[problem]``: how many examples each split has."""

    train: Count
    validation: Count | None = None
    test: Count | None = None


class ProblemSection(Section):
    """``[problem]``: the data set and the network, of the catalog or made by a factory.

    A factory's problem has ``facts`` once it was loaded, which registering takes. With ``split =
    "replicate"`` every search of an arm draws its own training and validation part; the test part
    is the same for all.
    """

    dataset: Annotated[str, AfterValidator(_known_dataset)] | None = None
    model: Annotated[str, AfterValidator(_known_model)] | None = None
    factory: Annotated[str, AfterValidator(_factory)] | None = None
    arguments: dict[str, Any] = Field(default_factory=dict)
    facts: ProblemSummary | None = None
    dropout: float = Field(default=0.5, ge=0, lt=1)
    batch_size: Count = 32
    width: float = Field(default=1.0, gt=0, le=MAX_WIDTH)
    widths: Annotated[
        Annotated[list[Units], Field(min_length=1, max_length=MAX_LAYERS)] | None, ADDED
    ] = None
    size: Annotated[Annotated[int, Field(ge=1, le=MAX_SIZE)] | None, ADDED] = None
    init: Literal["he_normal", "normal"] = "he_normal"
    init_std: float | None = Field(default=None, gt=0, le=MAX_INIT_STD)
    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    sizes: Annotated[SizesSection | None, ADDED] = None
    split_seed: Seed = 0
    split: Annotated[Literal["study", "replicate"], ADDED] = "study"
    label_noise: Annotated[float, ADDED] = Field(default=0.0, ge=0, le=1)
    precision: Literal["float32", "bfloat16"] = "float32"
    tf32: bool = False
    augmentation: Literal["none", "crop-flip"] = "none"

    @field_validator("arguments")
    @classmethod
    def _plain(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        check_plain(arguments)
        return arguments

    @property
    def data_name(self) -> str:
        """Name of the data set, and what was done to it; that of a factory until it was called."""
        name = self.dataset or (self.facts.dataset if self.facts else str(self.factory))
        size = f" at {self.size}×{self.size}" if self.size else ""
        noise = f", {100 * self.label_noise:g} % of the training labels at random"
        return f"{name}{size}{noise if self.label_noise else ''}"

    @property
    def own_loop(self) -> bool:
        """Whether it trains by a loop of one's own; a factory must have been called.

        How many examples and steps an epoch has is not known then.
        """
        return self.facts is not None and self.facts.loop

    @property
    def network_name(self) -> str:
        """Name of the network, and its widths; that of a factory until it was called."""
        name = self.model or (self.facts.model if self.facts else str(self.factory))
        return f"{name} {'-'.join(map(str, self.widths))}" if self.widths else name

    @property
    def classes(self) -> int:
        """Number of classes; a factory must have been called."""
        if self.dataset is not None:
            return get_dataset_info(self.dataset).classes
        assert self.facts is not None
        return self.facts.classes

    @property
    def outcome(self) -> Outcome:
        """What runs are judged by; a factory must have been called."""
        if self.facts is not None and self.facts.task is not None:
            return self.facts.task.outcome.outcome
        return replace(ACCURACY, chance=1 - 1 / self.classes)

    @property
    def loss_chance(self) -> float:
        """The loss at chance level; a factory must have been called."""
        if self.facts is not None and self.facts.task is not None:
            return self.facts.task.loss_chance
        return math.log(self.classes)

    @property
    def split_sizes(self) -> SplitSizes | None:
        """``sizes`` for loading a problem."""
        return None if self.sizes is None else SplitSizes(**dict(self.sizes))

    def keys_left_out(self) -> set[str]:
        """Return the keys that the canonical form leaves out; one that ``sizes`` replaces is."""
        replaced = set() if self.sizes is None else {"validation_fraction"}
        return super().keys_left_out() | replaced

    def check_mode(self, mode: Mode) -> None:
        """Check that ``sizes`` says what a mode needs.

        Raises:
            ValueError: it has a validation part too few or too many.
        """
        if self.sizes is None:
            if mode == "paper" and self.split == "replicate":
                raise ValueError(
                    "problem.split = 'replicate' redraws the validation part, but protocol.mode "
                    "= 'paper' has none: remove it, or give problem.sizes"
                )
            return
        if mode == "honest" and self.sizes.validation is None:
            raise ValueError(
                "problem.sizes.validation is missing: protocol.mode = 'honest' chooses on "
                "validation examples, so give their number in addition to problem.sizes.train"
            )
        if mode == "paper" and self.sizes.validation is not None:
            raise ValueError(
                f"problem.sizes.validation = {self.sizes.validation} is not used with "
                "protocol.mode = 'paper', which has no validation part: remove it"
            )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.factory is None:
            self._check_catalog()
        else:
            self._check_factory()
        if self.sizes is not None and "validation_fraction" in self.model_fields_set:
            raise ValueError(
                f"problem.validation_fraction = {self.validation_fraction} cannot be given "
                "together with problem.sizes, which sets the number of validation examples: "
                "remove one of them"
            )
        if (self.init == "normal") != (self.init_std is not None):
            raise ValueError(
                f"init = {self.init!r} and init_std = {self.init_std!r} do not match: init = "
                "'normal' needs init_std, and init = 'he_normal' does not accept it"
            )
        return self

    def _check_catalog(self) -> None:
        for key, value in (("arguments", self.arguments), ("facts", self.facts)):
            if value:
                raise ValueError(
                    f"problem.{key} = {value!r} needs problem.factory, which is not given: add "
                    f"problem.factory, or remove problem.{key}"
                )
        if self.dataset is None or self.model is None:
            key = "dataset" if self.dataset is None else "model"
            raise ValueError(
                f"problem.{key} is missing: give problem.dataset and problem.model, or "
                "problem.factory for your own problem"
            )
        info, network = get_dataset_info(self.dataset), get_model_info(self.model)
        check_fit(info, network, self.size)
        self._check_widths(network)
        if self.split_sizes is not None:
            self.split_sizes.check(
                info.train_images,
                info.test_images,
                f"dataset = {self.dataset!r}",
                official_test=info.official_test,
            )

    def _check_widths(self, network: ModelInfo) -> None:
        if network.hidden and self.widths is None:
            raise ValueError(
                f"problem.widths is missing: model = {network.name!r} needs the widths of its "
                "hidden layers, such as widths = [96, 96]"
            )
        key = "width" if network.hidden else "widths"
        value, default = getattr(self, key), type(self).model_fields[key].default
        if value != default:
            instead = "widths" if network.hidden else "width"
            raise ValueError(
                f"problem.{key} = {value!r} is not used by model = {network.name!r}: remove it, "
                f"and set the width of that network with problem.{instead}"
            )

    def _check_factory(self) -> None:
        for key in ("dataset", "model", "width", "widths", "size", "init", "init_std"):
            value = getattr(self, key)
            if value != type(self).model_fields[key].default:
                raise ValueError(
                    f"problem.{key} = {value!r} cannot be given together with problem.factory, "
                    "which creates data and network: remove it, or pass it in problem.arguments"
                )
        if self.facts is not None and self.augmentation != "none" and len(self.facts.shape) != 3:
            raise ValueError(
                f"problem.augmentation = {self.augmentation!r} needs images [channels, height, "
                f"width], but inputs of problem.factory = {self.factory!r} have the shape "
                f"{self.facts.shape}: use 'none'"
            )
