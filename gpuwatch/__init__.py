"""gpuwatch: what deep learning costs, told while the job runs."""

from __future__ import annotations

try:
    from gpuwatch._version import __version__ as __version__
except ImportError:  # a checkout that nothing was built or installed from
    __version__ = "0.0.0"

__all__ = ["__version__", "declare", "progress"]


def __getattr__(name: str) -> object:
    """`gpuwatch.progress` and `gpuwatch.declare` are those of `gpuwatch_client`, loaded when first asked for."""
    if name in ("declare", "progress"):
        import gpuwatch_client

        return getattr(gpuwatch_client, name)
    raise AttributeError(f"module 'gpuwatch' has no attribute {name!r}")
