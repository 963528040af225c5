"""Everything gpuwatch raises on purpose.

    GpuwatchError                  exit 1
    ├── ConfigurationError         exit 78   every mistake at once, found at start
    ├── Unavailable                exit 69   not there now; worth another try
    │   ├── Absent                 exit 69   this node has no such thing, and nothing is wrong
    │   ├── RestartRequired        exit 75   only a new process can reach it again
    │   └── Locked                 exit 75   another process holds it; the message names its pid
    ├── Rejected                   exit 65   will never be accepted; drop it and count it
    │   └── DeclarationError       exit 64   a declaration that does not follow the grammar
    └── Forbidden                  exit 77   the caller may not

The exit codes are those of sysexits.h. Messages read ``where: what is wrong; what there is``.
"""

from __future__ import annotations

from collections.abc import Sequence


class GpuwatchError(Exception):
    """Whatever went wrong, said so that the reader can act on it."""

    exit_code = 1


class ConfigurationError(GpuwatchError):
    """The configuration cannot be honoured; `mistakes` has one line for each thing wrong with it."""

    exit_code = 78

    def __init__(self, mistakes: Sequence[str]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(self.mistakes))


class Unavailable(GpuwatchError):
    """A device, file or service cannot be reached now; the caller may try again."""

    exit_code = 69


class Absent(Unavailable):
    """This node has no such thing, and that is no fault: nobody is told of it unless they ask."""


class RestartRequired(Unavailable):
    """This process can never reach it again (a driver was replaced under it); a new one can."""

    exit_code = 75


class Locked(Unavailable):
    """Another process holds the resource."""

    exit_code = 75


class Rejected(GpuwatchError):
    """The input is wrong and will stay wrong; it is dropped and counted, never retried."""

    exit_code = 65


class DeclarationError(Rejected):
    """A declaration does not follow the grammar; the message shows the word and what is allowed."""

    exit_code = 64


class Forbidden(GpuwatchError):
    """The caller may not do this."""

    exit_code = 77
