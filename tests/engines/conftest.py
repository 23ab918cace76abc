"""How whole studies are set up, and what of their record can be compared."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.engines.interrupt import Interrupt
from indian_tune.engines.local.inline import InlineEngine
from indian_tune.engines.session import open_session
from indian_tune.engines.settings import WorkerSettings
from indian_tune.ledger import LedgerReader, storage_url
from indian_tune.study.file.spec import StudySpec, parse_study
from indian_tune.training import CheckpointFolder, EpochRecord
from indian_tune.training.feed import fingerprint
from tests.conftest import TINY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Metrics = dict[tuple[str, str, int, int], list[EpochRecord]]


@pytest.fixture
def settings_for(tmp_path: Path) -> Callable[..., WorkerSettings]:
    """Return what a worker needs to join a study."""

    def settings(storage: str, study: str = "tiny") -> WorkerSettings:
        return WorkerSettings(storage=storage, study=study, artifacts=tmp_path / "artifacts")

    return settings


@pytest.fixture(scope="session")
def register() -> Callable[[str, dict[str, Any]], StudySpec]:
    """Register a study."""

    def registered(storage: str, study: dict[str, Any]) -> StudySpec:
        spec = parse_study(study, source="study.toml")
        with open_session(spec, storage_url(storage), None):
            pass
        return spec

    return registered


@pytest.fixture(scope="session")
def metrics() -> Callable[..., Metrics]:
    """Return the record without ids and times: (arm, phase, trial, seed) → epochs."""

    def of(storage: str, study: str = "tiny") -> Metrics:
        with LedgerReader.open(storage) as ledger:
            record = ledger.study(study)
            arms = {arm.id: arm.name for arm in ledger.arms(record.id)}
            found: Metrics = {}
            for trial in ledger.trials(record.id):
                for run in ledger.runs(trial.id):
                    key = (arms[trial.arm_id], str(trial.phase), trial.index, run.seed)
                    found[key] = ledger.epochs(run.id)
            return found

    return of


@pytest.fixture
def keeping(tiny: dict[str, Any]) -> dict[str, Any]:
    """The study `tiny`, told to keep the final weights of its runs on the fresh seeds."""
    return {**tiny, "protocol": {**tiny["protocol"], "keep_checkpoints": True}}


@pytest.fixture
def kept_weights(tmp_path: Path) -> Callable[[], list[tuple[int, str]]]:
    """Return the epoch and the hash of all weights in the folder of artifacts, and remove them."""

    def found() -> list[tuple[int, str]]:
        files = [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()]
        weights = []
        for file in files:
            folder = CheckpointFolder(file.parent.parent)
            saved = folder.load(file.parent.name)
            assert saved is not None
            assert set(saved.state) == {"model"}
            weights.append((saved.epoch, fingerprint(saved.state["model"].values())))
            folder.discard(file.parent.name)
        return sorted(weights)

    return found


@pytest.fixture(scope="session")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory,
    register: Callable[[str, dict[str, Any]], StudySpec],
    metrics: Callable[..., Metrics],
) -> Metrics:
    """The record of the study `tiny` when one worker trains it without interruption."""
    folder = tmp_path_factory.mktemp("undisturbed")
    storage = f"sqlite:///{folder / 'study.db'}"
    register(storage, copy.deepcopy(TINY))
    settings = WorkerSettings(storage=storage, study="tiny", artifacts=folder / "artifacts")
    InlineEngine(settings).run(Interrupt(), lambda: None)
    return metrics(storage)
