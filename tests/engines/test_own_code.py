"""Studies whose problem or optimizer is their user's own, under every engine."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.engines.interrupt import Interrupt
from indian_tune.engines.local.inline import InlineEngine
from indian_tune.engines.local.processes import ProcessEngine
from indian_tune.engines.own_code import folders, prepared
from indian_tune.engines.ray.engine import RayEngine, RayOptions
from indian_tune.engines.session import open_session
from indian_tune.engines.settings import WorkerSettings
from indian_tune.errors import InputError
from indian_tune.ledger import LedgerReader, State, storage_url
from indian_tune.optim import FAMILIES
from indian_tune.study.file.spec import load_study, parse_study
from indian_tune.study.registered_study import RegisteredStudy
from indian_tune.study.registration_check import departures

if TYPE_CHECKING:
    from collections.abc import Callable

    from indian_tune.engines.engine import Engine
    from indian_tune.study.file.spec import StudySpec
    from tests.engines.conftest import Metrics

EXAMPLES = Path(__file__).parents[2] / "studies" / "examples"
ENGINES: dict[str, Callable[[WorkerSettings], Engine]] = {
    "inline": InlineEngine,
    "optuna": lambda settings: ProcessEngine([settings, settings]),
    "ray": lambda settings: RayEngine(settings, RayOptions(workers=2)),
}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudySpec:
    """A problem and an optimizer of one's own, in a folder that Python does not know."""
    # The modules of another test lay in another folder.
    for module in ("table_mlp", "lion"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    for name in ("table_mlp.py", "wine.csv", "lion.py"):
        shutil.copy(EXAMPLES / name, tmp_path)
    raw = load_study(EXAMPLES / "table_mlp.toml").canonical()
    lion = load_study(EXAMPLES / "lion.toml").arm("lion").model_dump()
    raw |= {"name": "own", "claims": {}, "arms": [raw["arms"][0], lion]}
    raw["protocol"] |= {"epochs": 3, "tune_epochs": 2, "confirm_seeds": 1}
    raw["search"] |= {"trials": 2, "sampler": "random"}
    return parse_study(raw, source="own")


def trained(spec: StudySpec, folder: Path, storage: str, engine: str) -> None:
    imports = (str(folder),)
    settings = WorkerSettings(
        storage=storage, study="own", artifacts=folder / "artifacts", imports=imports
    )
    with open_session(spec, storage_url(storage), None, imports=imports):
        ENGINES[engine](settings).run(Interrupt(), lambda: None)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["optuna", pytest.param("ray", marks=pytest.mark.night)])
def test_every_engine_trains_own_code_to_the_same_bits(
    tmp_path: Path, own: StudySpec, metrics: Callable[..., Metrics], engine: str
) -> None:
    storages = [f"sqlite:///{tmp_path / name}.db" for name in ("inline", engine)]
    for storage, each in zip(storages, ("inline", engine), strict=True):
        trained(own, tmp_path, storage, each)
        with LedgerReader.open(storage) as ledger:
            trials = ledger.trials(ledger.study("own").id)
            assert [trial.state for trial in trials] == [State.COMPLETE] * 6
    first, second = (metrics(storage, "own") for storage in storages)
    assert first == second
    assert sum(len(rows) for rows in first.values()) == 4 * 2 + 2 * 3


def test_what_is_registered_says_what_the_factory_made(tmp_path: Path, own: StudySpec) -> None:
    spec = prepared(own, [str(tmp_path)])
    assert spec.problem.facts is not None
    assert spec.problem.facts.model_dump() == {
        "dataset": "wine",
        "model": "mlp",
        "classes": 3,
        "train": 106,
        "validation": 35,
        "test": 37,
        "shape": [13],
    }
    assert spec.chance == pytest.approx(2 / 3)
    assert prepared(spec, [str(tmp_path)]) == spec


def test_without_permission_nothing_is_written(tmp_path: Path, own: StudySpec) -> None:
    storage = f"sqlite:///{tmp_path / 'none.db'}"
    without_factory = {**own.canonical(), "problem": {"dataset": "digits", "model": "nin-small"}}
    for raw, key in ((own.canonical(), "arms[2].optimizer"), (without_factory, "arms[2].opti")):
        spec = parse_study(raw, source="own")
        with (
            pytest.raises(InputError, match="--allow-import") as refused,
            open_session(spec, storage_url(storage), None),
        ):
            pass
        assert key in str(refused.value)
    assert not (tmp_path / "none.db").exists()


def test_a_worker_without_permission_joins_nothing(tmp_path: Path, own: StudySpec) -> None:
    storage = f"sqlite:///{tmp_path / 'joined.db'}"
    with open_session(own, storage_url(storage), None, imports=[str(tmp_path)]):
        pass
    settings = WorkerSettings(storage=storage, study="own", artifacts=tmp_path / "artifacts")
    with pytest.raises(InputError, match="--allow-import"):
        InlineEngine(settings).run(Interrupt(), lambda: None)
    with LedgerReader.open(storage) as ledger:
        study = ledger.study("own")
        assert ledger.workers(study.id) == []
        assert {trial.state for trial in ledger.trials(study.id)} == {State.WAITING}


def test_changed_code_is_told_and_changed_data_refused(tmp_path: Path, own: StudySpec) -> None:
    storage = storage_url(f"sqlite:///{tmp_path / 'changed.db'}")

    def changes() -> list[str]:
        with open_session(own, storage, None, imports=[str(tmp_path)]) as session:
            return session.changes

    assert changes() == []
    assert changes() == []
    with (tmp_path / "lion.py").open("a") as file:
        file.write("# changed\n")
    for _ in range(2):
        (told,) = changes()
        assert told.startswith("the code of lion is not what it was")
    with LedgerReader.open(storage) as ledger:
        study = RegisteredStudy.open(ledger, "own")
        assert len(ledger.events(study.id, "own code")) == 2
        assert departures(study) == ["the code that the study names was changed after registration"]
    lines = (tmp_path / "wine.csv").read_text().splitlines()
    (tmp_path / "wine.csv").write_text("\n".join(lines[:-20]) + "\n")
    with pytest.raises(InputError, match=r"problem.facts.train: registered 106, now \d+"):
        changes()


def test_a_worker_refuses_data_of_another_size(tmp_path: Path, own: StudySpec) -> None:
    spec = prepared(own, [str(tmp_path)])
    lines = (tmp_path / "wine.csv").read_text().splitlines()
    (tmp_path / "wine.csv").write_text("\n".join(lines[:-20]) + "\n")
    with pytest.raises(InputError, match=r"returns another problem .*train: registered 106"):
        prepared(spec, [str(tmp_path)])


def test_an_arm_whose_space_names_what_the_class_does_not_take_is_refused(
    tmp_path: Path, own: StudySpec
) -> None:
    raw: dict[str, Any] = own.canonical()
    raw["arms"][1]["space"]["beta3"] = 0.5
    with pytest.raises(InputError, match=r"arms\[2\].optimizer = 'lion:Lion': .*'beta3' is not kn"):
        prepared(parse_study(raw, source="own"), [str(tmp_path)])


def test_augmentation_is_for_images(tmp_path: Path, own: StudySpec) -> None:
    raw = own.canonical()
    raw["problem"]["augmentation"] = "crop-flip"
    with pytest.raises(InputError, match=r"problem\.augmentation = 'crop-flip' needs images"):
        prepared(parse_study(raw, source="own"), [str(tmp_path)])


def test_augmentation_is_for_data_in_memory(tmp_path: Path, own: StudySpec) -> None:
    (tmp_path / "streamed_table.py").write_text(
        "from dataclasses import replace\n"
        "from torch.utils.data import DataLoader, TensorDataset\n"
        "import table_mlp\n"
        "def make(**given):\n"
        "    made = table_mlp.make_problem(**given)\n"
        "    data = TensorDataset(made.train.inputs, made.train.labels)\n"
        "    return replace(made, train=DataLoader(data, 8))\n"
    )
    raw = own.canonical()
    raw["problem"] |= {"factory": "streamed_table:make", "augmentation": "crop-flip"}
    message = r"problem\.augmentation = 'crop-flip' needs data in memory, .* read in batches"
    with pytest.raises(InputError, match=message):
        prepared(parse_study(raw, source="own"), [str(tmp_path)])


def test_modules_are_looked_for_where_one_stands_and_beside_the_study_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert folders(Path("studies")) == (str(tmp_path), str(tmp_path / "studies"))
    assert folders(Path()) == (str(tmp_path),)


def test_a_warm_up_longer_than_the_shortest_run_is_refused_before_anything_is_registered(
    tiny: dict[str, Any],
) -> None:
    tiny["arms"][1]["space"] = {"warmup": 5000}
    with pytest.raises(InputError, match=r"arms\[2\]\.space\.warmup = 5,?000 steps, but the sh"):
        prepared(parse_study(tiny, source="test"), None)


def test_an_optimizer_whose_package_is_absent_is_refused_before_anything_is_registered(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = replace(FAMILIES["schedule-free"], requires="no_such_package")
    monkeypatch.setitem(FAMILIES, "schedule-free", absent)
    tiny["arms"][1] |= {"optimizer": "schedule-free", "space": {}}
    with pytest.raises(InputError, match="pip install no_such_package"):
        prepared(parse_study(tiny, source="test"), None)
