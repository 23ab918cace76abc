"""A hypothesis is a study part, an analysis part and a key of the claims."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, cast

import pandas as pd
import pytest
from pydantic.fields import FieldInfo

from indian_tune.analysis import Details
from indian_tune.analysis.contrasts import conclude
from indian_tune.study.claims import ClaimsSection
from indian_tune.study.file.section import ADDED
from indian_tune.study.file.spec import StudySpec, parse_study
from indian_tune.study.hypotheses import Hypothesis, Prospect, Setting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from indian_tune.analysis import Finding
    from indian_tune.analysis.evidence import Evidence
    from indian_tune.study.file.arm import ArmSection
    from tests.cli.conftest import Ended


class Thrift(Hypothesis):
    """H9: the arm with fewer hyperparameters is the better one."""

    name = "H9"
    role = "link"
    question = "Do fewer hyperparameters do better?"
    gain = "with fewer hyperparameters"
    needs = "two arms beside one that holds {default}"
    add = ("two arms, named in claims.h9",)
    find = f"{__name__}:find"

    plain: str
    rich: str

    @classmethod
    def propose(cls, arms: Sequence[ArmSection], setting: Setting) -> Self | None:
        by_size = sorted(arms, key=lambda arm: len(arm.family.hyperparameters))
        return cls(plain=by_size[0].name, rich=by_size[-1].name) if len(arms) > 1 else None

    def prospect(self) -> Prospect:
        return Prospect(self.name, True, f"{self.plain} and the richer {self.rich}")

    def pairs(self) -> list[tuple[str, str]]:
        return [(self.plain, self.rich)]

    def warnings(self) -> list[str]:
        return [f"thrift is a matter of taste: {self.plain}"]


@dataclass(frozen=True)
class ThriftDetails(Details):
    """How many hyperparameters are saved."""

    saved: int

    def notes(self) -> Sequence[str]:
        return [f"{self.saved} hyperparameters are saved."]

    def lines(self) -> Sequence[str]:
        return [f"saved: {self.saved}"]

    def table(self) -> Sequence[Sequence[str]]:
        return [("what", "number"), ("saved hyperparameters", str(self.saved))]


def find(evidence: Evidence, claim: Thrift) -> Finding:
    contrasts = [evidence.contrast(*pair) for pair in claim.pairs()]
    words = f"{claim.plain} does better with less"
    return conclude(evidence, claim, words, contrasts, details=ThriftDetails(3))


@pytest.fixture
def known() -> Iterator[None]:
    """The one line that makes a hypothesis known: its key in the claims."""
    fields = ClaimsSection.__pydantic_fields__
    key = FieldInfo(annotation=cast("Any", Thrift | None), default=None)
    key.metadata.append(ADDED)
    fields["h9"] = key
    for model in (ClaimsSection, StudySpec):
        model.model_rebuild(force=True)
    yield
    del fields["h9"]
    for model in (ClaimsSection, StudySpec):
        model.model_rebuild(force=True)


@pytest.fixture
def study(tiny: dict[str, Any]) -> dict[str, Any]:
    return tiny | {"name": "thrift"}


@pytest.mark.usefixtures("known")
def test_it_is_proposed_and_planned(
    study: dict[str, Any],
    write_study: Callable[[dict[str, Any]], Path],
    command: Callable[..., Ended],
) -> None:
    claims = parse_study(study, source="study.toml").canonical()["claims"]
    assert claims["h9"] == {"plain": "sgd", "rich": "indian"}
    file = write_study(study)
    printed = " ".join(command("plan", file, "--no-timing").out.split())
    assert "H9 yes sgd and the richer indian" in printed
    assert "thrift is a matter of taste: sgd" in printed
    lonely = write_study(study | {"arms": study["arms"][:1]})
    told = json.loads(command("plan", lonely, "--no-timing", "--json").out)["hypotheses"]
    assert [each["hypothesis"] for each in told] == ["H1", "H2", "H3a", "H3b", "H4", "H9"]
    assert told[-1]["missing"] == "two arms beside one that holds alpha = 0.5, beta = 0.1"
    named = write_study(study | {"claims": {"h9": {"plain": "sgd", "rich": "indain"}}})
    assert "claims.h9.rich = 'indain' is not an arm" in command("search", named).err


@pytest.mark.usefixtures("known")
def test_it_is_judged_printed_drawn_and_reported(
    study: dict[str, Any],
    storage: str,
    search: Callable[..., tuple[int, str, str]],
    command: Callable[..., Ended],
    tmp_path: Path,
) -> None:
    _, contrasts, _ = search(study)
    assert "sgd - indian" in contrasts
    out = tmp_path / "report"
    printed = command("analyze", "--storage", storage, "--details", "--out", out).out
    assert "sgd does better with less" in " ".join(printed.split())
    assert "     3 hyperparameters are saved.\n" in printed
    of_h9 = printed[printed.index("\nH9 ") :]
    assert "\n     sgd - indian: Δ " in of_h9
    assert "\n     saved: 3\n" in of_h9
    told = json.loads((out / "verdict.json").read_text(encoding="utf-8"))
    finding = told["findings"][-1]
    assert (finding["hypothesis"], finding["details"]) == ("H9", {"saved": 3})
    assert {("indian", "sgd"), ("sgd", "indian")} == set(
        pd.read_csv(out / "figures/paired-seeds.csv")[["arm", "baseline"]].itertuples(
            index=False, name=None
        )
    )
    page = (out / "report.html").read_text(encoding="utf-8")
    card = page[page.index('<section class="card" id="H9">') :]
    assert Thrift.question in card
    assert "<tr><td>saved hyperparameters</td><td>3</td></tr>" in card


def test_a_link_is_a_part_of_the_claim(known: None) -> None:
    from indian_tune.analysis.claim import judge
    from indian_tune.analysis.evidence import not_tested

    claims = ClaimsSection.model_validate({"h9": {"plain": "sgd", "rich": "indian"}})
    links = claims.links()
    assert [link.name for link in links] == ["H2", "H3b", "H4", "H9"]
    assert sum(link.contrasts for link in links) == 5
    open_ = [not_tested(link, link.add) for link in links]
    assert judge(open_, links, 0.005)[3] == "None of H2, H3b, H4 and H9 was tested."


def test_studies_without_its_arms_keep_their_digests(
    study: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    lonely = study | {"arms": study["arms"][:1]}
    before = parse_study(lonely, source="study.toml").digest
    request.getfixturevalue("known")
    assert parse_study(lonely, source="study.toml").digest == before


def test_a_study_that_was_registered_before_keeps_its_claims(
    study: dict[str, Any],
    storage: str,
    search: Callable[..., tuple[int, str, str]],
    command: Callable[..., Ended],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    search(study)
    words = ("analyze", "--storage", storage, "--details")
    before = command(*words, "--out", tmp_path / "before").out.splitlines()[:-1]
    request.getfixturevalue("known")
    now = parse_study(study, source="study.toml")
    assert "h9" in now.canonical()["claims"]
    assert "H9" not in "\n".join(before)
    assert command(*words, "--out", tmp_path / "after").out.splitlines()[:-1] == before
    judged = [(tmp_path / each / "verdict.json").read_text() for each in ("before", "after")]
    assert judged[0] == judged[1]
    status, out, _ = search(study)
    assert status == 0
    assert "sgd - indian" not in out
