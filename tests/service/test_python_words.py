"""Messages for Python name arguments, those for a shell options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

import indian_tune
from indian_tune.engines.local.inline import InlineOptions
from indian_tune.errors import IndianTuneError
from indian_tune.service.python_words import in_arguments

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAMED = """
name = "t"
arms = [{name = "sgd", optimizer = "sgd"}]
protocol = {epochs = 1}
search = {trials = 1, sampler = "random"}
problem = {factory = "my_own_code:problem"}
"""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("then add --allow-import", "then add allow_import=True"),
        ("run it with --as NEW-NAME and", "run it with as_name='NEW-NAME' and"),
        ("put it back and add --extend 4", "put it back and add extend=4"),
        ("name another with --storage or X", "name another with storage=… or X"),
        ("--workers = 0 must be", "workers = 0 must be"),
        ("--no-timing leaves it out", "timing=False leaves it out"),
        ("is not for --engine inline: drop it", "is not for engine='inline': drop it"),
        ("--engine-option size = 3 is", "size = 3 is"),
        ("give --map step=COLUMN, or", "give columns={'step': 'COLUMN'}, or"),
        ("(--storage postgresql+psycopg://H/D)", "(storage='postgresql+psycopg://H/D')"),
        ("`indian-tune doctor --storage COPY` does", "`indian-tune doctor --storage COPY` does"),
        ("  indian-tune search x --retry-failed\n", "  indian-tune search x --retry-failed\n"),
        ("(pip install --upgrade indian-tune)", "(pip install --upgrade indian-tune)"),
        ("must be a number, {grid = [...]} or 1", "must be a number, Grid([...]) or 1"),
    ],
)
def test_an_option_is_named_as_the_argument_that_it_is(text: str, told: str) -> None:
    assert in_arguments(text) == told
    assert in_arguments(told) == told


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: indian_tune.search(NAMED), "then add allow_import=True"),
        (lambda: indian_tune.register(NAMED), "then add allow_import=True"),
        (lambda: indian_tune.plan(NAMED), "then add allow_import=True"),
        (
            lambda: indian_tune.open_study("t"),
            "name another database with storage=… or INDIAN_TUNE",
        ),
        (
            lambda: indian_tune.Results("t").frame(),
            "name another database with storage=… or INDIAN_TUNE",
        ),
        (lambda: indian_tune.search("quickstart", workers=0), "workers = 0"),
        (lambda: indian_tune.search("quickstart", lanes=2, engine="x"), "engine = 'x' is not"),
        (
            lambda: indian_tune.search("quickstart", timeout=60),
            "search() has no argument timeout: the study may have a budget in seconds",
        ),
        (
            lambda: indian_tune.search("quickstart", quiet=True),
            "argument quiet: give progress=False",
        ),
        (
            lambda: indian_tune.search("quickstart", on_trial=cast("Any", 5)),
            "on_trial = 5 must be a function of one argument",
        ),
        (lambda: indian_tune.search("quickstart", n_trials=3), 'search={"trials": 20}'),
        (lambda: indian_tune.search("quickstart", callbacks=[]), "give on_trial=f for a"),
        (
            lambda: indian_tune.search("quickstart", epochs=3, engine="inline"),
            "no argument epochs: the study says it, in search.epochs or protocol.epochs",
        ),
        (
            lambda: indian_tune.search("quickstart", engine=InlineOptions(), lanes=2),
            "lanes = 2 is not used with engine = InlineOptions(",
        ),
        (
            lambda: indian_tune.search("quickstart", engine="inline", workers=2),
            "workers = 2 is not for engine='inline': leave it out",
        ),
    ],
)
def test_what_python_raises_names_no_option(
    call: Callable[[], Any], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(IndianTuneError) as caught:
        call()
    assert told in str(caught.value)
    assert not [word for word in str(caught.value).split() if word.startswith("--")]
