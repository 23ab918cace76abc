"""What a search may do in a process where others train, or which may start none."""

from __future__ import annotations

import multiprocessing
import threading
from contextvars import Context, copy_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.engines import WorkerSettings, engine_options, training_alone
from indian_tune.errors import InputError
from indian_tune.planning.timing import measure_together
from indian_tune.service.searching import SearchRequest, run_search
from tests.engines.own_engine.thread_engine import ThreadOptions

if TYPE_CHECKING:
    from collections.abc import Callable


def in_a_thread(
    act: Callable[[], object], context: Context | None = None
) -> tuple[threading.Thread, list[object]]:
    """Let another thread act; return it, and where it puts what it has found or raised."""
    found: list[object] = []

    def run() -> None:
        try:
            found.append(act())
        except InputError as error:
            found.append(str(error))

    thread = threading.Thread(target=(context or Context()).run, args=(run,))
    thread.start()
    return thread, found


def trained(*, briefly: bool = False) -> str:
    with training_alone(briefly=briefly):
        return "trained"


@pytest.mark.parametrize("briefly", [False, True])
def test_another_thread_may_not_train_meanwhile(briefly: bool) -> None:
    with training_alone(), training_alone(briefly=True):
        thread, found = in_a_thread(lambda: trained(briefly=briefly))
        thread.join()
        assert "another search trains in this process" in str(found)
        assert trained() == "trained"
    thread, found = in_a_thread(trained)
    thread.join()
    assert found == ["trained"]


def test_trials_of_own_code_are_waited_for() -> None:
    with training_alone(briefly=True):
        thread, found = in_a_thread(trained)
        thread.join(0.1)
        assert not found
    thread.join()
    assert found == ["trained"]


def test_the_thread_of_a_loop_belongs_to_the_thread_that_waits_for_it() -> None:
    with training_alone():
        thread, found = in_a_thread(trained, copy_context())
        thread.join()
    assert found == ["trained"]


@pytest.mark.parametrize("engine", ["inline", ThreadOptions()])
def test_a_search_that_trains_here_is_refused_before_it_is_registered(
    engine: Any, tmp_path: Path
) -> None:
    storage = tmp_path / "a.db"
    request = SearchRequest("isolate-digits", storage=str(storage), engine=engine)
    nothing: Any = None
    with training_alone():
        thread, found = in_a_thread(
            lambda: run_search(request, nothing, nothing, lambda _found: None)
        )
        thread.join()
    assert "another search trains" in str(found)
    assert not storage.exists()


def test_a_daemonic_process_is_told_which_engine_it_can_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)  # type: ignore[attr-defined]
    settings = WorkerSettings(storage="", study="", artifacts=Path())
    with pytest.raises(InputError, match=r"is daemonic, .* use --engine inline, or use a process"):
        engine_options("optuna", {"devices": "cpu", "workers": 1}).make(settings)
    engine_options("inline", {"devices": "cpu"}).make(settings)
    nothing: Any = None
    with pytest.raises(InputError, match="use --no-timing"):
        measure_together(nothing, [], ["cpu"], None, 1, None, None)
