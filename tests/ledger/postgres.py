"""A PostgreSQL server of one's own for the tests: on a unix socket alone, without fsync, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from sqlalchemy import create_engine, text

from tests.integration.debian import UNPACKED, binary, environment, stop, wait_until

READY_SECONDS = 30.0
_OFF = ("fsync", "synchronous_commit", "full_page_writes", "autovacuum")


def program(name: str) -> Path | None:
    """A program of PostgreSQL, which Debian keeps out of the path; None where there is none."""
    found = binary(name)
    if found is not None:
        return found
    folders = sorted(Path("/").glob("usr/lib/postgresql/*/bin"), reverse=True)
    folders += sorted(UNPACKED.glob("usr/lib/postgresql/*/bin"), reverse=True)
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


class Postgres:
    """A running server. `process` is it, so that a test can end it.

    A `durable` one writes to the disk before it says so, as a site's does; `settings` are further options.
    """

    def __init__(self, folder: Path, settings: Sequence[str] = (), durable: bool = False) -> None:
        initdb, postgres = program("initdb"), program("postgres")
        assert initdb is not None and postgres is not None
        self._folder, self._server = folder, postgres
        self._data = folder / "data"
        self._user = _user()
        if os.geteuid() == 0:
            shutil.chown(folder, self._user)
        self._count = count()
        self._settings = [*settings, *([] if durable else [f"-c{name}=off" for name in _OFF])]
        made = subprocess.run(
            [initdb, "-D", self._data, "-U", "gpuwatch", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
            user=self._user, env=environment(initdb), cwd=folder, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        """Start it, also again where it was stopped, and wait until it answers."""
        options = [
            *self._settings,
            "-clisten_addresses=",
            "-cjit=off",
            f"-cunix_socket_directories={self._folder}",
            "-cmax_connections=50",
        ]
        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self._server, "-D", self._data, *options],
                user=self._user, env=environment(self._server), cwd=self._folder,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        socket = self._folder / ".s.PGSQL.5432"
        wait_until(lambda: self._answers(socket), READY_SECONDS, "PostgreSQL is ready", 0.02)
        return self.process

    def _answers(self, socket: Path) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"PostgreSQL ended: {(self._folder / 'log').read_text()[-2000:]}")
        status = (self._data / "postmaster.pid").read_text().split() if socket.exists() else []
        return bool(status) and status[-1] == "ready"

    def url(self, database: str = "postgres") -> str:
        """The URL of one of its databases, as a site would write it."""
        return f"postgresql://gpuwatch@/{database}?host={self._folder}"

    def make_database(self, options: str = "") -> str:
        """The URL of a new, empty database."""
        name = f"ledger_{next(self._count)}"
        engine = create_engine(self.url().replace("postgresql:", "postgresql+psycopg:"))
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(f"CREATE DATABASE {name} {options}"))
        engine.dispose()
        return self.url(name)

    def stop(self) -> None:
        """End it at once, without a checkpoint."""
        # SIGTERM would wait for every connection to end, SIGINT write down what is thrown away.
        self.process.send_signal(signal.SIGQUIT)
        stop(self.process)


def missing() -> str | None:
    """Why there is no server to be had; None where there is."""
    for name in ("initdb", "postgres"):
        found = program(name)
        if found is None:
            return "no PostgreSQL on this machine"
        try:
            # It may lie where its user may not look.
            command = [found, "--version"]
            subprocess.run(
                command, user=_user(), env=environment(found), capture_output=True, check=True, timeout=60
            )
        except (OSError, subprocess.SubprocessError) as exc:
            return f"{found} cannot be run: {exc}"
    return None


def _user() -> str:
    """Who runs it: it refuses to be root."""
    return "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


@contextmanager
def running(settings: Sequence[str] = (), durable: bool = False) -> Iterator[Postgres]:
    """A server in a directory of its own, whose name is short enough for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="gpuwatch-pg-"))
    folder.chmod(0o711)
    try:
        server = Postgres(folder, settings, durable)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
