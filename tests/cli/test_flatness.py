"""`analyze --flatness` on a study that kept its weights, and on ones that did not."""

from __future__ import annotations

import copy
import json
import shutil
import sqlite3
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from indian_tune.engines.interrupt import Interrupt
from indian_tune.engines.local.inline import InlineEngine
from indian_tune.engines.session import artifacts_folder, open_session
from indian_tune.engines.settings import WorkerSettings
from indian_tune.errors import InputError
from indian_tune.ledger import storage_url
from indian_tune.problems.models import build_model
from indian_tune.service.python import Results
from indian_tune.study.file.spec import parse_study
from tests.conftest import TINY

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Ended

EXAMPLES = ("--flatness-examples", "40")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study that was told to keep the weights of its runs on fresh seeds."""
    folder = tmp_path_factory.mktemp("kept")
    study = copy.deepcopy(TINY)
    study["protocol"]["keep_checkpoints"] = True
    spec = parse_study(study, source="study.toml")
    storage = storage_url(f"sqlite:///{folder / 'study.db'}")
    settings = WorkerSettings(str(storage), "tiny", artifacts_folder(storage))
    with open_session(spec, storage, None):
        InlineEngine(settings).run(Interrupt(), lambda: None)
    return folder


@pytest.fixture
def kept(trained: Path, tmp_path: Path) -> Path:
    """The database of that study, in a folder that the test may change."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return tmp_path / "study.db"


def opened(database: Path) -> int:
    with sqlite3.connect(database) as connection:
        query = "SELECT count(*) FROM ledger_event WHERE kind = 'unsealed'"
        (count,) = connection.execute(query).fetchone()
    connection.close()
    return int(count)


@pytest.mark.slow
def test_kept_weights_are_measured_shown_and_written(
    kept: Path, command: Callable[..., Ended], tmp_path: Path
) -> None:
    files = sorted((tmp_path / "indian-tune-artifacts/kept").rglob("*.ckpt"))
    assert [file.name for file in files] == ["epoch-00000002.ckpt"] * 4, "2 arms on 2 seeds"
    options = ("--storage", kept, "--flatness", *EXAMPLES)
    folder = tmp_path / "report"
    ended = command("analyze", *options, "--out", folder)
    assert ended.status == 0, ended.err
    assert "(descriptive)" in ended.out.partition("Flatness at the end of training")[2]
    table = pd.read_csv(folder / "flatness.csv")
    assert table[["arm", "seed"]].to_numpy().tolist() == [
        [arm, seed] for arm in ("indian", "sgd") for seed in (1000, 1001)
    ]
    assert (table["examples"] == 40).all()
    assert (table["top_eigenvalue"] > 0).all()
    assert "sharpness" in (folder / "report.html").read_text(encoding="utf-8")
    drawn = pd.read_csv(folder / "figures/sharpness.csv")
    runs = pd.read_parquet(folder / "runs.parquet").query("phase == 'confirm' and epoch == 2")
    np.testing.assert_allclose(
        drawn["error"].sort_values(), (1 - runs["test_accuracy"]).sort_values()
    )
    told = json.loads(command("analyze", *options, "--json").out)["flatness"]
    assert told["descriptive"] is True
    means = {(row["arm"], row["measure"]): row["mean"] for row in told["arms"]}
    by_arm = table.groupby("arm")["trace"].mean()
    for arm in ("indian", "sgd"):
        assert means[arm, "trace"] == pytest.approx(by_arm[arm], rel=1e-9)
    assert json.loads((folder / "verdict.json").read_text(encoding="utf-8"))["flatness"] == told


def test_kept_weights_are_loaded_into_a_network(kept: Path) -> None:
    results = Results("tiny", str(kept))
    shape = {"classes": 10, "channels": 1, "size": 8, "width": TINY["problem"]["width"]}
    model = build_model("nin-small", **shape, seed=0, dropout=0.0)
    model.load_state_dict(results.weights("sgd", 1001))
    first = results.weights("sgd")
    assert any((first[name] != each).any() for name, each in model.state_dict().items())
    with pytest.raises(InputError, match=r"no finished run on that fresh seed; there are 1000, 10"):
        results.weights("sgd", 7)
    with pytest.raises(InputError, match=r"arm = 'adam' is not in the study. Allowed: indian, sgd"):
        results.weights("adam")
    with pytest.raises(InputError, match="such as arm 'sgd', seed 1000, are not in"):
        results.weights("sgd", artifacts=kept.parent / "elsewhere")


def test_without_kept_weights_the_message_names_the_key_and_nothing_is_opened(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
    command: Callable[..., Ended],
    tmp_path: Path,
) -> None:
    database = tmp_path / "copy.db"
    shutil.copy(finished[0], database)
    ended = command("analyze", "--storage", database, "--flatness")
    assert (ended.status, ended.out) == (2, "")
    said = " ".join(ended.err.split())
    assert "set protocol.keep_checkpoints = true and run it with --as NEW-NAME" in said
    assert opened(database) == 0


def test_weights_in_another_folder_are_asked_for(
    kept: Path, command: Callable[..., Ended], tmp_path: Path
) -> None:
    (tmp_path / "indian-tune-artifacts").rename(tmp_path / "moved")
    ended = command("analyze", "--storage", kept, "--flatness", *EXAMPLES)
    said = " ".join(ended.err.split())
    assert (ended.status, opened(kept)) == (2, 0)
    assert "the weights of 4 of 4 runs, such as arm 'indian', seed 1000, are not in" in said
    assert "--artifacts" in said
    moved = ("--artifacts", tmp_path / "moved")
    assert command("analyze", "--storage", kept, "--flatness", *EXAMPLES, *moved).status == 0


def test_damaged_weights_are_named(
    kept: Path, command: Callable[..., Ended], tmp_path: Path
) -> None:
    for file in (tmp_path / "indian-tune-artifacts/kept").rglob("*.ckpt"):
        file.write_bytes(file.read_bytes()[:-1])
    ended = command("analyze", "--storage", kept, "--flatness", *EXAMPLES)
    assert ended.status == 1
    assert "the weights of arm 'indian', seed 1000" in " ".join(ended.err.split())
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--flatness", "--calibrate"), "--flatness needs the weights of a STUDY"),
        (("--flatness-examples", "9"), "--flatness-examples needs --flatness"),
        (("--artifacts", "folder"), "--artifacts needs --flatness"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    command: Callable[..., Ended], arguments: tuple[str, ...], message: str
) -> None:
    ended = command("analyze", *arguments)
    assert (ended.status, message in ended.err) == (2, True)
