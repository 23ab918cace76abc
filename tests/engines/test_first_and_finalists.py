"""Arms that begin with another's winner, and finalists, leave one record under every engine."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.engines.interrupt import Interrupt
from indian_tune.engines.local.inline import InlineEngine
from indian_tune.engines.local.processes import ProcessEngine
from indian_tune.engines.ray.engine import RayEngine, RayOptions
from indian_tune.engines.settings import WorkerSettings
from indian_tune.ledger import FROZEN, LedgerReader, Phase, State
from tests.conftest import TINY

if TYPE_CHECKING:
    from collections.abc import Callable

    from indian_tune.engines.engine import Engine
    from indian_tune.study.file.spec import StudySpec
    from tests.engines.conftest import Metrics

    Settings = Callable[..., WorkerSettings]
    Register = Callable[[str, dict[str, Any]], StudySpec]
    Record = Callable[..., Metrics]

FINALISTS, TRIALS = 2, 3


@pytest.fixture(scope="module")
def tiny() -> dict[str, Any]:
    """SGD, and INDIAN that begins with SGD's winner; two finalists of each."""
    tiny = copy.deepcopy(TINY)
    tiny["problem"] |= {"sizes": {"train": 200, "validation": 100, "test": 60}}
    del tiny["problem"]["validation_fraction"]
    tiny["protocol"] |= {"epochs": 1, "tune_epochs": 1, "finalists": FINALISTS, "confirm_seeds": 1}
    tiny["search"]["trials"] = TRIALS
    tiny["arms"] = [
        {"name": "sgd", "optimizer": "sgd"},
        {"name": "indian", "optimizer": "indian-memory", "first": ["sgd"]},
    ]
    return tiny


def winners(storage: str) -> dict[str, Any]:
    """Return what was frozen, after a look at what came before."""
    with LedgerReader.open(storage) as ledger:
        study = ledger.study("tiny")
        arms = {arm.name: arm.id for arm in ledger.arms(study.id)}
        trials = ledger.trials(study.id)
        first = [
            trial
            for trial in trials
            if (trial.arm_id, trial.phase, trial.index) == (arms["indian"], Phase.TUNE, 0)
        ]
        # With SGD's winner INDIAN is SGD.
        assert [trial.config["kappa"] for trial in first if trial.config] == [1.0]
        finals = [trial for trial in trials if trial.phase is Phase.FINAL]
        assert len(finals) == FINALISTS * len(arms)
        assert {trial.state for trial in trials} <= {State.COMPLETE, State.DIVERGED}
        return dict(ledger.events(study.id, FROZEN)[-1].data)


@pytest.fixture(scope="module")
def expected(
    tmp_path_factory: pytest.TempPathFactory,
    tiny: dict[str, Any],
    register: Register,
    metrics: Record,
) -> tuple[Metrics, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    storage = f"sqlite:///{folder / 'study.db'}"
    register(storage, tiny)
    settings = WorkerSettings(storage, "tiny", folder / "artifacts")
    InlineEngine(settings).run(Interrupt(), lambda: None)
    return metrics(storage), winners(storage)


def processes(settings: WorkerSettings) -> Engine:
    return ProcessEngine([settings] * 2)


def ray(settings: WorkerSettings) -> Engine:
    return RayEngine(settings, RayOptions(workers=2))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore")  # Ray's own code warns of itself.
@pytest.mark.parametrize(
    ("engine", "address"),
    [
        pytest.param(processes, "sqlite", id="processes-sqlite"),
        pytest.param(processes, "postgresql", id="processes-postgresql", marks=pytest.mark.night),
        pytest.param(ray, "sqlite", id="ray-sqlite", marks=pytest.mark.night),
        pytest.param(ray, "postgresql", id="ray-postgresql", marks=pytest.mark.night),
    ],
)
def test_every_engine_leaves_the_same_record(
    engine: Callable[[WorkerSettings], Engine],
    address: str,
    request: pytest.FixtureRequest,
    tiny: dict[str, Any],
    expected: tuple[Metrics, dict[str, Any]],
    settings_for: Settings,
    register: Register,
    metrics: Record,
) -> None:
    if address == "sqlite":
        storage: str = request.getfixturevalue("storage")
    else:
        storage = request.getfixturevalue("postgres").new_database()
    register(storage, tiny)
    engine(settings_for(storage)).run(Interrupt(), lambda: None)
    found = metrics(storage)
    assert {key: run for key, run in found.items() if expected[0].get(key) != run} == {}
    assert (found, winners(storage)) == expected
