"""Event files that grow with a study: every point once, whatever is interrupted, nothing sealed."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.comparison.event_files import _events, _scalar, read_events
from indian_tune.errors import InputError, UnfinishedError
from indian_tune.export.event_log import EventLog, follow
from indian_tune.ledger import ArmPlan, Ledger, LedgerReader, Phase, StudyRecord
from indian_tune.ledger.frames import epoch_frame
from indian_tune.study import parse_study
from tests.conftest import TINY, measured
from tests.reports import record as record_one

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from indian_tune.ledger import Lease
    from tests.cli.conftest import Ended


class Growing:
    """A study of one arm, in whose only run epochs are recorded one by one."""

    def __init__(self, ledger: Ledger, name: str = "study") -> None:
        self.ledger = ledger
        spec = parse_study(TINY, source="tiny").canonical()
        self.study: StudyRecord = ledger.register(name, spec, "hash", [ArmPlan("sgd", "sgd", 1)])
        ledger.join(self.study.id, "worker", host="here", pid=1, started="0", device="cpu")
        lease = ledger.claim(self.study.id, Phase.TUNE, "worker")
        assert lease is not None
        self.lease: Lease = lease
        config: Any = {"gamma0": 0.1, "nesterov": True, "betas": [0.9, 0.99]}
        (self.run,) = ledger.begin(lease, config, 0, seeds=(3,), epochs=9, provenance={})

    def record(self, epoch: int) -> None:
        record_one(self.ledger, self.lease, {self.run.id: measured(epoch, *[epoch / 10] * 6)})


@pytest.fixture
def growing(storage: str) -> Iterator[Growing]:
    with Ledger.open(storage) as ledger:
        yield Growing(ledger)


def points(folder: Path) -> Counter[tuple[str, str, int]]:
    """Return how often there is a point of each run, tag and step."""
    found: Counter[tuple[str, str, int]] = Counter()
    for file in folder.rglob("*tfevents*"):
        for event in _events(file):
            found.update(
                (str(file.parent.relative_to(folder)), value.tag, event.step)
                for value in event.summary.value
                if _scalar(value) is not None
            )
    return found


def of_run(folder: Path) -> Counter[tuple[str, int]]:
    """Return how often there is a point of each tag and step of the only run."""
    found = points(folder)
    assert {run for run, _, _ in found} <= {"study/sgd/tune-0/seed-3"}
    return Counter({(tag, step): count for (_, tag, step), count in found.items()})


def test_points_come_as_they_are_recorded_and_once(growing: Growing, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    growing.record(1)
    with EventLog(folder, growing.study) as log:
        log.update(growing.ledger)
        assert {step for _, step in of_run(folder)} == {1}
        growing.record(2)
        log.update(growing.ledger)
        log.update(growing.ledger)
    growing.record(3)
    # One that was killed leaves a point that is cut off.
    (file,) = folder.rglob("*tfevents*")
    whole = file.read_bytes()
    file.write_bytes(whole[:-10])
    with EventLog(folder, growing.study) as again:
        again.update(growing.ledger)
    found = of_run(folder)
    assert {step for _, step in found} == {1, 2, 3}
    assert {tag for tag, _ in found} == {
        f"{kind}/{split}" for kind in ("loss", "accuracy") for split in ("train", "validation")
    }
    assert len(found) == 12
    assert set(found.values()) == {1}
    frame, _ = read_events(folder, "loss/train")
    assert frame["loss/train"].tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert frame["arm"].unique().tolist() == ["sgd"]
    assert frame["config.nesterov"].unique().tolist() == [True]


def test_test_results_come_once_they_are_unsealed(growing: Growing, tmp_path: Path) -> None:
    growing.record(1)
    with EventLog(tmp_path, growing.study) as log:
        log.update(growing.ledger)
        assert ("loss/test", 1) not in of_run(tmp_path)
        growing.ledger.unseal(growing.study.id, by="a test")
        log.update(growing.ledger)
    assert of_run(tmp_path)["loss/test", 1] == 1
    assert of_run(tmp_path)["loss/train", 1] == 1


def test_what_is_recorded_while_it_waits_is_written_before_it_ends(
    growing: Growing, tmp_path: Path
) -> None:
    def pause(_: float) -> bool:
        growing.record(1)
        return True

    follow(growing.ledger, growing.study, tmp_path, pause)
    assert of_run(tmp_path)["loss/train", 1] == 1


def test_a_folder_of_another_study_is_refused(growing: Growing, tmp_path: Path) -> None:
    EventLog(tmp_path, growing.study)
    refused = pytest.raises(
        InputError, match=r"belongs to another study 'study', registered at .*choose"
    )
    with Ledger.open(f"sqlite:///{tmp_path / 'other.db'}") as other, refused:
        EventLog(tmp_path, Growing(other).study)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"--log .*file cannot be used"):
        EventLog(tmp_path / "file", growing.study)


@pytest.mark.parametrize("text", ["[]", "{}", '"study"'])
def test_a_folder_that_is_not_ours_is_refused(text: str, growing: Growing, tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study/study.json").write_text(text, encoding="utf-8")
    with pytest.raises(
        InputError, match=r"study\.json was not written by indian-tune: choose another"
    ):
        EventLog(tmp_path, growing.study)


def test_a_second_writer_is_refused_until_the_first_ends(growing: Growing, tmp_path: Path) -> None:
    growing.record(1)
    with EventLog(tmp_path, growing.study) as first:
        with pytest.raises(InputError, match="another process writes the event files in"):
            follow(growing.ledger, growing.study, tmp_path, lambda _: True)
        first.update(growing.ledger)
    follow(growing.ledger, growing.study, tmp_path, lambda _: True)
    assert set(of_run(tmp_path).values()) == {1}


@pytest.mark.parametrize("removed", ["study", "study/sgd/tune-0"])
def test_files_that_are_removed_meanwhile_are_told_of(
    removed: str, growing: Growing, tmp_path: Path
) -> None:
    growing.record(1)

    def pause(_: float) -> bool:
        shutil.rmtree(tmp_path / removed)
        return True

    with pytest.raises(UnfinishedError, match=r"was removed while .*to write the rest"):
        follow(growing.ledger, growing.study, tmp_path, pause)
    follow(growing.ledger, growing.study, tmp_path, lambda _: True)
    assert {step for _, step in of_run(tmp_path)} == {1}


def test_a_finished_study_is_written_and_the_command_ends(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
    tmp_path: Path,
    command: Callable[..., Ended],
) -> None:
    for _ in range(2):
        ended = command("export", "--log", tmp_path / "logs", "--storage", finished[0])
        assert (ended.status, "8 runs in" in ended.out) == (0, True)
        assert f"tensorboard --logdir {tmp_path / 'logs'}" in ended.err.replace("\n", "")
    with LedgerReader.open(str(finished[0])) as ledger:
        frame = epoch_frame(ledger, ledger.study("tiny").id)
    found = points(tmp_path / "logs/tiny")
    assert len(found) == 4 * len(frame)
    assert set(found.values()) == {1}
    ended = command("export", "--log", "logs", "--db", "x.db", "--storage", finished[0])
    assert (ended.status, "--log and --db is given" in ended.err) == (2, True)


@pytest.mark.slow
def test_a_search_has_its_log_written_beside_it(
    search: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert search(TINY, "--log", "logs")[0] == 0
    found = points(tmp_path / "logs/tiny")
    assert (len(found), set(found.values())) == (4 * 2 * 8, {1})
    # A folder that cannot be used is no reason to lose the search, and is told of.
    (tmp_path / "logs/tiny/study.json").write_text("{}", encoding="utf-8")
    status, _, err = search(TINY, "--log", "logs")
    assert status == 0
    assert "event files in logs are not complete" in " ".join(err.split())
    assert "indian-tune export tiny --log logs --storage " in " ".join(err.split())
    (tmp_path / "closed").mkdir(mode=0o500)
    if os.getuid() != 0:
        assert search(TINY, "--log", "closed/logs")[0] == 2
