"""A study leaves the same record whichever engine runs it, with however many workers."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.engines.interrupt import Interrupt
from indian_tune.engines.local.inline import InlineEngine
from indian_tune.engines.local.processes import ProcessEngine
from indian_tune.engines.ray.engine import RayEngine, RayOptions
from indian_tune.engines.settings import WorkerSettings
from indian_tune.ledger import LedgerReader
from tests.conftest import TINY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ray.cluster_utils import Cluster

    from indian_tune.engines.engine import Engine
    from indian_tune.study.file.spec import StudySpec
    from tests.engines.conftest import Metrics

    Register = Callable[[str, dict[str, Any]], StudySpec]
    Outcomes = dict[tuple[str, str, int], tuple[Any, ...]]

ALPHA = {"low": 0.05, "high": 1.0, "log": True}
GAMMA0 = {"low": 0.001, "high": 0.1, "log": True}
# When a sampler is run through every engine.
WHEN = {
    "grid": [pytest.mark.night],
    "random": [pytest.mark.slow],
    "qmc": [pytest.mark.night],
    "tpe": [pytest.mark.night],
}
SEARCHES: dict[str, dict[str, Any]] = {
    "grid": {"trials": 6},
    "random": {"trials": 6},
    "qmc": {"trials": 6},
    # Random up to its eleventh trial; from there on it learns from whole generations.
    "tpe": {"trials": 15, "generation": 5},
}


def study_of(sampler: str) -> dict[str, Any]:
    """Return the tiny study with another sampler, and one epoch a run."""
    study = copy.deepcopy(TINY)
    study["protocol"] |= {"epochs": 1, "tune_epochs": 1, "confirm_seeds": 2}
    study["search"] |= {"sampler": sampler, **SEARCHES[sampler]}
    space: dict[str, Any] = {"alpha": ALPHA, "beta": 0.1, "gamma0": GAMMA0}
    if sampler == "grid":
        space |= {"alpha": {"grid": [0.1, 0.5]}, "gamma0": {"grid": [0.01, 0.03, 0.1]}}
    study["arms"] = [{"name": "indian", "optimizer": "indian", "space": space}]
    return study


def outcomes_of(storage: str) -> Outcomes:
    """Return what became of every trial: (arm, phase, index) → configuration, state, value."""
    with LedgerReader.open(storage) as ledger:
        study = ledger.study("tiny")
        arms = {arm.id: arm.name for arm in ledger.arms(study.id)}
        return {
            (arms[trial.arm_id], str(trial.phase), trial.index): (
                trial.config,
                trial.state,
                trial.value,
                trial.attempts,
            )
            for trial in ledger.trials(study.id)
        }


@pytest.fixture(
    scope="class",
    params=[pytest.param(name, marks=WHEN[name]) for name in SEARCHES],
)
def sampler(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="class")
def inline(
    sampler: str,
    tmp_path_factory: pytest.TempPathFactory,
    register: Register,
    metrics: Callable[[str], Metrics],
) -> tuple[Outcomes, Metrics]:
    """What one worker in this process leaves."""
    folder = tmp_path_factory.mktemp("inline")
    storage = f"sqlite:///{folder / 'study.db'}"
    register(storage, study_of(sampler))
    settings = WorkerSettings(storage=storage, study="tiny", artifacts=folder / "artifacts")
    InlineEngine(settings).run(Interrupt(), lambda: None)
    return outcomes_of(storage), metrics(storage)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One node for all studies."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    yield made
    made.shutdown()  # type: ignore[no-untyped-call]


class TestSameRecord:
    """Configurations, outcomes and, to the last bit, the metrics of every epoch."""

    @pytest.fixture
    def check(
        self,
        sampler: str,
        tmp_path: Path,
        inline: tuple[Outcomes, Metrics],
        register: Register,
        metrics: Callable[[str], Metrics],
    ) -> Callable[[Callable[[WorkerSettings], Engine]], None]:
        """Run the study through an engine and compare."""

        def checked(engine: Callable[[WorkerSettings], Engine]) -> None:
            storage = f"sqlite:///{tmp_path / 'study.db'}"
            spec = register(storage, study_of(sampler))
            settings = WorkerSettings(storage, "tiny", tmp_path / "artifacts")
            engine(settings).run(Interrupt(), lambda: None)
            outcomes = outcomes_of(storage)
            assert len(outcomes) == spec.trials_of("indian") + 2
            assert outcomes == inline[0]
            assert metrics(storage) == inline[1]

        return checked

    @pytest.mark.parametrize(
        "workers",
        [pytest.param(1, marks=pytest.mark.night), 2, pytest.param(4, marks=pytest.mark.night)],
    )
    def test_of_worker_processes(
        self, workers: int, check: Callable[[Callable[[WorkerSettings], Engine]], None]
    ) -> None:
        check(lambda settings: ProcessEngine([settings] * workers))

    @pytest.mark.slow
    @pytest.mark.night
    @pytest.mark.filterwarnings("ignore")  # Ray's own code warns of itself.
    def test_of_ray(
        self, cluster: Cluster, check: Callable[[Callable[[WorkerSettings], Engine]], None]
    ) -> None:
        check(lambda settings: RayEngine(settings, RayOptions(ray_address=cluster.address)))
