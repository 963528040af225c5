"""gpuwatch: what deep learning costs, told while the job runs."""

from __future__ import annotations

__version__ = "0.1.0"

__all__ = ["__version__", "declare", "progress"]


def __getattr__(name: str) -> object:
    """`gpuwatch.progress` and `gpuwatch.declare` are those of `gpuwatch_client`, loaded when first asked for."""
    if name in ("declare", "progress"):
        import gpuwatch_client

        return getattr(gpuwatch_client, name)
    raise AttributeError(f"module 'gpuwatch' has no attribute {name!r}")
