from __future__ import annotations

import io
import logging
import os
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch

from indian_tune.errors import CheckpointError, InputError
from indian_tune.training import Checkpoint, CheckpointFolder
from indian_tune.training.checkpoint import FORMAT, VERSION


def state(epoch: int) -> dict[str, Any]:
    return {
        "weights": OrderedDict(a=torch.full((2, 3), float(epoch))),
        "groups": [{"lr": 0.1, "params": [0, 1], "betas": (0.9, 0.999), "foreach": None}],
        "state": {0: {"step": torch.tensor(3.0)}},
        "name": "x",
        "flag": True,
    }


def saved(root: Path, *epochs: int, key: str = "run") -> CheckpointFolder:
    folder = CheckpointFolder(root)
    for epoch in epochs:
        folder.save(key, Checkpoint(epoch, state(epoch)))
    return folder


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def forge(path: Path, payload: bytes, *, version: int = VERSION) -> None:
    """Write a file whose checksum is right."""
    checksum = sha256(payload).hexdigest().encode()
    path.write_bytes(b"%b %d\n%b\n%b" % (FORMAT, version, checksum, payload))


def test_the_newest_checkpoint_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    loaded = saved(tmp_path, 1, 2, 3).load("run")
    assert loaded is not None
    assert loaded.epoch == 3
    expected = state(3)
    assert torch.equal(loaded.state["weights"]["a"], expected["weights"]["a"])
    assert torch.equal(loaded.state["state"][0]["step"], expected["state"][0]["step"])
    for name in ("groups", "name", "flag"):
        assert loaded.state[name] == expected[name]


def test_a_run_without_checkpoints_has_none(tmp_path: Path) -> None:
    assert CheckpointFolder(tmp_path / "nowhere").load("run") is None


def test_the_last_two_of_each_run_are_kept(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2, 5, 9, key="a")
    saved(tmp_path, 4, key="b")
    assert [(path.parent.name, path.name) for path in files(tmp_path)] == [
        ("a", "epoch-00000005.ckpt"),
        ("a", "epoch-00000009.ckpt"),
        ("b", "epoch-00000004.ckpt"),
    ]


def test_discarding_removes_a_runs_files_and_no_others(tmp_path: Path) -> None:
    folder = saved(tmp_path, 1, 2, key="a")
    saved(tmp_path, 1, key="b")
    folder.discard("a")
    folder.discard("never saved")
    assert folder.load("a") is None
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


@pytest.mark.parametrize("damage", ["cut short", "one bit", "emptied", "other content"])
def test_a_damaged_checkpoint_is_reported_and_the_one_before_it_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    folder = saved(tmp_path, 1, 2)
    newest = files(tmp_path)[-1]
    content = newest.read_bytes()
    flipped = content[:-100] + bytes([content[-100] ^ 4]) + content[-99:]
    newest.write_bytes(
        {
            "cut short": content[: len(content) // 2],
            "one bit": flipped,
            "emptied": b"",
            "other content": b"not a checkpoint",
        }[damage]
    )
    with caplog.at_level(logging.WARNING):
        loaded = folder.load("run")
    assert loaded is not None
    assert loaded.epoch == 1
    assert "epoch-00000002.ckpt is damaged" in caplog.text


def _of(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        {"key": "run", "epoch": "2", "state": {}},
        {"key": "run", "epoch": 2, "state": []},
        {"key": 1, "epoch": 2, "state": {}},
        {"key": "run", "epoch": 3, "state": {}},
        torch.zeros(2),
    ],
    ids=str,
)
def test_a_right_checksum_does_not_make_a_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: object
) -> None:
    folder = saved(tmp_path, 1, 2)
    forge(files(tmp_path)[-1], _of(content))
    loaded = folder.load("run")
    assert loaded is not None
    assert loaded.epoch == 1
    assert "epoch-00000002.ckpt is damaged" in caplog.text


def test_bytes_that_torch_cannot_read_are_damage(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = saved(tmp_path, 1, 2)
    whole = _of({"key": "run", "epoch": 2, "state": state(2)})
    for payload in (b"", b"PK", whole[: len(whole) // 2], bytes(1000)):
        caplog.clear()
        forge(files(tmp_path)[-1], payload)
        loaded = folder.load("run")
        assert loaded is not None
        assert loaded.epoch == 1
        assert "epoch-00000002.ckpt is damaged" in caplog.text


@pytest.mark.parametrize("kind", ["link", "endless", "folder", "pipe"])
def test_what_is_no_file_of_its_own_is_damage_and_is_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    folder = saved(tmp_path, 1, 2)
    newest = files(tmp_path)[-1]
    content = newest.read_bytes()
    newest.unlink()
    if kind == "link":
        (tmp_path / "elsewhere").write_bytes(content)
        newest.symlink_to(tmp_path / "elsewhere")
    elif kind == "endless":
        newest.symlink_to("/dev/zero")
    elif kind == "folder":
        (newest / "inside").mkdir(parents=True)
    else:
        os.mkfifo(newest)
    loaded = folder.load("run")
    assert loaded is not None
    assert loaded.epoch == 1
    assert "not a file of its own" in caplog.text
    folder.save("run", Checkpoint(2, state(2)))
    again = folder.load("run")
    assert again is not None
    assert again.epoch == 2
    if kind == "link":
        assert (tmp_path / "elsewhere").read_bytes() == content


def test_without_an_intact_checkpoint_the_run_starts_over_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = saved(tmp_path, 1, 2)
    for path in files(tmp_path):
        path.write_bytes(path.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING):
        assert folder.load("run") is None
    assert "'run' has no intact checkpoint" in caplog.text


def test_saving_again_replaces_damaged_and_later_files(tmp_path: Path) -> None:
    folder = saved(tmp_path, 4, 5)
    files(tmp_path)[-1].write_bytes(b"damaged")
    folder.save("run", Checkpoint(3, state(3)))
    assert [path.name for path in files(tmp_path)] == ["epoch-00000003.ckpt"]


def test_a_checkpoint_of_another_version_is_refused_and_kept(tmp_path: Path) -> None:
    folder = saved(tmp_path, 1)
    (path,) = files(tmp_path)
    payload = path.read_bytes().split(b"\n", 2)[2]
    forge(path, payload, version=VERSION + 1)
    with pytest.raises(CheckpointError, match=f"version {VERSION + 1}; .* version {VERSION}"):
        folder.load("run")
    assert path.exists()


def test_a_checkpoint_moved_from_another_run_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = saved(tmp_path, 1, key="a")
    (tmp_path / "a").rename(tmp_path / "b")
    with caplog.at_level(logging.WARNING):
        assert folder.load("b") is None
    assert "belongs to run 'a'" in caplog.text


@dataclass
class Planted:
    """What a malicious file would hold: loading it runs code, unless refused."""

    path: Path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_loading_never_runs_code(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = saved(tmp_path / "root", 1)
    buffer = io.BytesIO()
    torch.save({"key": "run", "epoch": 1, "state": Planted(tmp_path / "ran")}, buffer)
    forge(files(tmp_path / "root")[0], buffer.getvalue())
    with caplog.at_level(logging.WARNING):
        assert folder.load("run") is None
    assert "more than tensors and plain values" in caplog.text
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (Path("x"), r"state\['a'\] is a PosixPath"),
        ({"b": [1, {2}]}, r"state\['a'\]\['b'\]\[1\] is a set"),
        ({(1, 2): 3}, r"state\['a'\] has the key \(1, 2\)"),
    ],
    ids=["path", "set", "key"],
)
def test_what_could_not_be_loaded_is_refused_when_it_is_saved(
    tmp_path: Path, value: object, where: str
) -> None:
    with pytest.raises(CheckpointError, match=where):
        CheckpointFolder(tmp_path).save("run", Checkpoint(1, {"a": value}))
    assert files(tmp_path) == []


def test_a_write_that_fails_leaves_the_earlier_checkpoint_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(tmp_path, 1)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"epoch-00000002\.ckpt: No space left on device"):
        folder.save("run", Checkpoint(2, state(2)))
    assert [path.name for path in files(tmp_path)] == ["epoch-00000001.ckpt"]
    loaded = folder.load("run")
    assert loaded is not None
    assert loaded.epoch == 1


def test_the_content_is_on_the_disk_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named_at_flush: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda _: named_at_flush.append(any(tmp_path.rglob("*.ckpt"))))
    saved(tmp_path, 1)
    assert named_at_flush[0] is False
    assert named_at_flush[1:] == [True]


def test_what_a_killed_writer_left_is_swept_up_when_the_run_is_taken_up(tmp_path: Path) -> None:
    folder = saved(tmp_path, 1)
    (tmp_path / "run" / "half.tmp").write_bytes(b"half")
    folder.load("run")
    assert [path.name for path in files(tmp_path)] == ["epoch-00000001.ckpt"]


@pytest.mark.parametrize(
    "key", ["../up", "..", ".", "/etc/x", "a/b", "a\\b", "C:x", "ä ö", "%2E%2E", "a\0b", "x.tmp"]
)
def test_no_key_leads_out_of_the_root(tmp_path: Path, key: str) -> None:
    root = tmp_path / "outer" / "root"
    folder = saved(root, 7, key=key)
    assert [path.parent.parent for path in files(tmp_path)] == [root]
    loaded = folder.load(key)
    assert loaded is not None
    assert loaded.epoch == 7
    folder.discard(key)
    assert list(root.iterdir()) == []


def test_different_keys_have_different_folders(tmp_path: Path) -> None:
    keys = ["a/b", "a%2Fb", "a_b", "a-b", "a b", "a.b"]
    for epoch, key in enumerate(keys):
        saved(tmp_path, epoch, key=key)
    assert len(list(tmp_path.iterdir())) == len(keys)


@pytest.mark.parametrize("key", ["", "x" * 201, "/" * 67])
def test_keys_without_a_file_name_are_refused(tmp_path: Path, key: str) -> None:
    for use in (CheckpointFolder(tmp_path).load, CheckpointFolder(tmp_path).discard):
        with pytest.raises(InputError, match="it must have 1 to 200"):
            use(key)
