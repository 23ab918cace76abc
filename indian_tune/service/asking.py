"""Ask-and-tell: a registered study whose runs its user's own program trains, in blocks."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indian_tune.engines import (
    LocalOptions,
    LoopMaker,
    WorkerSettings,
    asked_run,
    check_asked,
    check_writable,
    engine_options,
    note_start,
    open_session,
    study_folder,
)
from indian_tune.errors import check_platform
from indian_tune.imports import imports_allowed, load_named
from indian_tune.ledger import LedgerReader, Phase, storage_url
from indian_tune.problems.problem import ENTRY_POINTS
from indian_tune.service.calls import PythonCall, python_again
from indian_tune.service.python import Results
from indian_tune.service.python_display import warn, warn_of_changes
from indian_tune.service.python_words import PythonWords
from indian_tune.service.searching import (
    SearchRequest,
    check_finished,
    warn_before_registering,
)
from indian_tune.service.studies import find_study
from indian_tune.study.completion import completion
from indian_tune.study.registration import renamed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indian_tune.service.studies import AnyStudy, Factory
    from indian_tune.training import LoopRun


@dataclass(frozen=True, kw_only=True)
class AskedStudy(Results):
    """A registered study whose runs are trained in blocks, ``with study.trial() as run``.

    Attributes:
        settings: of the workers.
        factory: reference of its factory.
        maker: of its loop.
        request: what was asked when it was registered.
    """

    settings: WorkerSettings = field(repr=False)
    factory: str = field(repr=False)
    maker: LoopMaker = field(repr=False)
    request: SearchRequest = field(repr=False)

    @contextmanager
    def trial(
        self, *, devices: str = "auto", threads_per_worker: int = 1
    ) -> Iterator[LoopRun | None]:
        """Train the next run of the study in the block: a trial on one of its seeds.

        It goes through all phases, and continues with runs that were interrupted. A block that ends
        normally completes its run, an exception fails the attempt, and Ctrl-C gives the run back.

        Args:
            devices: ``auto`` for the first GPU if there is one, ``cpu``, or one such as ``cuda:1``.
            threads_per_worker: CPU threads of an operation.

        Yields:
            What a loop is given, see ``Loop``; ``None`` when nothing is left to train.

        Raises:
            InputError: the device is not here.
            LoopError: the block does what a loop must not.
            UnfinishedError: nothing is left to train, and trials have failed.
        """
        with PythonWords():
            options = engine_options("inline", {"devices": devices})
        assert isinstance(options, LocalOptions)
        shared = replace(self.settings, threads=threads_per_worker)
        with PythonWords():
            (settings, *_) = options.worker_settings(shared, 1)
        with asked_run(settings, self.factory, self.maker) as run:
            if run is None:
                self._check_finished()
            yield run

    def _check_finished(self) -> None:
        def again(**changes: Any) -> PythonCall:
            return python_again(self.request, "register", **changes)

        with LedgerReader.open(self.storage) as ledger:
            now = completion(ledger, ledger.study(self.study))
        check_finished(
            now,
            Phase.CONFIRM,
            self.storage,
            go_on=again(),
            retry=again(retry_failed=True),
            freeze=again(freeze_anyway=True),
        )


@PythonWords()
def register(
    study: AnyStudy,
    problem: Factory | None = None,
    *,
    storage: str | None = None,
    as_name: str | None = None,
    retry_failed: bool = False,
    freeze_anyway: bool = False,
    data_dir: str | Path | None = None,
    artifacts: str | Path | None = None,
    allow_import: bool = False,
) -> AskedStudy:
    """Register a study whose runs you train yourself, or take it up again.

    Args:
        study: see :func:`search`.
        problem: see :func:`search`; the ``Loop`` that it returns needs no ``train``.
        storage: a file, ``sqlite:///FILE`` or ``postgresql+psycopg://…``; ``None`` for the default.
        as_name: registers the study under another name.
        retry_failed: tries failed trials again.
        freeze_anyway: chooses the winners among the others where trials have failed.
        data_dir: folder of the data sets.
        artifacts: folder of the checkpoints.
        allow_import: lets code run that the study names.

    Returns:
        The study: ``with study.trial() as run`` trains its next run.

    Raises:
        InputError: something cannot be used; nothing was written.
    """
    check_platform()
    request = SearchRequest(
        study,
        problem,
        storage=storage,
        as_name=as_name,
        retry_failed=retry_failed,
        freeze_anyway=freeze_anyway,
        data_dir=None if data_dir is None else Path(data_dir),
        artifacts=None if artifacts is None else Path(artifacts),
        allow_import=allow_import,
    )
    found = find_study(study, problem)
    spec = found.spec if as_name is None else renamed(found.spec, as_name)
    imports = found.imports(allowed=allow_import)
    url = storage_url(storage)
    folder = request.artifacts or study_folder(url, spec.name)
    check_writable(folder, "artifacts")
    with (
        found.at_hand(),
        open_session(
            spec,
            url,
            request.data_dir,
            retry_failed=retry_failed,
            imports=imports,
            check=check_asked,
            on_new=partial(warn_before_registering, warn),
        ) as session,
    ):
        moved = note_start(session.ledger, session.record, folder)
        warn_of_changes(session, moved)
        factory = str(session.spec.problem.factory)
        with imports_allowed(imports):
            function = load_named(factory, key="problem.factory", group=ENTRY_POINTS)
    assert callable(function)
    settings = WorkerSettings(
        storage=url.render_as_string(hide_password=False),
        study=spec.name,
        artifacts=folder,
        data_dir=request.data_dir,
        imports=imports,
        freeze_anyway=freeze_anyway,
    )
    return AskedStudy(
        spec.name,
        storage,
        imports,
        settings=settings,
        factory=factory,
        maker=LoopMaker(function),
        request=request,
    )
