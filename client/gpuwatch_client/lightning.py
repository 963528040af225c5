"""Progress of a Lightning `Trainer`, of `lightning` or of `pytorch_lightning`.

from gpuwatch_client.lightning import GpuwatchCallback

Trainer(..., callbacks=[GpuwatchCallback()])
"""

from __future__ import annotations

import math
from typing import Any

from gpuwatch_client import progress
from gpuwatch_client.callbacks import NAME, callback_class


class _Hooks:
    """Reports optimizer steps of those estimated, from where a checkpoint went on; rank zero alone reports."""

    total: float | None = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """The step that the run begins at, which is the checkpoint's where it goes on from one."""
        self._estimate(trainer)
        self._report(trainer)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """An epoch may have other data, and so another length."""
        self._estimate(trainer)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any, **__: Any) -> None:
        """After each batch; the step counts optimizer steps."""
        self._report(trainer)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Where it ended, which may be before its last step."""
        self._report(trainer)

    def _report(self, trainer: Any) -> None:
        if trainer.is_global_zero:
            progress(trainer.global_step, self.total)

    def _estimate(self, trainer: Any) -> None:
        try:
            total = trainer.estimated_stepping_batches
        except Exception:  # noqa: BLE001 - it refuses where accumulation changes between epochs
            total = None
        # Endless training has infinitely many steps, or -1.
        self.total = total if total is not None and 0 < total < math.inf else None


def __getattr__(name: str) -> Any:
    if name != NAME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = callback_class(__name__, _Hooks, "Callback", ["lightning.pytorch", "pytorch_lightning"])
    globals()[NAME] = made
    return made
