"""The constraints of the lowest versions, and the page of results."""

from __future__ import annotations

from tests.night.__main__ import JOBS, lower_bounds, table


def test_every_lower_bound_becomes_a_constraint_and_no_upper_one_does() -> None:
    project: dict[str, object] = {
        "dependencies": ["numpy>=2.0", "optuna>=5,<6", "psycopg[binary]>=3.2"],
        "optional-dependencies": {"dev": ["pytest>=8.4", "types-psutil"]},
    }
    assert lower_bounds(project) == [
        "numpy==2.0.*",
        "optuna==5.*",
        "psycopg==3.2.*",
        "pytest==8.4.*",
    ]


def test_a_job_that_was_not_run_is_never_shown_as_passed() -> None:
    note = {"commit": "abc", "date": "2026-01-01", "python": "3.11.7", "detail": "3 passed"}
    rows = table({"night": {**note, "outcome": "passed"}}).splitlines()[-len(JOBS) :]
    assert rows[0] == "| night | passed | abc | 2026-01-01 | 3.11.7 | 3 passed |"
    assert [row.split(" | ")[1] for row in rows[1:]] == ["not run"] * (len(JOBS) - 1)
