"""How a worker joins a study, and leaves it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.engines.heartbeat import joined
from indian_tune.errors import DatabaseLostError, InputError
from indian_tune.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable

    from indian_tune.study.file.spec import StudySpec


@pytest.mark.parametrize(
    ("error", "leaves"), [(DatabaseLostError("gone"), False), (InputError("own"), True)]
)
def test_a_worker_that_lost_the_database_does_not_wait_for_it_to_leave(
    error: Exception,
    leaves: bool,
    storage: str,
    tiny: dict[str, Any],
    register: Callable[[str, dict[str, Any]], StudySpec],
) -> None:
    register(storage, tiny)
    with Ledger.open(storage) as ledger:
        study = ledger.study("tiny")
        with pytest.raises(type(error)), joined(ledger, study, "cpu"):
            raise error
        (worker,) = ledger.workers(study.id)
    assert (worker.left_at is not None) is leaves
