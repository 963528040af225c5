"""Ansible's way into a guest of the tests, by its namespaces: the guest has neither sshd nor a network."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = """
name: guest
short_description: into the namespaces of a process
description: The host is the number of a process; commands run in its namespaces.
options: {}
"""
_INSIDE = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8"]


class Connection(ConnectionBase):  # type: ignore[misc]
    """Commands by nsenter, files by the root that the process has."""

    transport = "guest"
    has_pipelining = True

    def _connect(self) -> Connection:
        self._connected = True
        return self

    @property
    def _pid(self) -> str:
        return str(self._play_context.remote_addr)

    def exec_command(
        self, cmd: str, in_data: bytes | None = None, sudoable: bool = True
    ) -> tuple[int, bytes, bytes]:
        """Run a command line in the guest."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        command = ["nsenter", "-t", self._pid, "-a", *_INSIDE, "/bin/sh", "-c", cmd]
        done = subprocess.run(command, input=in_data or b"", capture_output=True, timeout=300, check=False)
        return done.returncode, done.stdout, done.stderr

    def _path(self, path: str) -> str:
        return f"/proc/{self._pid}/root{path}"

    def put_file(self, in_path: str, out_path: str) -> Any:
        """Copy a file into the guest."""
        shutil.copyfile(in_path, self._path(out_path))

    def fetch_file(self, in_path: str, out_path: str) -> Any:
        """Copy a file out of the guest."""
        shutil.copyfile(self._path(in_path), out_path)

    def close(self) -> None:
        """Nothing is kept open."""
        self._connected = False
