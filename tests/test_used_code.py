"""Own code that a function uses is found, and nothing that a package installed."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from indian_tune.imports import Source
from indian_tune.used_code import own_place

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import functools, json, statistics
import nets
from indian_tune.used_code import used_code
from nets import Net

RATE, UNUSED = 0.1, 1

class Base:
    def scale(self):
        return RATE

class Own(Base):
    pass

def loss(x):
    return statistics.fmean(x)

def made(part):
    inner = lambda x: loss(x) + Own().scale() + nets.size(x)
    return Net, inner, part

print(json.dumps(used_code(functools.partial(made, loss))))
"""
FILES = {"script.py": SCRIPT, "nets.py": "import layers\n\nNet = size = len\n", "layers.py": ""}


def found_in(folder: Path, **changes: str) -> dict[str, str]:
    for name, text in FILES.items():
        stem = name.removesuffix(".py")
        (folder / name).write_text(changes.get(stem, text), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, check=True
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"script": SCRIPT.replace("0.1", "0.2")}, ["__main__:RATE"]),
        ({"script": SCRIPT.replace("fmean", "median")}, ["__main__:loss"]),
        ({"script": SCRIPT.replace("return RATE", "return -RATE")}, ["__main__:Base"]),
        ({"script": SCRIPT.replace("UNUSED = 0.1, 1", "UNUSED = 0.1, 2") + "print\n"}, []),
        ({"nets": FILES["nets.py"] + "# changed\n"}, ["nets"]),
        ({"layers": "SIZE = 1\n"}, ["layers"]),
    ],
)
def test_what_a_function_uses_is_known_to_have_changed(
    changes: dict[str, str], names: list[str], tmp_path: Path
) -> None:
    before = found_in(tmp_path)
    assert list(before) == [
        *("__main__:Base", "__main__:Own", "__main__:RATE", "__main__:loss", "__main__:made"),
        *("layers", "nets"),
    ]
    now = Source("__main__:made", "__main__ (in hand)", None, "0", found_in(tmp_path, **changes))
    known = {"module": now.module, "version": None, "sha256": "0", "used": before}
    assert now.differs(known) == names


def test_a_record_of_an_earlier_version_is_compared_by_what_it_has() -> None:
    now = Source("mine:made", "mine", None, "1", {"mine": "1", "nets": "2"})
    assert now.differs({"module": "mine", "version": None, "sha256": "1"}) == []
    assert now.differs({"module": "mine", "version": None, "sha256": "0"}) == ["mine:made"]


def test_the_last_place_in_own_code_is_named() -> None:
    places = [(__file__, 1), (__file__, 2), (pytest.__file__, 3), ("<frozen importlib>", 4)]
    assert own_place(places) == (__file__, 2)
    assert own_place([(pytest.__file__, 3), (Source.__module__, 4)]) is None
