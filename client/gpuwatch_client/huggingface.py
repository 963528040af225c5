"""Progress of a Hugging Face `Trainer`.

from gpuwatch_client.huggingface import GpuwatchCallback

Trainer(..., callbacks=[GpuwatchCallback()])
"""

from __future__ import annotations

from typing import Any

from gpuwatch_client import progress
from gpuwatch_client.callbacks import NAME, callback_class


class _Hooks:
    """Reports optimizer steps of `max_steps`, from where a checkpoint went on; the first process alone reports."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The step that the run begins at, which is the checkpoint's where it goes on from one."""
        _report(state)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After each optimizer step, however many batches it accumulated."""
        _report(state)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Where it ended, which may be before its last step."""
        _report(state)


def _report(state: Any) -> None:
    if state.is_world_process_zero:
        progress(state.global_step, state.max_steps if state.max_steps > 0 else None)


def __getattr__(name: str) -> Any:
    if name != NAME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = globals()[NAME] = callback_class(__name__, _Hooks, "TrainerCallback", ["transformers"])
    return made
