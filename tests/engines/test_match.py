"""A study that is searched twice, with controls and half budgets, leaves one record for all."""

from __future__ import annotations

import copy
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.engines.interrupt import Interrupt
from indian_tune.engines.local.inline import InlineEngine
from indian_tune.engines.local.processes import ProcessEngine
from indian_tune.engines.process_info import is_dead
from indian_tune.engines.ray.engine import RayEngine, RayOptions
from indian_tune.engines.settings import WorkerSettings
from indian_tune.ledger import LEVELS, LedgerReader, Phase, State
from tests.conftest import TINY
from tests.engines.pacing import looking, train_paced

if TYPE_CHECKING:
    from collections.abc import Callable

    from indian_tune.engines.engine import Engine
    from indian_tune.study.file.spec import StudySpec
    from tests.engines.conftest import Metrics

    Settings = Callable[..., WorkerSettings]
    Register = Callable[[str, dict[str, Any]], StudySpec]
    Record = Callable[..., Metrics]

# Levels of the second search, interrupted after each epoch.
LAST = 3
ENGINES: dict[str, Callable[[WorkerSettings], Engine]] = {
    "inline": InlineEngine,
    "processes-2": lambda settings: ProcessEngine([settings] * 2, train_paced),
    "ray-2": lambda settings: RayEngine(settings, RayOptions(workers=2)),
}


@pytest.fixture(scope="module")
def tiny() -> dict[str, Any]:
    """A network fast enough that a control learns something in its two epochs."""
    tiny = copy.deepcopy(TINY)
    tiny["problem"] |= {"width": 0.4, "batch_size": 16, "dropout": 0.0, "split": "replicate"}
    tiny["problem"]["sizes"] = {"train": 1300, "validation": 60, "test": 60}
    del tiny["problem"]["validation_fraction"]
    tiny["protocol"] |= {"confirm_seeds": 1, "train_eval_size": 100}
    tiny["search"]["replicates"] = 2
    tiny["claims"] = {"half_budget": True}
    tiny["arms"] = [
        {
            "name": "indian",
            "optimizer": "indian",
            "space": {"alpha": 0.5, "beta": 1.0, "gamma0": {"low": 0.05, "high": 0.2, "log": True}},
        },
        {"name": "control", "optimizer": "sgd", "response_of": "indian"},
    ]
    return tiny


def outcomes(storage: str) -> dict[str, Any]:
    """Return what became of every trial, and what is recorded of the level."""
    with LedgerReader.open(storage) as ledger:
        study = ledger.study("tiny")
        (levels,) = ledger.events(study.id, LEVELS)
        trials = ledger.trials(study.id)
        places = [(trial.arm_id, trial.phase, trial.replicate, trial.index) for trial in trials]
        assert {trial.state for trial in trials} <= {State.COMPLETE, State.DIVERGED}
        ends = [(trial.config, trial.state, trial.value, trial.told) for trial in trials]
    return {"levels": levels.data, **dict(zip(map(str, places), ends, strict=True))}


def open_matches(storage: str) -> tuple[int, int]:
    """Return how many match trials there are, and how many of them wait or run."""
    with LedgerReader.open(storage) as ledger:
        study = ledger.study("tiny")
        total = ledger.count_trials(study.id, phase=Phase.MATCH)
        return total, ledger.open_trials(study.id, Phase.MATCH)


@pytest.fixture(scope="module")
def expected(
    tmp_path_factory: pytest.TempPathFactory,
    tiny: dict[str, Any],
    register: Register,
    metrics: Record,
) -> tuple[Metrics, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    undisturbed = f"sqlite:///{folder / 'study.db'}"
    register(undisturbed, tiny)
    settings = WorkerSettings(undisturbed, "tiny", folder / "artifacts")
    InlineEngine(settings).run(Interrupt(), lambda: None)
    found = outcomes(undisturbed)
    levels = found["levels"]["levels"]
    assert [level["level"] is None for level in levels.values()] == [False, False]
    # Each search has its own images: one level at which a run begins alike ends otherwise.
    assert found["(2, <Phase.MATCH: 'match'>, 0, 0)"] != found["(2, <Phase.MATCH: 'match'>, 1, 0)"]
    return metrics(undisturbed), found


@pytest.mark.slow
def test_an_interrupted_match_phase_goes_on_to_the_same_record(
    storage: str,
    tiny: dict[str, Any],
    expected: tuple[Metrics, dict[str, Any]],
    settings_for: Settings,
    register: Register,
    metrics: Record,
) -> None:
    register(storage, tiny)
    engine = InlineEngine(settings_for(storage))
    stops = 0
    while True:
        interrupt = Interrupt()

        def stop(interrupt: Interrupt = interrupt) -> None:
            # After every epoch of the last levels; the phases beside are tested elsewhere.
            interrupt.requests = int(0 < open_matches(storage)[1] <= LAST)

        engine.run(interrupt, stop)
        if not interrupt.requested:
            break
        stops += 1
    assert stops > LAST
    assert (metrics(storage), outcomes(storage)) == expected


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore")  # Ray's own code warns of itself.
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("inline", marks=pytest.mark.night),
        "processes-2",
        pytest.param("ray-2", marks=pytest.mark.night),
    ],
)
@pytest.mark.parametrize(
    "interrupted",
    [pytest.param(False, marks=pytest.mark.night), True],
    ids=["undisturbed", "interrupted"],
)
def test_every_engine_leaves_the_same_record(
    name: str,
    interrupted: bool,
    storage: str,
    tiny: dict[str, Any],
    expected: tuple[Metrics, dict[str, Any]],
    settings_for: Settings,
    register: Register,
    metrics: Record,
) -> None:
    register(storage, tiny)
    settings = settings_for(storage)
    engine = ENGINES[name](settings)
    if interrupted:
        interrupt = Interrupt()

        def stop() -> None:
            total, left = open_matches(storage)
            if 0 < left < total:
                interrupt.requests = 1

        engine.run(interrupt, looking(settings, stop))
        assert interrupt.requested
    engine.run(Interrupt(), looking(settings, lambda: None))
    assert (metrics(storage), outcomes(storage)) == expected


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_worker_that_is_killed_while_levels_are_tried_loses_nothing(
    storage: str,
    tiny: dict[str, Any],
    expected: tuple[Metrics, dict[str, Any]],
    settings_for: Settings,
    register: Register,
    metrics: Record,
) -> None:
    register(storage, tiny)
    killed: list[str] = []

    def kill() -> None:
        total, left = open_matches(storage)
        if not 0 < left < total or len(killed) == 2:
            return
        with LedgerReader.open(storage) as ledger:
            study = ledger.study("tiny")
            for worker in ledger.workers(study.id):
                if worker.left_at is None and worker.id not in killed and not is_dead(worker):
                    killed.append(worker.id)
                    os.kill(worker.pid, signal.SIGKILL)
                    return

    settings = settings_for(storage)
    ProcessEngine([settings] * 2, train_paced).run(Interrupt(), looking(settings, kill))
    assert killed
    assert (metrics(storage), outcomes(storage)) == expected
