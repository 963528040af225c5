"""Files that come with gpuwatch and are no Python: the sample configuration, the units of systemd."""

from __future__ import annotations

from pathlib import Path

from gpuwatch.errors import Unavailable

_PACKAGE = Path(__file__).parent.parent
_IN_A_CHECKOUT = {
    "gpuwatch.toml": "deploy/gpuwatch.toml",
    "web-config.yml": "deploy/web-config.yml",
    "systemd": "systemd",
}
"""What an installed package has in its folder `share`, and where a checkout has it."""


def shared(name: str) -> Path:
    """Where a file or folder is; `Unavailable` where this installation is not whole."""
    for path in (_PACKAGE / "share" / name, _PACKAGE.parent / _IN_A_CHECKOUT[name]):
        if path.exists():
            return path
    raise Unavailable(f"{_PACKAGE / 'share' / name}: is not there; install gpuwatch anew")
