"""The shapes of packs that the workers of a study have measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.ledger import PACKED

if TYPE_CHECKING:
    from indian_tune.ledger import Ledger
    from indian_tune.study.registered_study import RegisteredStudy
    from indian_tune.training import PackShape

# Keys of an event, of a shape that was measured.
_DEVICE, _ASKED = "device_name", "lanes_asked"


class PackShapes:
    """What the ledger has of the shapes of packs.

    Times vary from one measurement to the next, and bits depend on the shape. The first that is
    recorded for a kind of device is therefore used by all workers on such devices, also when the
    study continues.

    Args:
        study: that is searched.
        worker: its id.
        device_name: kind of its device.
        lanes: that the user has asked for, if any.
    """

    def __init__(
        self, study: RegisteredStudy[Ledger], worker: str, device_name: str, lanes: int | None
    ) -> None:
        self._study = study
        self._worker = worker
        self._kind = {_DEVICE: device_name, _ASKED: lanes}

    def first(self) -> PackShape | None:
        """Return the shape that was recorded first for such a device and request, if any was."""
        from indian_tune.training import PackShape

        for event in self._study.ledger.events(self._study.id, PACKED):
            if self._kind.items() <= event.data.items():
                return PackShape(event.data["slots"], event.data["convolutions"])
        return None

    def record(self, shape: PackShape, *, measured: bool) -> None:
        """Record a shape that the worker uses from now on.

        Args:
            shape: of its packs.
            measured: whether others are to use it: not if the memory was short.
        """
        kind = self._kind if measured else {}
        data = {"worker": self._worker, **shape.recorded(), **kind}
        self._study.ledger.record_event(self._study.id, PACKED, data)
