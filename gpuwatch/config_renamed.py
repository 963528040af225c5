"""Keys of the configuration that are called otherwise now, or here: of earlier versions, and of other exporters.

A key that is renamed or removed stays in `RENAMED`, so that an old file is told what to write instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class Renamed:
    """What became of a key: its new name (empty: it was removed), since which version, what else to know."""

    to: str
    since: str = ""
    hint: str = ""

    def __str__(self) -> str:
        hint = f"; {self.hint}" if self.hint else ""
        if not self.since:
            return f"unknown key; here it is {self.to}{hint}"
        told = f"was renamed to {self.to} in {self.since}" if self.to else f"was removed in {self.since}"
        return told + hint


RENAMED: Mapping[str, Renamed] = {}
"""Keys of earlier versions of gpuwatch, dotted, * standing for a name."""

_FILE = "a secret is in a file of its own"
_ADDRESS = 'HOST:PORT, as in ":9838"'
_SECONDS = "a number of seconds"

FOREIGN: Mapping[str, Renamed] = {
    "cluster": Renamed("site.cluster"),
    "cluster_name": Renamed("site.cluster"),
    "node": Renamed("site.node"),
    "hostname": Renamed("site.node"),
    "listen": Renamed("agent.listen"),
    "interval": Renamed("agent.interval_seconds", hint=_SECONDS),
    "site.name": Renamed("site.cluster"),
    "site.hostname": Renamed("site.node"),
    "agent.cluster": Renamed("site.cluster"),
    "agent.node": Renamed("site.node"),
    "agent.hostname": Renamed("site.node"),
    "agent.interval": Renamed("agent.interval_seconds", hint=_SECONDS),
    "agent.collect_interval": Renamed("agent.interval_seconds", hint=_SECONDS),
    "agent.scrape_interval": Renamed("agent.interval_seconds", hint=_SECONDS),
    "agent.port": Renamed("agent.listen", hint=_ADDRESS),
    "agent.address": Renamed("agent.listen", hint=_ADDRESS),
    "agent.listen_address": Renamed("agent.listen", hint=_ADDRESS),
    "agent.web_listen_address": Renamed("agent.listen", hint=_ADDRESS),
    "agent.web_config": Renamed("agent.web_config_file"),
    "agent.state_dir": Renamed("agent.state_directory"),
    "agent.data_dir": Renamed("agent.state_directory"),
    "agent.outputs": Renamed("agent.sinks"),
    "agent.token_file": Renamed("agent.usage_token_file"),
    "agent.token": Renamed("agent.usage_token_file", hint=_FILE),
    "agent.usage_token": Renamed("agent.usage_token_file", hint=_FILE),
    "accounting.interval": Renamed("accounting.interval_seconds", hint=_SECONDS),
    "accounting.port": Renamed("accounting.listen", hint='HOST:PORT, as in ":9839"'),
    "accounting.listen_address": Renamed("accounting.listen", hint='HOST:PORT, as in ":9839"'),
    "accounting.web_config": Renamed("accounting.web_config_file"),
    "accounting.database": Renamed("accounting.ledger", hint="a URL, sqlite:////path or postgresql://…"),
    "accounting.database_url": Renamed("accounting.ledger"),
    "accounting.ledger_password": Renamed("accounting.ledger_password_file", hint=_FILE),
    "accounting.rates": Renamed("accounting.rates_file"),
    "accounting.backup_dir": Renamed("accounting.backup_directory"),
    "accounting.scheduler": Renamed("accounting.schedulers", hint="an array"),
    "outputs": Renamed("sinks", hint="as in [sinks.influxdb]"),
    "influxdb": Renamed("sinks.influxdb"),
    "prometheus": Renamed("sinks.prometheus"),
    "sinks.influxdb.url": Renamed("sinks.influxdb.servers.NAME.url"),
    "sinks.influxdb.urls": Renamed("sinks.influxdb.servers.NAME.url", hint="a table for each server"),
    "sinks.influxdb.bucket": Renamed("sinks.influxdb.servers.NAME.bucket"),
    "sinks.influxdb.database": Renamed("sinks.influxdb.servers.NAME.bucket"),
    "sinks.influxdb.org": Renamed("sinks.influxdb.servers.NAME.org"),
    "sinks.influxdb.organization": Renamed("sinks.influxdb.servers.NAME.org"),
    "sinks.influxdb.token": Renamed("sinks.influxdb.servers.NAME.token_file", hint=_FILE),
    "sinks.influxdb.servers.*.token": Renamed("sinks.influxdb.servers.NAME.token_file", hint=_FILE),
    "sinks.influxdb.servers.*.password": Renamed("sinks.influxdb.servers.NAME.password_file", hint=_FILE),
    "sinks.influxdb.servers.*.organization": Renamed("sinks.influxdb.servers.NAME.org"),
    "sinks.influxdb.servers.*.database": Renamed("sinks.influxdb.servers.NAME.bucket"),
    "usage.agents.targets": Renamed("usage.agents.urls", hint='as in "http://gpu[01-40]:9838"'),
    "usage.*.token": Renamed("usage.NAME.token_file", hint=_FILE),
    "usage.*.password": Renamed("usage.NAME.password_file", hint=_FILE),
    "notifiers.alertmanager.url": Renamed("notifiers.alertmanager.urls", hint="an array"),
    "notifiers.alertmanager.token": Renamed("notifiers.alertmanager.token_file", hint=_FILE),
}
"""Keys that people bring from other programs, or expect."""


def renamed(key: Sequence[str], ours: Mapping[str, Renamed] = RENAMED) -> Renamed | None:
    """What a key that is not there is called; None where nobody ever called anything so."""
    dotted = ".".join(key)
    for table in (ours, FOREIGN):
        for pattern, told in table.items():
            if fnmatchcase(dotted, pattern) and dotted.count(".") == pattern.count("."):
                return told
    return None
