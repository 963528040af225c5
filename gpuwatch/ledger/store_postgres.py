"""The ledger in PostgreSQL, by psycopg 3, which is asked for only where a URL names it.

Nothing waits for ever: not for a connection, a lock, a statement, nor for a server that fell silent.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, select, text

from gpuwatch.errors import ConfigurationError

NAMES = ("postgresql", "postgres", "postgresql+psycopg")
READING = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}

CONNECT_SECONDS = 10
SILENT_SECONDS = 30
_LIMITS = {
    "statement_timeout": "120s", "lock_timeout": "30s", "idle_in_transaction_session_timeout": "300s",
    # A machine that fell silent must not lead for ever.
    "tcp_keepalives_idle": "30", "tcp_keepalives_interval": "10", "tcp_keepalives_count": "3",
}  # fmt: skip
_DURABLE = (
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
)
_SECRETS = ("password", "sslpassword")


def shown(url: URL) -> str:
    """The URL without what is secret in it."""
    plain = url.set(drivername=url.drivername.removesuffix("+psycopg")).difference_update_query(_SECRETS)
    return plain.render_as_string(hide_password=True)


def engine(url: URL, password_file: Path | None = None) -> Engine:
    """Connections to a database; raises `ConfigurationError` where the driver or the password file is missing."""
    if password_file is not None:
        url = url.set(password=_password(password_file))
    arguments: dict[str, Any] = {
        "connect_timeout": CONNECT_SECONDS, "client_encoding": "utf8",
        "keepalives_idle": SILENT_SECONDS, "keepalives_interval": 10, "keepalives_count": 3,
        "tcp_user_timeout": SILENT_SECONDS * 1000,
    }  # fmt: skip
    # What the URL says itself is not overruled.
    asked = {"application_name": "gpuwatch"} | arguments
    try:
        made = create_engine(
            url, connect_args={name: value for name, value in asked.items() if name not in url.query},
            pool_pre_ping=True, pool_timeout=SILENT_SECONDS,
        )  # fmt: skip
    except ImportError as exc:
        todo = "pip install '.[postgres]'"
        raise ConfigurationError([f"accounting.ledger: PostgreSQL needs psycopg ({exc}); {todo}"]) from exc
    event.listen(made, "connect", _set_up)
    return made


def _set_up(connection: Any, _record: object) -> None:
    """Limits of a session; a commit is durable whatever the server's default is."""
    with connection.cursor() as cursor:
        for name, value in _LIMITS.items():
            cursor.execute(f"SET {name} = '{value}'")
        cursor.execute(_DURABLE)
    connection.commit()


def _password(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as exc:
        what = exc.strerror if isinstance(exc, OSError) else "it is not text"
        raise ConfigurationError(
            [f"accounting.ledger_password_file: {str(file)!r} cannot be read; {what}"]
        ) from exc


def check_encoding(connection: Connection, where: str) -> None:
    """Raises `ConfigurationError` where the database cannot keep every name."""
    encoding = connection.scalar(text("SELECT current_setting('server_encoding')"))
    if encoding != "UTF8":
        todo = "make one with ENCODING 'UTF8' TEMPLATE template0"
        raise ConfigurationError([f"ledger {where!r}: its encoding is {encoding}, not UTF8; {todo}"])


def key_of(*words: str) -> int:
    """The number of an advisory lock, the same on every machine."""
    told = "\0".join(("gpuwatch", *words)).encode()
    return int.from_bytes(hashlib.sha256(told).digest()[:8], signed=True)


def lock_schema(connection: Connection) -> None:
    """Have the tables alone until the transaction ends, for as long as changing them takes."""
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    connection.execute(text("SET LOCAL lock_timeout = '60s'"))
    where = connection.scalar(select(func.current_schema()))
    connection.execute(select(func.pg_advisory_xact_lock(key_of("schema", str(where)))))
