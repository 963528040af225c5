"""The table `[sinks.influxdb]`: what is pushed, where it waits, and the servers that it goes to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator


def _http_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be http://HOST:PORT or https://HOST:PORT, with a path where the server has one")
    if parts.username or parts.password:
        raise ValueError("must not carry a password; name a token_file, or username and password_file")
    return url.rstrip("/")


def _user(name: str) -> str:
    if not name or ":" in name:
        raise ValueError("must be a name without a colon")
    return name


Url = Annotated[str, AfterValidator(_http_url)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class ServerSettings(BaseModel):
    """The table `[sinks.influxdb.servers.NAME]`; NAME is part of the label: `sink="influxdb:NAME"`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Url = Field(description="address of the server, without /api/v2/write")
    bucket: str = Field(min_length=1, description="bucket; for InfluxDB 1.8 DATABASE or DATABASE/POLICY")
    org: str = Field(default="", description="organization, which InfluxDB 2 asks for")
    token_file: Path | None = Field(default=None, description="file with the token")
    username: Annotated[str, AfterValidator(_user)] | None = Field(
        default=None, description="user of InfluxDB 1.8, in place of a token"
    )
    password_file: Path | None = Field(default=None, description="file with that user's password")
    ca_file: Path | None = Field(
        default=None, description="trust the server by the authorities in this file; unset: the system's"
    )
    cert_file: Path | None = Field(default=None, description="client certificate to show to the server")
    key_file: Path | None = Field(default=None, description="key of the client certificate")
    proxy: Url | None = Field(
        default=None, description="HTTP proxy to the server; unset: none, whatever the environment says"
    )
    timeout_seconds: float = Field(default=10.0, gt=0, le=600, description="wait for an answer this long")
    lines_per_second: float = Field(
        default=5000.0, gt=0, description="send no faster, so that many nodes can catch up at once"
    )
    lines_per_request: int = Field(default=1000, ge=1, le=100_000, description="most lines of one request")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("must name cert_file and key_file, or neither")
        if (self.username is None) != (self.password_file is None):
            raise ValueError("must name username and password_file, or neither")
        if self.token_file is not None and self.username is not None:
            raise ValueError("must name token_file or username, not both")
        return self


class InfluxdbSettings(BaseModel):
    """The table `[sinks.influxdb]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    push_seconds: float = Field(
        default=15.0, gt=0, le=3600, description="push devices and the host this often, as means of the samples"
    )
    jobs_seconds: float = Field(
        default=60.0, gt=0, le=3600, description="push the counters of jobs this often, and once at their end"
    )
    raw_jobs: tuple[str, ...] = Field(
        default=(), description="ids of jobs whose devices are pushed sample by sample"
    )
    raw_devices: tuple[str, ...] = Field(
        default=(), description="uuids of devices that are pushed sample by sample"
    )
    spool_directory: Path = Field(
        default=Path("/var/lib/gpuwatch/spool"), description="where points wait until every server has them"
    )
    spool_bytes: int = Field(
        default=512 * 2**20, ge=2**20, description="most bytes that wait there; beyond, the oldest go"
    )
    spool_days: float = Field(default=7.0, gt=0, le=365, description="points wait at most this long")
    servers: dict[Name, ServerSettings] = Field(
        min_length=1, description="a table for each server, called as its metrics shall name it"
    )
