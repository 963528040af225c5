"""The table `[notifiers.apprise]`, and the file that may have its addresses. No address is ever in a message."""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from gpuwatch.errors import ConfigurationError
from gpuwatch.notifiers.apprise_addresses import Addresses, Urls

_MOST_BYTES = 1 << 20

SIMPLE = ("owner", "account", "operators")
TABLES = ("people", "accounts", "channels")


def _veiled(value: Any) -> Any:
    """Strings as secrets, before anything is found wrong with them: messages show what was given."""
    if isinstance(value, str):
        return SecretStr(value)
    if isinstance(value, list | tuple):
        return tuple(map(_veiled, value))
    return {key: _veiled(each) for key, each in value.items()} if isinstance(value, Mapping) else value


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, SecretStr) else value


def _page(url: str) -> str:
    parts = urlsplit(url)
    if url and (
        parts.scheme not in ("http", "https") or not parts.hostname or any(sign in url for sign in " ()<>\"'")
    ):
        raise ValueError("must be http://… or https://…, or empty")
    if not url.isprintable() or parts.username or parts.password:
        raise ValueError("must be printable and without a password: everybody is shown it")
    return url


def _prefix(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be one line of printable characters")
    return text.strip()


Secrets = Annotated[tuple[SecretStr, ...], BeforeValidator(_several), Field(max_length=20)]
SecretTable = Annotated[dict[str, Secrets], Field(max_length=10_000)]
Page = Annotated[str, AfterValidator(_page), Field(max_length=300)]


class AddressTable(BaseModel):
    """Addresses, which have secrets; those of the configuration, or those of `urls_file`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    owner: Secrets = Field(
        default=(),
        description="address of the owner of a job, {user} being its name: "
        '"mailto://mail.example.org:25?from=gpuwatch@example.org&to={user}@example.org"',
    )
    account: Secrets = Field(
        default=(), description="address of who looks after an account, {account} being its name"
    )
    operators: Secrets = Field(default=(), description="address of those who look after the cluster, or an array")
    people: SecretTable = Field(
        default_factory=dict, description="addresses of single users in place of `owner`, by user name"
    )
    accounts: SecretTable = Field(
        default_factory=dict, description="addresses of single accounts in place of `account`, by account"
    )
    channels: SecretTable = Field(
        default_factory=dict, description="further recipients, by the name that the policy has for them"
    )

    @model_validator(mode="before")
    @classmethod
    def _hide(cls, table: Any) -> Any:
        if not isinstance(table, Mapping):
            return table
        return {key: _veiled(value) if key in (*SIMPLE, *TABLES) else value for key, value in table.items()}


class AppriseSettings(AddressTable):
    """The table `[notifiers.apprise]`."""

    urls_file: Path | None = Field(
        default=None,
        description="TOML file with any of the keys above, for addresses with secrets; others may not read it",
    )
    timeout_seconds: float = Field(
        default=15.0, gt=0, le=120, description="give up sending a letter to an address after so long"
    )
    subject_prefix: Annotated[str, AfterValidator(_prefix)] = Field(
        default="gpuwatch", max_length=30, description="what every subject begins with"
    )
    links: Page = Field(default="", description="accounting's page, named in letters; empty: none")
    runbook_url: Page = Field(
        default="https://gpuwatch.dev/runbooks",
        description="where the pages of docs/runbooks are; empty: letters name none",
    )


def addresses_of(settings: AppriseSettings) -> Addresses:
    """All addresses, with those of `urls_file`; raises `ConfigurationError` with every mistake."""
    tables = [settings] if settings.urls_file is None else [settings, _from_file(settings.urls_file)]
    mistakes = [] if len(tables) == 1 else list(_twice(*tables))
    if mistakes:
        raise ConfigurationError([f"notifiers.apprise.{mistake}" for mistake in mistakes])
    return Addresses(
        owner=_first(tables, "owner"),
        account=_first(tables, "account"),
        operators=_first(tables, "operators"),
        people=_all(tables, "people"),
        accounts=_all(tables, "accounts"),
        channels=_all(tables, "channels"),
    )


def _plain(urls: tuple[SecretStr, ...]) -> Urls:
    return tuple(url.get_secret_value() for url in urls)


def _first(tables: Sequence[AddressTable], key: str) -> Urls:
    return next(filter(None, (_plain(getattr(table, key)) for table in tables)), ())


def _all(tables: Sequence[AddressTable], key: str) -> Mapping[str, Urls]:
    return {name: _plain(urls) for table in tables for name, urls in getattr(table, key).items()}


def _twice(settings: AddressTable, file: AddressTable) -> Iterator[str]:
    for key in SIMPLE:
        if getattr(settings, key) and getattr(file, key):
            yield f"{key}: is in urls_file as well; one of them must go"
    for key in TABLES:
        for name in sorted(getattr(settings, key).keys() & getattr(file, key).keys()):
            yield f"{key}.{name[:100]}: is in urls_file as well; one of them must go"


def _from_file(path: Path) -> AddressTable:
    where = f"notifiers.apprise.urls_file: {path}"
    try:
        return AddressTable.model_validate(tomllib.loads(_read(path, where)))
    except tomllib.TOMLDecodeError as exc:
        # Its message has a place and no text of the file.
        raise ConfigurationError([f"{where}: is not TOML; {exc}"]) from None
    except ValidationError as exc:
        wrong = [(".".join(map(str, each["loc"])), each["msg"]) for each in exc.errors(include_input=False)]
        raise ConfigurationError([f"{where}: {place}: {message}" for place, message in wrong]) from None


def _read(path: Path, where: str) -> str:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & (stat.S_IROTH | stat.S_IWOTH):
                raise ConfigurationError([f"{where}: everybody may read or write it; chmod 0640 it"])
            content = file.read(_MOST_BYTES + 1)
    except OSError as exc:
        raise ConfigurationError([f"{where}: cannot be read; {exc.strerror}"]) from exc
    if len(content) > _MOST_BYTES:
        raise ConfigurationError([f"{where}: is longer than {_MOST_BYTES} bytes"])
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise ConfigurationError([f"{where}: byte {exc.start} is not UTF-8; TOML is UTF-8"]) from None
