"""``[problem]`` of a study file: what is trained, and on what."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from indian_tune.imports import check_form
from indian_tune.problems.catalog import check_fit, get_dataset_info, get_model_info
from indian_tune.study.facts import ProblemFacts, check_plain
from indian_tune.study.section import Count, Section, Seed


def _known_dataset(name: str) -> str:
    return get_dataset_info(name).name


def _known_model(name: str) -> str:
    return get_model_info(name).name


def _factory(reference: str) -> str:
    check_form(reference, "problem.factory", "function")
    return reference


class ProblemSection(Section):
    """``[problem]``: the data set and the network, of the catalog or made by a factory.

    A factory's problem has ``facts`` once it was loaded, which registering takes.
    """

    dataset: Annotated[str, AfterValidator(_known_dataset)] | None = None
    model: Annotated[str, AfterValidator(_known_model)] | None = None
    factory: Annotated[str, AfterValidator(_factory)] | None = None
    arguments: dict[str, Any] = Field(default_factory=dict)
    facts: ProblemFacts | None = None
    dropout: float = Field(default=0.5, ge=0, lt=1)
    batch_size: Count = 32
    width: float = Field(default=1.0, gt=0)
    init: Literal["he_normal", "normal"] = "he_normal"
    init_std: float | None = Field(default=None, gt=0)
    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    split_seed: Seed = 0
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
        """Name of the data set; that of a factory until it was called."""
        return self.dataset or (self.facts.dataset if self.facts else str(self.factory))

    @property
    def network_name(self) -> str:
        """Name of the network; that of a factory until it was called."""
        return self.model or (self.facts.model if self.facts else str(self.factory))

    @property
    def classes(self) -> int:
        """Number of classes; a factory must have been called."""
        if self.dataset is not None:
            return get_dataset_info(self.dataset).classes
        assert self.facts is not None
        return self.facts.classes

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.factory is None:
            self._check_catalog()
        else:
            self._check_factory()
        if (self.init == "normal") != (self.init_std is not None):
            raise ValueError(
                f"init = {self.init!r} and init_std = {self.init_std!r} do not go together: "
                "init = 'normal' needs init_std, init = 'he_normal' takes none"
            )
        return self

    def _check_catalog(self) -> None:
        for key, value in (("arguments", self.arguments), ("facts", self.facts)):
            if value:
                raise ValueError(
                    f"problem.{key} = {value!r} belongs to problem.factory, which is not given: "
                    "add it, or remove this"
                )
        if self.dataset is None or self.model is None:
            key = "dataset" if self.dataset is None else "model"
            raise ValueError(
                f"problem.{key} is missing: give problem.dataset and problem.model, or "
                "problem.factory for a problem of your own"
            )
        check_fit(get_dataset_info(self.dataset), get_model_info(self.model))

    def _check_factory(self) -> None:
        for key in ("dataset", "model", "width", "init", "init_std"):
            value = getattr(self, key)
            if value != type(self).model_fields[key].default:
                raise ValueError(
                    f"problem.{key} = {value!r} has no meaning beside problem.factory, which makes "
                    "data and network: remove it, or pass it in problem.arguments"
                )
        if self.facts is not None and self.augmentation != "none" and len(self.facts.shape) != 3:
            raise ValueError(
                f"problem.augmentation = {self.augmentation!r} needs images [channels, height, "
                f"width], and inputs of problem.factory = {self.factory!r} have the shape "
                f"{self.facts.shape}: use 'none'"
            )
