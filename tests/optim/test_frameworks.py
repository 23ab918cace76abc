"""INDIAN for Keras and for optax: each framework in a process of its own, and their extras."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

from indian_tune import Indian
from indian_tune.errors import HyperparameterError, MissingPackageError
from indian_tune.optim import Innaprop
from tests.benchmarks.parity import BOUNDS, FEW, environment, installed, measure
from tests.optim.faults import faults, innaprop_faults

ROOT = Path(__file__).parents[2]
# TensorFlow is in no extra: the job `tensorflow` of the night tests has an environment for it.
CHECKED = [
    pytest.param("optax", "on_optax", marks=pytest.mark.slow),
    pytest.param("keras-jax", "on_keras", marks=pytest.mark.slow),
    pytest.param("keras-torch", "on_keras", marks=pytest.mark.slow),
    pytest.param("keras-tensorflow", "on_keras", marks=pytest.mark.night),
]


def run_tests(framework: str, file: str, marks: str) -> None:
    """Run a file of tests in a process of a framework; skip where that is not installed."""
    if not installed(framework):
        if framework != "keras-tensorflow" and os.environ.get("CI"):
            pytest.fail(f"{framework} needs the extra dev, which CI installs")
        pytest.skip(f"{framework} is not installed")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", marks]
    if framework != "optax":
        # Keras's own: NumPy asks for another signature of its variables' __array__.
        command += ["-W", "ignore:__array__ implementation:DeprecationWarning"]
    devices = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    done = subprocess.run(
        [*command, f"tests/optim/{file}.py"],
        cwd=ROOT,
        env=environment(framework) | (devices if framework == "optax" else {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    assert re.search(r"\d+ passed", done.stdout)


@pytest.mark.parametrize(("framework", "file"), CHECKED)
def test_a_framework_takes_the_published_steps(framework: str, file: str) -> None:
    run_tests(framework, file, "not slow")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("framework", "file"),
    [CHECKED[1], *(pytest.param(*each.values, marks=pytest.mark.night) for each in CHECKED[2:])],
)
def test_a_framework_compiles_the_step(framework: str, file: str) -> None:
    run_tests(framework, file, "slow")


def test_torch_takes_the_same_steps_and_refuses_in_the_same_words() -> None:
    for dtype, errors in measure("torch", FEW).items():
        assert max(errors.values()) <= BOUNDS[dtype], errors
    for options, message in faults("lr"):
        with pytest.raises(HyperparameterError, match=f"^{re.escape(message)}$"):
            Indian([torch.nn.Parameter(torch.ones(1))], **options)
    for options, message in innaprop_faults("lr"):
        with pytest.raises(HyperparameterError, match=f"^{re.escape(message)}$"):
            Innaprop([torch.nn.Parameter(torch.ones(1))], **options)


@pytest.mark.parametrize(
    ("module", "extra", "package"),
    [
        ("keras", "keras", "keras"),
        ("optax", "jax", "jax"),
        ("lightning", "lightning", "lightning"),
    ],
)
def test_a_missing_extra_is_said_with_the_command_that_installs_it(
    module: str, extra: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(sys.modules):
        # Another test of this process may have imported it.
        if name.startswith((f"{package}.", f"indian_tune.{module}")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    message = (
        f"indian_tune.{module} needs {package}, which is not installed: "
        f"python -m pip install 'indian-tune[{extra}]'"
    )
    with pytest.raises(MissingPackageError, match=f"^{re.escape(message)}$"):
        importlib.import_module(f"indian_tune.{module}")


def test_the_package_loads_no_other_framework() -> None:
    code = (
        "import sys, indian_tune; indian_tune.Indian; "
        "others = {'jax', 'keras', 'lightning', 'optax', 'tensorflow'}; "
        "print(sorted(others & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_extras_ask_for_nothing_of_torch() -> None:
    """What an extra does not require, installing it cannot change."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = [Requirement(line).name for extra in ("keras", "jax") for line in extras[extra]]
    assert asked == ["keras", "jax", "optax"]
    found: set[str] = set()
    while asked:
        name = asked.pop()
        if name not in found:
            found.add(name)
            asked += [each.name for each in map(Requirement, requires(name) or []) if applies(each)]
    assert {"ml_dtypes", "numpy"} <= {name.replace("-", "_") for name in found}
    assert not [name for name in found if name.startswith(("torch", "triton", "nvidia"))]


def applies(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})
