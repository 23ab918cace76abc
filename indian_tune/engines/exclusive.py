"""Lets one search at a time train in this process.

torch's generators and settings are those of the process: of two searches in two threads, each would
draw from what the other has seeded.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

from indian_tune.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOK_SECONDS = 0.05


class _Block(NamedTuple):
    """A block that is open.

    Attributes:
        owner: the same for blocks within one another.
        briefly: whether others wait for its end.
        process: that opened it; a fork of it does not train.
    """

    owner: object
    briefly: bool
    process: int


_blocks: list[_Block] = []
_lock = threading.Lock()
# Not the thread: a loop of one's own has a thread of its own, in the context of its caller.
_owner: ContextVar[object | None] = ContextVar("owner", default=None)


@contextmanager
def training_alone(*, briefly: bool = False) -> Iterator[None]:
    """Be the only one in this process that trains; blocks may lie within one another.

    Args:
        briefly: whether this is only a trial of own code, for whose end others wait.

    Raises:
        InputError: another thread trains a search.
    """
    before = _owner.get()
    block = _Block(before or object(), briefly, os.getpid())
    while not _opened(block):
        time.sleep(LOOK_SECONDS)
    _owner.set(block.owner)
    try:
        yield
    finally:
        _owner.set(before)
        with _lock:
            _blocks.remove(block)


def _opened(block: _Block) -> bool:
    """Open a block if no other one is in its way; return whether none was."""
    with _lock:
        others = [
            other
            for other in _blocks
            if other.process == block.process and other.owner is not block.owner
        ]
        if any(not other.briefly for other in others):
            raise InputError(
                'another search trains in this process (engine="inline", or a trial() block), and '
                "torch's generators and settings are those of the whole process: run one after the "
                'other, or use engine="optuna" for both, which trains in other processes'
            )
        if not others:
            _blocks.append(block)
        return not others
