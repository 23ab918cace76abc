"""Python, torch with torchvision, and the packages that are required."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import sys
from typing import TYPE_CHECKING

from indian_tune._version import __version__
from indian_tune.checkup.check import CheckResult, Level

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

PACKAGE = "indian-tune"
OLDEST_PYTHON = (3, 11)


def check_software() -> list[CheckResult]:
    """Check Python, on what is installed, and on torch's builds."""
    return [_check_python(), _check_packages(), _check_torch()]


def _check_python() -> CheckResult:
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        return CheckResult("Python", Level.FAIL, text, f"install Python {oldest} or newer")
    return CheckResult("Python", Level.OK, text)


def _check_packages() -> CheckResult:
    """Compare what is installed with what this package requires; nothing is imported."""
    from packaging.requirements import Requirement

    own = f"{PACKAGE} {__version__}"
    try:
        texts = importlib.metadata.requires(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return CheckResult(
            "packages",
            Level.WARN,
            f"{own} runs from its folder and is not installed, so its requirements are not known",
            "run `pip install .` in its folder",
        )
    requirements = [Requirement(text) for text in texts]
    needed = [
        each for each in requirements if each.marker is None or each.marker.evaluate({"extra": ""})
    ]
    unmet, findings = [], []
    for each in needed:
        try:
            version = importlib.metadata.version(each.name)
        except importlib.metadata.PackageNotFoundError:
            finding = f"{each.name} is missing"
        else:
            if each.specifier.contains(version, prereleases=True):
                continue
            finding = f"{each.name} {version} is not {each.specifier}"
        unmet.append(each)
        findings.append(finding)
    if not unmet:
        return CheckResult("packages", Level.OK, f"{own} and all {len(needed)} required packages")
    install = " ".join(f"'{each.name}{each.specifier}'" for each in unmet)
    return CheckResult("packages", Level.FAIL, "; ".join(findings), f"run `pip install {install}`")


def _check_torch() -> CheckResult:
    versions = {}
    for name in ("torch", "torchvision"):
        try:
            versions[name] = str(importlib.import_module(name).__version__)
        except Exception as error:  # noqa: BLE001 - a broken build may raise anything
            return CheckResult(
                "torch",
                Level.FAIL,
                f"{name} cannot be imported: {type(error).__name__}: {error}",
                "reinstall both together: pip install --force-reinstall torch torchvision",
            )
    text = f"{versions['torch']} with torchvision {versions['torchvision']}"
    builds = {name: version.partition("+")[2] for name, version in versions.items()}
    if builds["torch"] and builds["torchvision"] and len(set(builds.values())) > 1:
        return CheckResult(
            "torch",
            Level.FAIL,
            f"{text}: builds for {builds['torch']} and {builds['torchvision']}",
            "install both from one index: pip install --force-reinstall torch torchvision",
        )
    due = required_torch(importlib.metadata.requires("torchvision") or [])
    if due is not None and not due.contains(versions["torch"].partition("+")[0], prereleases=True):
        return CheckResult(
            "torch",
            Level.FAIL,
            f"{text}, which needs torch {due}",
            "install both together: pip install --upgrade torch torchvision",
        )
    return CheckResult("torch", Level.OK, text)


def required_torch(requirements: list[str]) -> SpecifierSet | None:
    """Return which versions of torch requirements allow, ``None`` if they are silent."""
    from packaging.requirements import Requirement

    for requirement in map(Requirement, requirements):
        if requirement.name == "torch":
            return requirement.specifier
    return None
