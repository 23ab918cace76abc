"""The guides say what is so: their runnable blocks run and their links lead somewhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from indian_tune.study.claims import ClaimsSection
from indian_tune.study.file.claims_file import load_claims
from indian_tune.study.file.problem import ProblemSection
from indian_tune.study.file.protocol import ProtocolSection
from indian_tune.study.file.search import SearchSection
from indian_tune.study.file.spec import load_study
from indian_tune.study.optuna.pruners import PRUNERS
from indian_tune.study.optuna.samplers import SAMPLERS
from tests.command_line import COMMANDS, OPTIONS, wrong_words

ROOT = Path(__file__).parents[1]
GUIDES = (
    "README.md",
    "CONTRIBUTING.md",
    "studies/README.md",
    "docker/README.md",
    *sorted(f"studies/guides/{path.name}" for path in (ROOT / "studies/guides").glob("*.md")),
)
MARK = "<!-- runnable -->"


def guide_text(guide: str) -> str:
    return (ROOT / guide).read_text(encoding="utf-8")


def runnable(guide: str, language: str) -> list[str]:
    """The blocks of one language in a guide that are marked to be run."""
    return re.findall(rf"{MARK}\n```{language}\n(.*?)```", guide_text(guide), re.DOTALL)


@pytest.mark.parametrize("guide", GUIDES)
def test_every_mark_stands_before_a_block_that_is_run(guide: str) -> None:
    blocks = len(runnable(guide, "python")) + len(runnable(guide, "sh"))
    assert blocks == guide_text(guide).count(MARK)


@pytest.mark.slow
@pytest.mark.parametrize("guide", [guide for guide in GUIDES if runnable(guide, "python")])
def test_the_runnable_python_of_a_guide_runs(guide: str, tmp_path: Path) -> None:
    for n, block in enumerate(runnable(guide, "python")):
        script = tmp_path / f"block{n}.py"
        script.write_text(block, encoding="utf-8")
        subprocess.run([sys.executable, "-W", "error", script], cwd=tmp_path, check=True)


def test_the_readme_is_short_and_leads_to_every_guide() -> None:
    text = guide_text("README.md")
    assert text.count("\n") <= 200
    assert [guide for guide in GUIDES[1:] if f"]({guide})" not in text] == []


def test_the_claims_of_the_guide_are_read(tmp_path: Path) -> None:
    text = guide_text("studies/guides/verdict.md")
    (block,) = re.findall(r"```toml\n(\[claims\]\n.*?)```", text, re.DOTALL)
    (tmp_path / "claims.toml").write_text(block, encoding="utf-8")
    file = load_claims(tmp_path / "claims.toml")
    assert file.registration is not None
    assert file.registration.seeds == list(range(1000, 1015))
    assert list(file.scope.parsed_spaces) == ["SGD"]


@pytest.mark.slow
def test_the_readme_s_runnable_commands_run(tmp_path: Path) -> None:
    blocks = runnable("README.md", "sh")
    assert blocks
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for block in blocks:
        subprocess.run(
            ["/bin/sh", "-euc", block], cwd=tmp_path, env=os.environ | {"PATH": path}, check=True
        )
    assert (tmp_path / "first-study/report.html").exists()


def test_the_guide_names_every_command_and_help_every_option() -> None:
    text = guide_text("studies/guides/commands.md")
    ends = [name.split()[1:] for name in COMMANDS if name != "indian-tune"]
    assert [words for words in ends if not all(f"{word}" in text for word in words)] == []
    assert [
        word for word in {words[0] for words in ends} if f"`indian-tune {word}" not in text
    ] == []
    silent = [
        (name, p.opts) for name, command in COMMANDS.items() for p in command.params if not p.help
    ]
    assert silent == []


@pytest.mark.parametrize("guide", GUIDES)
def test_every_command_and_option_of_a_guide_exists(guide: str) -> None:
    text = guide_text(guide)
    # To the end of the line in a block, of the code in a sentence.
    calls = re.findall(r"indian-tune (?=[a-z-])([^`|\n]+)", text)
    assert calls or "indian-tune " not in text
    assert [found for call in calls for found in wrong_words(call)] == []
    known = set().union(*OPTIONS.values())
    assert [flag for flag in re.findall(r"`(--[a-z-]+)", text) if flag not in known] == []


@pytest.mark.parametrize("guide", GUIDES)
def test_every_link_to_a_file_leads_to_one(guide: str) -> None:
    path = ROOT / guide
    links = re.findall(r"\]\((?!https?://)([^)#]+)", path.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("guide", GUIDES)
def test_every_link_to_a_heading_leads_to_one(guide: str) -> None:
    text = guide_text(guide)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}
    assert [link for link in re.findall(r"\]\(#([^)]+)\)", text) if link not in anchors] == []


def test_every_key_of_a_study_file_stands_in_its_guide() -> None:
    guide = guide_text("studies/README.md")
    for section in (ProblemSection, ProtocolSection, SearchSection, ClaimsSection):
        missing = [key for key in section.model_fields if f"`{key}`" not in guide]
        assert missing == []


def test_every_option_of_a_sampler_or_pruner_stands_in_the_guide_with_its_default() -> None:
    guide = guide_text("studies/README.md")
    table = guide.partition("| method | options and defaults |")[2].partition("\n\n")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.MULTILINE))
    for method in (*SAMPLERS.values(), *PRUNERS.values()):
        row = rows.get(method.name, "")
        if "those of `median`" in row:
            row += rows["median"]
        for name, option in method.options.items():
            default = "" if option.default is None else f" {json.dumps(option.default)}"
            assert f"`{name}`{default.removesuffix('.0')}" in row, f"{method.name}: {name}"


@pytest.mark.parametrize("file", sorted((ROOT / "studies").glob("*.toml")), ids=lambda p: p.stem)
def test_every_study_file_is_valid_and_says_what_it_asks_costs_and_reports(file: Path) -> None:
    assert load_study(file).name == file.stem
    text = file.read_text(encoding="utf-8")
    assert text.splitlines()[0].endswith("?")
    for word in ("# Question", "# Cost", "# Reports"):
        assert word in text
    assert file.name in guide_text("studies/README.md")
