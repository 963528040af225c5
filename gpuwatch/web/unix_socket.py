"""A listening unix socket that everybody on this machine may connect to; who it is, the kernel says."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path

from gpuwatch import service
from gpuwatch.errors import Unavailable


class UnixSocket:
    """The socket file at `path`, made by `bind` and removed by `remove`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._made: tuple[int, int] | None = None

    def bind(self) -> socket.socket:
        """Make it; `Locked` where another process serves it, `Unavailable` where the path cannot be used."""
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            if not self._path.parent.exists():
                self._path.parent.mkdir(parents=True)
                self._path.parent.chmod(0o755)  # whatever the umask: everybody must get at the socket
            service.remove_stale_socket(self._path, "process")
            made.bind(str(self._path))
            made.listen()  # at once: who connects before it is served waits, and nobody takes it for a stale one
            self._path.chmod(0o666)
            self._made = _identity(self._path)
        except OSError as exc:
            made.close()
            todo = "give another path with accounting.socket"
            raise Unavailable(f"socket {str(self._path)!r}: {exc.strerror or exc}; {todo}") from exc
        except BaseException:
            made.close()
            raise
        return made

    def remove(self) -> None:
        """Remove the file, where it is still this one's."""
        if self._made is not None:
            with suppress(OSError):
                if _identity(self._path) == self._made:
                    self._path.unlink()


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_ino, found.st_ctime_ns  # a number is soon used again
