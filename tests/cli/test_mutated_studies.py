"""Valid study files with something broken at random: one message that names it, nothing written."""

from __future__ import annotations

import copy
import re
import time
import tomllib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indian_tune.errors import IndianTuneError
from indian_tune.study.file.spec import load_study
from tests.conftest import to_toml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cli.conftest import Ended

ROOT = Path(__file__).parents[2]
VALID = {
    file.stem: tomllib.loads(file.read_text(encoding="utf-8"))
    for file in sorted((ROOT / "studies").glob("*.toml"))
}
# At least as many as this must be refused; those that a mutation leaves valid do not count.
ENOUGH = 60
EXAMPLES = 150
ANY_VALUE = st.one_of(
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([-0.5, 0.0, 1.5, 1e300, float("inf"), float("nan")]),
    st.text("aβ_ .-", max_size=4),
    st.just([]),
    st.just({}),
    st.just([{}]),
    st.lists(st.integers(-1, 1), max_size=2),
    st.dictionaries(st.sampled_from(["low", "high", "log", "arm", "x"]), st.integers(-1, 1)),
)

Path_ = tuple[int | str, ...]


def places(value: Any, above: Path_ = ()) -> Iterator[Path_]:
    """Yield the path of every value within a study."""
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in parts:
        yield (*above, key)
        if isinstance(part, dict | list):
            yield from places(part, (*above, key))


@st.composite
def mutants(draw: st.DrawFn) -> tuple[dict[str, Any], Path_]:
    """A shipped study with one value replaced, key renamed, part left out or part doubled."""
    study = copy.deepcopy(draw(st.sampled_from(list(VALID.values()))))
    path = draw(st.sampled_from(list(places(study))))
    holder = study
    for part in path[:-1]:
        holder = holder[part]
    key: Any = path[-1]
    kind = draw(st.sampled_from(["replace", "rename", "drop", "double"]))
    if kind == "replace":
        holder[key] = draw(ANY_VALUE)
    elif kind == "drop":
        del holder[key]
    elif isinstance(holder, list):
        holder.append(copy.deepcopy(holder[key]))
    elif kind == "rename":
        cut = draw(st.integers(0, len(key) - 1))
        new = key[:cut] + key[cut + 1 :] or "x"
        holder[new] = holder.pop(key)
        # What is missed may be named instead of what is not known.
        path = (*path, new)
    else:
        holder[f"{key}2"] = copy.deepcopy(holder[key])
        path = (*path[:-1], f"{key}2")
    return study, path


def refused(ended: Ended, folder: Path, file: Path) -> None:
    """Check what every refusal has in common."""
    assert ended.status == 2, ended.err
    assert ended.out == ""
    assert ended.err.count("Error: ") == 1
    assert "Traceback" not in ended.err
    # Not of pydantic's own.
    assert "pydantic" not in ended.err
    assert set(folder.iterdir()) == {file}


def test_what_is_broken_at_random_is_named_and_nothing_is_written(
    tmp_path: Path, command: Callable[..., Ended]
) -> None:
    file = tmp_path / "study.toml"
    count: Counter[str] = Counter()

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(mutants())
    def check(mutant: tuple[dict[str, Any], Path_]) -> None:
        study, path = mutant
        file.write_text(to_toml(study), encoding="utf-8")
        try:
            load_study(file)
        except IndianTuneError:
            pass
        else:
            count["still valid"] += 1
            return
        ended = command("search", file)
        refused(ended, tmp_path, file)
        # The key itself, or the table or list it stands in when that is what is wrong now.
        keys = [part for part in path if isinstance(part, str)]
        assert any(re.search(rf"\b{re.escape(key)}", ended.err) for key in keys), ended.err
        count["refused"] += 1

    check()
    assert count["refused"] >= ENOUGH, count


# Numbers as a file spells them: not finite, without end, at the limits of what machines count with.
HOSTILE = [
    *("-1", "0", "-0.0", "1e-300", "1e300", "-1e300", "1e400", "inf", "-inf", "nan", "true"),
    *("2147483648", "9223372036854775807", "9223372036854775808", "1" + "0" * 30),
    *("9" * 4299, "9" * 4400, "0x7fffffffffffffff", "1_000_000", "1000000000", "1e9", '"1e9"'),
]
NUMBER = re.compile(r"(?<=[ \[,])-?\d[\d_]*(?:\.\d+)?(?:e-?\d+)?(?=[ ,\]\n])")


@st.composite
def hostile_studies(draw: st.DrawFn) -> str:
    """The text of a shipped study with hostile numbers in the place of one or two of its own."""
    text = to_toml(draw(st.sampled_from(list(VALID.values()))))
    for _ in range(draw(st.integers(1, 2))):
        match = draw(st.sampled_from(list(NUMBER.finditer(text))))
        text = text[: match.start()] + draw(st.sampled_from(HOSTILE)) + text[match.end() :]
    return text


def test_hostile_numbers_are_refused_at_once_or_have_a_meaning(
    tmp_path: Path, command: Callable[..., Ended]
) -> None:
    file = tmp_path / "study.toml"
    count: Counter[str] = Counter()

    @settings(
        max_examples=60,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(hostile_studies())
    def check(text: str) -> None:
        file.write_text(text, encoding="utf-8")
        before = time.process_time()
        try:
            load_study(file)
        except IndianTuneError:
            ended = command("search", file)
            refused(ended, tmp_path, file)
            # Numbers of thousands of digits are not repeated.
            assert len(ended.err) < 2000
            count["refused"] += 1
        else:
            count["valid"] += 1
        assert time.process_time() - before < 5

    check()
    assert count["refused"] >= 40, count


@pytest.mark.parametrize(
    "broken",
    [
        "name = ",
        'name = "a"\nname = "b"',
        "[problem",
        '[[arms]\nname = "indian"',
        'name = "a\nb"',
        "epochs: 3",
        '{"name": "json"}',
        "problem.dataset = digits",
        "\x00",
    ],
)
def test_what_is_no_toml_is_refused_with_its_line(
    tmp_path: Path, command: Callable[..., Ended], broken: str
) -> None:
    file = tmp_path / "study.toml"
    file.write_text(broken, encoding="utf-8")
    ended = command("search", file)
    refused(ended, tmp_path, file)
    assert "study.toml" in ended.err
    assert re.search(r"line \d+|end of document", ended.err)


@pytest.mark.parametrize("content", [b"\xff\xfe", 'name = "ä"'.encode("latin-1")])
def test_what_is_no_text_is_refused(
    tmp_path: Path, command: Callable[..., Ended], content: bytes
) -> None:
    file = tmp_path / "study.toml"
    file.write_bytes(content)
    ended = command("search", file)
    refused(ended, tmp_path, file)
    assert "UTF-8" in ended.err
