"""The guides say what is so: their runnable blocks run and their links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from indian_tune.study.claims import ClaimsSection
from indian_tune.study.spec import ProblemSection, ProtocolSection, SearchSection, load_study

ROOT = Path(__file__).parents[1]
GUIDES = ("README.md", "studies/README.md")


def test_the_readme_s_runnable_blocks_run() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"<!-- runnable -->\n```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == text.count("<!-- runnable -->") > 0
    for block in blocks:
        subprocess.run([sys.executable, "-W", "error", "-c", block], check=True)


@pytest.mark.parametrize("guide", GUIDES)
def test_every_link_to_a_file_leads_to_one(guide: str) -> None:
    path = ROOT / guide
    links = re.findall(r"\]\((?!https?://)([^)#]+)", path.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_every_key_of_a_study_file_stands_in_its_guide() -> None:
    guide = (ROOT / "studies/README.md").read_text(encoding="utf-8")
    for section in (ProblemSection, ProtocolSection, SearchSection, ClaimsSection):
        missing = [key for key in section.model_fields if f"`{key}`" not in guide]
        assert missing == []


@pytest.mark.parametrize("file", sorted((ROOT / "studies").glob("*.toml")), ids=lambda p: p.stem)
def test_every_study_file_is_valid_and_says_what_it_asks_costs_and_reports(file: Path) -> None:
    assert load_study(file).name == file.stem
    text = file.read_text(encoding="utf-8")
    assert text.splitlines()[0].endswith("?")
    for word in ("# Question", "# Cost", "# Reports"):
        assert word in text
    assert file.name in (ROOT / "studies/README.md").read_text(encoding="utf-8")
