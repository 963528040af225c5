"""What can be configured: the tables of the configuration file, with their defaults and limits."""

from __future__ import annotations

import ipaddress
import re
import socket
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, model_validator

Origins = dict[tuple[str, ...], str]
"""Which file (or the command line) said each key."""

_LISTEN = re.compile(r"(?:\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[A-Za-z0-9._-]*):([0-9]{1,5})")
_LONGEST_SOCKET = 107
_NOT_FOR_NAMES = ("authorization", "host", "cookie", "connection", "x-slurm-user-token", "x-slurm-user-name")
_LONGEST_GROUP = 128


def _host_and_port(text: str) -> str:
    match = _LISTEN.fullmatch(text)
    if match is None or int(match[1]) > 65535:
        raise ValueError('must be HOST:PORT, as in ":9838", "127.0.0.1:9838" or "[::1]:9838"')
    return text


def _socket_path(path: Path) -> Path:
    if len(str(path).encode()) > _LONGEST_SOCKET:
        raise ValueError(f"must be at most {_LONGEST_SOCKET} bytes long, which is what the kernel takes")
    return path


def _socket_or_none(path: str) -> str:
    return str(_socket_path(Path(path))) if path else ""


def _networks(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        try:
            ipaddress.ip_network(text)
        except ValueError:
            raise ValueError(f"must be addresses or networks, as in 10.0.0.0/8; {text!r} is none") from None
    return texts


def _header_name(text: str) -> str:
    if text and (not re.fullmatch(r"[A-Za-z0-9-]+", text) or text.lower() in _NOT_FOR_NAMES):
        raise ValueError("must be the name of a header of its own, as in X-Remote-User")
    return text


def _ledger_url(text: str) -> str:
    if not re.match(r"(sqlite|postgresql)(\+\w+)?://", text):
        raise ValueError("must be a URL that begins with sqlite:/// or postgresql://")
    return text


def _zone_name(name: str) -> str:
    # A machine without a database of time zones knows UTC all the same.
    if name != "UTC":
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError) as exc:
            raise ValueError(
                "must be the name of a time zone that this machine knows, as in Europe/Berlin"
            ) from exc
    return name


def _once_each(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("must name each plugin once")
    return names


def _host_name() -> str:
    return socket.gethostname().partition(".")[0] or "localhost"


Name = Annotated[str, Field(pattern=r"^[\w.-]+$", max_length=128)]
Names = Annotated[tuple[str, ...], Field(strict=False), AfterValidator(_once_each)]
Listen = Annotated[str, AfterValidator(_host_and_port)]
FilePath = Annotated[Path, Field(strict=False)]
SocketPath = Annotated[FilePath, AfterValidator(_socket_path)]
OptionalSocket = Annotated[str, AfterValidator(_socket_or_none)]
Patterns = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=_LONGEST_GROUP)], ...], Field(strict=False)
]
People = Annotated[tuple[str, ...], Field(strict=False)]
Networks = Annotated[tuple[str, ...], Field(strict=False), AfterValidator(_networks)]
HeaderName = Annotated[str, AfterValidator(_header_name)]
Ledger = Annotated[str, AfterValidator(_ledger_url)]
Zone = Annotated[str, AfterValidator(_zone_name)]
Ratio = Annotated[float, Field(gt=0, le=1)]


def _groups(groups: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Groups whose members can be told apart: no account is in two of them."""
    known: dict[tuple[str, str], str] = {}
    for group, members in groups.items():
        if not group or not group.isprintable() or len(group) > _LONGEST_GROUP:
            raise ValueError(f"must have names of 1 to {_LONGEST_GROUP} printable characters; {group!r} is none")
        for member in members:
            cluster, slash, account = member.partition("/")
            if not (slash and cluster and account):
                raise ValueError(
                    f"must list CLUSTER/ACCOUNT, or */ACCOUNT for all clusters; {member!r} is neither"
                )
            known[cluster, account] = _only_in(group, cluster, account, known)
    return groups


def _only_in(group: str, cluster: str, account: str, known: dict[tuple[str, str], str]) -> str:
    for (other_cluster, other_account), other in known.items():
        same = other_account == account and (cluster == other_cluster or "*" in (cluster, other_cluster))
        if same and other != group:
            told = f"{group!r} has {cluster}/{account} and {other!r} has {other_cluster}/{other_account}"
            raise ValueError(f"must have each account in one group; {told}")
    return group


Groups = Annotated[dict[str, Annotated[tuple[str, ...], Field(strict=False)]], AfterValidator(_groups)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class SiteSettings(_Table):
    """Names for what is measured here, and where the kernel's file systems are."""

    cluster: Name = Field(
        default="default", description="name of the cluster; part of every key, so never guessed"
    )
    node: Name = Field(
        default_factory=_host_name,
        description="name of this node as the batch system names it; default: the host name up to the first dot",
    )
    procfs: str = Field(
        default="/proc", description="root of procfs (in a container: where the host's is mounted)"
    )
    sysfs: str = Field(default="/sys", description="root of sysfs")


class AgentSettings(_Table):
    """The daemon of one node."""

    interval_seconds: float = Field(
        default=1.0, gt=0, le=60, description="time between two readings of every device"
    )
    listen: Listen = Field(
        default=":9838", description="address of /metrics and the usage API; port 0 takes a free one"
    )
    state_directory: FilePath = Field(
        default=Path("/var/lib/gpuwatch"),
        description="where counters, epoch and journal are kept; one agent per directory",
    )
    socket: SocketPath = Field(
        default=Path("/run/gpuwatch/agent.sock"), description="where jobs declare and report progress"
    )
    jobs_directory: FilePath = Field(
        default=Path("/run/gpuwatch-jobs"),
        description="where each job may have a directory to write `progress` and `declare` into, docs/socket.md",
    )
    job_token_file: FilePath | None = Field(
        default=None,
        description="file with the secret of jobs' tokens, by which they speak over HTTP; unset: they do not",
    )
    devices: Names = Field(
        default=("nvidia", "tpu", "amd"),
        description="device sources to read; one that has nothing on a node is quiet there",
    )
    host: Names = Field(
        default=("system", "network", "storage", "power"),
        description="host sources to read; one that has nothing on a node is quiet there",
    )
    jobs: Names = Field(
        default=("slurm", "local"), description="who says which job holds which device; the first that claims it"
    )
    sinks: Names = Field(default=("prometheus",), description="outputs")
    require_device: bool = Field(default=False, description="exit with 69 when no device is found at start")
    usage_token_file: FilePath | None = Field(
        default=None, description="file with the shared token that readers of the usage API must send; unset: none"
    )
    web_config_file: FilePath | None = Field(
        default=None,
        description="TLS, users and limits of what it serves, docs/web.md; "
        "unset: /etc/gpuwatch/web-config.yml where there is one",
    )


class AccessSettings(_Table):
    """Who may read more than his own jobs; names of users, or of Unix groups as in "@operators"."""

    admins: People = Field(default=(), description="who reads everything, and may change it")
    support: People = Field(default=(), description="who reads everything")
    coordinators: dict[str, People] = Field(
        default_factory=dict,
        description="accounts with those who read all of them, beside those whom the batch system tells",
    )


class AccountingSettings(_Table):
    """The daemon of one cluster."""

    interval_seconds: float = Field(default=60.0, gt=0, le=86_400, description="time between two passes")
    listen: Listen = Field(
        default=":9839", description="address of accounting's /metrics; port 0 takes a free one"
    )
    ledger: Ledger = Field(
        default="sqlite:////var/lib/gpuwatch-accounting/ledger.db",
        description="URL of the ledger's database, sqlite:////path or postgresql://user@host/database",
    )
    ledger_password_file: FilePath | None = Field(
        default=None, description="file with the password for PostgreSQL; unset: as libpq finds one"
    )
    reserve_bytes: int = Field(
        default=64 * 2**20, ge=0,
        description="place held on the disk of a SQLite ledger, given up when the disk is full; 0: none",
    )  # fmt: skip
    backup_directory: FilePath | None = Field(
        default=None, description="where a SQLite ledger is copied each night; unset: it is not"
    )
    backups_kept: int = Field(default=7, ge=1, le=1000, description="how many copies stay there")
    usage: Names = Field(default=("agents",), description="usage sources to read")
    schedulers: Names = Field(
        default=(), description="batch systems to ask what they allocated: slurm, kubernetes"
    )
    notifiers: Names = Field(default=("log",), description="who is told of alerts")
    sinks: Names = Field(
        default=(), description="outputs of what is forecast, with the tables that the agent's have: influxdb"
    )
    spool_directory: FilePath = Field(
        default=Path("/var/lib/gpuwatch-accounting/spool"),
        description="where what accounting pushes waits, in place of the table's own `spool_directory`",
    )
    history_bytes: float = Field(
        default=10 * 2.0**30, ge=0, description="limit of the history minute by minute; by the day all is kept"
    )
    rates_file: FilePath | None = Field(
        default=None,
        description="CSV of prices, tariffs, PUE and grid intensity, docs/rates.md; unset: the defaults, no price",
    )
    open_ended_names: Patterns = Field(
        default=(
            "jupyter*", "*notebook*", "rstudio*", "code-server*", "vscode*", "sys/dashboard/*", "interactive",
        ),
        description="names of jobs that go on for as long as they like, as notebooks do, with * for anything: "
        "they have budgets, and no end to be forecast",
    )  # fmt: skip
    timezone: Zone = Field(
        default="UTC", description="whose midnight divides days and begins rates, as in Europe/Berlin"
    )
    web_config_file: FilePath | None = Field(
        default=None, description="as `agent.web_config_file`, for what accounting serves"
    )
    groups: Groups = Field(
        default_factory=dict,
        description="groups and their accounts, CLUSTER/ACCOUNT or CLUSTER/NAMESPACE; * is every cluster",
    )
    socket: OptionalSocket = Field(
        default="/run/gpuwatch-accounting/api.sock",
        description="where users of this machine ask the API; empty, or unset without that directory: nowhere",
    )
    slurm_jwt_key_file: FilePath | None = Field(
        default=None, description="the key of Slurm's tokens (jwt_hs256.key); unset: tokens prove nothing"
    )
    unmunge: str = Field(
        default="", description="the program that checks munge credentials; empty: they prove nothing"
    )
    proxies: Networks = Field(
        default=(), description="addresses of proxies that say who asks, in `proxy_user_header`"
    )
    proxy_user_header: HeaderName = Field(
        default="", description="the header by which these proxies say it; empty: none does"
    )

    @property
    def zone(self) -> tzinfo:
        """The time zone called `timezone`."""
        return UTC if self.timezone == "UTC" else ZoneInfo(self.timezone)

    @model_validator(mode="after")
    def _proxies_and_header_go_together(self) -> AccountingSettings:
        if bool(self.proxies) != bool(self.proxy_user_header):
            raise ValueError("must have both of `proxies` and `proxy_user_header`, or neither")
        return self


class StateThresholds(_Table):
    """Thresholds of one model; what is unset is as for all others."""

    busy_ratio: Ratio | None = Field(default=None, description="as `meter.busy_ratio`, for devices of this model")
    near_idle_ratio: Ratio | None = Field(default=None, description="as `meter.near_idle_ratio`, for this model")
    activity_ratio: Ratio | None = Field(default=None, description="as `meter.activity_ratio`, for this model")


class MeterSettings(_Table):
    """When time counts as measured, and what it counts as."""

    gap_seconds: float = Field(
        default=7.5, gt=0, le=3600, description="two readings further apart than this have a gap between them"
    )
    busy_ratio: Ratio = Field(default=0.05, description="a device reports itself busy above this utilization")
    near_idle_ratio: Ratio = Field(
        default=0.10,
        description="power is near idle below this fraction of the way from held and idle to the limit",
    )
    activity_ratio: Ratio = Field(default=0.02, description="SM or tensor activity above this is no idling")
    models: dict[str, StateThresholds] = Field(
        default_factory=dict, description="thresholds for models whose name contains the table's name"
    )

    def rule(self) -> dict[str, float]:
        """The three thresholds of the state rule, by name."""
        return {name: getattr(self, name) for name in StateThresholds.model_fields}

    def rules(self) -> dict[str, dict[str, float]]:
        """The thresholds of each model that has its own, completed from the general ones."""
        return {
            model: self.rule() | thresholds.model_dump(exclude_none=True)
            for model, thresholds in self.models.items()
        }


class AlertSettings(_Table):
    """When an alert is worth telling, and which are told."""

    tolerance_ratio: float = Field(
        default=0.10, ge=0, le=10, description="an overrun is more than this fraction above the declared amount"
    )
    floor_device_hours: float = Field(
        default=1.0,
        ge=0,
        description="jobs whose used and declared device-hours, and what 9 of 10 such jobs come to, "
        "are all below this are not told of",
    )
    policy_file: FilePath | None = Field(
        default=None,
        description="which alerts are told to whom, docs/alerts.md; read again when it changes; unset: see `tell`",
    )
    tell: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        default=(),
        description="kinds of alerts that are told whatever the account, beside those of the policy file; "
        "all others are observed: recorded, and told to nobody",
    )


PluginTables = dict[str, dict[str, Any]]


def _tables(room: str) -> Any:
    return Field(default_factory=dict, description=f"tables of plugins, as in `[{room}.NAME]`")


class Settings(_Table):
    """Everything that can be configured; the tables of plugins are raw."""

    site: SiteSettings = Field(default_factory=SiteSettings)
    agent: AgentSettings = Field(default_factory=AgentSettings)
    accounting: AccountingSettings = Field(default_factory=AccountingSettings)
    access: AccessSettings = Field(default_factory=AccessSettings)
    meter: MeterSettings = Field(default_factory=MeterSettings)
    alerts: AlertSettings = Field(default_factory=AlertSettings)
    devices: PluginTables = _tables("devices")
    host: PluginTables = _tables("host")
    jobs: PluginTables = _tables("jobs")
    sinks: PluginTables = _tables("sinks")
    schedulers: PluginTables = _tables("schedulers")
    usage: PluginTables = _tables("usage")
    notifiers: PluginTables = _tables("notifiers")

    _origins: Origins = PrivateAttr(default_factory=dict)
    _files: tuple[Path, ...] = PrivateAttr(default=())
    _replaced: tuple[str, ...] = PrivateAttr(default=())

    def says(self, *key: str) -> bool:
        """Whether a file or the command line sets a key, as in `says("accounting", "socket")`."""
        return key in self._origins

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that were read, in order; empty where everything is default."""
        return self._files

    @property
    def replaced(self) -> tuple[str, ...]:
        """One line for each key that a later file, or the command line, says otherwise than an earlier one."""
        return self._replaced
