"""Samplers and pruners in a study file: names, options, and classes of one's own."""

from __future__ import annotations

import inspect
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint, EntryPoints
from typing import TYPE_CHECKING, Any

import optuna
import pytest

from indian_tune.errors import InputError, StudyFileError
from indian_tune.imports import imports_allowed
from indian_tune.study.description import budget_sentence
from indian_tune.study.file.space import parse_space
from indian_tune.study.file.spec import parse_study
from indian_tune.study.optuna.pruners import PRUNERS, Pruner
from indian_tune.study.optuna.samplers import SAMPLERS, Sampler
from indian_tune.study.registration import differences

if TYPE_CHECKING:
    from pathlib import Path

    from indian_tune.study.file.spec import StudySpec
    from indian_tune.study.optuna.methods import Method, Option

SPACE = parse_space(
    {"alpha": {"low": 0.05, "high": 2.0, "log": True}, "beta": {"low": 0.0, "high": 1.0}}, "space"
)
OPTUNAS = {
    "tpe": optuna.samplers.TPESampler,
    "gp": optuna.samplers.GPSampler,
    "cmaes": optuna.samplers.CmaEsSampler,
    "median": optuna.pruners.MedianPruner,
    "percentile": optuna.pruners.PercentilePruner,
    "hyperband": optuna.pruners.HyperbandPruner,
    "wilcoxon": optuna.pruners.WilcoxonPruner,
}
# Where a default is ours and not Optuna's.
OURS = {
    ("median", "n_startup_trials"): 4,
    ("percentile", "n_startup_trials"): 4,
    ("percentile", "percentile"): 25.0,
}
METHODS: list[Method] = [*SAMPLERS.values(), *PRUNERS.values()]
OPTIONS = [(method, name, option) for method in METHODS for name, option in method.options.items()]
OWN = """
from optuna.pruners import ThresholdPruner
from optuna.samplers import RandomSampler

class Mine(RandomSampler):
    learns = False
    several_objectives = False

class Vague(RandomSampler):
    learns = "sometimes"

class Lost(RandomSampler):
    def sample_independent(self, study, trial, name, distribution):
        return self.tabel[name]

class Passing(RandomSampler):
    def __init__(self, **options):
        super().__init__(**options)

class Careless(RandomSampler):
    def __init__(self):
        super().__init__()

class Racing(ThresholdPruner):
    judges = "seeds"
    least = 3

class Silent(ThresholdPruner):
    def prune(self, study, trial):
        pass

function = len
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The folder of a module ``mine_methods``."""
    monkeypatch.delitem(sys.modules, "mine_methods", raising=False)
    (tmp_path / "mine_methods.py").write_text(OWN, encoding="utf-8")
    return str(tmp_path)


def word(value: Method | Option | str) -> str:
    return value if isinstance(value, str) else getattr(value, "name", "")


def searched(tiny: dict[str, Any], **search: Any) -> StudySpec:
    tiny["search"] |= search
    return parse_study(tiny, source="study.toml")


def tried(method: Method) -> None:
    if isinstance(method, Sampler):
        method.try_out(SPACE, objectives=1)
    else:
        assert isinstance(method, Pruner)
        method.try_out(SPACE, epochs=3)


def with_option(method: Method, **given: object) -> Method:
    if isinstance(method, Sampler):
        return Sampler.read({"name": method.name, **given}, SAMPLERS)
    return Pruner.read({"name": method.name, **given}, PRUNERS)


def test_the_catalogs_are_read_without_optuna() -> None:
    code = "import sys, indian_tune.study.file.spec; sys.exit('optuna' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("method", "name", "option"), OPTIONS, ids=word)
def test_every_option_works_at_its_bounds_and_is_refused_beyond(
    method: Method, name: str, option: Option
) -> None:
    if option.kind is bool:
        for value in (False, True):
            tried(with_option(method, **{name: value}))
        return
    for end, beyond in ((option.low, option.low - 1), (option.high, option.high + 1)):
        tried(with_option(method, **{name: option.kind(end)}))
        with pytest.raises(InputError, match=rf"search\.\w+\.{name} = .* must be .* from .* to"):
            with_option(method, **{name: option.kind(beyond)})


@pytest.mark.parametrize(
    ("method", "name", "option"),
    # The patient pruner is made of two.
    [each for each in OPTIONS if each[0].name in OPTUNAS],
    ids=word,
)
def test_an_option_is_optuna_s_own_with_its_default_or_ours(
    method: Method, name: str, option: Option
) -> None:
    parameter = inspect.signature(OPTUNAS[method.name]).parameters[name]
    assert OURS.get((method.name, name), parameter.default) == option.default


def test_options_reach_optuna_s_object() -> None:
    sampler = with_option(SAMPLERS["tpe"], n_startup_trials=20)
    assert sampler.settings["n_startup_trials"] == 20
    pruner = with_option(PRUNERS["patient"], n_startup_trials=9, patience=5)
    assert isinstance(pruner, Pruner)
    made = pruner.make(epochs=4)
    assert (made._patience, made._wrapped_pruner._n_startup_trials) == (5, 9)  # type: ignore[attr-defined]


def test_a_study_without_options_is_recorded_as_before(tiny: dict[str, Any]) -> None:
    plain = searched(tiny, sampler="tpe", pruner="median")
    table = searched(tiny, sampler={"name": "tpe"}, pruner={"name": "median"})
    half = searched(tiny, pruner={"name": "percentile", "percentile": 50})
    assert half.digest == searched(tiny, pruner={"name": "percentile", "percentile": 50.0}).digest
    assert plain.canonical()["search"]["sampler"] == "tpe"
    assert plain.canonical()["search"]["pruner"] == "median"
    assert table == plain
    assert table.digest == plain.digest


def test_options_are_recorded_in_order_and_read_back(tiny: dict[str, Any]) -> None:
    given = tomllib.loads('s = { n_startup_trials = 20, n_ei_candidates = 8, name = "tpe" }')["s"]
    spec = searched(tiny, sampler=given, pruner={"name": "median", "n_startup_trials": 8})
    recorded = spec.canonical()["search"]
    assert list(recorded["sampler"].items()) == [
        ("name", "tpe"),
        ("n_ei_candidates", 8),
        ("n_startup_trials", 20),
    ]
    again = parse_study(spec.canonical(), source="the record")
    assert again == spec
    assert again.digest == spec.digest != searched(tiny, sampler="tpe").digest
    assert "proposed by tpe (n_ei_candidates=8, n_startup_trials=20)" in budget_sentence(spec)
    assert "pruned by median (n_startup_trials=8)" in budget_sentence(spec)


def test_options_that_were_not_registered_are_told_apart(tiny: dict[str, Any]) -> None:
    registered = searched(tiny, sampler="tpe").canonical()
    now = searched(tiny, sampler={"name": "tpe", "n_startup_trials": 20}).canonical()
    assert differences(registered, now) == [
        "search.sampler: registered 'tpe', now a table",
        "search.sampler.name: registered not there, now 'tpe'",
        "search.sampler.n_startup_trials: registered not there, now 20",
    ]


@pytest.mark.parametrize(
    ("key", "given", "said"),
    [
        ("sampler", {"name": "tpee"}, "search.sampler = 'tpee' is not known. Did you mean 'tpe'?"),
        ("sampler", {"n_startup_trials": 3}, "search.sampler.name is missing"),
        ("sampler", {"name": 3}, "search.sampler.name = 3 must be a string"),
        ("sampler", ["tpe"], "search.sampler = ['tpe'] must be a name, or a table"),
        ("sampler", optuna.samplers.TPESampler(), 'write "tpe", or {"name": "optuna.samplers:TPE'),
        (
            "sampler",
            {"name": optuna.samplers.NSGAIISampler},
            'own: write {"name": "optuna.samplers:NSGAIISampler"} with its options and --allow',
        ),
        ("pruner", optuna.pruners.NopPruner(), "search.pruner = NopPruner must be given by its na"),
        ("pruner", optuna.pruners.NopPruner(), 'write "none", or {"name": "optuna.pruners:NopPru'),
        ("sampler", {"name": "tpe", "n_startup": 3}, "Did you mean 'n_startup_trials'?"),
        ("sampler", {"name": "tpe", "seed": 3}, "search.sampler.seed is not an option of 'tpe'"),
        ("sampler", {"name": "random", "x": 3}, "is not an option of 'random'. It has no options"),
        ("sampler", {"name": "tpe", "n_startup_trials": 1.5}, "= 1.5 must be a whole number"),
        ("sampler", {"name": "tpe", "constant_liar": 1}, "constant_liar = 1 must be true or false"),
        ("sampler", {"name": "a:B", "when": float("nan")}, "search.sampler.when = nan cannot be"),
        ("sampler", {"name": "a:B", "learns": "no"}, "learns = 'no' must be true or false"),
        ("pruner", {"name": "a:B", "judges": "steps"}, "judges = 'steps' is not known"),
        ("pruner", {"name": "percentile", "percentile": 101}, "must be a number from 0 to 100"),
    ],
)
def test_what_cannot_be_is_named_with_its_key(
    tiny: dict[str, Any], key: str, given: Any, said: str
) -> None:
    with pytest.raises(StudyFileError) as refused:
        searched(tiny, **{key: given})
    assert str(refused.value).startswith(f"study.toml: search.{key}")
    assert said in str(refused.value)


def test_options_that_do_not_go_together_are_named() -> None:
    both = with_option(SAMPLERS["cmaes"], use_separable_cma=True, with_margin=True)
    with pytest.raises(InputError, match=r"search.sampler = 'cmaes': making .* do not support"):
        tried(both)


def test_an_own_class_is_read_without_being_imported(tiny: dict[str, Any]) -> None:
    spec = searched(tiny, sampler={"name": "absent:Sampler", "width": 3, "learns": False})
    assert (spec.search.sampler.own, spec.search.sampler.learns) == (True, False)
    assert spec.canonical()["search"]["sampler"] == {
        "name": "absent:Sampler",
        "learns": False,
        "width": 3,
    }
    assert searched(tiny, sampler="absent:Sampler").search.sampler.learns


def test_an_own_class_says_what_it_can_do(own: str, tiny: dict[str, Any]) -> None:
    with imports_allowed([own]):
        sampler = Sampler("mine_methods:Mine").completed()
        pruner = Pruner("mine_methods:Racing", given={"upper": 1.0}).completed()
        tried(sampler)
        tried(pruner)
        tried(Sampler("mine_methods:Passing"))
    assert sampler.plain() == {
        "name": "mine_methods:Mine",
        "learns": False,
        "several_objectives": False,
    }
    with pytest.raises(StudyFileError, match=r"'mine_methods:Racing' needs at least 3 seeds"):
        searched(tiny, pruner=pruner.plain())
    tiny["protocol"]["tune_seeds"] = 3
    assert searched(tiny, pruner=pruner.plain()).search.pruner == pruner
    tiny["protocol"]["objectives"] = ["validation_error", "seconds"]
    with pytest.raises(StudyFileError, match=r"'mine_methods:Mine' supports one objective"):
        searched(tiny, sampler=sampler.plain(), pruner="none")


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (Sampler("mine_methods:function"), "must be a subclass of optuna.samplers.BaseSampler"),
        (Sampler("mine_methods:Racing"), "must be a subclass of optuna.samplers.BaseSampler"),
        (Sampler("mine_methods:Vagu"), "Did you mean 'Vague'"),
        (Sampler("mine_methods:Vague"), "its attribute learns = 'sometimes' must be true or false"),
        (Sampler("mine_methods:Lost"), "drawing a configuration failed with AttributeError"),
        (Sampler("mine_methods:Careless"), "draws different configurations from the same seed"),
        (
            Sampler("mine_methods:Mine", given={"seed": 1}),
            "search.sampler.seed is not an option of",
        ),
        (Pruner("mine_methods:Racing"), "Either lower or upper must be specified"),
        (Pruner("mine_methods:Racing", given={"uper": 1}), "Did you mean 'upper'"),
        (Pruner("mine_methods:Silent", given={"upper": 1.0}), "must return True or False, got No"),
    ],
)
def test_an_own_class_that_cannot_be_used_is_named_with_its_key(
    own: str, method: Method, said: str
) -> None:
    with imports_allowed([own]), pytest.raises(InputError) as refused:
        tried(method.completed())
    assert str(refused.value).startswith(method.KEY)
    assert said in str(refused.value)


def test_an_own_class_is_not_imported_without_permission(own: str) -> None:
    del own
    for method in (Sampler("mine_methods:Mine"), Pruner("mine_methods:Racing")):
        with pytest.raises(InputError, match=r"names code.*--allow-import"):
            tried(method)
    assert "mine_methods" not in sys.modules


def test_an_installed_package_may_name_its_own(
    own: str, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    point = EntryPoint("mine", "mine_methods:Mine", Sampler.ENTRY_POINTS)

    def entry_points(**chosen: Any) -> EntryPoints:
        return EntryPoints([point]).select(**chosen)

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
    monkeypatch.syspath_prepend(own)
    sampler = searched(tiny, sampler="mine").search.sampler
    tried(sampler)
    assert not sampler.completed().learns
    with pytest.raises(StudyFileError, match=r"search\.pruner = 'mine' is not known"):
        searched(tiny, pruner="mine")
