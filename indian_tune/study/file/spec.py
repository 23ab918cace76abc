"""The study file: TOML in, one validated and frozen ``StudySpec`` out.

Unknown keys are refused. Every message names the key as in the file, the value and
what is allowed. Neither torch nor Optuna is imported here: a mistake is reported at once.
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any, Self

from pydantic import (
    Field,
    ValidationError,
    model_validator,
)

from indian_tune.errors import InputError, StudyFileError, alternatives
from indian_tune.optim.families import FAMILIES, get_family
from indian_tune.study.claims import ClaimsSection
from indian_tune.study.file import space as spaces
from indian_tune.study.file.arm import ArmSection  # noqa: TC001 - pydantic reads it
from indian_tune.study.file.arm_space import check_parameter, with_whole_space
from indian_tune.study.file.factors import designed, expand
from indian_tune.study.file.first import check_first
from indian_tune.study.file.messages import explain
from indian_tune.study.file.parameters import TRAINING_PARAMETERS
from indian_tune.study.file.problem import ProblemSection  # noqa: TC001 - pydantic reads it
from indian_tune.study.file.protocol import ProtocolSection  # noqa: TC001 - pydantic reads it
from indian_tune.study.file.schedules import check_schedule
from indian_tune.study.file.search import SearchSection  # noqa: TC001 - pydantic reads it
from indian_tune.study.file.section import MAX_ARMS, MAX_COUNT, Name, Section
from indian_tune.text import counted, digest_of, read_text, read_toml

if TYPE_CHECKING:
    from pathlib import Path

    from indian_tune.ledger.budget import Budget
    from indian_tune.study.file.protocol import Objective


# A row each in the database.
MAX_RUNS = 1_000_000
MAX_EPOCHS = 100_000_000


class StudySpec(Section):
    """A whole study file."""

    name: Name
    description: str = ""
    problem: ProblemSection
    protocol: ProtocolSection
    search: SearchSection
    claims: ClaimsSection = Field(default_factory=ClaimsSection)
    arms: list[ArmSection] = Field(min_length=1, max_length=MAX_ARMS)

    @model_validator(mode="before")
    @classmethod
    def _inherit_spaces(cls, raw: Any) -> Any:
        """Write every arm's whole space out: the registered study says what was searched."""
        if isinstance(raw, dict):
            raw = expand(raw)
        arms = raw.get("arms") if isinstance(raw, dict) else None
        if not isinstance(arms, list):
            return raw
        return {**raw, "arms": [with_whole_space(arm, n) for n, arm in enumerate(arms, 1)]}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [arm.name for arm in self.arms]
        for n, name in enumerate(names, 1):
            if name in names[: n - 1]:
                raise ValueError(
                    f"arms[{n}].name = {name!r} is already the name of "
                    f"arms[{names.index(name) + 1}]: give every arm a different name"
                )
            reserved = ["confirm", *(["final"] if self.protocol.finalists else [])]
            if name in reserved:
                raise ValueError(f"arms[{n}].name = {name!r} is reserved: choose another name")
        if not any(arm.searched for arm in self.arms):
            raise ValueError(
                "no arm is searched: give at least one arm a space, and none of the keys fixed, "
                "response_of and matched_rate_of"
            )
        for n in range(1, len(self.arms) + 1):
            self._check_arm(n)
        self.problem.check_mode(self.protocol.mode)
        self.search.check_under(self.protocol)
        self._check_replicates()
        self._check_size()
        self._check_claims()
        self._check_delta()
        self._check_half_budget()
        return self

    def space(self, arm: str) -> spaces.Space:
        """Return the search space of an arm."""
        n = next(n for n, section in enumerate(self.arms, 1) if section.name == arm)
        return spaces.parse_space(self.arms[n - 1].space, f"arms[{n}].space")

    def arm(self, name: str) -> ArmSection:
        """Return the arm of that name, which must exist."""
        return next(arm for arm in self.arms if arm.name == name)

    @property
    def budget(self) -> Budget | None:
        """What an arm may spend beside its number of trials."""
        return self.search.budget_under(self.protocol)

    @property
    def replicates(self) -> int:
        """How many searches every arm has."""
        return self.search.replicates

    @property
    def fresh_seeds(self) -> tuple[int, ...]:
        """The fresh seeds of all searches."""
        searches = range(self.replicates)
        return tuple(s for r in searches for s in self.protocol.confirming_seeds_of(r))

    @property
    def searched_arms(self) -> list[str]:
        """Names of the arms that have trials in the tune phase, in the order of the file."""
        return [arm.name for arm in self.arms if arm.searched]

    @property
    def matched_arms(self) -> list[str]:
        """Names of the arms that have trials in the match phase, in the order of the file."""
        return [arm.name for arm in self.arms if arm.response_of is not None]

    def trials_of(self, arm: str) -> int:
        """Return how many tune trials an arm has: the budget, or the size of its grid."""
        if not self.arm(arm).searched:
            return 0
        if not self.search.sampler.enumerates:
            return self.search.trials
        return spaces.count_grid_points(self.space(arm), f"arm {arm!r}")

    @property
    def chance(self) -> float:
        """The score at chance level, which a diverged trial gets."""
        return self.chance_of(self.protocol.score)

    def chance_of(self, objective: Objective) -> float:
        """Return the score at chance level under an objective."""
        if objective != "validation_error":
            return self.problem.loss_chance
        chance = self.problem.outcome.chance
        assert chance is not None
        return chance

    def canonical(self) -> dict[str, Any]:
        """Return the study as plain data, every default written out."""
        return self.model_dump(mode="json")

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical form: two files with one digest are one study."""
        return digest_of(self.canonical())

    def _check_delta(self) -> None:
        known = self.problem.factory is None or self.problem.facts is not None
        if known and self.problem.outcome.share and self.claims.delta >= 1:
            raise ValueError(
                f"claims.delta = {self.claims.delta:g} must be below 1: 0.005 is half a "
                "percentage point of accuracy"
            )

    def _check_arm(self, n: int) -> None:
        arm = self.arms[n - 1]
        where = f"arms[{n}].space"
        if arm.source is not None:
            check_first(arm, {}, (), self.search, f"arms[{n}].first")
            self._check_control(n)
            return
        family = arm.family
        space = spaces.parse_space(arm.space, where)
        for name, parameter in space.items():
            check_parameter(family, name, parameter, f"{where}.{name}")
        if arm.fixed:
            self._check_fixed(space, where)
        elif not any(not isinstance(p, spaces.Constant) for p in space.values()):
            raise StudyFileError(
                f"{where} has nothing to search: give at least one of "
                f"{', '.join((*family.given, *TRAINING_PARAMETERS))} a range or a list, or write "
                "fixed = true to run it untuned"
            )
        check_schedule(family, space, where)
        try:
            family.check_names(space.keys() - set(TRAINING_PARAMETERS))
        except InputError as error:
            raise StudyFileError(f"{where}: {error}") from error
        check_first(arm, space, self.arms[: n - 1], self.search, f"arms[{n}].first")
        if self.search.sampler.enumerates and arm.searched:
            points = spaces.count_grid_points(space, where)
            if points > self.search.trials:
                more = f"raise search.trials to {points} or " if points <= MAX_COUNT else ""
                raise StudyFileError(
                    f"{where} is a grid of {counted(points, 'point')}, more than search.trials = "
                    f"{self.search.trials}: {more}thin the grid"
                )

    def _check_replicates(self) -> None:
        """Refuse searches that would share what each is to have of its own."""
        replicates, protocol = self.replicates, self.protocol
        where = f"search.replicates = {replicates}"
        seeds, lists = protocol.confirm_seeds, protocol.confirm_lists
        nested = lists and lists != [seeds]
        if nested and len(lists) != replicates:
            raise ValueError(
                f"protocol.confirm_seeds has {len(lists)} lists of seeds, but {where}: give "
                f"{'one list' if replicates == 1 else f'{replicates} lists'}, or a number"
            )
        if len({len(each) for each in lists}) > 1:
            raise ValueError(
                f"protocol.confirm_seeds = {seeds!r} gives some searches more fresh seeds than "
                "others: give every search the same number of seeds, or give one number for all"
            )
        if replicates == 1:
            return
        if lists and not nested:
            raise ValueError(
                f"protocol.confirm_seeds = {seeds!r} gives all searches the same fresh seeds, but "
                f"with {where} every search needs different ones: give {replicates} lists, or a "
                "number"
            )
        if isinstance(protocol.tune_seeds, list):
            raise ValueError(
                f"protocol.tune_seeds = {protocol.tune_seeds!r} gives all searches the same tune "
                f"seeds, but with {where} every search needs different ones: give the number of "
                "seeds per search"
            )
        tuned = range(replicates * protocol.tune_seeds)
        shared = sorted(seed for each in lists for seed in each if seed in tuned)
        if shared:
            raise ValueError(
                f"protocol.confirm_seeds contains the tune seeds {shared}: with {where} and "
                f"{protocol.tune_seeds} tune seeds each, the tune seeds are 0 to {tuned[-1]}. "
                "Give other fresh seeds"
            )
        if self.search.sampler.enumerates and self.problem.split != "replicate":
            raise ValueError(
                f"{where} would search the same grid {replicates} times on the same data: use "
                "problem.split = 'replicate', another sampler, or one replicate"
            )

    def _check_half_budget(self) -> None:
        if not self.claims.half_budget:
            return
        search, where = self.search, "claims.half_budget = true"
        if not self.protocol.confirming_seeds:
            raise ValueError(
                f"{where} confirms winners on fresh seeds, but protocol.confirm_seeds = "
                f"{self.protocol.confirm_seeds!r} has none: give some, or remove it"
            )
        if search.trials < 2 or search.sampler.enumerates or search.budget != "trials":
            given = f"search.trials = {search.trials}"
            if search.trials > 1:
                grid = search.sampler.enumerates
                given = (
                    f"search.sampler = {search.sampler.name!r}"
                    if grid
                    else (f"search.budget = {search.budget!r}")
                )
            raise ValueError(
                f"{where} needs searches with a first half of their trials, but with {given} "
                "there is none: use at least 2 trials, a budget of trials and another sampler "
                "than 'grid'"
            )
        if any(arm.name == "half" for arm in self.arms):
            raise ValueError(f"{where} reserves the name 'half': rename the arm of this name")

    def _check_size(self) -> None:
        """Refuse a study of more runs than a database and a lifetime have room for."""
        protocol = self.protocol
        tuning, confirming = len(protocol.tuning_seeds), len(protocol.confirming_seeds)
        trials = sum(self.trials_of(arm.name) for arm in self.arms)
        replicates = self.replicates
        runs = (trials * tuning + len(self.arms) * confirming) * replicates
        if runs > MAX_RUNS:
            searches = f", each {replicates} times" if replicates > 1 else ""
            raise ValueError(
                f"{counted(trials, 'trial')} × {counted(tuning, 'tune seed')} and "
                f"{counted(len(self.arms), 'arm')} × "
                f"{counted(confirming, 'confirm seed')}{searches} are {runs} runs, but at most "
                f"{MAX_RUNS} are allowed: lower search.trials or protocol.tune_seeds"
            )
        epochs = trials * tuning * protocol.tuning_epochs * replicates
        epochs += len(self.arms) * confirming * protocol.epochs * replicates
        if epochs > MAX_EPOCHS:
            raise ValueError(
                f"the {runs} runs have {epochs} epochs, but at most {MAX_EPOCHS} are allowed: "
                "lower protocol.epochs or the number of runs"
            )

    def _check_fixed(self, space: spaces.Space, where: str) -> None:
        for name, parameter in space.items():
            if not isinstance(parameter, spaces.Constant):
                raise StudyFileError(
                    f"{where}.{name} has several values, but the arm is fixed: give {name} one "
                    "value, or remove fixed = true"
                )

    def _check_control(self, n: int) -> None:
        """Refuse a control of no INDIAN arm, or with a configuration of its own."""
        arm = self.arms[n - 1]
        key = "matched_rate_of" if arm.response_of is None else "response_of"
        where = f"arms[{n}].{key} = {arm.source!r}"
        if None not in (arm.response_of, arm.matched_rate_of):
            raise StudyFileError(
                f"{where} cannot be given with matched_rate_of = {arm.matched_rate_of!r}, which "
                "gives another configuration: remove matched_rate_of, or move it to another arm"
            )
        names = [other.name for other in self.arms if other is not arm]
        if arm.source not in names:
            raise StudyFileError(
                f"{where} is not an arm of this study.{alternatives(str(arm.source), names)}"
            )
        source = get_family(self.arm(str(arm.source)).optimizer)
        needed = "responds" if arm.response_of else "match_rate"
        if not getattr(source, needed):
            able = [name for name, family in FAMILIES.items() if getattr(family, needed)]
            raise StudyFileError(f"{where} must be an arm of {' or '.join(able)}")
        if not get_family(arm.optimizer).plain or arm.space or arm.fixed:
            plain = [repr(name) for name, family in FAMILIES.items() if family.plain]
            raise StudyFileError(
                f"{where} sets the whole "
                f"configuration{', with a searched level' if arm.response_of else ''}: write "
                f"optimizer = {' or '.join(plain)}, and remove space and fixed"
            )
        if arm.response_of and self.protocol.mode == "paper":
            raise StudyFileError(
                f"{where} chooses its level on a validation part, but mode = 'paper' has none: "
                "use matched_rate_of, or protocol.mode = 'honest'"
            )

    def _check_claims(self) -> None:
        if self.protocol.mode == "paper":
            for section in self.claims.tested:
                if section.role != "replication":
                    raise ValueError(
                        f"claims.{section.name.lower()} asks for a verdict, but mode = 'paper' is "
                        "a descriptive replication, which selects on the data that it reports: "
                        "remove it or use protocol.mode = 'honest'"
                    )
        names = [arm.name for arm in self.arms]
        for key, arm in self.claims.named():
            if arm not in names:
                raise ValueError(
                    f"{key} = {arm!r} is not an arm of this study.{alternatives(arm, names)}"
                )


def load_study(path: Path) -> StudySpec:
    """Read a study file.

    Raises:
        StudyFileError: unreadable, not TOML, or not a valid study.
    """
    try:
        raw = read_toml(read_text(path))
    except FileNotFoundError as error:
        raise StudyFileError(
            f"there is no study file {path}: `indian-tune studies` lists the shipped ones"
        ) from error
    except OSError as error:
        raise StudyFileError(f"study file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise StudyFileError(
            f"study file {path} is not UTF-8: byte {error.object[error.start]:#x} in line {line}; "
            "save it as UTF-8, which TOML requires"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise StudyFileError(f"study file {path} is not valid TOML: {error}") from error
    return parse_study(raw, source=str(path))


def _made_by_factors(raw: Any, message: str) -> str:
    """Return what the arms of a message are, when the file does not hold them as they are."""
    if not isinstance(raw, dict) or not raw.get("factors"):
        return ""
    numbers = sorted({int(number) for number in re.findall(r"\barms\[(\d+)\]", message)})
    if not numbers:
        return ""
    arms = expand(raw)["arms"]
    names = ", ".join(f"arms[{number}] is {arms[number - 1].get('name')!r}" for number in numbers)
    return f"\n[[factors]] made these arms of [[arms]] and their levels: {names}"


def parse_study(raw: Any, *, source: str, registered: bool = False) -> StudySpec:
    """Validate a study given as plain data.

    Args:
        raw: what the TOML said.
        source: where it came from, for messages.
        registered: whether it is a record, whose claims stay as they were registered.

    Raises:
        StudyFileError: every problem found, one a line.
    """
    try:
        spec = StudySpec.model_validate(raw)
    except ValidationError as error:
        message = explain(error, StudySpec, source)
        # The message says all of it.
        raise StudyFileError(message + _made_by_factors(raw, message)) from None
    claims = spec.claims.fill_in(
        spec.arms,
        paper=spec.protocol.mode == "paper",
        grid=spec.search.sampler.enumerates,
        seeds=len(spec.protocol.tuning_seeds),
        design=designed(raw),
        registered=registered,
    )
    return spec.model_copy(update={"claims": claims})
