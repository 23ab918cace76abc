"""Checks Ray: whether it can be imported, and whether a cluster answers."""

from __future__ import annotations

import importlib
import platform

from indian_tune.checkup.check import CheckResult, Level


def check_ray(address: str | None) -> list[CheckResult]:
    """Check Ray.

    Args:
        address: of a cluster to be reached; ``None`` for none.
    """
    try:
        ray = importlib.import_module("ray")
        importlib.import_module("ray.tune")
    except Exception as error:  # noqa: BLE001 - a broken installation may raise anything
        return [
            CheckResult(
                "Ray",
                Level.FAIL,
                f"cannot be imported: {type(error).__name__}: {error}",
                "reinstall it: pip install --force-reinstall 'ray[tune]'",
            )
        ]
    checks = [CheckResult("Ray", Level.OK, f"{ray.__version__}")]
    return checks if address is None else [*checks, _check_cluster(address)]


def _check_cluster(address: str) -> CheckResult:
    import ray

    from indian_tune.engines.ray.engine import cluster_resources
    from indian_tune.errors import EngineError

    try:
        resources = cluster_resources(address)
    except EngineError as error:
        fix = (
            f"check the address; the cluster must have the same Ray ({ray.__version__}) and "
            f"Python ({platform.python_version()})"
        )
        return CheckResult("Ray cluster", Level.FAIL, str(error), fix)
    numbers = ", ".join(f"{resources.get(name, 0):g} {name}s" for name in ("CPU", "GPU"))
    return CheckResult("Ray cluster", Level.OK, f"{address} answers: {numbers}")
