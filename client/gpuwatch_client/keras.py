"""Progress of Keras' `fit`.

from gpuwatch_client.keras import GpuwatchCallback

model.fit(..., callbacks=[GpuwatchCallback()])
"""

from __future__ import annotations

from typing import Any

from gpuwatch_client import progress
from gpuwatch_client.callbacks import NAME, callback_class


class _Hooks:
    """Reports batches of all epochs' batches; nothing before it is known how many an epoch has.

    An epoch's number begins at `initial_epoch`, so that a run that goes on reports where it does.
    """

    async_safe = True
    """Keras need not wait for it between two batches."""

    params: Any
    epoch = 0
    length: int | None = None
    _batches = 0

    def on_train_begin(self, logs: Any = None) -> None:
        """What `fit` knows beforehand."""
        self.length = (self.params or {}).get("steps")

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Where the run begins, or goes on."""
        self.epoch, self._batches = epoch, 0
        self._report()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """After each batch, or as many as one execution has."""
        # Calls may overtake each other where Keras does not wait for them.
        self._batches = max(self._batches, batch + 1)
        self._report()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """A generator's length is known once it has ended."""
        self.length = self.length or self._batches or None
        self._report()

    def _report(self) -> None:
        epochs = (self.params or {}).get("epochs")
        if self.length and epochs:
            progress(self.epoch * self.length + self._batches, epochs * self.length)


def __getattr__(name: str) -> Any:
    if name != NAME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = globals()[NAME] = callback_class(
        __name__, _Hooks, "Callback", ["keras.callbacks", "tf_keras.callbacks"]
    )
    return made
