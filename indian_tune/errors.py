"""The exceptions of this package.

    IndianTuneError
    ├── InputError (ValueError)             the user's to correct; the command line exits with 2
    │   ├── HyperparameterError             a value an optimizer cannot take
    │   ├── StudyFileError                  a study file that does not say a valid study
    │   ├── SealedError                     test results that nobody has unsealed
    │   ├── NoDataError                     a figure of what was not measured
    │   ├── DataError                       a data set that is missing or damaged
    │   ├── StorageError                    a database that is unreachable, not ours, or too new
    │   │   ├── EmptyDatabaseError          a database in which nothing was registered yet
    │   │   └── DatabaseLostError           one that has stopped to answer; exits with 1
    │   └── MissingPackageError (ImportError)   a package of an extra that is not installed
    ├── LedgerError (RuntimeError)          the record refused a step; the command line exits with 1
    │   ├── IllegalTransitionError          a state change that the state machine does not have
    │   ├── LeaseLostError                  a report on a trial that another worker now holds
    │   ├── UnwritableError                 a database that takes nothing more: full, read-only
    │   └── CheckpointError                 a checkpoint that cannot be used
    ├── EngineError (RuntimeError)          the workers cannot be kept going; exits with 1
    │   └── DeviceLostError                 a GPU on which this process can compute nothing more
    └── UnfinishedError (RuntimeError)      trials are open or failed at the end; exits with 1

A message names the key, the value and what is allowed, and ends with the way on.
"""

from __future__ import annotations

import difflib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


_BAYESIAN = ("tpe", "gp")
# What others call what has another name here, and is spelled otherwise.
_MEANS = {
    **dict.fromkeys(("bayes", "bayesian", "bo", "smbo", "bayesopt"), _BAYESIAN),
    **dict.fromkeys(("sobol", "quasi-random", "halton", "lhs"), ("qmc",)),
    **dict.fromkeys(("evolution", "cma-es", "es"), ("cmaes",)),
    **dict.fromkeys(("gaussian-process", "kriging"), ("gp",)),
    **dict.fromkeys(("asha", "sha", "halving"), ("successive-halving", "hyperband")),
}


def unknown_name(key: str, name: object, allowed: Iterable[str]) -> str:
    """Return the message for a name that is not in a catalog.

    Args:
        key: where the name was given, such as ``dataset``.
        name: what was given.
        allowed: the names there are.
    """
    return f"{key} = {name!r} is not known.{alternatives(name, allowed)}"


def alternatives(name: object, allowed: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the nearest known one, and all.

    Args:
        name: what was given.
        allowed: the names there are.
    """
    names = sorted(allowed)
    return f"{nearest(name, names)} Allowed: {', '.join(names) or 'none'}"


def nearest(name: object, names: Sequence[str]) -> str:
    """Return a question that proposes the known name nearest to an unknown one; "" if none is.

    Args:
        name: what was given.
        names: the names there are.
    """
    text = str(name).lower()
    near = [other for other in _MEANS.get(text, ()) if other in names]
    near = near or difflib.get_close_matches(text, names, n=1, cutoff=0.65)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""


class IndianTuneError(Exception):
    """Base of every error raised on purpose."""


class InputError(IndianTuneError, ValueError):
    """Something the user gave cannot be used."""


class HyperparameterError(InputError):
    """A hyperparameter is missing, unknown, of the wrong type, or out of range."""


class StudyFileError(InputError):
    """A study file cannot be read or does not describe a valid study."""


class SealedError(InputError):
    """The test results of a study were asked for before they were unsealed."""


class NoDataError(InputError):
    """A figure was asked for whose data the frame or the verdict does not hold."""


class DataError(InputError):
    """A data set is missing or damaged."""


class StorageError(InputError):
    """A database cannot be reached, is not ours, or is newer than this version."""


class DatabaseLostError(StorageError):
    """A database that was in use does not answer any more."""


class EmptyDatabaseError(StorageError):
    """A database can be used, but has no tables of ours yet."""


class MissingPackageError(InputError, ImportError):
    """A package is not installed that only an extra of this one brings."""

    @classmethod
    def of(cls, module: str, extra: str, package: str | None) -> MissingPackageError:
        """Return the error for a module that needs an extra.

        Args:
            module: that was imported.
            extra: which brings what is missing.
            package: that is missing.
        """
        return cls(
            f"{module} needs {package}, which is not installed: "
            f"python -m pip install 'indian-tune[{extra}]'"
        )


class LedgerError(IndianTuneError, RuntimeError):
    """The ledger refused a step."""


class IllegalTransitionError(LedgerError):
    """A trial or run was asked to change state in a way that has no meaning."""


class LeaseLostError(LedgerError):
    """A worker reported on a trial that it no longer holds."""


class UnwritableError(LedgerError):
    """The database took no more: the disk is full, or the file became read-only or damaged."""


class CheckpointError(LedgerError):
    """A checkpoint is damaged or belongs to another version."""


class EngineError(IndianTuneError, RuntimeError):
    """The workers of an engine cannot be kept going."""


class DeviceLostError(EngineError):
    """A GPU on which this process can compute nothing more."""


class UnfinishedError(IndianTuneError, RuntimeError):
    """A command ends while trials are open, after trials failed, or without all of its files."""


def check_platform() -> None:
    """Check that searches can run on this operating system.

    Raises:
        InputError: it is Windows, which lacks signals and forks.
    """
    if sys.platform == "win32":
        raise InputError(
            "searches do not run on Windows: use Linux, macOS, or the Windows Subsystem for Linux "
            "(WSL). The optimizers of indian_tune.optim can be used anywhere"
        )
