"""What Python returns prints as the commands do."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import indian_tune

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Ended


def test_a_plan_prints_what_the_command_prints(command: Callable[..., Ended]) -> None:
    printed = command("plan", "quickstart", "--no-timing").out
    plan = indian_tune.plan("quickstart", timing=False)
    assert len(str(plan).splitlines()) > 20
    assert printed.startswith(f"{plan}\n\nStart it with:")
    assert plan.as_dict()["study"] == "quickstart"
    assert f"<pre>{html.escape(str(plan))}</pre>" == getattr(plan, "_repr_html_")()  # noqa: B009


def test_a_status_prints_what_the_command_prints(
    finished: tuple[Path, subprocess.CompletedProcess[str]], command: Callable[..., Ended]
) -> None:
    status = indian_tune.status(storage=str(finished[0]))
    assert "tiny, registered" in str(status)
    assert command("status", "--storage", finished[0]).out == f"{status}\n"
